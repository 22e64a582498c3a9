"""From distances to weights: the Gaussian kernel, its width, and the links that its threshold may remove.

Shape legend: N nodes, E pairs (row = from, column = to).
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.account import GraphAccount
from dcrnn_fast.messages import counted

PairKind = Literal["neighbours", "all pairs"]

LOSS_ALLOWED = 0.05
"""share of a file's links, or for a list of all pairs of its sensors, that the threshold may take without a flag"""
PUBLISHED_THRESHOLD = 0.1

# A reach is the length that 95 % of the pairs keep: a single long link would make every detour look short. Measured
# shares of short detours that are pairs themselves: METR-LA 1.00, PEMS-BAY 0.87, The Hague 0.85; PEMS03 0.00, PEMS04
# 0.08, PEMS07 0.00, PEMS08 0.35.
_REACH_QUANTILE = 0.95
_CLOSED = 0.75
_DETOURS_UP_TO = 2_000_000

_FILLERS = (
    *(9999, 99999, 999999, 9999999, 99999999, 999999999, 32767, 65535, 2147483647, 4294967295),
    *(1e6, 1e7, 1e8, 1e9, 1e10, 1e12, 1e15, 1e20, 1e30, 1e38),
)
"""numbers that stand for no path in files"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """How distances become weights; see ``weigh``."""

    sigma: float | None = None
    threshold: float = PUBLISHED_THRESHOLD
    allow_lost_links: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Weighed:
    """Weights of pairs, and the kernel that made them.

    Attributes:
        weights_E: exp(-(d / sigma)²), 0 below ``threshold``.
        kind: the kind of pairs, which decides sigma if none is given.
        sigma, sigma_from: the width, and its origin in words.
        below: pairs of two different sensors that the threshold removed.
        no_path: pairs at an infinite distance.
    """

    weights_E: np.ndarray
    kind: PairKind
    threshold: float
    sigma: float
    sigma_from: str
    below: int
    no_path: int

    def account(self, **others: Any) -> GraphAccount:
        """The account of a graph with these weights; ``others``: its fields that are not of the kernel."""
        found = {name: getattr(self, name) for name in ("threshold", "sigma", "sigma_from", "below", "no_path")}
        return GraphAccount(**(found | others))


def weigh(
    rows_E: np.ndarray,
    columns_E: np.ndarray,
    distances_E: np.ndarray,
    num_nodes: int,
    kernel: Kernel,
    *,
    kind: PairKind | None = None,
    spread: float | None = None,
) -> Weighed:
    """The weights of different pairs at these distances.

    Sigma defaults to the standard deviation of the finite distances (pairs of a sensor with itself included, as
    published) if the pairs are all pairs within a reach, by ``pair_kind``. A list of neighbours keeps its links: there
    sigma is the larger of that deviation and the longest distance / sqrt(ln(1 / threshold)), with 0.1 for a lower
    threshold.

    Args:
        kind: the kind of pairs, if the caller knows it.
        spread: the deviation that sigma is set by; left out: that of the finite distances.
    Raises:
        UserError: no finite distance, or none but 0 and no sigma given; a number that stands for no path; without
            ``kernel.allow_lost_links``, the threshold removes more than 5 % of the links of a list of neighbours, or
            isolates more than 5 % of the sensors of a list of all pairs, whose links the threshold chooses.
    """
    sigma, threshold = kernel.sigma, kernel.threshold
    finite_E = np.isfinite(distances_E)
    if sigma is None and not finite_E.any():
        raise UserError("there is no finite distance")
    link_E = finite_E & (rows_E != columns_E)
    longest = float(distances_E[link_E].max(initial=0.0))
    listed = float(distances_E[finite_E].std()) if finite_E.any() else 0.0
    if kind is None:
        if sigma is None:
            _require_no_fillers(distances_E[link_E])
        kind = pair_kind(rows_E[link_E], columns_E[link_E], distances_E[link_E], num_nodes, listed)
    sigma_from = "--sigma"
    if sigma is None:
        sigma, sigma_from = listed, "deviation of the finite distances"
        if spread is not None:
            sigma, sigma_from = spread, "deviation of the distances between all pairs of sensors"
        # A given spread is a width in its own right; only the deviation of neighbours keeps links below 0.1.
        keeping = longest / _cutoff(threshold if spread is not None else max(threshold, PUBLISHED_THRESHOLD))
        keeping *= 1 + 1e-9
        if kind == "neighbours" and keeping > sigma:
            sigma, sigma_from = keeping, "keeps all: the longest link / sqrt(ln(1 / threshold))"
        if sigma == 0:
            raise UserError("the finite distances are all 0, which gives no kernel width; set one with --sigma")
    if not sigma > 0:
        raise UserError(f"sigma must be positive, got {sigma!r}")
    weights_E = np.exp(-np.square(distances_E / sigma))
    weights_E[weights_E < threshold] = 0.0
    lost_E = link_E & (weights_E == 0)
    weighed = Weighed(weights_E, kind, threshold, sigma, sigma_from, int(lost_E.sum()), int((~finite_E).sum()))
    if not kernel.allow_lost_links:
        _require_links(rows_E, columns_E, link_E, lost_E, num_nodes, weighed, longest)
    return weighed


def _require_no_fillers(distances_P: np.ndarray) -> None:
    """Refuses a number that stands for "no path": sigma would be set by it, and all links would weigh the same."""
    different = np.unique(distances_P)
    if different.size < 2:
        return
    longest, next_to_it = float(different[-1]), float(different[-2])
    times = int((distances_P == longest).sum())
    if longest > (3 if longest in _FILLERS else 10) * next_to_it and (longest in _FILLERS or times >= 3):
        raise UserError(
            f"{counted(times, 'distance')} of {longest:g}, where all others are up to {next_to_it:g}: where that means "
            "no path, write inf; where it is a distance, set the kernel's width with --sigma"
        )


def pair_kind(
    rows_E: np.ndarray, columns_E: np.ndarray, distances_E: np.ndarray, num_nodes: int, spread: float
) -> PairKind:
    """Whether these pairs of different sensors are all pairs within a reach, or neighbours only.

    They are all pairs if three things hold: a detour a, b, c that is no longer than the reach (the 95 % quantile of
    the distances) is nearly always (3 in 4) a pair a, c too; the published kernel, as wide as the distances' deviation
    ``spread`` and cut at 0.1, leaves nearly every sensor (95 %) a link; and the sensors do not all have the same number
    of partners, fewer than there are (that is a list of the nearest). Else they are neighbours.
    """
    if not len(rows_E):
        return "neighbours"
    partners_N = np.bincount(rows_E, minlength=num_nodes)
    partners_M = partners_N[partners_N > 0]
    paired = _num_linked(rows_E, columns_E, num_nodes)
    if partners_M.min() == partners_M.max() < paired - 1:
        return "neighbours"
    near_E = distances_E <= spread * _cutoff(PUBLISHED_THRESHOLD)
    if _num_linked(rows_E[near_E], columns_E[near_E], num_nodes) < (1 - LOSS_ALLOWED) * paired:
        return "neighbours"
    return (
        "all pairs" if _share_of_short_detours(rows_E, columns_E, distances_E, num_nodes) >= _CLOSED else "neighbours"
    )


def _share_of_short_detours(
    rows_E: np.ndarray, columns_E: np.ndarray, distances_E: np.ndarray, num_nodes: int
) -> float:
    """Of the detours a, b, c within the reach, the share whose a, c is a pair; 0 if there is no such detour."""
    order_E = np.lexsort((columns_E, rows_E))
    rows_E, columns_E, distances_E = rows_E[order_E], columns_E[order_E], distances_E[order_E]
    reach = float(np.quantile(distances_E, _REACH_QUANTILE)) * (1 + 1e-9)
    start_N = np.searchsorted(rows_E, np.arange(num_nodes + 1))
    # In lists of millions every n-th pair (a, b) is looked at, so that about two million detours are.
    lengths_E = start_N[columns_E + 1] - start_N[columns_E]
    first_S = np.arange(0, len(rows_E), max(1, -(-int(lengths_E.sum()) // _DETOURS_UP_TO)))
    lengths_S = lengths_E[first_S]
    first_D = np.repeat(first_S, lengths_S)
    place_D = np.arange(len(first_D)) - np.repeat(np.cumsum(lengths_S) - lengths_S, lengths_S)
    second_D = place_D + start_N[columns_E[first_D]]
    short_D = (distances_E[first_D] + distances_E[second_D] <= reach) & (columns_E[second_D] != rows_E[first_D])
    if not short_D.any():
        return 0.0
    key_E = rows_E * num_nodes + columns_E
    wanted_D = (rows_E[first_D] * num_nodes + columns_E[second_D])[short_D]
    found_D = key_E[np.minimum(np.searchsorted(key_E, wanted_D), len(key_E) - 1)] == wanted_D
    return float(found_D.mean())


def _cutoff(threshold: float) -> float:
    """Distance / sigma at which the weight is the threshold."""
    return math.sqrt(math.log(1 / threshold)) if threshold > 0 else math.inf


def _num_linked(rows_E: np.ndarray, columns_E: np.ndarray, num_nodes: int) -> int:
    linked_N = np.zeros(num_nodes, dtype=bool)
    linked_N[rows_E] = linked_N[columns_E] = True
    return int(linked_N.sum())


def _require_links(
    rows_E: np.ndarray,
    columns_E: np.ndarray,
    link_E: np.ndarray,
    lost_E: np.ndarray,
    num_nodes: int,
    weighed: Weighed,
    longest: float,
) -> None:
    keeping = _rounded_up(longest / _cutoff(max(weighed.threshold, PUBLISHED_THRESHOLD)))
    how = f"with sigma {weighed.sigma:.6g} and threshold {weighed.threshold:g}"
    cure = f"--sigma {keeping} keeps all; --allow-lost-links trains on what is left"
    links, lost = int(link_E.sum()), weighed.below
    if weighed.kind == "neighbours" and lost > LOSS_ALLOWED * links:
        raise UserError(f"{lost} of the {counted(links, 'listed link')} fall below the threshold {how}; {cure}")
    if weighed.kind == "all pairs":
        kept_E = link_E & ~lost_E
        paired = _num_linked(rows_E[link_E], columns_E[link_E], num_nodes)
        alone = paired - _num_linked(rows_E[kept_E], columns_E[kept_E], num_nodes)
        if alone > LOSS_ALLOWED * paired:
            raise UserError(
                f"{alone} of {paired} sensors lose their last link ({lost} of {links} pairs fall below the threshold "
                f"{how}); {cure}"
            )


def _rounded_up(value: float) -> str:
    """At four significant digits, not below."""
    if value == 0:
        return "1"
    step = 10.0 ** (math.floor(math.log10(value)) - 3)
    return f"{math.ceil(value / step * (1 - 1e-12)) * step:.10g}"
