"""Prediction intervals: how far readings lay from the forecasts of windows that validate.

Shape legend: L levels, F future steps, N nodes, O target channels.

Split conformal prediction (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; Lei, G'Sell,
Rinaldo, Tibshirani and Wasserman, Distribution-Free Predictive Inference for Regression, JASA 113, 2018): of n absolute
errors that the training has not seen, the ceil((n + 1) level)-th smallest bounds the next one with at least that
probability if all are exchangeable. Errors of forecasts are not: windows overlap in time and seasons pass. So coverage
is measured wherever an interval is reported, and promised nowhere.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dcrnn_fast.config.plain import shown
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted, first_few

LEVELS = (0.5, 0.8, 0.9)
_MOST_LEVELS = 100
_LARGEST_COUNT = 2**53


@dataclass(frozen=True, eq=False)
class Intervals:
    """Half widths of the intervals around a model's forecasts, for each sensor, step and target.

    Attributes:
        levels: shares of readings that the intervals are made to hold, ascending, between 0 and 1.
        half_width_LFNO: float32, original units, at least 0; NaN where too few windows had an observed target.
        windows: how many windows they come from.
        times: of the first and the last target of those windows, ``datetime64[s]``; None: not known.
    """

    levels: tuple[float, ...]
    half_width_LFNO: NDArray[np.float32] = field(repr=False)
    windows: int
    times: tuple[np.datetime64, np.datetime64] | None = None

    def bounds(
        self, values_FNO: NDArray[np.float32], at_least: float | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Lower and upper bound of every level (L, F, N, O), float32, NaN where there is no interval.

        Args:
            at_least: what forecasts are raised to: no bound is below it.
        """
        lower_LFNO, upper_LFNO = values_FNO - self.half_width_LFNO, values_FNO + self.half_width_LFNO
        if at_least is not None:
            lower_LFNO = np.maximum(lower_LFNO, np.float32(at_least))
        return lower_LFNO, upper_LFNO

    def of_steps(self, steps: int) -> "Intervals":
        """Those of so many steps: the steps that there are, and after them steps without an interval."""
        width_LFNO = self.half_width_LFNO[:, :steps]
        rest = np.full((len(width_LFNO), steps - width_LFNO.shape[1], *width_LFNO.shape[2:]), np.nan, np.float32)
        return replace(self, half_width_LFNO=np.concatenate([width_LFNO, rest], axis=1))

    def to_state(self) -> dict[str, Any]:
        """Plain values and a tensor, for a checkpoint."""
        times = None if self.times is None else [str(time) for time in self.times]
        half_width = torch.from_numpy(np.ascontiguousarray(self.half_width_LFNO))
        return {"levels": list(self.levels), "half_width": half_width, "windows": self.windows, "times": times}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], shape_FNO: tuple[int, int, int]) -> "Intervals":
        """The intervals of ``to_state``, for a model of this shape; from a file that may hold anything.

        Raises:
            UserError: they are none, or of another shape.
        """
        if not isinstance(state, dict) or set(state) != {"levels", "half_width", "windows", "times"}:
            raise UserError(f"intervals must hold levels, half_width, windows and times, got {shown(state)}")
        levels = _levels(state["levels"])
        half_width, wanted = state["half_width"], (len(levels), *shape_FNO)
        if not isinstance(half_width, torch.Tensor) or half_width.dtype != torch.float32:
            raise UserError(f"intervals: half_width must be a tensor of float32, got {shown(half_width)}")
        if tuple(half_width.shape) != wanted:
            raise UserError(f"intervals: half_width must be {wanted} for this model, got {tuple(half_width.shape)}")
        if bool((half_width < 0).any() or half_width.isinf().any()):
            raise UserError("intervals: half_width holds negative or infinite numbers")
        windows = state["windows"]
        if type(windows) is not int or not 1 <= windows <= _LARGEST_COUNT:
            raise UserError(f"intervals: windows must be a whole number from 1 on, got {shown(windows)}")
        return cls(levels, half_width.numpy(), windows, _times(state["times"]))


