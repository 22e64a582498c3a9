"""The model that a configuration and a graph ask for."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from dcrnn_fast.config.sections import Config
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.operators import graph_operators, graph_recursion
from dcrnn_fast.graph.sensor_graph import SensorGraph
from dcrnn_fast.kernels import DiffusionTerms
from dcrnn_fast.kernels.dispatch import choose
from dcrnn_fast.kernels.explain import OPERATORS, why_exact
from dcrnn_fast.kernels.native import library
from dcrnn_fast.model.dcrnn import DCRNN
from dcrnn_fast.model.heap import give_back_freed_memory
from dcrnn_fast.model.weights import num_terms, own_copies, parameter_shapes, require_weights
from dcrnn_fast.system import MIB, available_mib

SAVING = ("cpu", "triton", "cuda")
"""backends that can compute again what the forward pass did not keep"""
_SMALL_MIB = 100
"""weights of this size are not compared with the memory: asking for it takes as long as making them"""


def build_model(
    config: Config,
    graph: SensorGraph,
    *,
    input_channels: int,
    output_channels: int,
    known_channels: int = 0,
    dtype: torch.dtype = torch.float32,
    weights: Mapping[str, Tensor] | None = None,
) -> DCRNN:
    """A DCRNN on ``graph``'s diffusion terms.

    Args:
        weights: its parameters, which are copied; left out: fresh ones from PyTorch's generator, which otherwise stays
            as it is.
    Raises:
        UserError: the graph does not yield the operators that the configuration asks for, ``weights`` are of another
            model, or there is no memory for a model of this size.
    """
    if weights is None:
        _require_memory(config, input_channels, output_channels, known_channels)
    else:
        require_weights(
            weights,
            config,
            input_channels=input_channels,
            output_channels=output_channels,
            known_channels=known_channels,
        )
    terms = _terms(config, graph, torch.float64 if dtype == torch.float64 else torch.float32)
    give_back_freed_memory()
    model = DCRNN(
        terms,
        input_channels=input_channels,
        output_channels=output_channels,
        future_steps=config.data.future_steps,
        hidden_units=config.model.hidden_units,
        num_layers=config.model.num_layers,
        backend=config.model.backend,
        save=config.model.save,
        precision="bf16x3" if config.training.precision == "bf16x3" else "exact",
        known_channels=known_channels,
        dtype=dtype,
        device=None if weights is None else "meta",
    )
    if weights is not None:
        model.load_state_dict(own_copies(weights), assign=True)
    return model


def _terms(config: Config, graph: SensorGraph, dtype: torch.dtype) -> DiffusionTerms:
    operators = graph_operators(graph, config.graph)
    return DiffusionTerms.from_operators(operators, dtype, recursion=graph_recursion(graph, config.graph))


def _require_memory(config: Config, input_channels: int, output_channels: int, known_channels: int) -> None:
    shapes = parameter_shapes(
        input_channels=input_channels,
        output_channels=output_channels,
        hidden_units=config.model.hidden_units,
        num_layers=config.model.num_layers,
        num_terms=num_terms(config.graph),
        known_channels=known_channels,
    )
    needed_mib = sum(map(math.prod, shapes.values())) * 4 / MIB
    if needed_mib > _SMALL_MIB and needed_mib > (available := available_mib()):
        raise UserError(
            f"out of memory ({available / 1024:.3g} GiB available): the weights of {config.model.num_layers} layers of "
            f"{config.model.hidden_units} units with {config.graph.hops} hops take {needed_mib / 1024:.3g} GiB; use "
            "fewer hidden units, layers or hops"
        )


def chosen_backend(model: DCRNN) -> str:
    """The backend that ``backend`` stands for, on the model's device.

    Raises:
        UserError: it cannot run here.
    """
    operators, x = OPERATORS["dcrnn_seq2seq"], next(model.parameters())
    try:
        return choose("dcrnn_seq2seq", operators, model.backend, x, divided=model.diffusion.divided).name
    except NotImplementedError as error:
        raise UserError(str(error)) from error


_STORAGE = {"fp32": "float32", "bf16": "bfloat16", "bf16x3": "bf16x3"}
"""the compiled CPU kernels' name of a precision; fp16 is for GPUs"""


def backend_line(model: DCRNN, precision: str) -> str:
    """Which backend computes the model in this precision, and why not those that ``auto`` asks first."""
    name, x = chosen_backend(model), next(model.parameters())
    unit = ""
    if name == "cpu" and (module := library()[0]) is not None:
        storage = "float64" if x.dtype == torch.float64 else _STORAGE[precision]
        unit = f", unit {module.chosen_unit(storage)}"
    if model.backend != "auto":
        return f"backend: {name}{unit}, as asked"
    reasons = []
    for implementation in OPERATORS["dcrnn_seq2seq"]:
        if implementation.name == name:
            break
        if implementation.auto_on is None or x.device.type in implementation.auto_on:
            divided = implementation.why_not_divided if model.diffusion.divided else None
            reason = implementation.why_not(x) or divided or "it failed its check on this device"
        elif implementation.auto_on:
            reason = f"it is for {' and '.join(device.upper() for device in implementation.auto_on)} devices"
        else:
            continue  # "auto" never takes it
        reasons.append(f"not {implementation.name}: {reason}")
    return f"backend: {name}{unit} (auto{''.join(f'; {reason}' for reason in reasons) or ': the first that can run'})"


def same_bits_with_any_threads(model: DCRNN) -> bool:
    """Whether the number of CPU threads is without effect: on a GPU, and on the compiled CPU kernels."""
    return next(model.parameters()).device.type != "cpu" or chosen_backend(model) == "cpu"


def precision_notes(config: Config) -> list[str]:
    """Warnings, one per line, about parts of the configured precision that have no effect here."""
    why = why_exact(config.model.backend) if config.training.precision == "bf16x3" else None
    return [] if why is None else [f"precision bf16x3: products are exact float32 ones here, not split: {why}"]
