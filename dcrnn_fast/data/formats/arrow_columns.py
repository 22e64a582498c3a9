"""Headers and columns of tables that pyarrow reads: what is text and what a number, and at which line."""

import csv
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from dcrnn_fast.data.long_table import ID_NAMES
from dcrnn_fast.data.table_columns import EMPTY_CELLS, Column, is_empty
from dcrnn_fast.data.timestamps import NameRow
from dcrnn_fast.errors import UserError
from dcrnn_fast.reading.tables import Row, is_number, plain_name, read_rows

EMPTY_WORDS = sorted(
    {form for cell in EMPTY_CELLS for form in (cell, cell.upper(), cell.capitalize())} | {"NaN", "<NA>"}
)


def line_names(path: Path, encoding: str, delimiter: str) -> NameRow:
    """Names of rows, which look for the line once they are asked."""

    def line_of(row: int) -> str:
        with path.open(encoding=encoding, newline="") as text:
            reader = csv.reader(text, delimiter=delimiter)
            lines = (reader.line_num for cells in reader if cells)  # empty lines are no rows
            return f"line {next(islice(lines, row + 1, None))}"

    return line_of


def name_listed(lines: list[int], row: int) -> str:
    return f"line {lines[row]}"


def may_be_text(title: str, cell: str) -> bool:
    """Whether a column is read as texts: by its first cell, or as the name of a sensor, which 00123 is too."""
    return (not is_number(cell) and not is_empty(cell)) or plain_name(title) in ID_NAMES


def numbers_or_texts(column: Any) -> np.ndarray:
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
