"""Means of the training readings by time: the same weekly slot, the same month, the same time of the year.

Shape legend: B windows, F future steps, T time, N nodes, O target channels, G slots, Y bins of the year, H hours,
R rows, U slots of some rows.
"""

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from dcrnn_fast.data.times import day_of_week, is_months
from dcrnn_fast.evaluation.target_rows import FittedOnRows, Floats, TargetRows, mean_or

DAY = np.timedelta64(86_400, "s")
_BIN_DAYS, _BINS = 5, 73
_BINS_EACH_SIDE = 3  # 35 days in all, as climatologies are usually smoothed
_SENSORS_AT_ONCE = 64


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
        by_day = (-1, int(any_day_G.max()) + 1, *rows.mean_NO.shape)
        sums, counts = (totals_GNO.reshape(by_day).sum(axis=0) for totals_GNO in (sums_GNO, counts_GNO))
        any_day_mean = mean_or(sums, counts, rows.mean_NO)
        for slot, any_day in enumerate(any_day_G.tolist()):  # into the sums: there are 2016 of each sensor
            sums_GNO[slot] = mean_or(sums_GNO[slot], counts_GNO[slot], any_day_mean[any_day])
        self.mean_GNO = sums_GNO

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
        for first in range(0, len(rows.mean_NO), _SENSORS_AT_ONCE):  # into the sums: there are 1752 of each sensor
            some = slice(first, first + _SENSORS_AT_ONCE)
            sums_YHNO, counts_YHNO = self._smoothed(sums_GNO[:, some]), self._smoothed(counts_GNO[:, some])
            season_YNO = mean_or(sums_YHNO.sum(axis=1), counts_YHNO.sum(axis=1), rows.mean_NO[some])
            means_YHNO = mean_or(sums_YHNO, counts_YHNO, season_YNO[:, None])
            sums_GNO[:, some] = means_YHNO.reshape(-1, *means_YHNO.shape[2:])
        self.mean_GNO = sums_GNO

    def predict(self, starts_B: NDArray[np.int64]) -> Floats:
        return self.mean_GNO[self._slots(self._rows.times_T[self._rows.target_rows(starts_B)])]

    def _slots(self, times: NDArray[np.datetime64]) -> NDArray[np.int64]:
        day = times.astype("datetime64[D]") - times.astype("datetime64[Y]").astype("datetime64[D]")
        year_bin = np.minimum(day.astype(np.int64) // _BIN_DAYS, _BINS - 1)
        return year_bin * self._hours + _since_midnight(times) * self._hours // DAY

    def _smoothed(self, totals_GNO: NDArray[Any]) -> NDArray[Any]:
        totals_YHNO = totals_GNO.reshape(_BINS, self._hours, *totals_GNO.shape[1:])
        smooth_YHNO = totals_YHNO.copy()
        for bins in range(1, _BINS_EACH_SIDE + 1):
            smooth_YHNO += np.roll(totals_YHNO, bins, axis=0)
            smooth_YHNO += np.roll(totals_YHNO, -bins, axis=0)
        return smooth_YHNO


def _since_midnight(times: NDArray[np.datetime64]) -> NDArray[np.timedelta64]:
    return times - times.astype("datetime64[D]")


def _totals(rows: TargetRows, slot_T: NDArray[np.int64], slots: int) -> tuple[Floats, NDArray[np.int32]]:
    """Sums and counts (G, N, O) of the observed training readings of each slot."""
    sums_GNO = np.zeros((slots, *rows.mean_NO.shape))
    counts_GNO = np.zeros(sums_GNO.shape, dtype=np.int32)
    for stretch in rows.training_stretches():
        values, observed = rows.rows(slice(stretch.start, stretch.stop))
        touched_U, place_R = np.unique(slot_T[stretch.start : stretch.stop], return_inverse=True)
        ones_UR = scipy.sparse.csr_array((np.ones(len(place_R)), (place_R, np.arange(len(place_R)))))
        sums_GNO[touched_U] += _product(ones_UR, values)  # a missing value holds 0
        counts_GNO[touched_U] += _product(ones_UR, observed.astype(np.float64)).astype(np.int32)
    return sums_GNO, counts_GNO


def _product(matrix_UR: scipy.sparse.csr_array, rows_RNO: Floats) -> Floats:
    product: Floats = matrix_UR @ rows_RNO.reshape(len(rows_RNO), -1)
    return product.reshape(-1, *rows_RNO.shape[1:])
