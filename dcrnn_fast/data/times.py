"""Regular time axes: the interval between rows, gaps, calendar months, time of day and day of week.

Shape legend: T time. Times are numpy ``datetime64[s]``; an interval is a ``timedelta64`` in seconds or in months.
"""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dcrnn_fast.config.plain import shown
from dcrnn_fast.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_SECONDS_OF = {"s": 1, "min": 60, "h": 3600, "D": 86400, "W": 7 * 86400}
_DAY = 86400
_HOUR = 3600
_YEAR_FIRST = re.compile(r"\d{4}")
_OFFSET = re.compile(r"[T ]\d.*(Z|[+-]\d{1,2}(:?\d{2})?)$")
_FAR_FUTURE = 1 << 62
"""seconds, which no sum of intervals takes beyond int64; NaT is further away"""
_TICKS = {"ms": 10**3, "us": 10**6, "ns": 10**9}

NameRow = Callable[[int], str]
"""the name in messages of a row that is counted from 0"""


def row_of_array(row: int) -> str:
    """ "row 7": counted from 0, as arrays and tables in memory are."""
    return f"row {row}"


class Stamps(NamedTuple):
    """Times as a file had them.

    Attributes:
        times_T: ``datetime64[s]``; UTC if they had a zone or an offset.
        in_utc: whether they had; None: not known.
        zone: its name or offset, as in Europe/Berlin, +01:00, UTC; None if they had none.
    """

    times_T: np.ndarray
    in_utc: bool | None = None
    zone: str | None = None


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


