"""Timestamps as files have them, read into ``datetime64[s]``: texts, zones, offsets, fractions of a second.

Shape legend: T time.
"""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dcrnn_fast.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

DAY = 86400
_YEAR_FIRST = re.compile(r"\d{4}")
_PLAIN = re.compile(r"(1[7-9]|2[01])\d\d-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?)?", re.ASCII)
_OFFSET = re.compile(r"[T ]\d.*(Z|[+-]\d{1,2}(:?\d{2})?)$")
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
    if (plain_T := _plain_times(texts)) is not None:
        return Stamps(plain_T, False)
    import pandas as pd  # half a second and 30 MiB, for times that have an offset or are at fault

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


def _plain_times(texts: Sequence[str | None]) -> np.ndarray | None:
    """``datetime64[s]`` of texts that are all written as 2012-03-01 00:05:00, or without seconds or a clock."""
    if not all(text is not None and _PLAIN.fullmatch(text) for text in texts):
        return None
    try:
        return np.array(texts, dtype="datetime64[s]")
    except ValueError:  # a 30th of February
        return None


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

    index = pd.DatetimeIndex(times)
    if zone is None:
        return index
    index = index.tz_localize("UTC")
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
