"""Regular time axes: the interval between rows, gaps, calendar months, time of day and day of week.

Shape legend: T time. Times are numpy ``datetime64[s]``; an interval is a ``timedelta64`` in seconds or in months.
"""

import itertools
import re
from dataclasses import dataclass
from functools import cache

import numpy as np

from dcrnn_fast.config.plain import shown
from dcrnn_fast.data.timestamps import DAY, NameRow, row_of_array
from dcrnn_fast.errors import UserError

_SECONDS_OF = {"s": 1, "min": 60, "h": 3600, "D": 86400, "W": 7 * 86400}
_HOUR = 3600
_FAR_FUTURE = 1 << 62
"""seconds, which no sum of intervals takes beyond int64; NaT is further away"""


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """The interval of a time axis, and the rows (half-open) without a gap inside."""

    interval: np.timedelta64
    segments: tuple[tuple[int, int], ...]


@cache
def parse_freq(freq: str) -> np.timedelta64:
    """The interval of ``5min``, ``1h``, ``30s``, ``1D``, ``1W`` or ``1MS`` (months).

    Raises:
        UserError: none of these.
    """
    found = re.fullmatch(r"\s*(\d{0,9})\s*(s|sec|min|T|h|H|D|d|W|MS|M)\s*", freq)
    if found is None or found[1] == "0" * len(found[1]) != "":
        raise UserError(
            f"freq must be a number and one of s, min, h, D, W, MS (such as 5min or 1MS), got {shown(freq)}"
        )
    count = int(found[1] or 1)
    unit = {"sec": "s", "T": "min", "H": "h", "d": "D", "M": "MS"}.get(found[2], found[2])
    if unit == "MS":
        return np.timedelta64(count, "M")
    return np.timedelta64(count * _SECONDS_OF[unit], "s")


def format_freq(interval: np.timedelta64) -> str:
    """The shortest text that ``parse_freq`` reads as this interval."""
    if is_months(interval):
        return f"{interval.astype(int)}MS"
    seconds = int(interval.astype("timedelta64[s]").astype(int))
    for unit in ("D", "h", "min"):
        if seconds % _SECONDS_OF[unit] == 0:
            return f"{seconds // _SECONDS_OF[unit]}{unit}"
    return f"{seconds}s"


def is_months(interval: np.timedelta64) -> bool:
    """Whether the interval is counted in calendar months, whose length in seconds varies."""
    return bool(np.datetime_data(interval.dtype)[0] == "M")


def same_interval(one: np.timedelta64, other: np.timedelta64) -> bool:
    """Whether two intervals are equal; seconds and months, which numpy does not compare, never are."""
    return is_months(one) == is_months(other) and bool(one == other)


def advance(times: np.ndarray | np.datetime64, steps: np.ndarray | int, interval: np.timedelta64) -> np.ndarray:
    """``times`` and ``steps`` intervals later (they broadcast); in months the day is kept, or the month's last one."""
    times = np.asarray(times, dtype="datetime64[s]")
    if not is_months(interval):
        return times + np.asarray(steps) * interval.astype("timedelta64[s]")
    month = times.astype("datetime64[M]")
    since_month = times - month.astype("datetime64[s]")
    later = month + np.asarray(steps) * interval
    last_day = (later + 1).astype("datetime64[s]") - np.timedelta64(DAY, "s")
    last = last_day + since_month % np.timedelta64(DAY, "s")
    return np.minimum(later.astype("datetime64[s]") + since_month, last)


def count_from(start: np.datetime64, interval: np.timedelta64, num_steps: int) -> np.ndarray:
    """``num_steps`` times from ``start`` on."""
    return advance(start, np.arange(num_steps), interval)


def regular_axis(
    times_T: np.ndarray, where: str, *, interval: np.timedelta64 | None = None, name_row: NameRow = row_of_array
) -> TimeAxis:
    """The interval of a time axis and its stretches without a gap.

    Args:
        times_T: ``datetime64[s]``.
        where: the file, for the messages.
        interval: when it is known; else the most frequent difference between rows (calendar months are recognised).
        name_row: for the messages.

    Raises:
        UserError: fewer than two rows and no interval, a missing, duplicate, or backward time (the row is named), or
            rows closer than the interval.
    """
    if interval is not None and not is_months(interval) and len(times_T) and _is_even(times_T, interval):
        return TimeAxis(interval, ((0, len(times_T)),))
    if (blank := np.flatnonzero(np.isnat(times_T))).size:
        raise UserError(f"{where}: {name_row(int(blank[0]))} has no time")
    if len(times_T) < 2:
        if interval is None:
            raise UserError(f"{where}: {len(times_T)} row(s); at least two are needed to know the interval")
        return TimeAxis(interval, ((0, len(times_T)),))
    steps = np.diff(times_T).astype("timedelta64[s]").astype(np.int64)
    if (wrong := np.flatnonzero(steps <= 0)).size:
        raise UserError(f"{where}: {_backward(times_T, steps, int(wrong[0]) + 1, name_row)}")
    if interval is None:
        interval = _most_frequent_interval(times_T, steps)
    if is_months(interval):
        steps = np.diff(times_T.astype("datetime64[M]")).astype(np.int64)
        wanted = int(interval.astype(int))
    else:
        wanted = int(interval.astype("timedelta64[s]").astype(int))
    if (close := np.flatnonzero(steps < wanted)).size:
        row = int(close[0]) + 1
        raise UserError(
            f"{where}: the time axis is not regular: rows are {format_freq(interval)} apart, but {name_row(row)} "
            f"({times_T[row]}) follows {times_T[row - 1]}; resample the series first"
        )
    borders = [0, *(np.flatnonzero(steps > wanted) + 1).tolist(), len(times_T)]
    return TimeAxis(interval, tuple(itertools.pairwise(borders)))


