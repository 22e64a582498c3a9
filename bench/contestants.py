"""The contestants, and one step of each on the same weights and the same batch.

A contestant is written NAME[:PART...], in any order of the parts:

    NAME           reference | plain | compile | specification | manual | cpu | triton | cuda
    bf16 | bf16x3  dtype: autocast to bfloat16 | float32 products made of several of bfloat16 (an option of the op)
    save=MODE      what the operator keeps for its backward: all, h, segments-4 (for "segments:4")
    unit=NAME      cap of the CPU's instruction set (DCRNN_FAST_CPU)
    threads=2      how many, each on a core of its own

``plain`` is the clean model of ``bench.plain``, ``compile`` the same under torch.compile. To add a contestant: a name
here, or an argument of the operator in ``OPTIONS``.

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels.
"""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.plain import PlainDCRNN
from bench.reference import ReferenceDCRNN, masked_mae
from bench.workload import MEAN, STD, Workload
from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.graph.operators import graph_operators
from dcrnn_fast.interop import export_pytorch_port, import_state
from dcrnn_fast.kernels import DiffusionTerms, dcrnn_seq2seq
from dcrnn_fast.kernels.native import library
from dcrnn_fast.model import DCRNN
from dcrnn_fast.model.graph_buffers import GraphBuffers
from dcrnn_fast.system import usable_cores

MODULES = ("reference", "plain", "compile")
OPERATORS = ("specification", "manual", "cpu", "triton", "cuda")
DTYPES = ("float32", "bf16", "bf16x3", "float64")
OPTIONS = ("save",)
"""arguments of ``dcrnn_seq2seq`` that a contestant can set; ``precision`` is set by the dtype bf16x3"""
DENSE_LIMIT_GIB = 1.0


@dataclass(frozen=True)
class Contestant:
    """See the module's documentation."""

    backend: str
    dtype: str = "float32"
    threads: int = 1
    unit: str | None = None
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Contestant":
        """``NAME[:PART...]``.

        Raises:
            ValueError: an unknown name or part.
        """
        backend, *parts = text.split(":")
        if backend not in (*MODULES, *OPERATORS):
            raise ValueError(f"contestant {text!r}: unknown name {backend!r}; known: {', '.join(MODULES + OPERATORS)}")
        dtype, threads, unit, options = "float32", 1, None, []
        for part in parts:
            key, _, value = part.partition("=")
            if part in DTYPES:
                dtype = part
            elif key == "threads" and value.isdigit() and int(value) > 0:
                threads = int(value)
            elif key == "unit" and value:
                unit = value
            elif key in OPTIONS and value:
                options.append((key, value.replace("-", ":")))
            else:
                wanted = [*DTYPES, "threads=NUMBER", "unit=NAME", *(f"{option}=VALUE" for option in OPTIONS)]
                raise ValueError(f"contestant {text!r}: unknown part {part!r}; known: {', '.join(wanted)}")
        return cls(backend, dtype, threads, unit, tuple(options))

    @property
    def name(self) -> str:
        """As it is written on the command line."""
        dtype = [] if self.dtype == "float32" else [self.dtype]
        options = [f"{key}={value.replace(':', '-')}" for key, value in self.options]
        unit = [] if self.unit is None else [f"unit={self.unit}"]
        threads = [] if self.threads == 1 else [f"threads={self.threads}"]
        return ":".join([self.backend, *dtype, *options, *unit, *threads])

    @property
    def operator_arguments(self) -> dict[str, str]:
        """The arguments of ``dcrnn_seq2seq`` beside its tensors."""
        return {**dict(self.options), **({"precision": "bf16x3"} if self.dtype == "bf16x3" else {})}

    def why_not(self, workload: Workload) -> str | None:
        """The reason why it cannot take part here, or None."""
        missing = self.operator_arguments.keys() - inspect.signature(dcrnn_seq2seq).parameters.keys()
        if missing:
            return f"dcrnn_seq2seq has no argument {', '.join(sorted(missing))} in this version"
        if self.operator_arguments and self.backend not in OPERATORS:
            return f"{self.backend} is no operator of dcrnn_fast, and has no {', '.join(self.operator_arguments)}"
        if self.dtype == "float64" and self.backend in MODULES:
            return f"{self.backend} is not made for float64"
        if self.threads > usable_cores():
            return f"{self.threads} threads on {usable_cores()} cores"
        if self.backend in ("plain", "compile"):
            gib = (workload.num_terms - 1) * workload.nodes**2 * 4 / 2**30
            if gib > DENSE_LIMIT_GIB:
                return f"its dense diffusion terms of {workload.nodes} nodes are {gib:.1f} GiB"
        if self.backend == "cpu":
            return why_not_compiled(self.unit)
        return None

    def autocast(self, device: str = "cpu") -> AbstractContextManager[object]:
        """The region in which the forward runs."""
        return torch.autocast(device, dtype=torch.bfloat16) if self.dtype == "bf16" else nullcontext()


