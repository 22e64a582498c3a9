"""Wide tables: a row for each time, a column for each sensor; CSV and Parquet.

Shape legend: T time, N sensors.
"""

import csv
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from dcrnn_fast.config.sections import DataConfig
from dcrnn_fast.data.read_axis import make_from_file
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.times import parse_times
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.messages import about, one_line
from dcrnn_fast.graph.tables import Row, is_number, plain_name, read_rows, table_form

_TIME_NAMES = ("time", "timestamp", "datetime", "date", "")
_EMPTY_CELLS = ["", "nan", "NaN", "NAN", "NA", "null", "None"]


def read_csv(path: Path, data: DataConfig) -> SensorSeries:
    """A header with the sensor ids; the first column holds ISO times, or start and freq are given.

    Raises:
        UserError: not text, truncated, rows of different lengths, a cell that is no number, a header without ids; the
            line of the file is named.
    """

    with about(path):
        encoding, found = table_form(path)
        delimiter = found or ","
        header, first_row = _first_rows(path, found)

        def line_of(row: int) -> str:
            with path.open(encoding=encoding, newline="") as text:
                reader = csv.reader(text, delimiter=delimiter)
                lines = (reader.line_num for cells in reader if cells)  # empty lines are no rows
                return f"line {next(islice(lines, row + 1, None))}"

        first = first_row.cells[0]
        has_times = bool(first) and not is_number(first) and first not in _EMPTY_CELLS
        if not has_times and data.start is None and plain_name(header.cells[0]) in _TIME_NAMES:
            raise UserError(
                f"its first column {header.cells[0]!r} holds {first!r}, which is no ISO time such as 2012-03-01T00:00"
            )
        ids = tuple(header.cells[has_times:])
        if all(map(is_number, ids)) and any("." in sensor and float(sensor) % 1 for sensor in ids):
            raise UserError(f"its first line must name the sensors, it holds readings such as {ids[0]}: add a header")
        names = [f"column {k}" for k in range(len(header.cells))]
        kinds = {name: pa.float64() for name in names}
        if has_times:
            kinds[names[0]] = pa.string()
        try:
            table = pyarrow.csv.read_csv(
                path,
                pyarrow.csv.ReadOptions(skip_rows=header.line, column_names=names, encoding=encoding),
                pyarrow.csv.ParseOptions(delimiter=delimiter),
                pyarrow.csv.ConvertOptions(column_types=kinds, null_values=_EMPTY_CELLS),
            )
        except (pa.ArrowInvalid, UnicodeError) as error:
            _require_numbers(path, header, has_times)
            raise UserError(f"is not a table of numbers, or truncated: {one_line(error)[:160]}") from error
        times_T, in_utc = parse_times(table[0].to_pylist(), line_of) if has_times else (None, None)
        readings_TN = _columns(table.select(names[has_times:]))
    return make_from_file(readings_TN, times_T, ids, path, data, in_utc=in_utc, name_row=line_of)


def read_parquet(path: Path, data: DataConfig) -> SensorSeries:
    """One column of timestamps (a pandas index is one), or a first column of ISO texts, or start and freq; every other
    column is a sensor.

    Raises:
        UserError: unreadable or truncated, several columns of timestamps, columns that are not numbers.
    """
    with about(path):
        try:
            table = pyarrow.parquet.read_table(path)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError) as error:
            raise UserError(f"not a readable Parquet file, or a truncated one ({one_line(error)[:120]})") from error
        kinds = dict(zip(table.column_names, table.schema.types, strict=True))
        if len(kinds) != table.num_columns:
            raise UserError("a sensor id comes twice")
        stamps = [name for name, kind in kinds.items() if pa.types.is_timestamp(kind)]
        if len(stamps) > 1:
            raise UserError(f"more than one column of times: {', '.join(stamps)}; leave one")
        times_T: np.ndarray | None = None
        in_utc: bool | None = None
        if stamps:
            times_T = table[stamps[0]].to_numpy().astype("datetime64[s]")
            in_utc = getattr(kinds.pop(stamps[0]), "tz", None) is not None
        elif (kinds and pa.types.is_string(table.schema.types[0])) or pa.types.is_large_string(table.schema.types[0]):
            times_T, in_utc = parse_times(table[0].to_pylist())
            kinds.pop(table.column_names[0])
        # An index of plain numbers that pandas stored beside the columns.
        names = [name for name in kinds if not name.startswith("__index_level_")]
        for name in names:
            if not (pa.types.is_floating(kinds[name]) or pa.types.is_integer(kinds[name])):
                raise UserError(f"column {name!r} must hold numbers, got {kinds[name]}")
        readings_TN = _columns(table.select(names))
    return make_from_file(readings_TN, times_T, tuple(names), path, data, in_utc=in_utc)


def _first_rows(path: Path, delimiter: str | None) -> tuple[Row, Row]:
    """Header and first row."""
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


def _require_numbers(path: Path, header: Row, has_times: bool) -> None:
    """Names the first line that is no row of numbers."""
    for row in islice(read_rows(path), 1, None):
        if len(row.cells) != len(header.cells):
            cause = "; is it truncated?" if len(row.cells) < len(header.cells) else ""
            raise UserError(f"line {row.line} has {len(row.cells)} columns, the header has {len(header.cells)}{cause}")
        for name, cell in zip(header.cells[has_times:], row.cells[has_times:], strict=True):
            if cell not in _EMPTY_CELLS and not is_number(cell):
                wanted = "numbers with a decimal point" if any(map(str.isdigit, cell)) else "numbers or empty cells"
                raise UserError(f"line {row.line}, column {name!r}: {cell[:40]!r} is no number; wanted {wanted}")


def _columns(table: Any) -> np.ndarray:
    """(T, N) float64, NaN for empty cells."""
    if table.num_columns == 0:
        raise UserError("no column with a sensor's readings")
    readings_TN = np.empty((table.num_rows, table.num_columns))
    for n, column in enumerate(table.itercolumns()):
        readings_TN[:, n] = column.cast(pa.float64()).to_numpy()
    return readings_TN
