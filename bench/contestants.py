"""One training step, forward and backward, of each contestant, on the same weights and the same batch.

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.reference import masked_mae
from bench.workload import MEAN, STD, Workload
from dcrnn_fast.config.sections import GraphConfig
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.interop import export_pytorch_port, import_state

REFERENCE = "reference"


@dataclass(frozen=True)
class Contestant:
    """``reference``, or a backend of dcrnn_fast; in float32, or in bf16 under autocast."""

    backend: str
    dtype: str = "float32"

    @classmethod
    def parse(cls, text: str) -> "Contestant":
        """``NAME`` or ``NAME:bf16``.

        Raises:
            ValueError: another dtype.
        """
        backend, _, dtype = text.partition(":")
        if dtype not in ("", "float32", "bf16"):
            raise ValueError(f"contestant {text!r}: the dtype is float32 or bf16")
        return cls(backend, dtype or "float32")

    @property
    def name(self) -> str:
        """As it is written on the command line."""
        return self.backend if self.dtype == "float32" else f"{self.backend}:{self.dtype}"

    @property
    def bounds(self) -> tuple[float, float]:
        """Error budget for predictions and for gradients: max |a - b| / max |b| of each tensor."""
        return (2e-5, 2e-4) if self.dtype == "float32" else (3e-2, 8e-2)

    def autocast(self) -> AbstractContextManager[object]:
        """The region in which the forward runs."""
        return nullcontext() if self.dtype == "float32" else torch.autocast("cpu", dtype=torch.bfloat16)


class TrainingStep:
    """A contestant ready to run: ``run()`` is what is timed."""

    def __init__(self, contestant: Contestant, workload: Workload) -> None:
        self.contestant = contestant
        reference = workload.reference()
        x_BPNC, y_BFNO = workload.batch()
        self.model: nn.Module
        if contestant.backend == REFERENCE:
            # The port has time first; it gets its batch that way, and its permutation is not timed.
            self.model, self.x, self.y = reference, x_BPNC.transpose(0, 1).contiguous(), y_BFNO.transpose(0, 1)
            self.y = self.y.contiguous()
        else:
            graph = SensorGraph(workload.adjacency(), tuple(map(str, range(workload.nodes))))
            weights = import_state(reference.state_dict())
            self.model = weights.build(
                graph,
                GraphConfig(hops=workload.hops),
                future_steps=workload.future_steps,
                backend=contestant.backend,  # type: ignore[arg-type]
            )
            self.x, self.y = x_BPNC, y_BFNO
        self.prediction: Tensor | None = None

    def run(self) -> None:
        """Zero the gradients, forward, masked MAE in original units, backward."""
        self.model.zero_grad(set_to_none=True)
        with self.contestant.autocast():
            prediction = self.model(self.x)
        masked_mae(prediction.float() * STD + MEAN, self.y).backward()
        self.prediction = prediction.detach()

    def results(self) -> dict[str, Tensor]:
        """``prediction`` (B, F, N, O) and ``grad/NAME`` under the reference's parameter names, after a run."""
        assert self.prediction is not None
        gradients = {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}
        prediction = self.prediction.float()
        if self.contestant.backend == REFERENCE:
            prediction = prediction.transpose(0, 1).contiguous()
        else:
            gradients = export_pytorch_port(gradients)
        return {"prediction": prediction, **{f"grad/{name}": gradient for name, gradient in gradients.items()}}


def largest_errors(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> tuple[float, float]:
    """max |a - b| / max |b| of the prediction, and the largest one of all gradients.

    Raises:
        ValueError: they do not hold the same tensors.
    """
    if got.keys() != wanted.keys():
        raise ValueError(f"not the same tensors: {sorted(got.keys() ^ wanted.keys())}")
    errors = {}
    for name, b in wanted.items():
        error = ((got[name].double() - b.double()).abs().max() / b.double().abs().max()).item()
        # NaN compares as smaller than any bound.
        errors[name] = error if error == error else float("inf")
    return errors.pop("prediction"), max(errors.values())