def why_not_compiled(unit: str | None) -> str | None:
    """The reason why the compiled kernels cannot run here, or not in that unit, or None."""
    module, _, reason = library()
    if module is None or unit is None:
        return reason
    units: dict[str, str] = dict(module.cpu_units())
    if unit not in units:
        return f"unknown unit {unit!r}; known: {', '.join(units)}"
    return f"{unit}: {units[unit]}" if units[unit] else None


class Step:
    """A contestant ready to run: ``run()`` is timed.

    Raises:
        NotImplementedError: from ``run``, if an operator cannot run as asked; the message gives the reason.
    """

    def __init__(self, contestant: Contestant, workload: Workload, device: str = "cpu") -> None:
        self.contestant, self.training, self.device = contestant, workload.training, device
        reference = workload.reference().to(device)
        for module in reference.modules():
            if hasattr(module, "supports"):
                module.supports = [support.to(device) for support in module.supports]
        self.x, self.y = (tensor.to(device) for tensor in workload.batch())
        self.time_first = contestant.backend == "reference"
        self.model: nn.Module = reference
        self.forward: Callable[[Tensor], Tensor] = reference
        if self.time_first:
            # The port has time first; it gets its batch that way, and its permutation is not timed.
            self.x, self.y = self.x.transpose(0, 1).contiguous(), self.y.transpose(0, 1).contiguous()
        else:
            self.model, self.forward = _ours(contestant, workload, reference, device)
            if contestant.dtype == "float64":
                self.x, self.y = self.x.double(), self.y.double()
        self.prediction: Tensor | None = None

    def run(self) -> None:
        """A training step: zero the gradients, forward, masked MAE in original units, backward. Or a forecast."""
        if not self.training:
            with torch.inference_mode(), self.contestant.autocast(self.device):
                self.prediction = self.forward(self.x)
            return
        self.model.zero_grad(set_to_none=True)
        with self.contestant.autocast(self.device):
            prediction = self.forward(self.x)
        self.prediction = prediction.detach()
        if prediction.dtype != torch.float64:
            prediction = prediction.float()
        masked_mae(prediction * STD + MEAN, self.y).backward()

    def results(self) -> dict[str, Tensor]:
        """``prediction`` (B, F, N, O) and ``grad/NAME`` under the reference's parameter names, after a run."""
        assert self.prediction is not None
        prediction = self.prediction.transpose(0, 1).contiguous() if self.time_first else self.prediction.clone()
        gradients = {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}
        if gradients and not self.time_first:
            gradients = export_pytorch_port(gradients)
        return {"prediction": prediction, **{f"grad/{name}": gradient for name, gradient in gradients.items()}}


def _ours(
    contestant: Contestant, workload: Workload, reference: ReferenceDCRNN, device: str
) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    weights = import_state(reference.state_dict())
    graph = SensorGraph(workload.adjacency(), tuple(map(str, range(workload.nodes))))
    model = weights.build(graph, GraphConfig(hops=workload.hops), future_steps=workload.future_steps).to(device)
    if contestant.backend in ("plain", "compile"):
        plain = PlainDCRNN(model)
        return plain, plain if contestant.backend == "plain" else torch.compile(plain, dynamic=False)
    terms = model.diffusion.terms()
    if contestant.dtype == "float64":
        model.double()
        terms = _exact_terms(graph, workload, device)

    def forward(x_BPNC: Tensor) -> Tensor:
        return _operator(model, terms, x_BPNC, contestant)

    return model, forward


def _operator(model: DCRNN, terms: DiffusionTerms, x_BPNC: Tensor, contestant: Contestant) -> Tensor:
    """``model(x)`` with the contestant's arguments."""
    arguments: dict[str, Any] = contestant.operator_arguments
    return dcrnn_seq2seq(
        x_BPNC,
        terms,
        [cell.weights() for cell in model.encoder],  # type: ignore[operator]
        [cell.weights() for cell in model.decoder],  # type: ignore[operator]
        model.projection.weight,
        model.projection.bias,
        future_steps=model.future_steps,
        backend=contestant.backend,
        **arguments,
    )


def _exact_terms(graph: SensorGraph, workload: Workload, device: str) -> DiffusionTerms:
    operators = graph_operators(graph, GraphConfig(hops=workload.hops))
    return GraphBuffers(DiffusionTerms.from_operators(operators, torch.float64)).to(device).terms()
