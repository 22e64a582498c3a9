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
from dcrnn_fast.data.read_axis import make_from_file, times_of_texts
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.messages import about, one_line
from dcrnn_fast.graph.tables import is_number, plain_name

_TIME_NAMES = ("time", "timestamp", "datetime", "date", "")
_EMPTY_CELLS = ["", "nan", "NaN", "NAN", "NA", "null", "None"]


def read_csv(path: Path, data: DataConfig) -> SensorSeries:
    """A header with the sensor ids; the first column holds ISO times, or start and freq are given.

    Raises:
        UserError: not text, truncated, rows of different lengths, a cell that is no number, a header without ids.
    """
    with about(path):
        header, first_row, delimiter = _first_lines(path)
        has_times = bool(first_row[0]) and not is_number(first_row[0]) and first_row[0] not in _EMPTY_CELLS
        if not has_times and data.start is None and plain_name(header[0]) in _TIME_NAMES:
            raise UserError(
                f"its first column {header[0]!r} holds {first_row[0]!r}, which is no ISO time such as 2012-03-01T00:00"
            )
        ids = tuple(header[has_times:])
        if all(map(is_number, ids)) and any("." in sensor and float(sensor) % 1 for sensor in ids):
            raise UserError(f"its first line must name the sensors, it holds readings such as {ids[0]}: add a header")
        names = [f"column {k}" for k in range(len(header))]
        kinds = {name: pa.float64() for name in names}
        if has_times:
            kinds[names[0]] = pa.string()
        try:
            table = pyarrow.csv.read_csv(
                path,
                # One thread: only then do the messages name the row.
                pyarrow.csv.ReadOptions(use_threads=False, skip_rows=1, column_names=names),
                pyarrow.csv.ParseOptions(delimiter=delimiter),
                pyarrow.csv.ConvertOptions(column_types=kinds, null_values=_EMPTY_CELLS),
            )
        except pa.ArrowInvalid as error:
            raise UserError(f"is not a table of numbers, or truncated: {one_line(error)[:160]}") from error
        times_T, in_utc = times_of_texts(table[0].to_pylist()) if has_times else (None, False)
        readings_TN = _columns(table.select(names[has_times:]))
    return make_from_file(readings_TN, times_T, ids, path, data, in_utc=in_utc)


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
        in_utc = False
        if stamps:
            times_T = table[stamps[0]].to_numpy().astype("datetime64[s]")
            in_utc = getattr(kinds.pop(stamps[0]), "tz", None) not in (None, "UTC")
        elif (kinds and pa.types.is_string(table.schema.types[0])) or pa.types.is_large_string(table.schema.types[0]):
            times_T, in_utc = times_of_texts(table[0].to_pylist())
            kinds.pop(table.column_names[0])
        # An index of plain numbers that pandas stored beside the columns.
        names = [name for name in kinds if not name.startswith("__index_level_")]
        for name in names:
            if not (pa.types.is_floating(kinds[name]) or pa.types.is_integer(kinds[name])):
                raise UserError(f"column {name!r} must hold numbers, got {kinds[name]}")
        readings_TN = _columns(table.select(names))
    return make_from_file(readings_TN, times_T, tuple(names), path, data, in_utc=in_utc)


def _first_lines(path: Path) -> tuple[list[str], list[str], str]:
    """Header, first row and delimiter."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            lines = [line for line in islice(text, 2) if line.strip()]
    except UnicodeError as error:
        raise UserError(f"not a text file in UTF-8 ({one_line(error)[:80]})") from error
    if len(lines) < 2:
        raise UserError("wanted a header with the sensor ids and at least one row")
    delimiter = max((",", ";", "\t"), key=lines[0].count)
    header, row = ([cell.strip() for cell in cells] for cells in csv.reader(lines, delimiter=delimiter))
    if len(header) != len(row):
        raise UserError(f"the header names {len(header)} columns, the first row has {len(row)}")
    return header, row, delimiter


def _columns(table: Any) -> np.ndarray:
    """(T, N) float64, NaN for empty cells."""
    if table.num_columns == 0:
        raise UserError("no column with a sensor's readings")
    readings_TN = np.empty((table.num_rows, table.num_columns))
    for n, column in enumerate(table.itercolumns()):
        readings_TN[:, n] = column.cast(pa.float64()).to_numpy()
    return readings_TN
