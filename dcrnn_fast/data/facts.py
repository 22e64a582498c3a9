"""Numbers about a series' observed readings, from passes in stretches: a store is never loaded completely.

Shape legend: T time, R rows of a stretch, N sensors, C channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dcrnn_fast.data.pieces import row_pieces
from dcrnn_fast.data.series import SensorSeries

GAP_MARKS = tuple(
    float(np.float32(mark))
    for mark in (
        *(-99, -99.9, -999, -999.9, -9999, -9999.9, -99999, -999999, -7777, -8888, -6999, -32767, -32768, -2147483648),
        *(999, 999.9, 9999, 9999.9, 99999, 999999, 9999999, 7777, 8888, 32767, 65534, 65535, 2147483647, 4294967295),
        *(-1e20, 1e15, 1e20, 1e30, -1e30, 9.969209968386869e36, -3.4028235e38, 3.4028235e38),
    )
)
"""marks that instruments and formats write for a missing measurement"""
_AT_ONCE = 1 << 17
"""readings of a stretch: what is computed of them, some 15 bytes each, is near the caches"""


@dataclass(frozen=True, eq=False, slots=True)
class SeriesFacts:
    """Results of one pass over a series; of observed readings only.

    Attributes:
        count_NC, train_NC: int64, their number, in all and in the rows of the training windows.
        low_NC, high_NC: float32, inf and -inf where there is none.
        sum_NC, square_NC: float64, of reading minus ``center_C`` and of its square.
        zeros_C: int64, readings of 0.
    """

    count_NC: np.ndarray
    train_NC: np.ndarray
    low_NC: np.ndarray
    high_NC: np.ndarray
    sum_NC: np.ndarray
    square_NC: np.ndarray
    center_C: np.ndarray
    zeros_C: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """(C,) int64."""
        return np.asarray(self.count_NC.sum(axis=0))

    @property
    def means(self) -> np.ndarray:
        """(C,) float64, NaN where nothing was observed."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.center_C + self.sum_NC.sum(axis=0) / self.counts)

    @property
    def deviations(self) -> np.ndarray:
        """(C,) float64, NaN where nothing was observed."""
        with np.errstate(invalid="ignore"):
            offset_C = self.sum_NC.sum(axis=0) / self.counts
            return np.sqrt(np.maximum(self.square_NC.sum(axis=0) / self.counts - offset_C**2, 0))


@dataclass(frozen=True, slots=True)
class OddValue:
    """A value far outside the range of all other readings of a channel.

    Attributes:
        channel: its index; value; count: how many readings have it.
        low, high: the range of all others that are not odd.
        sensor, row: of its first one.
    """

    channel: int
    value: float
    count: int
    low: float
    high: float
    sensor: int
    row: int


def series_facts(series: SensorSeries, train_T: np.ndarray | None = None) -> SeriesFacts:
    """One pass over a series.

    Args:
        train_T: bool, the rows of the training windows; left out: none.
    """
    _, num_sensors, num_channels = series.values_TNC.shape
    shape = (num_sensors, num_channels)
    count_NC, train_NC = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    low_NC, high_NC = np.full(shape, np.inf, dtype=np.float32), np.full(shape, -np.inf, dtype=np.float32)
    sum_NC, square_NC = np.zeros(shape), np.zeros(shape)
    zeros_C = np.zeros(num_channels, dtype=np.int64)
    center_C = None
    for start, values_RNC, observed_RNC in stretches(series):
        if center_C is None:  # near the mean, so that squares of readings far from 0 do not cancel
            seen_C = np.maximum(observed_RNC.sum(axis=(0, 1)), 1)
            center_C = np.where(observed_RNC, values_RNC, 0).sum(axis=(0, 1), dtype=np.float64) / seen_C
        count_NC += observed_RNC.sum(axis=0)
        if train_T is not None:
            train_NC += observed_RNC[train_T[start : start + len(values_RNC)]].sum(axis=0)
        np.minimum(low_NC, np.where(observed_RNC, values_RNC, np.inf).min(axis=0), out=low_NC)
        np.maximum(high_NC, np.where(observed_RNC, values_RNC, -np.inf).max(axis=0), out=high_NC)
        zeros_C += ((values_RNC == 0) & observed_RNC).sum(axis=(0, 1))
        term_RNC = values_RNC.astype(np.float64)
        term_RNC -= center_C
        term_RNC *= observed_RNC
        sum_NC += term_RNC.sum(axis=0)
        square_NC += np.square(term_RNC, out=term_RNC).sum(axis=0)
    assert center_C is not None
    return SeriesFacts(count_NC, train_NC, low_NC, high_NC, sum_NC, square_NC, center_C, zeros_C)


