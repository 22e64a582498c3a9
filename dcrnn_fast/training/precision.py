"""The precision of training: the devices that have it, and the loss scale that keeps small fp16 gradients alive."""

from dataclasses import dataclass
from typing import Any

import torch

from dcrnn_fast.checkpoints.state import require_count, require_named, require_number
from dcrnn_fast.errors import UserError

_GROWTH_STEPS = 2000


def require_precision(precision: str, device: torch.device) -> None:
    """Raises UserError for fp16 on a CPU (its products would be in fp16 throughout, slow and inexact) and for bf16x3 on
    anything else.
    """
    if precision == "fp16" and device.type == "cpu":
        raise UserError("precision fp16 needs a GPU, the device is cpu; use --precision bf16 or fp32")
    if precision == "bf16x3" and device.type != "cpu":
        raise UserError(f"precision bf16x3 is for CPUs, the device is {device.type}; use --precision fp32 or bf16")


@dataclass(slots=True)
class LossScale:
    """The factor on the loss before backward: halved after an overflow, doubled after 2000 steps without one.

    The decision hangs on the gradient norm after the all-reduce, which is the same on every rank, so all ranks keep the
    same scale without talking. Only fp16 scales; for the others the factor is 1 and never moves.
    """

    scale: float = 1.0
    good_steps: int = 0
    moves: bool = False

    @staticmethod
    def of(precision: str) -> "LossScale":
        return LossScale(scale=65536.0, moves=True) if precision == "fp16" else LossScale()

    def update(self, finite: bool) -> bool:
        """After each step. True: the overflow is the scale's own and its cure is a smaller one, not a bad step."""
        if not self.moves:
            return False
        if finite:
            self.good_steps += 1
            if self.good_steps == _GROWTH_STEPS:
                self.scale, self.good_steps = self.scale * 2.0, 0
            return False
        self.good_steps = 0
        if self.scale <= 1.0:
            return False
        self.scale /= 2.0
        return True

    def to_state(self) -> dict[str, float | int]:
        return {"scale": self.scale, "good_steps": self.good_steps}

    @staticmethod
    def require_state(state: Any) -> None:
        """Raises UserError if ``state`` is not one of ``to_state``."""
        require_named("loss_scale", state)
        require_number("loss_scale: scale", state.get("scale"))
        if state["scale"] == 0:
            raise UserError("loss_scale: scale must be positive, got 0")
        require_count("loss_scale: good_steps", state.get("good_steps"))

    def restore(self, state: dict[str, float | int]) -> None:
        self.scale, self.good_steps = float(state["scale"]), int(state["good_steps"])
