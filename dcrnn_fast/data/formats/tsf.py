"""Monash .tsf: a header of @ lines, then a line for each series, with its own start and length, on one common grid.

The first pass over the lines finds names, starts and lengths; the second lays the readings into a scratch file, from
which the series is read in the order of time. Memory holds one line.

Shape legend: T time, R rows of a block, N series, K readings of one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dcrnn_fast.config.sections import DataConfig, GraphConfig
from dcrnn_fast.data.blocks import Blocks
from dcrnn_fast.data.formats import Opened
from dcrnn_fast.data.formats.shared import stamps_of_file
from dcrnn_fast.data.long_table import require_enough_rows
from dcrnn_fast.data.pieces import row_pieces
from dcrnn_fast.data.scratch import scratch
from dcrnn_fast.data.times import Stamps, count_from, format_freq, is_months, parse_freq, same_interval
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted, first_few, naming_file
from dcrnn_fast.reading.tables import is_number

_SPELLED = {
    "secondly": "1s",
    "minutely": "1min",
    "half_hourly": "30min",
    "hourly": "1h",
    "daily": "1D",
    "weekly": "1W",
    "monthly": "1MS",
    "quarterly": "3MS",
    "yearly": "12MS",
}
_COUNTED = re.compile(r"(\d+)_(second|minute|hour|day|week|month)s?")
_UNITS = {"second": "s", "minute": "min", "hour": "h", "day": "D", "week": "W", "month": "MS"}
_AT_ONCE = 1 << 18
"""readings of a block: 2 MiB; letters of a line's values that are split at a time, some 20 MiB"""
_START = re.compile(r"(\d{4}-\d\d-\d\d)(?: (\d\d)-(\d\d)-(\d\d))?")


@dataclass
class _Header:
    """The @ lines: attributes are (name, type)."""

    attributes: list[tuple[str, str]] = field(default_factory=list)
    frequency: str | None = None
    horizon: str | None = None
    missing: bool = False
    equal_length: bool = False


@dataclass(frozen=True, slots=True)
class _Series:
    """A line of readings: where it stands, and how many it has."""

    line: int
    name: str
    start: np.datetime64 | None
    count: int


def open_tsf(path: Path, data: DataConfig, graph: GraphConfig) -> Opened:
    """All series of a file, each a sensor, from the first start to the last end.

    Raises:
        UserError: no header or no series; a line with another number of attributes, a value that is no number, a name
            that comes twice, lengths that differ where the header says that they are equal (truncated); a start that
            lies between two times of the grid; no frequency and no --freq, or two that differ; no starts and no
            --start; no room for the scratch file; the line is named.
    """
    with naming_file(path):
        encoding = _encoding(path)
        header, series = _read(path, encoding)
        interval = _interval(header, data)
        if header.equal_length and len({one.count for one in series}) > 1:
            wanted = series[0].count
            other = next(one for one in series if one.count != wanted)
            raise UserError(
                f"line {other.line} has {other.count} values, line {series[0].line} has {wanted}, and "
                "@equallength says true: is the file truncated?"
            )
        first = min((one.start for one in series if one.start is not None), default=None)
        row_N = [_row_of_start(one, first, interval) for one in series]
        num_steps = max(row + one.count for row, one in zip(row_N, series, strict=True))
        require_enough_rows(sum(one.count for one in series), (num_steps, len(series), 1), "", "")
        stamps = None if first is None else Stamps(count_from(first, interval, num_steps), False)
        stamps = stamps_of_file(stamps, num_steps, path, replace(data, freq=format_freq(interval)))
        readings_NT = scratch((len(series), num_steps), f"its {num_steps:,} times of {len(series):,} series")
        known = _lay(path, encoding, series, row_N, readings_NT)

    def read() -> Iterator[np.ndarray]:
        for rows in row_pieces((num_steps, len(series)), readings=_AT_ONCE):
            yield np.ascontiguousarray(readings_NT[:, rows].T)[:, :, None]

    blocks = Blocks(
        stamps=stamps,
        ids=tuple(one.name for one in series),
        channels=("value",),
        units=("",),
        where=path.name,
        read=read,
        marks_gaps=header.missing or known < readings_NT.size,
        interval=interval,
        notes=tuple(_notes(path, header, series, row_N, num_steps)),
    )
    return blocks, None


def _lay(path: Path, encoding: str, series: list[_Series], row_N: list[int], readings_NT: np.ndarray) -> int:
    """Puts the readings at their places, NaN around them; the number of those that are not missing."""
    known, lines = 0, _lines(path, encoding)
    for n, (row, one) in enumerate(zip(row_N, series, strict=True)):
        text = next(text for number, text in lines if number == one.line)
        values_K = _values(text.strip().rpartition(":")[2], one.line)
        readings_NT[n] = np.nan
        readings_NT[n, row : row + one.count] = values_K
        known += int((~np.isnan(values_K)).sum())
    return known


def _notes(path: Path, header: _Header, series: list[_Series], row_N: list[int], num_steps: int) -> Iterator[str]:
    late = sum(row > 0 for row in row_N)
    early = sum(row + one.count < num_steps for row, one in zip(row_N, series, strict=True))
    if late or early:
        yield (
            f"{path.name}: {len(series)} series on {num_steps:,} common times: {late} begin later and {early} end "
            "earlier; what they lack is missing"
        )
    if series[0].start is None and len({one.count for one in series}) > 1:
        yield f"look: {path.name}: series of different lengths without starts are laid to begin together"
    if header.horizon:
        yield f"{path.name}: its benchmark forecasts {header.horizon} steps (--future-steps)"
    if spare := [name for name, kind in header.attributes if kind not in ("date",)][1:]:
        yield f"{path.name}: attributes that are not read: {first_few(spare)}"