def _is_even(times_T: np.ndarray, interval: np.timedelta64) -> bool:
    """Whether each time is known and follows the one before by the interval."""
    seconds_T, step = _seconds(times_T), _seconds_of(interval)
    first = int(seconds_T[0])
    if abs(first) > _FAR_FUTURE:
        return False
    even_T = np.arange(first, first + step * len(seconds_T), step, dtype=np.int64)
    return even_T.tobytes() == seconds_T.tobytes()


@cache
def _seconds_of(interval: np.timedelta64) -> int:
    return int(interval.astype("timedelta64[s]").astype(np.int64))


def rows_on_grid(times_T: np.ndarray, interval: np.timedelta64, where: str, name_row: NameRow) -> np.ndarray:
    """(T,) int64: which row each time is, counted from the first time in steps of the interval.

    Raises:
        UserError: a time lies between two rows, or more rows are absent than there (the longest gap is named).
    """
    if is_months(interval):
        row_T = np.diff(times_T.astype("datetime64[M]"), prepend=times_T[:1].astype("datetime64[M]")).astype(np.int64)
        row_T = np.cumsum(row_T) // int(interval.astype(int))
    else:
        row_T = np.round((times_T - times_T[0]) / interval.astype("timedelta64[s]")).astype(np.int64)
    if (off := np.flatnonzero(advance(times_T[0], row_T, interval) != times_T)).size:
        row = int(off[0])
        raise UserError(
            f"{where}: rows cannot be filled: {name_row(row)} ({times_T[row]}) is no multiple of "
            f"{format_freq(interval)} after {times_T[0]}; move its time, or leave out --fill-rows"
        )
    if row_T[-1] + 1 > 2 * len(row_T):
        row = int(np.diff(row_T).argmax()) + 1
        raise UserError(
            f"{where}: {row_T[-1] + 1 - len(row_T)} rows are absent and {len(row_T)} there, the longest gap before "
            f"{name_row(row)} ({times_T[row]}): too many to fill; is that time right? leave out --fill-rows"
        )
    return row_T


def _backward(times_T: np.ndarray, steps: np.ndarray, row: int, name_row: NameRow) -> str:
    """The message about a row that does not come after the one before it."""
    before, usual = name_row(row - 1), int(np.median(steps[steps > 0])) if (steps > 0).any() else 0
    if row == 1 and len(steps) > 1 and (steps < 0).all():
        return f"its times run backwards, from {times_T[0]} to {times_T[-1]}: reverse the order of its rows"
    offset = "give the times an offset (2024-10-27T02:00+01:00) or write them in UTC"
    if steps[row - 1] < 0 and steps[row - 1] == usual - _HOUR:
        return (
            f"at {name_row(row)} ({times_T[row]}, after {times_T[row - 1]}) the clock goes back by an hour, as local "
            f"time does in autumn, and each time of that hour comes twice: {offset}"
        )
    if steps[row - 1] == 0:
        repeated = f"{name_row(row)} repeats the time of {before}, {times_T[row]}"
        if (steps == 0).sum() > 1 + len(steps) // 1000:
            return (
                f"{repeated}, as in a table with a row for each time and sensor: name its columns time, id and value "
                "(more columns of readings become channels), or give a table with a column for each sensor"
            )
        if usual == _HOUR:
            return f"{repeated}: leave one out, or, where clocks were set back, {offset}"
        return f"{repeated}: leave one out"
    return (
        f"times must increase, but {name_row(row)} ({times_T[row]}) comes before {before} ({times_T[row - 1]}); sort "
        f"the rows, or, where clocks were set back, {offset}"
    )


def skips_an_hour(times_T: np.ndarray, row: int, interval: np.timedelta64) -> bool:
    """Whether the gap before this row is one hour of a Sunday night, as where local clocks are set forward."""
    if is_months(interval) or times_T[row] - times_T[row - 1] - interval != np.timedelta64(_HOUR, "s"):
        return False
    return bool(day_of_week(times_T[row]) == 6 and fraction_of_day(times_T[row]) <= 4 / 24)


def _most_frequent_interval(times_T: np.ndarray, steps_in_seconds: np.ndarray) -> np.timedelta64:
    different, counts = np.unique(steps_in_seconds, return_counts=True)
    seconds = int(different[counts.argmax()])
    if len(different) > 1 and np.median(steps_in_seconds) >= 28 * DAY:
        months = np.diff(times_T.astype("datetime64[M]")).astype(np.int64)
        by_month, month_counts = np.unique(months, return_counts=True)
        if by_month[0] >= 1 and month_counts.max() > counts.max():
            return np.timedelta64(int(by_month[month_counts.argmax()]), "M")
    return np.timedelta64(seconds, "s")


def fraction_of_day(times: np.ndarray) -> np.ndarray:
    """Time of day in [0, 1), float32, of ``datetime64[s]`` of any shape."""
    return (_seconds(times) % DAY / DAY).astype(np.float32)


def day_of_week(times: np.ndarray) -> np.ndarray:
    """0 Monday to 6 Sunday, int64, of ``datetime64[s]`` of any shape."""
    # 1970-01-01 was a Thursday.
    return (_seconds(times) // DAY + 3) % 7


def _seconds(times: np.ndarray) -> np.ndarray:
    """Since 1970, int64; a view of ``datetime64[s]``."""
    return times.astype("datetime64[s]", copy=False).view(np.int64)
