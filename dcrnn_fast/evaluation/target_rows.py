"""The target channels of a series, row by row and window by window, as the baselines read them.

Shape legend: B windows, P past steps, F future steps, R rows, T time, N nodes, O target channels.
"""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.windows import window_counts

Floats = NDArray[np.float64]

_CHUNK_READINGS = 1 << 22  # readings worked on at a time: 32 MiB in float64, however long or memory-mapped the series
_WINDOW_READINGS = 1 << 20  # of the windows scored at a time, which some ten arrays are made of
_MOST_WINDOWS = 64


@dataclass(frozen=True)
class Stretch:
    """Consecutive training rows [start, stop); ``continues``: the stretch before ended at ``start``, without a gap."""

    start: int
    stop: int
    continues: bool


class TargetRows:
    """Target readings in original units, float64, and means in place of sensors that were never observed.

    ``mean_NO`` is the mean of a sensor's observed training readings; a sensor without any takes its channel's.
    ``std_O`` is the deviation and ``minimum_O`` the least of a channel's observed training readings.
    """

    def __init__(self, data: ForecastData, like: "TargetRows | None" = None, *, held_out: bool = False) -> None:
        """Rows of the data that the model was trained on, or of other data.

        Args:
            held_out: this is other data: nothing is fitted on it.
            like: the rows of the training data, whose means, deviations and minima are taken then; left out: they are
                not at hand, the mean is the scaler's, and the others are NaN.
        """
        window_format = data.window_format
        self.past_steps = window_format.past_steps
        self.future_steps = window_format.future_steps
        self.times_T = data.series.times_T
        self._values_TNC = data.series.values_TNC
        self._observed_TNC = data.series.observed_TNC
        self._targets = list(window_format.target_channels)
        # If fewer windows validate than a forecast has steps, the last training windows reach into test targets.
        stop = data.test.starts_W[0] + self.past_steps if len(data.test) else len(self.times_T)
        self._stretches = _training_stretches(
            data.train.starts_W, self.past_steps + self.future_steps, int(stop), data.series.segments
        )
        self._rows_at_a_time = max(1, _CHUNK_READINGS // (self._values_TNC.shape[1] * len(self._targets)))
        self.parts = data.series.parts
        self.mean_NO: Floats
        self.std_O: Floats
        self.minimum_O: Floats
        self.any_missing: bool
        if not held_out:
            self._fit_moments()
        elif like is not None:
            self.mean_NO, self.std_O, self.minimum_O = like.mean_NO, like.std_O, like.minimum_O
            self.any_missing = like.any_missing
        else:
            self.mean_NO = data.scaler.inverse(np.zeros(self._values_TNC.shape[1:]))[:, self._targets]
            self.std_O = self.minimum_O = np.full(len(self._targets), np.nan)
            self.any_missing = True

    @property
    def training_span(self) -> np.timedelta64:
        """From the first training row to the last."""
        return self.times_T[self._stretches[-1][1] - 1] - self.times_T[self._stretches[0][0]]

    @property
    def num_series(self) -> int:
        """N * O."""
        return int(self.mean_NO.size)

    def rows(self, rows_R: NDArray[np.int64] | slice) -> tuple[Floats, NDArray[np.bool_]]:
        """Values and mask (R, N, O) of these rows; a missing value is 0."""
        values_RNO = np.asarray(self._values_TNC[rows_R])[..., self._targets].astype(np.float64)
        return values_RNO, np.asarray(self._observed_TNC[rows_R])[..., self._targets]

    def target_rows(self, starts_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """(B, F): the rows that these windows forecast."""
        return starts_B[:, None] + self.past_steps + np.arange(self.future_steps)

    def newest(self, starts_B: NDArray[np.int64]) -> Floats:
        """(B, N, O): each window's last observed past reading; the mean if it has none."""
        newest_BNO = np.repeat(self.mean_NO[None], len(starts_B), axis=0)
        for step in range(self.past_steps):
            values_BNO, observed_BNO = self.rows(starts_B + step)
            np.copyto(newest_BNO, values_BNO, where=observed_BNO)
        return newest_BNO

    def filled_windows(self, starts_B: NDArray[np.int64]) -> Floats:
        """Past steps (B, P, N, O): a missing reading is the window's last observed one, before that the mean."""
        values, observed = self.rows((starts_B[:, None] + np.arange(self.past_steps)).ravel())
        shape_BPNO = (len(starts_B), self.past_steps, *self.mean_NO.shape)
        return fill_forward(values.reshape(shape_BPNO), observed.reshape(shape_BPNO), self.mean_NO, axis=1)

    def training_stretches(self) -> Iterator[Stretch]:
        """The rows that training windows read or forecast, up to the first test target, in order, in pieces that fit in
        memory; none spans a gap.
        """
        for start, stop in self._stretches:
            for at in range(start, stop, self._rows_at_a_time):
                yield Stretch(at, min(at + self._rows_at_a_time, stop), continues=at > start)

    def _fit_moments(self) -> None:
        shape_NO = (self._values_TNC.shape[1], len(self._targets))
        sums_NO, squares_NO, counts_NO = np.zeros(shape_NO), np.zeros(shape_NO), np.zeros(shape_NO)
        self.minimum_O = np.full(len(self._targets), np.inf)
        rows = 0
        for stretch in self.training_stretches():
            values, observed = self.rows(slice(stretch.start, stretch.stop))
            sums_NO += values.sum(axis=0)  # a missing value holds 0
            squares_NO += np.square(values).sum(axis=0)
            counts_NO += observed.sum(axis=0)
            rows += stretch.stop - stretch.start
            self.minimum_O = np.minimum(self.minimum_O, values.min(axis=(0, 1), where=observed, initial=np.inf))
        self.any_missing = bool((counts_NO < rows).any())
        counts_O = np.maximum(counts_NO.sum(axis=0), 1)
        channel_mean_O = sums_NO.sum(axis=0) / counts_O
        variance_O = squares_NO.sum(axis=0) / counts_O - channel_mean_O**2
        self.mean_NO = mean_or(sums_NO, counts_NO, np.broadcast_to(channel_mean_O, shape_NO))
        self.std_O = np.where(variance_O > 0, np.sqrt(np.maximum(variance_O, 0)), 1.0)


def windows_at_a_time(data: ForecastData) -> int:
    """How many windows are forecast and scored at a time: 64, fewer of a graph of many hundred sensors."""
    readings = data.window_format.window_steps * data.series.num_sensors * len(data.series.channels)
    return max(1, min(_MOST_WINDOWS, _WINDOW_READINGS // readings))


class FittedOnRows:
    """A baseline that is fitted on some rows and forecasts windows of them, or of others."""

    def __init__(self, rows: TargetRows) -> None:
        self._rows = rows

    def on(self, rows: TargetRows) -> Self:
        """The same, fitted as it is, for windows of other rows."""
        other = copy(self)
        other._rows = rows
        return other


def mean_or(sums: Floats, counts: NDArray[Any], otherwise: Floats) -> Floats:
    """Sums / counts, and ``otherwise`` where the count is 0."""
    return np.where(counts > 0, sums / np.maximum(counts, 1), otherwise)


def fill_forward(values: Floats, observed: NDArray[np.bool_], before: Floats, *, axis: int) -> Floats:
    """Each missing value becomes the last observed one along ``axis``, or ``before`` where there is none yet."""
    values, observed = np.moveaxis(values, axis, 0), np.moveaxis(observed, axis, 0)
    steps = np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1))
    newest = np.maximum.accumulate(np.where(observed, steps, -1), axis=0)
    held = np.take_along_axis(values, np.maximum(newest, 0), axis=0)
    return np.moveaxis(np.where(newest >= 0, held, before), 0, axis)


def _training_stretches(
    starts_W: NDArray[np.int64], steps: int, num_rows: int, segments: tuple[tuple[int, int], ...]
) -> list[tuple[int, int]]:
    """Half-open runs among the first ``num_rows`` rows."""
    touched_T = window_counts(starts_W, steps, segments[-1][1])[:num_rows] > 0
    runs = []
    for first, last in segments:
        edges = np.flatnonzero(np.diff(np.concatenate(([False], touched_T[first:last], [False])).astype(np.int8)))
        runs += [(first + int(start), first + int(stop)) for start, stop in edges.reshape(-1, 2)]
    return runs