def _encoding(path: Path) -> str:
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            with path.open(encoding=encoding) as file:
                while file.read(_AT_ONCE):
                    pass
        except UnicodeDecodeError:
            continue
        return encoding
    raise UserError("not a text file in UTF-8 or cp1252")


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """The lines with their numbers, from 1 on."""
    with path.open(encoding=encoding) as file:
        yield from enumerate((line for text in file for line in text.splitlines()), start=1)


def _read(path: Path, encoding: str) -> tuple[_Header, list[_Series]]:
    """All but the readings."""
    header, series, in_data = _Header(), [], False
    lines: dict[str, int] = {}
    for number, raw in _lines(path, encoding):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("@") and not in_data:
            in_data = _take(header, line, number)
            continue
        if not in_data:
            raise UserError(
                f"line {number} is no line of a header: wanted @relation, @attribute .. and @data before it"
            )
        one = _series(header, line, number)
        if one.name in lines:
            raise UserError(f"line {number}: series {one.name!r} comes twice, first in line {lines[one.name]}")
        lines[one.name] = number
        series.append(one)
    if not in_data:
        raise UserError("holds no @data line: truncated, or no .tsf file")
    if not series:
        raise UserError("holds no series after @data: is it truncated?")
    return header, series


def _take(header: _Header, line: str, number: int) -> bool:
    """Notes a line of the header; whether it is the last."""
    word, *rest = line.split()
    if word == "@data":
        return True
    value = rest[0] if rest else ""
    if word == "@attribute":
        if len(rest) != 2 or rest[1] not in ("string", "date", "numeric"):
            raise UserError(f"line {number}: wanted @attribute NAME string, date or numeric, got {line[:60]!r}")
        header.attributes.append((rest[0], rest[1]))
    elif word == "@frequency":
        header.frequency = value
    elif word == "@horizon":
        header.horizon = value
    elif word == "@missing":
        header.missing = value.casefold() == "true"
    elif word == "@equallength":
        header.equal_length = value.casefold() == "true"
    return False


def _series(header: _Header, line: str, number: int) -> _Series:
    *attributes, values = line.split(":")
    if len(attributes) != len(header.attributes):
        cause = "; is it truncated?" if len(attributes) < len(header.attributes) else ""
        raise UserError(
            f"line {number} has {counted(len(attributes), 'attribute')}, the header names "
            f"{len(header.attributes)}{cause}"
        )
    name, start = "", None
    for (attribute, kind), text in zip(header.attributes, attributes, strict=True):
        if kind == "date":
            start = _parsed_start(text, number)
        elif not name or attribute == "series_name":
            name = text.strip()
    return _Series(number, name or f"T{number}", start, values.count(",") + 1)


def _values(text: str, line: int) -> np.ndarray:
    """(K,) float64 of the values of a line, NaN where missing."""
    pieces: list[np.ndarray] = []
    at, stop = 0, -1
    while stop != len(text):
        stop = text.find(",", at + _AT_ONCE)
        stop = len(text) if stop < 0 else stop
        cells = text[at:stop].split(",")
        try:
            pieces.append(np.array([np.nan if cell.strip() == "?" else float(cell) for cell in cells]))
        except ValueError:
            k = next(k for k, cell in enumerate(cells) if cell.strip() != "?" and not is_number(cell))
            value = sum(map(len, pieces)) + k + 1
            raise UserError(
                f"line {line}, value {value}: {cells[k][:40]!r} is no number; a missing one is written ?"
            ) from None
        at = stop + 1
    return np.concatenate(pieces)


def _parsed_start(text: str, number: int) -> np.datetime64:
    found = _START.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError
        return np.datetime64(f"{found[1]}T{':'.join(x or '00' for x in found.groups()[1:])}", "s")
    except ValueError:
        raise UserError(f"line {number}: a start is written 2024-02-01 00-05-00, got {text[:40]!r}") from None


def _interval(header: _Header, data: DataConfig) -> np.timedelta64:
    told = None
    if header.frequency is not None:
        counted_unit = _COUNTED.fullmatch(header.frequency)
        spelled = _SPELLED.get(header.frequency)
        if counted_unit is not None:
            spelled = counted_unit[1] + _UNITS[counted_unit[2]]
        if spelled is None and data.freq is None:
            raise UserError(f"@frequency {header.frequency[:40]!r} is not known: give --freq (such as 5min)")
        told = None if spelled is None else parse_freq(spelled)
    if data.freq is None:
        if told is None:
            raise UserError("names no @frequency: give --freq (such as 5min)")
        return told
    asked = parse_freq(data.freq)
    if told is not None and not same_interval(asked, told):
        raise UserError(f"@frequency is {header.frequency}, --freq says {data.freq}")
    return asked


def _row_of_start(one: _Series, first: np.datetime64 | None, interval: np.timedelta64) -> int:
    """The row of the common grid at which a series begins."""
    if one.start is None or first is None:
        return 0
    if is_months(interval):
        months = int((one.start.astype("datetime64[M]") - first.astype("datetime64[M]")).astype(int))
        row, rest = divmod(months, int(interval.astype(int)))
    else:
        seconds, step = int((one.start - first).astype(int)), int(interval.astype("timedelta64[s]").astype(int))
        row, rest = divmod(seconds, step)
    if rest:
        raise UserError(
            f"line {one.line}: series {one.name!r} begins at {one.start}, which is no multiple of "
            f"{format_freq(interval)} after {first}, where the earliest begins: series of one grid are wanted"
        )
    return row
