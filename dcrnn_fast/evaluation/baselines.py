"""What a forecast must beat: the last value, the mean of the same weekly slot, and a vector autoregression.

Shape legend: B windows, F future steps, T time, N nodes, O target channels, G slots.

Each baseline is fitted on the rows that training windows touch, as the model is, but on no test target, and forecasts a
window from the window's own past steps, so that all are scored over the same windows and the same targets. None ever
has nothing to say: what it cannot know it fills with the sensor's mean.
"""

from typing import Protocol

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.times import day_of_week, is_months
from dcrnn_fast.evaluation.autoregression import VAR_LAGS, VAR_MAX_SERIES, VectorAutoregression
from dcrnn_fast.evaluation.target_rows import Floats, TargetRows, mean_or

_DAY = np.timedelta64(86_400, "s")


class Baseline(Protocol):
    """A forecast without a network."""

    @property
    def name(self) -> str:
        """What tables and legends call it."""

    def predict(self, starts_B: NDArray[np.int64]) -> Floats:
        """Forecasts (B, F, N, O), original units, of the windows whose first rows are ``starts_B``."""


def fit_baselines(data: ForecastData) -> tuple[list[Baseline], list[str]]:
    """Fit every baseline that makes sense for this data.

    Returns:
        The baselines, and a line for each one that is left out or knows less than its name says.
    """
    rows = TargetRows(data)
    baselines: list[Baseline] = [LastValue(rows)]
    notes = []
    if rows.any_missing:
        baselines.append(LastReading(rows))
    slots = SlotMean(rows, data.window_format.interval)
    baselines.append(slots)
    if slots.unseen:
        notes.append(
            f"{slots.name}: training saw {len(slots.mean_GNO) - slots.unseen} of its {len(slots.mean_GNO)} slots; the "
            "others take the mean of their time of day, failing that the sensor's mean"
        )
    if rows.num_series > VAR_MAX_SERIES:
        notes.append(
            f"VAR({VAR_LAGS}) is left out: {rows.num_series} series are too many for a dense regression "
            f"(limit {VAR_MAX_SERIES})"
        )
    else:
        baselines.append(VectorAutoregression(rows))
    return baselines, notes


class LastValue:
    """Repeats the newest observed value of the window; the sensor's training mean where the window has none."""

    name = "last value"

    def __init__(self, rows: TargetRows) -> None:
        self._rows = rows

    def predict(self, starts_B: NDArray[np.int64]) -> Floats:
        return _repeat(self._rows.filled_windows(starts_B)[:, -1], self._rows.future_steps)


class LastReading:
    """Repeats the newest reading as the file has it, a missing one as 0.

    Published comparisons on data with missing values often mean this one. It is weaker than ``LastValue``: both are
    shown where readings are missing, so that neither is taken for the other.
    """

    name = "raw last value"

    def __init__(self, rows: TargetRows) -> None:
        self._rows = rows

    def predict(self, starts_B: NDArray[np.int64]) -> Floats:
        values_BNO, _ = self._rows.rows(starts_B + self._rows.past_steps - 1)
        return _repeat(values_BNO, self._rows.future_steps)


class SlotMean:
    """The sensor's mean over the training rows of the same weekday and time of day.

    Steps longer than a day have no weekly slot: there it is the same month of the year. A slot that training never
    observed takes the mean of its time of day on any weekday, failing that the sensor's mean.
    """

    def __init__(self, rows: TargetRows, interval: np.timedelta64) -> None:
        self._rows = rows
        if is_months(interval) or interval > _DAY:
            self.name = "monthly mean"
            any_day_G = np.zeros(12, dtype=np.int64)
            self._slot_T = rows.times_T.astype("datetime64[M]").astype(np.int64) % 12
        else:
            self.name = "weekly mean"
            slots_a_day = int(-(-_DAY // interval))
            any_day_G = np.tile(np.arange(slots_a_day), 7)
            self._slot_T = _weekly_slots(rows.times_T, interval, slots_a_day)
        sums_GNO, counts_GNO = self._totals(len(any_day_G))
        self.unseen = int((counts_GNO.sum(axis=(1, 2)) == 0).sum())
        """slots without any observed training reading"""
        pooled = _indicator(any_day_G)
        any_day_mean = mean_or(_product(pooled, sums_GNO), _product(pooled, counts_GNO), rows.mean_NO)
        self.mean_GNO = mean_or(sums_GNO, counts_GNO, any_day_mean[any_day_G])

    def predict(self, starts_B: NDArray[np.int64]) -> Floats:
        ahead_F = self._rows.past_steps + np.arange(self._rows.future_steps)
        return self.mean_GNO[self._slot_T[starts_B[:, None] + ahead_F]]

    def _totals(self, slots: int) -> tuple[Floats, Floats]:
        sums_GNO = np.zeros((slots, *self._rows.mean_NO.shape))
        counts_GNO = np.zeros_like(sums_GNO)
        for run in self._rows.training_runs():
            values, observed = self._rows.rows(slice(run.start, run.stop))
            in_slot = _indicator(self._slot_T[run.start : run.stop], slots)
            sums_GNO += _product(in_slot, values)  # a missing value holds 0
            counts_GNO += _product(in_slot, observed.astype(np.float64))
        return sums_GNO, counts_GNO


def _weekly_slots(times_T: NDArray[np.datetime64], interval: np.timedelta64, slots_a_day: int) -> NDArray[np.int64]:
    since_midnight_T = times_T - times_T.astype("datetime64[D]")
    return day_of_week(times_T) * slots_a_day + since_midnight_T // interval


def _repeat(newest_BNO: Floats, future_steps: int) -> Floats:
    return np.broadcast_to(newest_BNO[:, None], (len(newest_BNO), future_steps, *newest_BNO.shape[1:]))


def _indicator(group_R: NDArray[np.int64], groups: int | None = None) -> scipy.sparse.csr_array:
    """Sparse (groups, R) matrix of ones: its product with rows is their sum in each group."""
    shape = (int(group_R.max()) + 1 if groups is None else groups, len(group_R))
    return scipy.sparse.csr_array((np.ones(len(group_R)), (group_R, np.arange(len(group_R)))), shape=shape)


def _product(matrix_GR: scipy.sparse.csr_array, rows_RNO: Floats) -> Floats:
    product: Floats = matrix_GR @ rows_RNO.reshape(len(rows_RNO), -1)
    return product.reshape(-1, *rows_RNO.shape[1:])
