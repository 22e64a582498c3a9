"""CSV and Parquet as a ``Table`` in memory: wide or long, as ``series_of_table`` finds out.

Shape legend: R rows.
"""

import json
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.formats import Opened, Source
from dcrnn_fast.data.formats.arrow_columns import (
    EMPTY_WORDS,
    arrow_column,
    first_rows,
    line_names,
    may_be_text,
    name_listed,
    numbers_or_texts,
)
from dcrnn_fast.data.formats.long_files import LongFile, open_long_files
from dcrnn_fast.data.long_table import ID_NAMES
from dcrnn_fast.data.table import Table, require_names_in_header, series_of_table
from dcrnn_fast.data.table_columns import Column, as_numbers, first_non_number
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import naming_file, one_line
from dcrnn_fast.reading.damage import damage_told
from dcrnn_fast.reading.tables import Row, is_number, notes_of_ends, plain_name, read_rows, table_form

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
                Column(title, numbers_or_texts(column))
                for title, column in zip(header.cells, table.itercolumns(), strict=True)
            )
        except (pa.ArrowInvalid, UnicodeError):
            # A cell of spaces, or one that is no number: slowly, and with the line that is wrong.
            lines, columns = _cell_by_cell(path, header)
            line_of = partial(name_listed, lines)
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
        if index is not None and _repeats_row_numbers(indices[0], columns[index]):
            columns, index = columns[:index] + columns[index + 1 :], None
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
    with naming_file(path):
        if path.stat().st_size < _LARGE:
            return None
        blocks = open_long_files([LongFile(path, path.name)], path.name, data)
        return None if blocks is None else (blocks, None)


def _index_columns(pandas_metadata: bytes) -> list[Any]:
    """The columns, or descriptions of ranges, that pandas noted as the table's index."""
    with damage_told("what pandas noted in it is damaged"):
        noted = json.loads(pandas_metadata).get("index_columns", [])
    if not isinstance(noted, list) or not all(isinstance(one, (str, dict)) for one in noted):
        raise UserError(f"what pandas noted in it is damaged: its index is {str(noted)[:60]}")
    return noted


def _repeats_row_numbers(name: str, column: Column) -> bool:
    """Whether an index without a name counts the rows of several tables that were put together."""
    cells = column.cells
    return name.startswith("__index_level_") and cells.dtype.kind in "iu" and len(np.unique(cells)) < len(cells)


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
