"""Errors by clock time: which hours of the scored windows went worst, and which hours of the day do.

Shape legend: B batch, F future steps, T rows, N nodes, O target channels, H hours.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.times import is_months

SHOWN = 10
_HOURS = 24
_HOUR = np.timedelta64(1, "h")


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour (of a coarser series a row), with the mean absolute errors of all forecasts for it.

    ``baseline_mae`` is the strongest baseline's, NaN if there is none; ``count`` counts the observed targets.
    """

    time: np.datetime64
    mae: float
    baseline_mae: float
    count: int


@dataclass(frozen=True, eq=False, slots=True)
class HoursOfChannel:
    """Of one target channel, over all sensors and horizons.

    Attributes:
        worst: the hours with the largest errors, the largest first; hours with few targets are left out.
        of_day: (24, 2) mean absolute errors of the model and the strongest baseline at each hour of the day, NaN where
            nothing was observed; None: a row is longer than an hour.
    """

    worst: tuple[Hour, ...]
    of_day: NDArray[np.float64] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; NaN becomes None."""
        return {
            "worst": [
                {
                    "time": str(hour.time),
                    "mae": hour.mae,
                    "baseline_mae": _plain(hour.baseline_mae),
                    "count": hour.count,
                }
                for hour in self.worst
            ],
            "of_day": None
            if self.of_day is None
            else [[_plain(value) for value in row] for row in self.of_day.tolist()],
        }


class HourSums:
    """Sums of absolute errors at each row that is forecast, of the model and the strongest baseline."""

    def __init__(self, data: ForecastData, steps: int) -> None:
        """Args: ``steps``: how many of each window's steps count."""
        self._past, self._steps = data.window_format.past_steps, steps
        self._times_T, self._interval = data.series.times_T, data.window_format.interval
        shape_TO = (data.series.num_steps, data.window_format.output_channels)
        self._sums_2TO, self._count_TO = np.zeros((2, *shape_TO)), np.zeros(shape_TO, dtype=np.int64)
        self._has_baseline = False

    @torch.no_grad()
    def add(
        self,
        starts_B: NDArray[np.int64],
        forecast_BFNO: Tensor,
        y_BFNO: Tensor,
        observed_BFNO: Tensor,
        *,
        baseline: bool = False,
    ) -> None:
        """Adds the model's forecasts of these windows, or the baseline's of the same, whose targets count but once."""
        seen = observed_BFNO[:, : self._steps]
        error = (forecast_BFNO[:, : self._steps] - y_BFNO[:, : self._steps]).abs_()
        sums_BFO = error.masked_fill_(~seen, 0).sum(2, dtype=torch.float64).cpu().numpy()
        rows_BF = starts_B[:, None] + self._past + np.arange(self._steps)
        np.add.at(self._sums_2TO[int(baseline)], rows_BF, sums_BFO)
        if not baseline:
            np.add.at(self._count_TO, rows_BF, seen.sum(2).cpu().numpy())
        self._has_baseline |= baseline

    def hours(self) -> tuple[HoursOfChannel, ...]:
        """One for each target channel."""
        rows = np.flatnonzero(self._count_TO.any(axis=1))
        if not rows.size:
            return ()
        times_R = self._times_T[rows]
        within_a_day = not is_months(self._interval) and bool(self._interval <= _HOUR)
        hours_H, hour_R = np.unique(times_R.astype("datetime64[h]") if within_a_day else times_R, return_inverse=True)
        return tuple(self._of_channel(channel, rows, hours_H, hour_R, within_a_day) for channel in self._channels)

    @property
    def _channels(self) -> range:
        return range(self._count_TO.shape[1])

    def _of_channel(
        self,
        channel: int,
        rows: NDArray[np.int64],
        hours_H: NDArray[Any],
        hour_R: NDArray[np.int64],
        within_a_day: bool,
    ) -> HoursOfChannel:
        sums_2R, count_R = self._sums_2TO[:, rows, channel], self._count_TO[rows, channel]
        if not self._has_baseline:
            sums_2R = np.stack([sums_2R[0], np.full(len(rows), np.nan)])
        mae_2H, count_H = _means(sums_2R, count_R, hour_R, len(hours_H))
        # An hour at either end, or in a gap, has few targets: a single sensor would decide about it.
        enough_H = count_H >= 0.5 * np.median(count_H[count_H > 0]) if count_H.any() else count_H > 0
        order = [h for h in np.argsort(-np.nan_to_num(mae_2H[0], nan=-1.0), kind="stable") if enough_H[h]][:SHOWN]
        worst = tuple(
            Hour(hours_H[h], float(mae_2H[0, h]), float(mae_2H[1, h]), int(count_H[h]))
            for h in order
            if np.isfinite(mae_2H[0, h])
        )
        of_day = None
        if within_a_day:
            clock_R = hours_H[hour_R].astype(np.int64) % _HOURS
            of_day = _means(sums_2R, count_R, clock_R, _HOURS)[0].T
        return HoursOfChannel(worst, of_day)


def _means(
    sums_2R: NDArray[np.float64], count_R: NDArray[np.int64], group_R: NDArray[np.int64], groups: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means (2, groups) and counts (groups,)."""
    count = np.bincount(group_R, count_R, groups).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0: nothing observed
        return np.stack([np.bincount(group_R, sums_R, groups) / count for sums_R in sums_2R]), count


def _plain(value: float) -> float | None:
    return value if np.isfinite(value) else None
