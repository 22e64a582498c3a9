"""Times of the CF conventions ("days since 1950-01-01", any calendar) as ``datetime64[s]``.

Integers stay exact, and floats are rounded to their resolution: 26000 + 1/288 days misses its five minutes by some
nanoseconds. Any year will do, and the library cftime is not needed: a calendar is a way to count days.

Shape legend: T time.
"""

import re

import numpy as np

from dcrnn_fast.data.number_times import on_coarsest_grid
from dcrnn_fast.data.timestamps import Stamps, offset_name, whole_seconds
from dcrnn_fast.errors import UserError

_SECONDS = {
    **dict.fromkeys(("nanosecond", "nanosec", "ns"), 1e-9),
    **dict.fromkeys(("microsecond", "microsec", "us"), 1e-6),
    **dict.fromkeys(("millisecond", "millisec", "msec", "ms"), 1e-3),
    **dict.fromkeys(("second", "sec", "s"), 1),
    **dict.fromkeys(("minute", "min"), 60),
    **dict.fromkeys(("hour", "hr", "h"), 3600),
    **dict.fromkeys(("day", "d"), 86400),
    "week": 7 * 86400,
}
_REFERENCE = re.compile(
    r"(-?\d{1,5})-(\d{1,2})(?:-(\d{1,2}))?(?:[T ]+(\d{1,2})(?::(\d{1,2})(?::(\d{1,2})(?:\.\d*)?)?)?)?"
    r"\s*(Z|UTC|GMT|[+-]\d{1,2}(?::?\d{2})?)?",
    re.IGNORECASE,
)
NO_TIME = np.iinfo(np.int64).min
"""stands for no time among integers: xarray writes and reads it so, and declares no fill value"""
_DAY = 86400
_GREGORIAN_FROM = 2299161
"""Julian day number of 1582-10-15"""
_JULIAN_DAY_OF_1970 = 2440588
_MONTHS = {
    "noleap": (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31),
    "all_leap": (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31),
    "360_day": (30,) * 12,
}
_SAME = {"365_day": "noleap", "366_day": "all_leap", "gregorian": "standard", "": "standard"}


def cf_times(numbers_T: np.ndarray, units: str, calendar: str = "standard") -> Stamps:
    """The times of numbers in ``units`` since a date.

    A unit with a zone or an offset marks the times as UTC; without one their zone is not known.

    Raises:
        UserError: units that are no time since a date, a calendar that is not known or has days that no real year has
            (30 February), times closer than a second.
    """
    calendar = _SAME.get(calendar.casefold(), calendar.casefold())
    unit, _, since = units.strip().partition(" since ")
    reference = _REFERENCE.fullmatch(since.strip())
    plain = unit.strip().casefold()
    singular = plain if plain in _SECONDS else plain.removesuffix("s")
    known = singular in _SECONDS or singular == "month"
    if reference is None or not known or calendar not in ("standard", "proleptic_gregorian", "julian", *_MONTHS):
        raise UserError(
            f"its times ({units!r}, calendar {calendar!r}) are no times since a date: wanted such as 'hours since "
            "2000-01-01', of a calendar of the CF conventions"
        )
    known_T = np.isfinite(numbers_T) & (numbers_T != NO_TIME)
    if not known_T.all():
        raise UserError(f"row {int(np.argmin(known_T))} has no time")
    year, month, day, hour, minute, second = (
        int(part or default) for part, default in zip(reference.groups()[:6], (0, 0, 1, 0, 0, 0), strict=True)
    )
    lengths = _MONTHS["360_day" if calendar == "360_day" else "all_leap"]
    is_date = 1 <= month <= 12 and 1 <= day <= lengths[month - 1]
    if not (is_date and hour <= 24 and minute < 60 and second <= 60):
        raise UserError(f"its times are counted since {since.strip()[:40]!r}, which is no date")
    zone = None if reference[7] is None else offset_name(reference[7].upper().replace("UTC", "Z").replace("GMT", "Z"))
    start = hour * 3600 + minute * 60 + second - _offset_seconds(zone)
    in_utc = None if zone is None else True
    if singular == "month":
        return Stamps(_months_later(numbers_T, (year, month, day), start, calendar, units), in_utc, zone)
    first_day = _day_number(year, month, day, calendar)
    if numbers_T.dtype.kind in "iu" and _SECONDS[singular] >= 1:
        seconds_T = numbers_T.astype(np.int64) * int(_SECONDS[singular]) + start
    elif numbers_T.dtype.kind in "iu":
        tick = {1e-3: "ms", 1e-6: "us", 1e-9: "ns"}[_SECONDS[singular]]
        seconds_T = whole_seconds(numbers_T.astype(np.int64).astype(f"datetime64[{tick}]")).astype(np.int64) + start
    else:
        resolution = float(np.spacing(np.abs(numbers_T).max(initial=0))) * _SECONDS[singular]
        elapsed_T = numbers_T.astype(np.float64) * _SECONDS[singular]
        seconds_T = on_coarsest_grid(elapsed_T + start, resolution, f"its times ({units!r})").astype(np.int64)
    days_T, rest_T = np.divmod(seconds_T, _DAY)
    times_T = (_real_days(first_day + days_T, calendar) * _DAY + rest_T).astype("datetime64[s]")
    return Stamps(times_T, in_utc, zone)


