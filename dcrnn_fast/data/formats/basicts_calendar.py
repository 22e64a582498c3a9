"""The calendar among BasicTS's features: it is no reading, and says where the time axis has gaps.

Shape legend: T time, C features.
"""

from dataclasses import dataclass

import numpy as np

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.times import count_from, day_of_week, format_freq, fraction_of_day, parse_freq, same_interval
from dcrnn_fast.data.timestamps import Stamps, parse_time
from dcrnn_fast.errors import UserError

TIME_OF_DAY, DAY_OF_WEEK = "time of day", "day of week"
CALENDAR_NAMES = {
    **dict.fromkeys(("timeofday", "timeinday", "tod"), TIME_OF_DAY),
    **dict.fromkeys(("dayofweek", "dayinweek", "dow"), DAY_OF_WEEK),
    **dict.fromkeys(("dayofmonth", "dayinmonth", "dom"), "day of month"),
    **dict.fromkeys(("dayofyear", "dayinyear", "doy"), "day of year"),
}
"""plain names of features -> what they are"""
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DAY = 86_400


@dataclass(frozen=True, eq=False)
class Calendar:
    """Of the rows: the fraction of the day that is over, and the day of the week (0 Monday to 6 Sunday)."""

    time_of_day_T: np.ndarray | None
    day_of_week_T: np.ndarray | None

    @classmethod
    def of(cls, values_TC: np.ndarray, names: tuple[str, ...]) -> "Calendar":
        """From features with these names; days of the week are counted, or written as sevenths."""
        kinds = [CALENDAR_NAMES.get("".join(x for x in name.casefold() if x.isalnum())) for name in names]
        time_T = values_TC[:, kinds.index(TIME_OF_DAY)].astype(np.float64) if TIME_OF_DAY in kinds else None
        day_T = values_TC[:, kinds.index(DAY_OF_WEEK)].astype(np.float64) if DAY_OF_WEEK in kinds else None
        if day_T is not None:
            day_T = np.round(day_T * (7 if np.nanmax(day_T) < 1 else 1))
        return cls(time_T, day_T)


def found_calendar(first_sensor_TC: np.ndarray, last_sensor_TC: np.ndarray) -> tuple[str | None, ...]:
    """Which features are a calendar, where no name says so: the same for the first and the last sensor, and a time of
    day that mostly goes on by one step, or days of the week.
    """
    kinds: list[str | None] = []
    for c in range(first_sensor_TC.shape[1]):
        one_T = first_sensor_TC[:, c].astype(np.float64)
        kind = None
        if c and np.array_equal(first_sensor_TC[:, c], last_sensor_TC[:, c]) and len(one_T) > 1:
            steps = np.diff(one_T) % 1
            inside = bool((one_T >= 0).all() and (one_T < 1).all())
            sevenths = np.round(one_T * 7)
            if set(np.unique(one_T)) <= set(range(7)) or (inside and np.allclose(one_T * 7, sevenths, atol=1e-4)):
                kind = DAY_OF_WEEK
            elif inside and np.mean(np.isclose(steps, np.median(steps), atol=1e-5)) > 0.9:
                kind = TIME_OF_DAY
        kinds.append(kind)
    return tuple(kinds)


def calendar_times(
    calendar: Calendar | None, num_steps: int, minutes: float | None, told_by: str, data: DataConfig
) -> tuple[Stamps, np.timedelta64, tuple[str, ...]]:
    """Times of the rows from --start on, the interval, and lines about them.

    Args:
        minutes: between rows, as the description has it; None: by --freq, or by the calendar.
    Raises:
        UserError: no start, no interval, a freq that the description contradicts, a time of day that stands still.
    """
    interval: np.timedelta64 | None = None if minutes is None else np.timedelta64(round(minutes * 60), "s")
    time_T = None if calendar is None else calendar.time_of_day_T
    if interval is None and time_T is not None and len(time_T) > 1:
        step = float(np.median(np.diff(time_T) % 1))
        interval = np.timedelta64(round(step * _DAY), "s") if step * _DAY >= 1 else None
    if data.freq is not None:
        asked = parse_freq(data.freq)
        if interval is not None and not same_interval(asked, interval):
            raise UserError(f"{told_by} has rows every {format_freq(interval)}, --freq says {data.freq}")
        interval = asked
    if interval is None:
        raise UserError(f"{told_by} does not say how far rows are apart: give --freq (such as 5min)")
    begins = _begin(calendar)
    if data.start is None:
        hint = f", {begins} by its calendar" if begins else ""
        raise UserError(f"{told_by} does not say when it begins: give --start (time of the first row{hint})")
    start = parse_time(data.start, "start")
    notes: tuple[str, ...] = ()
    first_T = start.times_T[:1]
    if calendar is not None and time_T is not None:
        differs = abs(float(fraction_of_day(first_T)[0]) - time_T[0]) * _DAY > 1
        days_T = calendar.day_of_week_T
        if differs or (days_T is not None and int(day_of_week(first_T)[0]) != days_T[0]):
            notes = (f"look: {told_by}: its calendar begins {begins}, --start is {data.start}: is the start right?",)
    steps_T, more = _steps(calendar, num_steps, interval, told_by)
    if steps_T is None:
        return start._replace(times_T=count_from(first_T[0], interval, num_steps)), interval, (*notes, *more)
    times_T = first_T[0] + steps_T * interval.astype("timedelta64[s]")
    return start._replace(times_T=times_T), interval, (*notes, *more)


def _begin(calendar: Calendar | None) -> str:
    if calendar is None or calendar.time_of_day_T is None:
        return ""
    minute = round(float(calendar.time_of_day_T[0]) * 1440)
    day = ""
    if calendar.day_of_week_T is not None and calendar.day_of_week_T[0] in range(7):
        day = f" of a {_DAYS[int(calendar.day_of_week_T[0])]}"
    return f"at {minute // 60:02d}:{minute % 60:02d}{day}"


def _steps(
    calendar: Calendar | None, num_steps: int, interval: np.timedelta64, told_by: str
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """(T,) int64 steps since the first row where the time of day skips; None: rows follow each other, or it is not
    known.
    """
    time_T = None if calendar is None else calendar.time_of_day_T
    seconds = int(interval.astype("timedelta64[s]").astype(np.int64)) if "M" not in str(interval.dtype) else 0
    if calendar is None or time_T is None or num_steps < 2 or not 0 < seconds < _DAY or _DAY % seconds:
        return None, ()
    a_day = _DAY // seconds
    exact_T = time_T * a_day
    place_T = np.round(exact_T).astype(np.int64)
    if not np.isfinite(exact_T).all() or np.abs(exact_T - place_T).max() > 0.05:
        return None, (f"look: {told_by}: its time of day does not go by {format_freq(interval)}: rows are counted",)
    steps_K = np.diff(place_T) % a_day
    if (still := np.flatnonzero(steps_K == 0)).size:
        raise UserError(f"row {int(still[0]) + 1} has the time of day of the row before: rows twice, or of other times")
    days_T = calendar.day_of_week_T
    if days_T is not None and np.isin(days_T, range(7)).all():
        over_K = (place_T[:-1] + steps_K) // a_day
        steps_K = steps_K + (np.diff(days_T).astype(np.int64) - over_K) % 7 * a_day
    if (steps_K == 1).all():
        return None, ()
    skips = np.flatnonzero(steps_K != 1)
    note = (
        f"{told_by}: the calendar skips {int((steps_K[skips] - 1).sum())} row(s), the first before row {skips[0] + 1}"
    )
    return np.concatenate([[0], np.cumsum(steps_K)]), (note,)