def whole_seconds(times: np.ndarray) -> np.ndarray:
    """``datetime64`` of any unit as ``datetime64[s]``: rounded, since a time that misses its second by nanoseconds is
    that second. Fractions that all rows share (a clock that ticks at half seconds) are rounded in the first row alone.

    Raises:
        UserError: rows that are less than a second, or no whole number of seconds, apart.
    """
    unit = str(np.datetime_data(times.dtype)[0])
    if unit not in _TICKS or times.size == 0:
        return times.astype("datetime64[s]")
    seconds = times.astype("datetime64[s]")
    if seconds.astype(times.dtype).tobytes() == times.tobytes():
        return seconds
    ticks, known = _TICKS[unit], ~np.isnat(times)
    counts = times[known].astype(np.int64)
    if counts.size == 0:
        return times.astype("datetime64[s]")
    steps = np.diff(counts)
    usual = int(np.median(steps[steps > 0])) if (steps > 0).any() else ticks
    # A thousandth of a second is more than any float of seconds or days since 1900 misses.
    if usual < 60 * ticks and abs(usual - max(round(usual / ticks), 1) * ticks) > ticks // 1000:
        raise UserError(
            f"rows are {usual / ticks:g} s apart, but times are kept to the second: average the readings over whole "
            "seconds first"
        )
    first = (counts[0] + ticks // 2) // ticks
    seconds = np.full(times.shape, np.datetime64("NaT", "s"))
    seconds[known] = (first + (counts - counts[0] + ticks // 2) // ticks).astype("datetime64[s]")
    return seconds


def parse_times(texts: Sequence[str | None], name_row: NameRow = row_of_array) -> Stamps:
    """The times of ISO 8601 texts such as 2012-03-01 00:05:00; if offsets differ, the last row's is the zone.

    Raises:
        UserError: a text is no ISO time (day and month would have to be guessed), or some have an offset and others
            none; the row is named. See also ``whole_seconds``.
    """
    import pandas as pd  # half a second, for times as text only

    column = pd.Series([_as_pandas_reads(text or "") for text in texts], dtype="object")
    parsed = pd.to_datetime(column, format="ISO8601", errors="coerce", utc=True)
    # pandas knows words too: "today".
    wrong = parsed.isna().to_numpy() | [_YEAR_FIRST.match(text) is None for text in column]
    if wrong.any():
        row = int(wrong.argmax())
        if not (texts[row] or "").strip():
            raise UserError(f"{name_row(row)} has no time")
        raise UserError(
            f"{name_row(row)}: {texts[row]!r} is no ISO 8601 time: write times as 2024-02-01T00:05, year before month "
            "before day"
        )
    offsets = [_OFFSET.search(text) for text in column]
    with_offset = [offset is not None for offset in offsets]
    if any(with_offset) and not all(with_offset):
        row = with_offset.index(not with_offset[0])
        raise UserError(
            f"{name_row(row)}: {texts[row]!r} and {texts[0]!r} of {name_row(0)}: give all times an offset, or none"
        )
    times_T = whole_seconds(parsed.dt.tz_convert(None).to_numpy())
    if not offsets or offsets[-1] is None:
        return Stamps(times_T, False)
    return Stamps(times_T, True, offset_name(offsets[-1][1]))


def _as_pandas_reads(text: str) -> str:
    """ISO 8601 has small letters and a comma before fractions too; others write UTC for Z."""
    return re.sub(r"\s*(UTC|GMT)$", "Z", text.strip().upper()).replace(",", ".")


def offset_name(offset: str) -> str:
    """UTC for Z, +00 and -0:00; else +01:00 for +1, +01, +0100."""
    if offset == "Z":
        return "UTC"
    digits = offset[1:].replace(":", "")
    hours, minutes = (digits[:-2], digits[-2:]) if len(digits) > 2 else (digits, "0")
    return f"{offset[0]}{int(hours):02d}:{int(minutes):02d}" if int(hours) or int(minutes) else "UTC"


def in_zone(times: np.ndarray, zone: str | None) -> "pd.DatetimeIndex":
    """Times that are UTC, in their zone; UTC if this machine does not know it; as they are if there is none."""
    import pandas as pd

    if zone is None:
        # ``DatetimeIndex(times)``, but for finding out what it is given: a tenth of a millisecond.
        array = pd.arrays.DatetimeArray._simple_new(times.copy(), dtype=times.dtype)  # type: ignore[attr-defined]
        return pd.DatetimeIndex._simple_new(array)  # type: ignore[attr-defined]
    index = pd.DatetimeIndex(times).tz_localize("UTC")
    try:
        return index.tz_convert(zone)
    except (KeyError, ValueError):
        return index


def parse_time(text: str, field: str) -> Stamps:
    """One ISO time.

    Raises:
        UserError: it is none; ``field`` names where it came from.
    """
    try:
        return parse_times([text])
    except UserError:
        raise UserError(f"{field} must be an ISO time such as 2012-03-01T00:00, got {text!r}") from None


def advance(times: np.ndarray | np.datetime64, steps: np.ndarray | int, interval: np.timedelta64) -> np.ndarray:
    """``times`` and ``steps`` intervals later (they broadcast); in months the day is kept, or the month's last one."""
    times = np.asarray(times, dtype="datetime64[s]")
    if not is_months(interval):
        return times + np.asarray(steps) * interval.astype("timedelta64[s]")
    month = times.astype("datetime64[M]")
    since_month = times - month.astype("datetime64[s]")
    later = month + np.asarray(steps) * interval
    last_day = (later + 1).astype("datetime64[s]") - np.timedelta64(_DAY, "s")
    last = last_day + since_month % np.timedelta64(_DAY, "s")
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
    if len(different) > 1 and np.median(steps_in_seconds) >= 28 * _DAY:
        months = np.diff(times_T.astype("datetime64[M]")).astype(np.int64)
        by_month, month_counts = np.unique(months, return_counts=True)
        if by_month[0] >= 1 and month_counts.max() > counts.max():
            return np.timedelta64(int(by_month[month_counts.argmax()]), "M")
    return np.timedelta64(seconds, "s")


def fraction_of_day(times: np.ndarray) -> np.ndarray:
    """Time of day in [0, 1), float32, of ``datetime64[s]`` of any shape."""
    return (_seconds(times) % _DAY / _DAY).astype(np.float32)


def day_of_week(times: np.ndarray) -> np.ndarray:
    """0 Monday to 6 Sunday, int64, of ``datetime64[s]`` of any shape."""
    # 1970-01-01 was a Thursday.
    return (_seconds(times) // _DAY + 3) % 7


def _seconds(times: np.ndarray) -> np.ndarray:
    """Since 1970, int64; a view of ``datetime64[s]``."""
    return times.astype("datetime64[s]", copy=False).view(np.int64)