def require_date(units: str) -> None:
    """Refuses a unit such as months or hours that is counted from no date; seconds and their parts may be since 1970.

    Raises:
        UserError: it is one.
    """
    word = (units.casefold().split() or [""])[0]
    singular = word if word in _SECONDS else word.removesuffix("s")
    if "%" not in units and (_SECONDS.get(singular, 0) > 1 or singular in ("month", "year")):
        raise UserError(f"its times ({units!r}) name no date that they are counted from: 'hours since 2000-01-01'")


def _offset_seconds(zone: str | None) -> int:
    if zone in (None, "UTC"):
        return 0
    assert zone is not None
    hours, minutes = map(int, zone[1:].split(":"))
    return (1 if zone[0] == "+" else -1) * (hours * 3600 + minutes * 60)


def _day_number(year: int, month: int, day: int, calendar: str) -> int:
    """Which day of its calendar this is: since 1970, or since year 0 in calendars of 360, 365 and 366 days."""
    if calendar in _MONTHS:
        lengths = _MONTHS[calendar]
        return year * sum(lengths) + sum(lengths[: month - 1]) + day - 1
    # The usual formulas for the Julian day number, of the Gregorian and the Julian calendar.
    a = (14 - month) // 12
    y, m = year + 4800 - a, month + 12 * a - 3
    common = day + (153 * m + 2) // 5 + 365 * y + y // 4
    gregorian, julian = common - y // 100 + y // 400 - 32045, common - 32083
    is_julian = calendar == "julian" or (calendar == "standard" and gregorian < _GREGORIAN_FROM)
    return (julian if is_julian else gregorian) - _JULIAN_DAY_OF_1970


def _real_days(days_T: np.ndarray, calendar: str) -> np.ndarray:
    """Days since 1970, int64, of the days of a calendar.

    Raises:
        UserError: a day that no real year, or not this one, has.
    """
    if calendar not in _MONTHS:
        return days_T
    starts = np.cumsum((0, *_MONTHS[calendar]))
    years_T, of_year_T = np.divmod(days_T, starts[-1])
    months_T = np.searchsorted(starts, of_year_T, side="right") - 1
    first_T = ((years_T - 1970) * 12 + months_T).astype("datetime64[M]")
    real_T = first_T.astype("datetime64[D]") + (of_year_T - starts[months_T])
    if (wrong := np.flatnonzero(real_T.astype("datetime64[M]") != first_T)).size:
        t = int(wrong[0])
        date = f"{years_T[t]:04d}-{months_T[t] + 1:02d}-{of_year_T[t] - starts[months_T[t]] + 1:02d}"
        raise UserError(
            f"row {t} is {date} of the calendar {calendar}, a day that does not exist: convert the series to the "
            "standard calendar first (xarray's convert_calendar), or give its monthly means"
        )
    return real_T.astype(np.int64)


def _months_later(
    numbers_T: np.ndarray, date: tuple[int, int, int], seconds: int, calendar: str, units: str
) -> np.ndarray:
    if (numbers_T != np.round(numbers_T)).any():
        raise UserError(f"times in {units!r} must be whole numbers: months differ in length")
    year, month, day = date
    months_T = (year - 1970) * 12 + month - 1 + numbers_T.astype(np.int64)
    if calendar in _MONTHS or calendar == "julian" or day > 28:
        raise UserError(f"times in {units!r}, calendar {calendar!r}, are not read: write them as days")
    return months_T.astype("datetime64[M]").astype("datetime64[s]") + np.timedelta64((day - 1) * _DAY + seconds, "s")
