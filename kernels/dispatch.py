"""Which implementation of an operator runs: ``backend=`` is resolved here, in Python, before the operator is called."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

BACKENDS = ("specification", "manual", "cpu", "triton", "cuda")

_log = logging.getLogger("dcrnn_fast.kernels")


@dataclass(frozen=True)
class Implementation:
    """One way to compute an operator.

    ``why_not`` takes the operator's first tensor and returns the reason it cannot run here, or None if it can.
    ``self_checked``: it must first agree with PyTorch on this very device (``selfcheck.py``).
    ``device``: the only kind of device that "auto" takes it for, or says why not; None: any.
    ``by_name_only``: "auto" never takes it.
    """

    name: str
    run: Callable[..., object]
    why_not: Callable[[Tensor], str | None]
    self_checked: bool = False
    device: str | None = None
    by_name_only: bool = False

    def refusal(self, op: str, x: Tensor, plan_of: "PlanOf") -> str | None:
        """Why it cannot run ``op`` here, or None."""
        reason = self.why_not(x)
        if reason is None and self.self_checked:
            from dcrnn_fast.kernels.selfcheck import failure  # it calls the operators, which import this module

            reason = failure(op, self.name, x, plan_of)
        return reason


def always(_: Tensor) -> str | None:
    """Plain PyTorch runs wherever the tensor is."""
    return None


PlanOf = Callable[[torch.dtype], str]
"""the name of a GPU plan for a call (``triton_plan.plan_name``), by the dtype that is computed with"""


def choose(
    op: str, implementations: Sequence[Implementation], backend: str, x: Tensor, plan_of: PlanOf = lambda dtype: ""
) -> Implementation:
    """The first implementation that can run, or the named one.

    Args:
        plan_of: asked only where a GPU backend was found wrong in some plan; left out: it is then refused in all.

    Raises:
        ValueError: a name that no operator knows.
        NotImplementedError: the named backend cannot run here; the message says why and what can.
    """
    if backend not in ("auto", *BACKENDS):
        raise ValueError(f"{op}: unknown backend {backend!r}; known: auto, {', '.join(BACKENDS)}")
    reasons: list[str] = []
    for implementation in implementations:
        if backend not in ("auto", implementation.name):
            continue
        if backend == "auto" and (implementation.by_name_only or implementation.device not in (None, x.device.type)):
            continue
        reason = implementation.refusal(op, x, plan_of)
        if reason is None:
            if reasons:
                _say_once(f"{op}: using {implementation.name} because {'; '.join(reasons)}")
            return implementation
        reasons.append(f"{implementation.name}: {reason}")
    if not reasons:
        here = ", ".join(implementation.name for implementation in implementations)
        reasons.append(f"{backend}: no kernels of this backend in this version, which has {here}")
    raise NotImplementedError(f"{op}: no backend can run here ({'; '.join(reasons)})")


# torch.compile refuses to trace a logger.
@torch.compiler.assume_constant_result
def _say_once(message: str) -> None:
    _say(message)


@cache
def _say(message: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # of torchrun's processes, the first speaks for all
        _log.warning(message)


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype of the autocast region around the call, or None outside one."""
    if x.dtype != torch.float64 and torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return None
