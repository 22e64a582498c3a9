"""Daily values of the U.S. Geological Survey: RDB of waterservices.usgs.gov, and CSV of api.waterdata.usgs.gov.

A file, or a folder with a file for each site. A channel is a parameter and a statistic: 00060_00003 is the daily mean
of discharge.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.formats import Opened
from dcrnn_fast.data.formats.folder_files import accompanies, note_of_left
from dcrnn_fast.data.formats.long_files import LongFile, column_of_arrow
from dcrnn_fast.data.formats.usgs_rdb import NO_VALUE, RdbTable, rdb_tables
from dcrnn_fast.data.long_blocks import Rows, blocks_of_rows
from dcrnn_fast.data.long_rows import Layout, RowMaker
from dcrnn_fast.data.timestamps import NameRow, Stamps, parse_times
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import counted, first_few, naming_file
from dcrnn_fast.reading.tables import notes_of_ends, read_rows

_UNITS = {"00060": "ft^3/s", "00065": "ft", "00010": "degC", "00045": "in", "00095": "uS/cm", "00300": "mg/l"}
"""of parameters, as the CSV names them: RDB has them in words only"""
_APPROVED = {"A", "Approved"}
_PROVISIONAL = {"P", "Provisional"}
_ESTIMATED = {"e", "E", "ESTIMATED"}


@dataclass(eq=False)
class _Tally:
    """The account of one pass: cells by their qualifiers, and files without a row."""

    provisional: int = 0
    estimated: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    empty_files: list[str] = field(default_factory=list)
    described: dict[str, str] = field(default_factory=dict)

    def count(self, value: float, text: str, codes: list[str], times: int = 1) -> None:
        """A cell: a number, or NaN with the text that stands in its place; and its qualifiers."""
        if np.isnan(value):
            known = ("", *_APPROVED, *_PROVISIONAL, *_ESTIMATED)
            self.missing[text or next((code for code in codes if code not in known), "no value")] += times
            return
        self.provisional += times * any(code in _PROVISIONAL for code in codes)
        self.estimated += times * any(code in _ESTIMATED for code in codes)

    def lines(self, where: str) -> tuple[str, ...]:
        """The account."""
        lines = [f"{where}: channel {name} is {text}" for name, text in self.described.items()]
        if self.provisional:
            lines.append(f"{where}: {self.provisional:,} provisional readings are kept: they may still be revised")
        if self.estimated:
            lines.append(f"{where}: {self.estimated:,} estimated readings are kept")
        if self.missing:
            parts = ", ".join(f"{count:,} {text!r}" for text, count in self.missing.most_common(8))
            lines.append(f"{where}: cells without a number are missing readings: {parts}")
        if self.empty_files:
            lines.append(
                f"{where}: {counted(len(self.empty_files), 'file')} without a row: {first_few(self.empty_files)}"
            )
        return tuple(lines)


def open_usgs(path: Path, data: DataConfig, graph: GraphConfig) -> Opened:
    """The sites of a file, or of all files of a folder, in the order in which they first come.

    Raises:
        UserError: an error page, instantaneous values, a line of another length than its header (truncated), a cell
            that is neither a number nor a qualifier; two readings of one site and day that differ; the file and the
            line are named.
    """
    with naming_file(path):
        names = [""] if path.is_file() else sorted(one.name for one in path.iterdir() if one.is_file())
        left = [name for name in names if accompanies(name)]
        files = [path / name if name else path for name in names if name not in left]
        if not files:
            raise UserError("holds no file of daily values")
    tallies = [_Tally()]
    makers: dict[Layout, RowMaker] = {}

    def all_rows() -> Iterator[Rows]:
        tally = tallies[0] = _Tally()
        for file in files:
            with naming_file(file):
                yield from _rdb_rows(file, tally) if _is_rdb(file) else _csv_rows(file, data, makers, tally)
        if len(tally.empty_files) == len(files):
            raise UserError(
                f"{path.name}: no row of readings in {counted(len(files), 'file')}: so the service answers where it "
                "finds no site, or none with daily values"
            )

    def units(channels: tuple[str, ...]) -> tuple[str, ...]:
        told = {channel: unit for maker in makers.values() for channel, unit in maker.unit_of.items()}
        return tuple(told.get(channel) or _UNITS.get(channel.split("_")[0], "") for channel in channels)

    def positions(ids: tuple[str, ...]) -> np.ndarray | None:
        return next((maker.positions(ids) for maker in makers.values()), None)

    blocks = blocks_of_rows(
        all_rows,
        path.name,
        units=units,
        positions=positions,
        marks_gaps=True,
        notes=lambda: (*tallies[0].lines(path.name), *notes_of_ends(files), *note_of_left(path, left)),
    )
    return blocks, None


def _is_rdb(path: Path) -> bool:
    """Whether it is RDB, or a page that the server sent in place of it; CSV has its header in the first line."""
    with path.open("rb") as file:
        head = file.read(4096).lstrip()
    return not re.match(rb"[\w,\"]*\bmonitoring_location_id\b", head)


def _rdb_rows(path: Path, tally: _Tally) -> Iterator[Rows]:
    has_rows = False
    for table in rdb_tables(path):
        has_rows = True
        tally.described |= table.described
        for value, text, codes in table.cells():
            tally.count(value, text, codes)
        yield _rows_of(table, path)
    if not has_rows:
        tally.empty_files.append(path.name)


def _rows_of(table: RdbTable, path: Path) -> Rows:
    def name_row(row: int) -> str:
        return f"{path.name}: line {table.lines[row]}"

    sites, first, site_R = np.unique(np.array(table.sites, dtype=object), return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    stamps = _days(table, name_row)
    return Rows(stamps, [str(sites[k]) for k in order], rank[site_R], table.channels, table.readings(), name_row)


def _days(table: RdbTable, name_row: NameRow) -> Stamps:
    days, day_R = np.unique(np.array(table.times), return_inverse=True)
    first = {day: k for k, day in reversed(list(enumerate(table.times)))}
    stamps = parse_times(days.tolist(), lambda k: name_row(first[str(days[k])]))
    return stamps._replace(times_T=stamps.times_T[day_R])


def _csv_rows(path: Path, data: DataConfig, makers: dict[Layout, RowMaker], tally: _Tally) -> Iterator[Rows]:
    header, *first = islice(read_rows(path), 2)
    titles = header.cells
    if absent := [name for name in ("time", "value") if name not in titles]:
        raise UserError(f"line {header.line}: no column {absent[0]!r} among {first_few(titles)}")
    if not first:
        tally.empty_files.append(path.name)
        return
    has_place = {"x", "y"} <= set(titles) and bool(dict(zip(titles, first[0].cells, strict=False)).get("x"))
    layout = Layout(
        time="time",
        sensors=("monitoring_location_id",),
        readings=("value",),
        channels=tuple(name for name in ("parameter_code", "statistic_id") if name in titles),
        unit="unit_of_measure" if "unit_of_measure" in titles else None,
        places=("y", "x") if has_place else None,
    )
    maker = makers.setdefault(layout, RowMaker(layout, data, column_of_arrow, sensor_id=_site))
    told = tuple(name for name in ("approval_status", "qualifier") if name in titles)
    texts = tuple(title for title in titles if title not in ("value", "x", "y"))
    for batch, name_row in LongFile(path, path.name, texts=texts, wanted=(*layout.columns, *told)).batches():
        rows = maker.rows(batch, name_row)
        values_R = rows.values_RV[:, 0]
        values_R[values_R == NO_VALUE] = np.nan
        columns: dict[str, Any] = {name: batch[name] for name in told}
        cells = pa.table(columns | {"empty": pa.array(np.isnan(values_R))})
        for found in cells.group_by(cells.column_names).aggregate([([], "count_all")]).to_pylist():
            codes = [code for name in told for code in re.findall(r"[^\s,\[\]'\"]+", found[name] or "")]
            tally.count(np.nan if found["empty"] else 0.0, "", codes, found["count_all"])
        yield rows


def _site(location: str) -> str:
    """USGS-01491000 is the site 01491000 of RDB; another agency's keeps its name."""
    return location.removeprefix("USGS-")
