"""Times that are numbers: counted since 1970 in some unit, dates written as 20240131, or rows that are only counted.

Shape legend: T time. Seconds, milliseconds, microseconds and nanoseconds since 1970 of the years 1971 to 2100 are
numbers of different size: no number of one range lies in another, so that the unit need not be guessed.
"""

import numpy as np

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.timestamps import Stamps, whole_seconds
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few

_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_YEAR = 365 * 86400
_1900, _2100 = -2208988800, 4102444800
"""seconds since 1970"""
_GRIDS = (86400, 43200, 21600, 10800, 3600, 1800, 900, 600, 300, 120, 60, 30, 20, 15, 10, 5, 2, 1)
"""seconds: times that are known only roughly are multiples of one of these"""
_DATES = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


def number_times(numbers_T: np.ndarray, what: str, data: DataConfig) -> Stamps | None:
    """The times of an axis of numbers; None for a plain count if ``data`` has start and freq.

    Args:
        numbers_T: integers or floats; NaN is refused.
        what: their name in the message.

    Raises:
        UserError: they are no times, or none for sure; a plain count without start and freq.
    """
    if not np.isfinite(numbers_T).all():
        raise UserError(f"{what}: row {int(np.argmin(np.isfinite(numbers_T)))} has no time")
    if numbers_T.size == 0:
        raise UserError(f"{what}: no times")
    if is_count(numbers_T) or (data.start is not None and bool((np.diff(numbers_T) == 1).all())):
        if data.start is not None and data.freq is not None:
            return None
        raise UserError(
            f"{what} holds the plain count {_shown(numbers_T)}, no times: give --start (time of the first row) and "
            "--freq (such as 5min)"
        )
    if (dates_T := _written_dates(numbers_T, what)) is not None:
        return Stamps(dates_T)
    if (unit := unit_since_1970(numbers_T)) is None:
        steps = np.diff(numbers_T)
        cure = "write ISO times such as 2024-02-01T00:05"
        if (steps == 1).all():
            cure += ", or give --start and --freq"
        elif np.ptp(steps) == 0:  # without its column a series with gaps would have none
            cure += ", or take it out and give --start and --freq"
        raise UserError(f"{what} holds {_shown(numbers_T)}, which is {_would_be(numbers_T)}: {cure}")
    resolution = 0.0 if numbers_T.dtype.kind in "iu" else float(np.spacing(np.abs(numbers_T).max())) / _UNITS[unit]
    if resolution > 1e-3:
        return Stamps(on_coarsest_grid(numbers_T.astype(np.float64) / _UNITS[unit], resolution, what))
    if numbers_T.dtype.kind == "f" and unit == "s":
        numbers_T, unit = np.round(numbers_T.astype(np.float64) * 1000), "ms"
    return Stamps(whole_seconds(numbers_T.astype(np.int64).astype(f"datetime64[{unit}]")))


def is_count(numbers_T: np.ndarray) -> bool:
    """Whether these are 0, 1, 2 .. or 1, 2, 3 .."""
    return len(numbers_T) > 1 and numbers_T[0] in (0, 1) and bool((np.diff(numbers_T) == 1).all())


def is_surely_an_axis(numbers_T: np.ndarray) -> bool:
    """Whether a column of numbers can only be its table's axis, whatever its name: five rows or more that are counted
    one by one, or times since 1970 whose steps are multiples of the shortest.
    """
    if len(numbers_T) < 5 or not np.isfinite(numbers_T).all() or (numbers_T != np.floor(numbers_T)).any():
        return False
    steps = np.diff(numbers_T)
    even = steps.min() > 0 and not np.mod(steps, steps.min()).any()
    return bool(even) and (steps.max() == 1 or unit_since_1970(numbers_T) is not None)


def unit_since_1970(numbers_T: np.ndarray) -> str | None:
    """s, ms, us or ns if the numbers are times of 1900 to 2100 in that unit, and not all in or about 1970."""
    low, high = float(numbers_T.min()), float(numbers_T.max())
    for unit, ticks in _UNITS.items():
        outside_1970 = low >= _YEAR * ticks or low <= -_YEAR * ticks
        if outside_1970 and _1900 * ticks <= low and high <= _2100 * ticks:
            return unit
    return None


def on_coarsest_grid(seconds_T: np.ndarray, resolution: float, what: str) -> np.ndarray:
    """Times that their numbers know only to ``resolution`` seconds, as ``datetime64[s]``: on the coarsest of the usual
    grids (days, hours, minutes ..) from which none is further off than that.

    Raises:
        UserError: two rows get one time.
    """
    error = max(resolution, 1e-3)
    for grid in _GRIDS:
        rounded_T = np.round(seconds_T / grid) * grid
        if np.abs(rounded_T - seconds_T).max(initial=0.0) <= error:
            times_T = rounded_T.astype(np.int64).astype("datetime64[s]")
            if resolution > 1 and len(times_T) > 1 and (np.diff(times_T) <= np.timedelta64(0)).any():
                raise UserError(
                    f"{what}: its numbers resolve no more than {resolution:.3g} s, and rows fall on the same time: "
                    "write the times as integers or float64"
                )
            return times_T
    return whole_seconds(np.round(seconds_T * 1000).astype(np.int64).astype("datetime64[ms]"))


def _written_dates(numbers_T: np.ndarray, what: str) -> np.ndarray | None:
    """``datetime64[s]`` of 20240131, 2024013123, 202401312355 or 20240131235500, if all are such dates.

    The second and third lie in the range of seconds and milliseconds, but digits that are a real date and hour in every
    row are no count.

    Raises:
        UserError: all begin with a date, and one ends with no time of day.
    """
    if (numbers_T != np.floor(numbers_T)).any():
        return None
    for digits, form in _DATES.items():
        scale = 10 ** (digits - 8)
        if 1900_01_01 * scale <= numbers_T.min() and numbers_T.max() < 2101_01_01 * scale:
            import pandas as pd

            texts = pd.Series(numbers_T.astype(np.int64)).astype(str)
            dates = pd.to_datetime(texts, format=form, errors="coerce")
            if not dates.isna().any():
                return dates.to_numpy().astype("datetime64[s]")
            if digits > 8 and not pd.to_datetime(texts.str[:8], format="%Y%m%d", errors="coerce").isna().any():
                raise UserError(
                    f"{what}: {texts[dates.isna()].iloc[0]} is no time written as {form.replace('%', '')} "
                    "(hours are 00 to 23): write ISO times such as 2024-02-01T00:05"
                )
    return None


def _would_be(numbers_T: np.ndarray) -> str:
    low, high = float(numbers_T.min()), float(numbers_T.max())
    if numbers_T[0] == 0:
        return "counted from the first row on, so that its date is not known"
    if low >= 1900 and high <= 2100:
        return "a year, or a count"
    if low >= 20000 and high <= 80000:
        return "a day in the count of a spreadsheet or of some archive"
    if low >= 0 and high < _YEAR:
        return "in the year 1970 if it is seconds, and a count otherwise"
    return "in none of s, ms, µs and ns since 1970 a time between 1971 and 2100"


def _shown(numbers_T: np.ndarray) -> str:
    return first_few((f"{number:.15g}" for number in numbers_T[:3].tolist()), 3).replace("'", "") + (
        " .." if len(numbers_T) > 3 else ""
    )