def odd_values(series: SensorSeries, facts: SeriesFacts) -> list[OddValue]:
    """Values far outside the range of all others: known marks of gaps, and extremes that nothing lies near.

    A known mark is odd if its distance from all others is over a tenth of their own range, for a single reading over
    half of it. Another extreme is odd at five times the range, zero at the range itself if it comes three times; and an
    integer if it is the only negative value and as frequent as all readings up to as far above zero.
    """
    found = []
    for channel in range(len(series.channels)):
        if facts.counts[channel] == 0:
            continue
        low, high = float(facts.low_NC[:, channel].min()), float(facts.high_NC[:, channel].max())
        marks = sorted({low, high, *(mark for mark in GAP_MARKS if low <= mark <= high)})
        found += _odd_of(series, channel, marks)
    return found


def _odd_of(series: SensorSeries, channel: int, marks: list[float]) -> list[OddValue]:
    counts = dict.fromkeys(marks, 0)
    first: dict[float, tuple[int, int]] = {}
    low, high, near = np.inf, -np.inf, 0
    marks_M = np.array(marks, dtype=np.float32)
    for start, values_RNC, observed_RNC in stretches(series):
        values_RN, observed_RN = values_RNC[:, :, channel], observed_RNC[:, :, channel]
        other_RN = observed_RN.copy()
        for mark, mark32 in zip(marks, marks_M, strict=True):
            here_RN = (values_RN == mark32) & observed_RN
            if number := int(np.count_nonzero(here_RN)):
                counts[mark] += number
                other_RN &= ~here_RN
                if mark not in first:
                    row, sensor = np.unravel_index(int(here_RN.argmax()), here_RN.shape)
                    first[mark] = (start + int(row), int(sensor))
        low = min(low, float(values_RN.min(where=other_RN, initial=np.inf)))
        high = max(high, float(values_RN.max(where=other_RN, initial=-np.inf)))
        near += int(((values_RN <= -marks_M[0]) & other_RN).sum()) if marks[0] < 0 else 0
    if low > high:  # there are no others
        return []
    # Marks that lie among the others, or next to them, are readings like them.
    for mark in sorted(counts, key=lambda mark: max(low - mark, mark - high)):
        if counts[mark] and not _is_odd(mark, counts[mark], low, high, near if mark == marks[0] else None):
            low, high = min(low, mark), max(high, mark)
            counts[mark] = 0
    return [
        OddValue(channel, mark, count, low, high, sensor=first[mark][1], row=first[mark][0])
        for mark, count in counts.items()
        if count
    ]


def _is_odd(value: float, count: int, low: float, high: float, near: int | None) -> bool:
    away, wide = max(low - value, value - high), high - low
    if away <= 0:
        return False
    if near is not None and value < 0 <= low and value == round(value) and count >= max(3, near):
        return True
    if value in GAP_MARKS:
        return away > wide * (0.1 if count > 1 else 0.5)
    return away > wide * (1 if value == 0 and count >= 3 else 5) and wide > 0


def same_sensors(series: SensorSeries, facts: SeriesFacts) -> list[list[int]]:
    """Groups of sensors whose readings and gaps are the same in every row and channel; constant ones are left out."""
    groups: dict[bytes, list[int]] = {}
    varies_N = ((facts.high_NC > facts.low_NC) & (facts.count_NC > 1)).any(axis=1)
    for sensor in np.flatnonzero(varies_N).tolist():
        parts = (facts.count_NC, facts.low_NC, facts.high_NC, facts.sum_NC, facts.square_NC)
        groups.setdefault(b"".join(part[sensor].tobytes() for part in parts), []).append(sensor)
    alike = [group for group in groups.values() if len(group) > 1]
    for start, values_RNC, observed_RNC in stretches(series) if alike else ():
        del start
        kept = []
        for first, *others in alike:
            same = [
                other
                for other in others
                if np.array_equal(values_RNC[:, first], values_RNC[:, other])
                and np.array_equal(observed_RNC[:, first], observed_RNC[:, other])
            ]
            if same:
                kept.append([first, *same])
        alike = kept
    return alike


def largest_reading(series: SensorSeries) -> tuple[int, int, int]:
    """Row, sensor and channel of the reading that is furthest from 0, the first of equals."""
    largest, place = -1.0, (0, 0, 0)
    for start, values_RNC, _ in stretches(series):
        size_RNC = np.abs(values_RNC)
        row, sensor, channel = np.unravel_index(int(size_RNC.argmax()), size_RNC.shape)
        if size_RNC[row, sensor, channel] > largest:
            largest, place = float(size_RNC[row, sensor, channel]), (start + int(row), int(sensor), int(channel))
    return place


def stretches(series: SensorSeries) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(first row, values_RNC, observed_RNC) of stretches of the series."""
    for rows in row_pieces(series.values_TNC.shape, readings=_AT_ONCE):
        yield rows.start, series.values_TNC[rows], series.observed_TNC[rows]
