"""Which implementation of an operator runs: ``backend=`` is resolved here, in Python, before the operator is called."""

import logging
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, ParamSpec, TypeVar, get_args

from torch import Tensor

Backend = Literal["auto", "specification", "manual", "cpu", "triton", "cuda"]
BACKENDS: tuple[str, ...] = get_args(Backend)

_log = logging.getLogger("dcrnn_fast.kernels")

PlanName = Callable[[], str]
"""names the GPU plan that a call takes (``gpu/plan.py plan_name``); called only if the answer matters"""
SelfCheck = Callable[[str, str, Tensor, PlanName], str | None]
"""(operator, backend, first tensor, plan) -> why the self-check refuses this call, or None"""

_self_checks: list[SelfCheck] = []


def refuse_by(self_check: SelfCheck) -> None:
    """Sets the self-check that ``Implementation.refusal`` asks: it calls the operators, which import this module."""
    _self_checks[:] = [self_check]


_P = ParamSpec("_P")
_R = TypeVar("_R")


def constant_when_traced(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Makes torch.compile call ``function`` while it traces, and take the result for a constant.

    This is ``torch.compiler.assume_constant_result`` without its import of the complete compiler: 1.6 s and 150 MB for
    programs that never compile. A test compares the two.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@dataclass(frozen=True)
class Implementation:
    """One way to compute an operator.

    Attributes:
        why_not: takes the operator's first tensor and returns the reason it cannot run here, or None if it can.
        self_checked: it must first agree with PyTorch on this very device (``selfcheck/``).
        auto_on: the types of device on which "auto" considers it, and reports why not; None: every type.
        why_not_divided: the reason it cannot run on a rank's part of a divided graph (``halo/``), or None if it can.
    """

    name: str
    run: Callable[..., object]
    why_not: Callable[[Tensor], str | None]
    self_checked: bool = False
    auto_on: Collection[str] | None = None
    why_not_divided: str | None = "it has no node-parallel exchange of rows"

    def refusal(self, op: str, x: Tensor, plan: PlanName, *, divided: bool = False) -> str | None:
        """Why it cannot run ``op`` here, or None."""
        reason = self.why_not(x)
        if reason is None and divided:
            reason = self.why_not_divided
        if reason is None and self.self_checked:
            for self_check in _self_checks:
                reason = self_check(op, self.name, x, plan)
        return reason

    def considered(self, backend: str, x: Tensor) -> bool:
        """Whether ``backend`` means it: its name, or "auto" on such a device."""
        if backend == "auto":
            return self.auto_on is None or x.device.type in self.auto_on
        return backend == self.name


def always(_: Tensor) -> str | None:
    """Plain PyTorch runs wherever the tensor is."""
    return None


def choose(
    op: str,
    implementations: Sequence[Implementation],
    backend: str,
    x: Tensor,
    plan: PlanName = lambda: "",
    *,
    divided: bool = False,
) -> Implementation:
    """The first implementation that can run, or the named one.

    Args:
        plan: called only if the self-check failed for some plan, to find out whether this call uses that plan. If
            omitted, any failure refuses every call.
        divided: whether the graph's terms are a rank's part of them.

    Raises:
        ValueError: a name that no operator knows.
        NotImplementedError: the named backend cannot run here; the message gives the reason, and backends that can.
    """
    if backend not in BACKENDS:
        raise ValueError(f"{op}: unknown backend {backend!r}; known: {', '.join(BACKENDS)}")
    reasons: list[str] = []
    for implementation in implementations:
        if not implementation.considered(backend, x):
            continue
        reason = implementation.refusal(op, x, plan, divided=divided)
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
@constant_when_traced
def _say_once(message: str) -> None:
    _say(message)


@cache
def _say(message: str) -> None:
    # Of torchrun's processes the first speaks for all; RANK alone was left behind in the user's shell.
    if os.environ.get("RANK", "0") == "0" or "WORLD_SIZE" not in os.environ:
        _log.warning(message)
