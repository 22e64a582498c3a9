"""CSV and Parquet as a ``Table`` in memory: wide or long, as ``series_of_table`` finds out.

Shape legend: R rows.
"""

import csv
import json
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from dcrnn_fast.config.sections import DataConfig, GraphConfig
from dcrnn_fast.data.formats import Opened, Source
from dcrnn_fast.data.long_table import ID_NAMES
from dcrnn_fast.data.table import Table, require_names_in_header, series_of_table
from dcrnn_fast.data.table_columns import EMPTY_CELLS, Column, as_numbers, first_non_number, is_empty
from dcrnn_fast.data.times import NameRow
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import naming_file, one_line
from dcrnn_fast.reading.damage import damage_told
from dcrnn_fast.reading.tables import Row, is_number, notes_of_ends, plain_name, read_rows, table_form

EMPTY_WORDS = sorted(
    {form for cell in EMPTY_CELLS for form in (cell, cell.upper(), cell.capitalize())} | {"NaN", "<NA>"}
)

_LARGE = 16 << 20
"""bytes of a file that is looked at for a long table, to be read in pieces"""


def read_csv(path: Path, data: DataConfig, graph: GraphConfig) -> Source:
    """A header, then a row for each time and a column for each sensor, or a row for each reading (time, id, value).

    Raises:
        UserError: not text, truncated, rows of different lengths, a cell that is no number, a header without ids; the
            line of the file is named.
    """
    with naming_file(path):
        encoding, found = table_form(path)
        delimiter = found or ","
        header, first_row = first_rows(path, found)
        line_of = line_names(path, encoding, delimiter)
        require_names_in_header(header.cells)
        numbers = [name for name in header.cells if is_number(name)]
        if len(numbers) >= len(header.cells) - 1 and any("." in name and float(name) % 1 for name in numbers):
            raise UserError(
                f"its first line must name the sensors, it holds readings such as {numbers[0]}: add a header"
            )
        names = [f"column {k}" for k in range(len(header.cells))]
        kinds = {
            name: pa.string() if may_be_text(title, cell) else pa.float64()
            for name, title, cell in zip(names, header.cells, first_row.cells, strict=True)
        }
        try:
            table = pyarrow.csv.read_csv(
                path,
                pyarrow.csv.ReadOptions(skip_rows=header.line, column_names=names, encoding=encoding),
                pyarrow.csv.ParseOptions(delimiter=delimiter),
                pyarrow.csv.ConvertOptions(column_types=kinds, null_values=EMPTY_WORDS),
            )
            columns = tuple(
                Column(title, _numbers_or_texts(column))
                for title, column in zip(header.cells, table.itercolumns(), strict=True)
            )
        except (pa.ArrowInvalid, UnicodeError):
            # A cell of spaces, or one that is no number: slowly, and with the line that is wrong.
            lines, columns = _cell_by_cell(path, header)
            line_of = partial(_name_listed, lines)
        series = series_of_table(Table(columns=columns, name_row=line_of), path, data)
        return series.with_notes((*series.notes, *notes_of_ends([path]))), None


def read_parquet(path: Path, data: DataConfig, graph: GraphConfig) -> Source:
    """One column of timestamps or dates (a pandas index is one), or a column of times by name, or start and freq; the
    others are sensors, or id and readings of a row for each reading.

    Raises:
        UserError: unreadable or truncated, several columns of timestamps, columns that are not numbers.
    """
    with naming_file(path):
        try:
            table = pyarrow.parquet.read_table(path, page_checksum_verification=True)
        except (pa.ArrowException, UnicodeError, OSError) as error:
            raise UserError(f"not a readable Parquet file, or a truncated one ({one_line(error)[:120]})") from error
        if len(set(table.column_names)) != table.num_columns:
            raise UserError("a sensor id comes twice")
        if not table.num_columns or not table.num_rows:
            raise UserError(f"holds {table.num_columns} columns of {table.num_rows} rows: no readings")
        stored = _index_columns((table.schema.metadata or {}).get(b"pandas", b"{}"))
        indices = [name for name in stored if isinstance(name, str) and name in table.column_names]
        columns = tuple(arrow_column(name, table[name], name in indices) for name in table.column_names)
        index = table.column_names.index(indices[0]) if len(indices) == 1 else None
        described = stored[0] if stored and isinstance(stored[0], dict) else None
        if described is not None and (described.get("start"), described.get("step")) != (0, 1):
            columns, index = (_range(described, table.num_rows), *columns), 0
        rows = Table(columns=columns, name_row=lambda row: f"row {row}", index=index)
        return series_of_table(rows, path, data), None


def open_csv(path: Path, data: DataConfig, graph: GraphConfig) -> Opened | None:
    """A large long table in pieces; None: another file, which is read whole.

    Raises:
        UserError: as ``read_csv``.
    """
    return _open_large(path, data)


def open_parquet(path: Path, data: DataConfig, graph: GraphConfig) -> Opened | None:
    """A large long table in pieces; None: another file, which is read whole.

    Raises:
        UserError: as ``read_parquet``.
    """
    return _open_large(path, data)


