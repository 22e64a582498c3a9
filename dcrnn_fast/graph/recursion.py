"""The recursion behind the M operators of a graph, step by step: it diffuses without multiplying them out.

A product of supports has many more entries than the supports. A kernel that can applies one support after another:

    panel[target] = scale * S_support panel[source] - panel[minus]

Panel 0 is the diffused tensor x, panel m < M its term P_m x, panels from M on are temporary. The transposed terms of
one x, which the backward pass needs, come about by steps of their own over the transposed supports.

Shape legend: N nodes, K hops, M = (number of supports) * K + 1 diffusion terms.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dcrnn_fast.config.data import Recursion


class Step(NamedTuple):
    """One application of a support; ``minus`` -1: nothing is subtracted."""

    support: int
    source: int
    minus: int
    scale: int
    target: int


@dataclass(frozen=True)
class DiffusionRecursion:
    """Supports (N, N), float64 CSR, and the steps that make all terms of x, or all transposed terms."""

    supports: list[Any]
    steps: list[Step]
    transposed_steps: list[Step]


def diffusion_recursion(supports: list[Any], *, hops: int, recursion: Recursion) -> DiffusionRecursion:
    """The steps of ``operators.diffusion_operators`` with the same arguments."""
    count = len(supports)
    return DiffusionRecursion(supports, _forward(count, hops, recursion), _transposed(count, hops, recursion))


def _forward(supports: int, hops: int, recursion: Recursion) -> list[Step]:
    steps: list[Step] = []
    begin = 0
    for support in range(supports):
        first = 1 + support * hops
        steps += _run(support, begin, list(range(first, first + hops)), recursion)
        if recursion == "released" and hops >= 2:
            begin = first + hops - 2
    return steps


def _run(support: int, begin: int, targets: list[int], recursion: Recursion) -> list[Step]:
    """The polynomials 1, 2, .. of one support, applied to the panel ``begin``."""
    steps = []
    before, now = -1, begin
    for number, target in enumerate(targets):
        doubled = recursion != "powers" and number > 0
        steps.append(Step(support, now, before if doubled else -1, 2 if doubled else 1, target))
        before, now = now, target
    return steps


@dataclass
class _Transposed:
    """Support s of ``released`` begins at B_s x, where B_s is the last but one polynomial of support s-1 on B_(s-1):
    its transposed terms are B_s^T applied to the polynomials of its own transpose.
    """

    hops: int
    recursion: Recursion
    free: int
    steps: list[Step] = field(default_factory=list)

    def take(self, count: int) -> list[int]:
        """Numbers of so many temporary panels."""
        taken = list(range(self.free, self.free + count))
        self.free += count
        return taken

    def begins_at_x(self, support: int) -> bool:
        return support == 0 or self.recursion != "released" or self.hops < 2

    def apply_begin(self, support: int, source: int, target: int) -> None:
        """panel[target] = B_support^T panel[source]."""
        below = support - 1
        last = self.begins_at_x(below)
        *inner, end = [*self.take(self.hops - 2), target] if last else self.take(self.hops - 1)
        self.steps += _run(below, source, [*inner, end], self.recursion)
        if not last:
            self.apply_begin(below, end, target)


def _transposed(supports: int, hops: int, recursion: Recursion) -> list[Step]:
    build = _Transposed(hops, recursion, free=1 + supports * hops)
    for support in range(supports):
        terms = list(range(1 + support * hops, 1 + (support + 1) * hops))
        if build.begins_at_x(support):
            build.steps += _run(support, 0, terms, recursion)
            continue
        own = build.take(hops)
        build.steps += _run(support, 0, own, recursion)
        for source, target in zip(own, terms, strict=True):
            build.apply_begin(support, source, target)
    return build.steps
