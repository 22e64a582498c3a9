"""A table in memory, from any file, and its layout: a column for each sensor, or a row for each reading.

Shape legend: R rows, T time, N sensors.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.formats.shared import make_from_file
from dcrnn_fast.data.long_table import ID_NAMES, find_roles, pivot
from dcrnn_fast.data.number_times import is_surely_an_axis, number_times
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.table_columns import TIME_NAMES, Column, as_numbers, first_non_number
from dcrnn_fast.data.timestamps import NameRow, Stamps, parse_times
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few
from dcrnn_fast.reading.tables import plain_name

_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of one length.

    Attributes:
        index: which column the file itself declares as the index (Parquet from pandas), if any.
        name_row: a row's name in messages.
    """

    columns: tuple[Column, ...]
    name_row: NameRow
    index: int | None = None


_ROW_NAMES = ("", "unnamed0", "idx", "row", "rowid", "rowname", "rownames", "rownum", "rownumber", "rownr")


def series_of_table(table: Table, path: Path, data: DataConfig) -> SensorSeries:
    """The series of a table: wide (time, then a column for each sensor) or long (time, id, value ..).

    Raises:
        UserError: no times and no start and freq, or several columns of times; columns that hold no numbers; errors of
            ``pivot`` and ``make_from_file``.
    """
    require_names_in_header([column.name for column in table.columns])
    columns = list(table.columns)
    time_column = time_column_of(table)
    if time_column is not None:
        columns.remove(time_column)
        columns = [column for column in columns if not numbers_rows(column)]
    stamps = None if time_column is None else stamps_of(time_column, table.name_row, data)
    if stamps is not None and (roles := find_roles(columns, stamps)) is not None:
        return pivot(columns, roles, stamps, path, data, table.name_row)
    if stamps is None and (roles := find_roles(columns, None)) is not None:
        raise UserError(
            f"has a row for each reading (id {columns[roles.sensor].name!r}), but no column of times: name it time"
        )
    if not columns:
        raise UserError("no column with a sensor's readings")
    readings_TN = np.empty((len(columns[0].cells), len(columns)))
    for n, column in enumerate(columns):
        readings_TN[:, n] = _readings(column, table, stamps)
    ids = tuple(column.name for column in columns)
    notes: tuple[str, ...] = ()
    if time_column is not None and stamps is None and plain_name(time_column.name) not in TIME_NAMES:
        notes = (f"look: {path.name}: column {time_column.name!r} counts the rows and is not read as a sensor",)
    series = make_from_file(readings_TN, stamps, ids, path, data, name_row=table.name_row)
    return series.with_notes((*series.notes, *notes))


def require_names_in_header(names: list[str]) -> None:
    """Check that a header names sensors.

    Raises:
        UserError: it holds readings, or times: the table has no header, or lies on its side.
    """
    dates = [name for name in names[1:] if _DATE.fullmatch(name)]
    if len(dates) > 1 and len(dates) > len(names) // 2:
        raise UserError(
            f"its first line holds times such as {dates[0]!r}: a row for each time and a column for each sensor is "
            "wanted; transpose it"
        )


def time_column_of(table: Table) -> Column | None:
    """Dates by type, then by name, then the first column, if its content is times."""
    stamps = [column for column in table.columns if column.cells.dtype.kind == "M"]
    if table.index is not None:
        index = table.columns[table.index]
        if index in stamps or not stamps:
            return index
    if len(stamps) > 1:
        names = [plain_name(column.name) for column in stamps]
        named = [column for column, name in zip(stamps, names, strict=True) if name in TIME_NAMES]
        which = f"{named[0].name!r} alone" if len(named) == 1 else "one"
        raise UserError(f"more than one column of times: {first_few(c.name for c in stamps)}; leave {which}")
    if stamps:
        return stamps[0]
    named = [column for column in table.columns if column.name and plain_name(column.name) in TIME_NAMES]
    texts = [column for column in named if column.is_text]
    if texts or named:
        return (texts or named)[0]
    first = table.columns[0] if table.columns else None
    if first is None or first.cells.size == 0:
        return None
    second = table.columns[1] if len(table.columns) > 1 else first
    if numbers_rows(first) and second.is_text and first_non_number(second) is not None:
        return second
    if first.is_text and first_non_number(first) is not None:
        return None if plain_name(first.name) in ID_NAMES else first
    if not first.name or is_surely_an_axis(as_numbers(first)):
        return first
    return None


def numbers_rows(column: Column) -> bool:
    """Whether this is the index that pandas and R write in front of everything else, without a name or under one of its
    own: integers, another in each row.
    """
    if plain_name(column.name) not in _ROW_NAMES or (column.is_text and first_non_number(column) is not None):
        return False
    numbers = as_numbers(column)
    return len(np.unique(numbers)) == len(numbers) and bool((numbers == np.floor(numbers)).all())


def stamps_of(column: Column, name_row: NameRow, data: DataConfig) -> Stamps | None:
    """The times of a column of times; None for a plain count if ``data`` has start and freq.

    Raises:
        UserError: a row without a time, errors of ``parse_times`` and ``number_times``.
    """
    if column.cells.dtype.kind == "M":
        if (blank := np.flatnonzero(np.isnat(column.cells))).size:
            raise UserError(f"{name_row(int(blank[0]))} has no time")
        return column.stamps()
    if column.is_text and first_non_number(column) is not None:
        return parse_times(column.cells.tolist(), name_row)
    numbers_T = as_numbers(column)
    if (blank := np.flatnonzero(np.isnan(numbers_T))).size:
        raise UserError(f"{name_row(int(blank[0]))} has no time")
    return number_times(numbers_T, f"its column of times {column.name!r}", data)


def _readings(column: Column, table: Table, stamps: Stamps | None) -> np.ndarray:
    """(R,) float64 of a sensor's column."""
    if column.cells.dtype.kind == "M":
        raise UserError(f"column {column.name!r} holds times, no readings: take it out")
    row = first_non_number(column) if column.is_text else None
    if row is None:
        return as_numbers(column)
    if plain_name(column.name) in TIME_NAMES:
        raise UserError(
            f"column {column.name!r} ({column.cells[row]!r}) is a second column of times: join them into one, "
            "such as 2024-02-01T00:05"
        )
    cell, words = column.cells[row], column.cells.astype(str)
    if len({*words.tolist()}) <= len(words) // 2 and all(not part.strip(" -").isdigit() for part in words):
        what = "text or categories"
        hint = "take it out"
        if stamps is not None and len(np.unique(stamps.times_T)) < len(stamps.times_T):
            hint = "where it names the sensor of each row, call it id; else take it out"
        raise UserError(
            f"{table.name_row(row)}, column {column.name!r}: {str(cell)[:40]!r} is no number; the column holds {what}, "
            f"no readings: {hint}"
        )
    wanted = "numbers with a decimal point" if re.search(r"\d", str(cell)) else "numbers or empty cells"
    raise UserError(f"{table.name_row(row)}, column {column.name!r}: {str(cell)[:40]!r} is no number; wanted {wanted}")