def _open_large(path: Path, data: DataConfig) -> Opened | None:
    from dcrnn_fast.data.formats.long_files import LongFile, open_long_files  # which is made of this module

    with naming_file(path):
        if path.stat().st_size < _LARGE:
            return None
        blocks = open_long_files([LongFile(path, path.name)], path.name, data)
        return None if blocks is None else (blocks, None)


def line_names(path: Path, encoding: str, delimiter: str) -> NameRow:
    """Names of rows, which look for the line once they are asked."""

    def line_of(row: int) -> str:
        with path.open(encoding=encoding, newline="") as text:
            reader = csv.reader(text, delimiter=delimiter)
            lines = (reader.line_num for cells in reader if cells)  # empty lines are no rows
            return f"line {next(islice(lines, row + 1, None))}"

    return line_of


def _name_listed(lines: list[int], row: int) -> str:
    return f"line {lines[row]}"


def _index_columns(pandas_metadata: bytes) -> list[Any]:
    """The columns, or descriptions of ranges, that pandas noted as the table's index."""
    with damage_told("what pandas noted in it is damaged"):
        noted = json.loads(pandas_metadata).get("index_columns", [])
    if not isinstance(noted, list) or not all(isinstance(one, (str, dict)) for one in noted):
        raise UserError(f"what pandas noted in it is damaged: its index is {str(noted)[:60]}")
    return noted


def may_be_text(title: str, cell: str) -> bool:
    """Whether a column is read as texts: by its first cell, or as the name of a sensor, which 00123 is too."""
    return (not is_number(cell) and not is_empty(cell)) or plain_name(title) in ID_NAMES


def _numbers_or_texts(column: Any) -> np.ndarray:
    if not pa.types.is_string(column.type):
        return column.to_numpy()
    return np.array(["" if cell is None else cell.strip() for cell in column.to_pylist()], dtype=object)


def arrow_column(name: str, column: Any, is_index: bool) -> Column:
    """A column of a Parquet file."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return arrow_column(name, column.cast(kind.value_type), is_index)
    title = "" if is_index and name.startswith("__index_level_") else name
    if pa.types.is_timestamp(kind):
        return Column(title, column.cast(pa.timestamp(kind.unit)).to_numpy(), kind.tz)
    if pa.types.is_date(kind):
        return Column(title, column.to_numpy().astype("datetime64[s]"))
    if pa.types.is_integer(kind) and column.null_count == 0:
        return Column(title, column.to_numpy())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Column(title, column.cast(pa.float64()).to_numpy())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        cells = ["" if cell is None else cell.strip() for cell in column.to_pylist()]
        return Column(title, np.array(cells, dtype=object))
    if pa.types.is_boolean(kind):
        return Column(title, column.cast(pa.int8()).cast(pa.float64()).to_numpy())
    if pa.types.is_null(kind):
        return Column(title, np.full(len(column), np.nan))
    raise UserError(f"column {name!r} must hold numbers, got {kind}: convert it, or take it out")


def _range(described: dict[str, Any], num_rows: int) -> Column:
    """An index of equal steps, which pandas keeps as start and step alone; nanoseconds since 1970 may be one."""
    start, step = described.get("start"), described.get("step")
    if not isinstance(start, int) or not isinstance(step, int) or abs(start) + abs(step) * num_rows >= 2**63:
        raise UserError(f"its index is damaged: a range from {start!r:.30} in steps of {step!r:.30}")
    return Column("", start + step * np.arange(num_rows))


def _cell_by_cell(path: Path, header: Row) -> tuple[list[int], tuple[Column, ...]]:
    """Lines and columns; cells of spaces are empty.

    Raises:
        UserError: a line with another number of cells than the header.
    """
    lines: list[int] = []
    cells: list[list[str]] = [[] for _ in header.cells]
    for row in islice(read_rows(path), 1, None):
        if len(row.cells) != len(header.cells):
            cause = "; is it truncated?" if len(row.cells) < len(header.cells) else ""
            raise UserError(f"line {row.line} has {len(row.cells)} columns, the header has {len(header.cells)}{cause}")
        lines.append(row.line)
        for listed, cell in zip(cells, row.cells, strict=True):
            listed.append(cell)
    columns = []
    for title, listed in zip(header.cells, cells, strict=True):
        column = Column(title, np.array(listed, dtype=object))
        is_id = plain_name(title) in ID_NAMES
        columns.append(column if is_id or first_non_number(column) is not None else Column(title, as_numbers(column)))
    return lines, tuple(columns)


def first_rows(path: Path, delimiter: str | None) -> tuple[Row, Row]:
    """Header and first row; ``delimiter`` is that of ``table_form``.

    Raises:
        UserError: fewer than two lines, or of different lengths; a header without delimiters.
    """
    rows = list(islice(read_rows(path), 2))
    if len(rows) < 2:
        raise UserError("wanted a header with the sensor ids and at least one row")
    header, row = rows
    if delimiter is None and len(header.cells) > 1:
        raise UserError(
            f"line {header.line} must name the sensors, with commas, semicolons or tabs between them; got "
            f"{' '.join(header.cells)[:40]!r}"
        )
    if len(header.cells) != len(row.cells):
        raise UserError(
            f"line {header.line}, the header, has {len(header.cells)} column(s), line {row.line} has {len(row.cells)}"
        )
    return header, row
