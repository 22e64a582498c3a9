"""Means of the training readings by time: the same weekly slot, the same month, the same time of the year.

Shape legend: B windows, F future steps, T time, N nodes, O target channels, G slots, Y bins of the year, H hours.
"""

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dcrnn_fast.data.times import day_of_week, is_months
from dcrnn_fast.evaluation.target_rows import FittedOnRows, Floats, TargetRows, mean_or

DAY = np.timedelta64(86_400, "s")
_BIN_DAYS, _BINS = 5, 73
_BINS_EACH_SIDE = 3  # 35 days in all, as climatologies are usually smoothed


class SlotMean(FittedOnRows):
    """The sensor's mean over the training rows of the same weekday and time of day.

    Steps longer than a day have no weekly slot: there it is the same month of the year. A slot that training never
    observed takes the mean of its time of day on any weekday, failing that the sensor's mean.
    """

    def __init__(self, rows: TargetRows, interval: np.timedelta64) -> None:
        super().__init__(rows)
        self._interval = interval
        self._monthly = is_months(interval) or interval > DAY
        if self._monthly:
            self.name = "monthly mean"
            any_day_G = np.zeros(12, dtype=np.int64)
        else:
            self.name = "weekly mean"
            any_day_G = np.tile(np.arange(int(-(-DAY // interval))), 7)
        sums_GNO, counts_GNO = _totals(rows, self._slots(rows.times_T), len(any_day_G))
        self.unseen = int((counts_GNO.sum(axis=(1, 2)) == 0).sum())
        """slots without any observed training reading"""
        pooled = _indicator(any_day_G)
        any_day_mean = mean_or(_product(pooled, sums_GNO), _product(pooled, counts_GNO), rows.mean_NO)
        self.mean_GNO = mean_or(sums_GNO, counts_GNO, any_day_mean[any_day_G])

    def predict(self, starts_B: NDArray[np.int64]) -> Floats:
        return self.mean_GNO[self._slots(self._rows.times_T[self._rows.target_rows(starts_B)])]

    def _slots(self, times: NDArray[np.datetime64]) -> NDArray[np.int64]:
        if self._monthly:
            return times.astype("datetime64[M]").astype(np.int64) % 12
        return day_of_week(times) * int(-(-DAY // self._interval)) + _since_midnight(times) // self._interval


class Climatology(FittedOnRows):
    """The sensor's mean at this time of the year: five-day bins, smoothed over 35 days, each hour of the day apart.

    An hour that training never observed near this day of the year takes the mean of the season, failing that the
    sensor's mean.
    """

    name = "climatology"

    def __init__(self, rows: TargetRows, interval: np.timedelta64) -> None:
        super().__init__(rows)
        self._hours = 24 if interval < DAY else 1
        sums_GNO, counts_GNO = _totals(rows, self._slots(rows.times_T), _BINS * self._hours)
        sums_YHNO, counts_YHNO = self._smoothed(sums_GNO), self._smoothed(counts_GNO)
        season_YNO = mean_or(sums_YHNO.sum(axis=1), counts_YHNO.sum(axis=1), rows.mean_NO)
        self.mean_GNO = mean_or(sums_YHNO, counts_YHNO, season_YNO[:, None]).reshape(sums_GNO.shape)

    def predict(self, starts_B: NDArray[np.int64]) -> Floats:
        return self.mean_GNO[self._slots(self._rows.times_T[self._rows.target_rows(starts_B)])]

    def _slots(self, times: NDArray[np.datetime64]) -> NDArray[np.int64]:
        day = times.astype("datetime64[D]") - times.astype("datetime64[Y]").astype("datetime64[D]")
        year_bin = np.minimum(day.astype(np.int64) // _BIN_DAYS, _BINS - 1)
        return year_bin * self._hours + _since_midnight(times) * self._hours // DAY

    def _smoothed(self, totals_GNO: Floats) -> Floats:
        totals_YHNO = totals_GNO.reshape(_BINS, self._hours, *totals_GNO.shape[1:])
        smooth_YHNO = totals_YHNO.copy()
        for bins in range(1, _BINS_EACH_SIDE + 1):
            smooth_YHNO += np.roll(totals_YHNO, bins, axis=0)
            smooth_YHNO += np.roll(totals_YHNO, -bins, axis=0)
        return smooth_YHNO


def _since_midnight(times: NDArray[np.datetime64]) -> NDArray[np.timedelta64]:
    return times - times.astype("datetime64[D]")


def _totals(rows: TargetRows, slot_T: NDArray[np.int64], slots: int) -> tuple[Floats, Floats]:
    """Sums and counts (G, N, O) of the observed training readings of each slot."""
    sums_GNO = np.zeros((slots, *rows.mean_NO.shape))
    counts_GNO = np.zeros_like(sums_GNO)
    for stretch in rows.training_stretches():
        values, observed = rows.rows(slice(stretch.start, stretch.stop))
        in_slot = _indicator(slot_T[stretch.start : stretch.stop], slots)
        sums_GNO += _product(in_slot, values)  # a missing value holds 0
        counts_GNO += _product(in_slot, observed.astype(np.float64))
    return sums_GNO, counts_GNO


def _indicator(group_R: NDArray[np.int64], groups: int | None = None) -> scipy.sparse.csr_array:
    """Sparse (groups, R) matrix of ones: its product with rows is their sum in each group."""
    shape = (int(group_R.max()) + 1 if groups is None else groups, len(group_R))
    return scipy.sparse.csr_array((np.ones(len(group_R)), (group_R, np.arange(len(group_R)))), shape=shape)


def _product(matrix_GR: scipy.sparse.csr_array, rows_RNO: Floats) -> Floats:
    product: Floats = matrix_GR @ rows_RNO.reshape(len(rows_RNO), -1)
    return product.reshape(-1, *rows_RNO.shape[1:])