def seen_notes(intervals: Intervals, times_WF: NDArray[np.datetime64]) -> list[str]:
    """A line if windows with these targets are among those that the intervals come from."""
    if intervals.times is None:
        return []
    first, last = intervals.times
    seen = int(((times_WF[:, 0] >= first) & (times_WF[:, -1] <= last)).sum())
    if not seen:
        return []
    return [
        f"look: {seen} of {len(times_WF)} windows are of the time from which the intervals were taken ({first} to "
        f"{last}): what they cover there says nothing about later readings"
    ]


def lacking_notes(intervals: Intervals | None, ids: Sequence[str]) -> list[str]:
    """A line if some of these sensors have no interval of the highest level, at a step where others have one."""
    if intervals is None:
        return []
    absent_FNO = np.isnan(intervals.half_width_LFNO[-1])
    absent_FNO = absent_FNO[~absent_FNO.all(axis=(1, 2))]
    lacking = [ids[node] for node in np.flatnonzero(absent_FNO.any(axis=(0, 2))).tolist()]
    if not lacking:
        return []
    which = f"{level_label(intervals.levels[-1])} % interval at every step"
    return [
        f"look: {len(lacking)} of {counted(len(ids), 'sensor')} have no {which}, which takes "
        f"{counted(windows_needed(intervals.levels[-1]), 'validation window')} with a reading: {first_few(lacking)}"
    ]


def level_label(level: float) -> str:
    """The level in percent without the sign: "90", "97.5"."""
    return f"{100 * level:g}"


def level_words(levels: Sequence[float]) -> str:
    """ "90 %", "50, 80 and 90 %"."""
    *others, last = map(level_label, levels)
    return f"{', '.join(others)} and {last} %" if others else f"{last} %"


def windows_needed(level: float) -> int:
    """The fewest observed targets that bound the next error at this level: the least n >= ceil((n + 1) level)."""
    needed = max(1, math.ceil(level / (1 - level)) - 1)
    while rank_of(needed, level) > needed:
        needed += 1
    return needed


def rank_of(count: int | NDArray[np.int64], level: float) -> NDArray[np.int64]:
    """Which of ``count`` errors in ascending order, from 1 on, is the half width; more than ``count``: none is."""
    # Rounded: of 24 errors and 0.28 it is the 7th, although 25 * 0.28 comes out a little more than 7.
    return np.ceil(np.round((count + 1) * level, 9)).astype(np.int64)


def _levels(levels: Any) -> tuple[float, ...]:
    if not isinstance(levels, list) or not 1 <= len(levels) <= _MOST_LEVELS:
        raise UserError(f"intervals: levels must be a list of numbers between 0 and 1, got {shown(levels)}")
    return require_levels(levels)


def require_levels(levels: Sequence[Any]) -> tuple[float, ...]:
    """Levels between 0 and 1, ascending.

    Raises:
        UserError: they are none.
    """
    numbers = all(type(level) is float and 0 < level < 1 for level in levels)
    if not levels or not numbers or sorted(set(levels)) != list(levels):
        raise UserError(f"levels of intervals must be ascending numbers between 0 and 1, got {shown(list(levels))}")
    return tuple(levels)


def _times(times: Any) -> tuple[np.datetime64, np.datetime64] | None:
    if times is None:
        return None
    if not isinstance(times, list) or len(times) != 2 or not all(isinstance(time, str) for time in times):
        raise UserError(f"intervals: times must be two times, got {shown(times)}")
    try:
        first, last = (np.datetime64(time, "s") for time in times)
    except ValueError as error:
        raise UserError(f"intervals: times must be two times, got {shown(times)}") from error
    if not first <= last:  # NaT is neither
        raise UserError(f"intervals: the last time must not be before the first, got {first} and {last}")
    return first, last
