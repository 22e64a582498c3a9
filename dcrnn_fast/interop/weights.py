"""Imported weights: renamed, checked against one another, with the sizes that follow from their shapes.

Shape legend: C input channels, O output channels, H units, M diffusion terms, K hops, L layers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcrnn_fast.checkpoints.state import require_dense
from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import Backend, ModelConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.interop.files import read_tensors
from dcrnn_fast.interop.names import Layout, recognise
from dcrnn_fast.model import DCRNN
from dcrnn_fast.model.build import build_model
from dcrnn_fast.model.weights import NUM_SUPPORTS, num_terms, parameter_shapes


@dataclass(frozen=True, eq=False, slots=True)
class ImportedWeights:
    """Weights of another DCRNN under dcrnn_fast's names.

    Attributes:
        layout: pytorch_port, libcity, largest or tensorflow.
        state: a state dict for ``DCRNN``, float32.
        hidden_units, num_layers, input_channels, output_channels, num_terms: H, L, C, O and M, by the shapes.
        settings: the file's settings of the model (the port's section ``model``: filter_type, seq_len, ...), or empty.
    """

    layout: Layout
    state: dict[str, Tensor]
    hidden_units: int
    num_layers: int
    input_channels: int
    output_channels: int
    num_terms: int
    settings: dict[str, Any] = field(default_factory=dict)

    def hops(self, num_supports: int) -> int:
        """K for so many supports.

        Raises:
            UserError: M - 1 is no multiple of the number of supports.
        """
        if (self.num_terms - 1) % num_supports:
            raise UserError(
                f"the weights have {self.num_terms} diffusion terms, which {num_supports} supports cannot give (1 + "
                f"{num_supports} x hops): another kind of supports was used in training; give --supports"
            )
        return (self.num_terms - 1) // num_supports

    def require_terms(self, diffusion: GraphConfig) -> None:
        """Check that these supports and hops give as many diffusion terms as the weights have.

        Raises:
            UserError: they do not.
        """
        if (terms := num_terms(diffusion)) != self.num_terms:
            raise UserError(
                f"the weights have {self.num_terms} diffusion terms, --supports {diffusion.supports} "
                f"--hops {diffusion.hops} gives {terms} (1 + {NUM_SUPPORTS[diffusion.supports]} x hops)"
            )

    def build(
        self, graph: SensorGraph, diffusion: GraphConfig, *, future_steps: int, backend: Backend = "auto"
    ) -> DCRNN:
        """The model that these weights belong to.

        Args:
            diffusion: supports, hops, recursion, orientation and edge order, as the weights were trained.
        Raises:
            UserError: ``diffusion`` gives another number of diffusion terms than the weights have.
        """
        self.require_terms(diffusion)
        config = Config(
            graph=diffusion,
            data=DataConfig(future_steps=future_steps),
            model=ModelConfig(hidden_units=self.hidden_units, num_layers=self.num_layers, backend=backend),
        )
        return build_model(
            config,
            graph,
            input_channels=self.input_channels,
            output_channels=self.output_channels,
            weights=self.state,
        )


def read_weights(path: str | Path) -> ImportedWeights:
    """Reads the weights of another DCRNN from a file: the port's ``.tar``, a state dict, LibCity's ``.m``, an ``.npz``.

    Nothing in the file is run.

    Raises:
        UserError: the file cannot be read or would run code, its names belong to no known DCRNN, tensors are missing,
            or their shapes contradict one another; the message names the tensor.
    """
    tensors, settings = read_tensors(path)
    return import_state(tensors, source=str(path), settings=settings)


def import_state(
    tensors: Mapping[str, Tensor], *, source: str = "the state dict", settings: Mapping[str, Any] | None = None
) -> ImportedWeights:
    """The same for a state dict in memory; the tensors are copied. Raises as :func:`read_weights`."""
    layout, state = recognise(tensors, source)
    for name, tensor in state.items():
        require_dense(f"{source}: {name}", tensor)
        if not tensor.is_floating_point():
            raise UserError(f"{source}: {name} must hold floating-point numbers, got {tensor.dtype}")
    state = {name: tensor.detach().to(torch.float32).clone() for name, tensor in state.items()}
    if layout == "tensorflow":
        state["projection.weight"] = state["projection.weight"].T.contiguous()
        state["projection.bias"] = torch.zeros(state["projection.weight"].shape[0])
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise UserError(f"{source}: {name} holds NaN or infinity; training had diverged")
    weights = _measure(layout, state, source)
    _check(weights, source)
    return replace(weights, settings=dict(settings or {}))


def with_one_hot_days(weights: ImportedWeights) -> ImportedWeights:
    """Weights that read the day of the week as one channel d/7 (Monday 0), the last, made to read seven one-hot ones.

    A convolution is linear in its input and d/7 is a weighted sum of the seven channels, so both give the same
    function: the rows of day d are d/7 times the rows of the one channel. LargeST reads the day that way.
    """
    M, C = weights.num_terms, weights.input_channels
    state = dict(weights.state)
    for name in ("encoder.0.gate_weight", "encoder.0.candidate_weight"):
        before, day, after = state[name].split([(C - 1) * M, M, weights.hidden_units * M])
        state[name] = torch.cat([before, *(day * (weekday / 7) for weekday in range(7)), after])
    return replace(weights, state=state, input_channels=C + 6)


def _measure(layout: Layout, state: dict[str, Tensor], source: str) -> ImportedWeights:
    layers = {int(match[1]) for name in state if (match := re.match(r"(?:encoder|decoder)\.(\d+)\.", name))}
    num_layers = max(layers) + 1
    if num_layers * 8 > len(state) + 8:  # one layer may lack some: their names are told below
        raise UserError(f"{source}: there is a layer {num_layers - 1}, but only {len(state)} parameters")
    outputs, hidden = state["projection.weight"].shape
    if not outputs or not hidden:
        raise UserError(f"{source}: the projection to the output channels is empty, of shape ({outputs}, {hidden})")
    for name in ("decoder.0.candidate_weight", "encoder.0.candidate_weight"):
        if name not in state or state[name].dim() != 2:
            raise UserError(f"{source}: {name} is missing or not a matrix")
    rows = state["decoder.0.candidate_weight"].shape[0]
    if rows % (outputs + hidden):
        raise UserError(
            f"{source}: decoder.0.candidate_weight has {rows} rows, no multiple of {outputs} output channels + "
            f"{hidden} units"
        )
    num_terms = rows // (outputs + hidden)
    if not num_terms:
        raise UserError(f"{source}: decoder.0.candidate_weight is empty")
    rows = state["encoder.0.candidate_weight"].shape[0]
    if rows % num_terms or rows // num_terms <= hidden:
        raise UserError(
            f"{source}: encoder.0.candidate_weight has {rows} rows, wanted ({hidden} units + at least one input "
            f"channel) x {num_terms} diffusion terms"
        )
    return ImportedWeights(
        layout=layout,
        state=state,
        hidden_units=hidden,
        num_layers=num_layers,
        input_channels=rows // num_terms - hidden,
        output_channels=outputs,
        num_terms=num_terms,
    )


def _check(weights: ImportedWeights, source: str) -> None:
    wanted = parameter_shapes(
        input_channels=weights.input_channels,
        output_channels=weights.output_channels,
        hidden_units=weights.hidden_units,
        num_layers=weights.num_layers,
        num_terms=weights.num_terms,
    )
    if missing := sorted(wanted.keys() - weights.state.keys()):
        raise UserError(
            f"{source}: {len(missing)} of {len(wanted)} parameters are missing, the first is {missing[0]} "
            f"(layout {weights.layout}, {weights.num_layers} layers)"
        )
    for name, shape in wanted.items():
        if tuple(weights.state[name].shape) != shape:
            raise UserError(f"{source}: {name} must be {shape}, got {tuple(weights.state[name].shape)}")


def layout_notes(weights: ImportedWeights, graph: GraphConfig) -> list[str]:
    """What to know of weights of this layout before they are relied on, as lines."""
    notes = []
    if weights.layout in ("pytorch_port", "libcity") and edge_order_matters(graph):
        notes.append(
            "note: the code with these names puts edge weights on the wrong edges; if it trained these weights "
            "unmended, convert with --edge-order pytorch_port"
        )
    if weights.layout != "pytorch_port":
        notes.append(f"note: {weights.layout} weights are mapped by name and shape; compare one forecast with theirs")
    if weights.layout == "tensorflow":
        notes.append("note: this projection has no bias; it is 0 here")
    return notes


def edge_order_matters(graph: GraphConfig) -> bool:
    """Whether the port's own supports would be others than these."""
    return graph.edge_order == "correct" and graph.supports != "laplacian" and graph.hops > 0
