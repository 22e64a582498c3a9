"""A stretch of forecasts kept beside the scores, to be drawn against the truth.

Shape legend: B batch, F future steps, R rows, V windows of the stretch, N nodes, O target channels.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.times import day_of_week, is_months

_TWO_DAYS = np.timedelta64(2 * 86_400, "s")
_FEWEST, _MOST = 48, 600  # windows: enough to show a rhythm, few enough for 11,160 sensors in 60 MB


Forecasts = dict[int, tuple[NDArray[np.datetime64], NDArray[np.float32]]]
"""horizon step (1-based) -> times (V,) and values (V, N, O)"""


@dataclass(frozen=True, eq=False)
class Trace:
    """Truth and forecasts over a stretch of time, original units.

    ``truth_RNO`` is NaN where nothing was observed; ``forecasts`` maps a horizon step (1-based) to target times (V,)
    and the values (V, N, O) that were forecast for them so many steps before. ``baseline`` has the name of the
    strongest baseline and its forecasts at the last horizon, if there is one.
    """

    times_R: NDArray[np.datetime64]
    truth_RNO: NDArray[np.float32]
    forecasts: Forecasts
    baseline: tuple[str, NDArray[np.float32]] | None = None


class TraceRecorder:
    """Keeps a quarter's and the last horizon of the windows of one stretch while all windows pass by.

    Of the baseline that is named it keeps the last horizon.
    """

    def __init__(self, data: ForecastData, starts_W: NDArray[np.int64], baseline: str | None = None) -> None:
        self._data = data
        self._starts_V = _stretch(data, starts_W)
        steps = data.window_format.future_steps
        shape_VNO = (len(self._starts_V), data.series.num_sensors, data.window_format.output_channels)
        self._forecasts = {
            step: np.zeros(shape_VNO, dtype=np.float32) for step in sorted({math.ceil(steps / 4), steps})
        }
        self._baseline_VNO = None if baseline is None else np.zeros(shape_VNO, dtype=np.float32)
        self._baseline = baseline

    def add(self, starts_B: NDArray[np.int64], prediction_BFNO: Tensor) -> None:
        """Keep the windows of the stretch."""
        kept, places = self._kept(starts_B)
        if kept.size:
            for step, forecast_VNO in self._forecasts.items():
                forecast_VNO[places] = prediction_BFNO[kept, step - 1].cpu().numpy()

    def add_baseline(self, name: str, starts_B: NDArray[np.int64], forecast_BFNO: NDArray[np.float64]) -> None:
        """Keep the windows of the stretch, if this is the baseline to keep."""
        kept, places = self._kept(starts_B)
        if kept.size and name == self._baseline and self._baseline_VNO is not None:
            self._baseline_VNO[places] = forecast_BFNO[kept, -1]

    def _kept(self, starts_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of the batch belong to the stretch, and their places in it."""
        first = int(self._starts_V[0])
        kept = np.flatnonzero((starts_B >= first) & (starts_B <= self._starts_V[-1]))
        return kept, starts_B[kept] - first

    def trace(self) -> Trace | None:
        """The stretch; None if no two windows follow each other."""
        if len(self._starts_V) < 2:
            return None
        series, form = self._data.series, self._data.window_format
        newest_V = self._starts_V + form.past_steps - 1
        rows = slice(int(newest_V[0]) + 1, int(newest_V[-1]) + form.future_steps + 1)
        targets = list(form.target_channels)
        observed_RNO = np.asarray(series.observed_TNC[rows])[..., targets]
        truth_RNO = np.where(observed_RNO, np.asarray(series.values_TNC[rows])[..., targets], np.float32(np.nan))
        forecasts = {
            step: (series.times_T[newest_V + step], forecast_VNO) for step, forecast_VNO in self._forecasts.items()
        }
        baseline = None
        if self._baseline is not None and self._baseline_VNO is not None:
            baseline = self._baseline, self._baseline_VNO
        return Trace(series.times_T[rows], truth_RNO, forecasts, baseline)


def _stretch(data: ForecastData, starts_W: NDArray[np.int64]) -> NDArray[np.int64]:
    """Consecutive windows over two days, from a working day's midnight if there is one."""
    runs = np.split(starts_W, np.flatnonzero(np.diff(starts_W) != 1) + 1)
    longest = max(runs, key=len)
    interval = data.window_format.interval
    length = _FEWEST if is_months(interval) else min(max(int(_TWO_DAYS // interval), _FEWEST), _MOST)
    candidates = longest[: max(len(longest) - length, 0) + 1]
    first_targets = data.series.times_T[candidates + data.window_format.past_steps]
    midnight = first_targets == first_targets.astype("datetime64[D]")
    good = np.flatnonzero(midnight & (day_of_week(first_targets) <= 3))
    start = int(good[0]) if good.size else 0
    return longest[start : start + length]
