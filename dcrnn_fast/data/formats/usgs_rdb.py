"""RDB files of the U.S. Geological Survey: comments, a line of names, a line of widths, then rows; and again so for
each site, whose columns may differ.

Shape legend: R rows, V columns of readings.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few
from dcrnn_fast.reading.tables import is_number

NO_VALUE = -999999.0
"""stands for a reading that is missing"""
_AT_ONCE = 50_000
_READING = re.compile(r"(?:\w+?_)?(\d{5})_(\d{5})")
_WIDTH = re.compile(r"\d+[snd]")
_CODE = re.compile(r"\*{1,3}|-{1,2}|[A-Za-z]{1,6}([ _][A-Za-z]{1,6})?")
"""what stands in place of a number: Ice, Eqp, Ssn, Bkw, ***"""
_DESCRIPTION = re.compile(r"#\s+\S+\s+(\d{5})\s+(\d{5})\s+(?:-?\d+\s+)?(\S.*)")


@dataclass(eq=False)
class RdbTable:
    """Rows of one header.

    Attributes:
        channels: of the V columns of readings, such as 00060_00003; one may come twice.
        sites, times: of the R rows, as the file has them; lines: their numbers in the file, from 1.
        values, texts, codes: a list of V for each row: numbers, NaN where there is none; what stands in place of one;
            and the qualifiers.
        described: channels in the words of the comments.
    """

    channels: tuple[str, ...]
    sites: list[str] = field(default_factory=list)
    times: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)
    codes: list[list[str]] = field(default_factory=list)
    described: dict[str, str] = field(default_factory=dict)

    def readings(self) -> np.ndarray:
        """(R, V) float64, NaN where there is no number."""
        return np.array(self.values, dtype=np.float64).reshape(len(self.lines), len(self.channels))

    def cells(self) -> Iterator[tuple[float, str, list[str]]]:
        """Each cell of readings: its number or NaN, the text in place of one, and its qualifiers."""
        for values, texts, codes in zip(self.values, self.texts, self.codes, strict=True):
            for value, text, code in zip(values, texts, codes, strict=True):
                yield value, text, re.split(r"[:\s,\[\]]+", code.strip())


def rdb_tables(path: Path) -> Iterator[RdbTable]:
    """The rows of a file, at most some ten thousand at a time; none if the server found no site.

    Raises:
        UserError: no RDB; an HTML page; no line of names before the rows; a row of another length; a cell that is
            neither a number nor a qualifier; instantaneous values; the line is named.
    """
    described: dict[str, str] = {}
    names: list[str] | None = None
    wants_widths, has_said = False, ""
    table: RdbTable | None = None
    places: list[tuple[int, int | None]] = []
    with path.open(encoding="cp1252", errors="replace", newline=None) as text:
        for number, line in enumerate(text, start=1):
            line = line.rstrip("\n")
            if line.startswith("#"):
                if (found := _DESCRIPTION.match(line)) is not None:
                    described[f"{found[1]}_{found[2]}"] = found[3].strip()
                if "No sites" in line or "no sites" in line:
                    has_said = line.strip("# /")
                continue
            if not line.strip():
                continue
            if line.lstrip().startswith("<"):
                raise UserError(
                    f"line {number} is HTML ({line.strip()[:40]!r}), a page that the server sent in place of data: "
                    "get the file again"
                )
            cells = line.split("\t")
            if cells[0] == "agency_cd":
                if table is not None and table.lines:
                    yield table
                names, wants_widths = cells, True
                table, places = _table(cells, number, described)
                continue
            if names is None or table is None:
                raise UserError(
                    f"line {number} is no RDB: wanted comments, then the names agency_cd, site_no, datetime"
                )
            if len(cells) != len(names):
                cause = "; is it truncated?" if len(cells) < len(names) else ""
                raise UserError(f"line {number} has {len(cells)} columns, its header has {len(names)}{cause}")
            if wants_widths:
                wants_widths = False
                if all(_WIDTH.fullmatch(cell) for cell in cells):
                    continue
            _add(table, names, places, cells, number)
            if len(table.lines) >= _AT_ONCE:
                yield table
                table = RdbTable(table.channels, described=described)
    if table is not None and table.lines:
        yield table
    if names is None and not has_said:
        raise UserError("holds no line of names (agency_cd, site_no, datetime, ..): truncated, or no RDB")


def _table(names: list[str], number: int, described: dict[str, str]) -> tuple[RdbTable, list[tuple[int, int | None]]]:
    """The table of a header, and which columns are readings and their qualifiers."""
    if absent := [name for name in ("site_no", "datetime") if name not in names]:
        raise UserError(f"line {number}: no column {absent[0]!r}; daily values have site_no and datetime")
    if "tz_cd" in names:
        raise UserError(
            f"line {number}: a column tz_cd, as instantaneous values have: daily values are wanted (of waterservices, "
            "dv in place of iv)"
        )
    found = [(k, _READING.fullmatch(name)) for k, name in enumerate(names)]
    readings = [(k, f"{match[1]}_{match[2]}") for k, match in found if match is not None]
    if not readings:
        raise UserError(
            f"line {number}: no column of readings, such as 07_00060_00003, among {first_few(names)}; an older export? "
            "get the file again"
        )
    places = [(k, names.index(f"{names[k]}_cd") if f"{names[k]}_cd" in names else None) for k, _ in readings]
    return RdbTable(tuple(channel for _, channel in readings), described=described), places


def _add(
    table: RdbTable, names: list[str], places: list[tuple[int, int | None]], cells: list[str], number: int
) -> None:
    site, time = cells[names.index("site_no")].strip(), cells[names.index("datetime")].strip()
    if not site or not time:
        raise UserError(f"line {number} has no {'site' if time else 'date'}; is it truncated?")
    values: list[float] = []
    texts: list[str] = []
    for k, _ in places:
        cell = cells[k].strip()
        value, text = np.nan, ""
        if is_number(cell):
            value = float(cell)
            if value == NO_VALUE:
                value, text = np.nan, cell
        elif cell and _CODE.fullmatch(cell):
            text = cell
        elif cell:
            raise UserError(f"line {number}, column {names[k]!r}: {cell[:40]!r} is no number and no qualifier")
        values.append(value)
        texts.append(text)
    table.values.append(values)
    table.texts.append(texts)
    table.codes.append(["" if code is None else cells[code] for _, code in places])
    table.sites.append(site)
    table.times.append(time)
    table.lines.append(number)
