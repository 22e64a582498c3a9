"""Long tables in CSV and Parquet files, one or many, in pieces: a row for each time and sensor.

Shape legend: R rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.blocks import Blocks
from dcrnn_fast.data.formats.arrow_columns import EMPTY_WORDS, arrow_column, first_rows, line_names, may_be_text
from dcrnn_fast.data.formats.signatures import is_parquet, is_table
from dcrnn_fast.data.long_blocks import Rows, blocks_of_rows
from dcrnn_fast.data.long_rows import Layout, RowMaker
from dcrnn_fast.data.long_table import beside_a_forecast, find_roles
from dcrnn_fast.data.table import Table, numbers_rows, stamps_of, time_column_of
from dcrnn_fast.data.table_columns import Column, as_numbers, first_non_number, is_empty
from dcrnn_fast.data.timestamps import NameRow
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.positions import LATITUDE_NAMES, LONGITUDE_NAMES
from dcrnn_fast.messages import counted, first_few, naming_file, one_line
from dcrnn_fast.reading.tables import is_number, notes_of_ends, plain_name, read_rows, table_form

_BATCH = 1 << 15
"""rows of a Parquet file at a time"""
_BUFFER = 1 << 20
"""bytes of a Parquet column that are read at a time; without it a column lies in memory as far as its row group goes"""
_SAMPLE = 20_000
"""rows that tell which column is what"""
PARQUET_ENDINGS = (".parquet", ".pq")
Batch = tuple[dict[str, Any], NameRow]
"""Arrow columns by their names, and names of the rows"""


def holds_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its contents, or by its name if these are no text table either."""
    return is_parquet(path) or (path.suffix.lower() in PARQUET_ENDINGS and not is_table(path))


@dataclass(frozen=True)
class LongFile:
    """A file of a long table.

    Attributes:
        name: in messages.
        keys: what the names of its folders say, as columns: year=2024.
        texts: of a CSV file, columns to be read as texts whatever they hold; wanted: columns to be read; None: all.
    """

    path: Path
    name: str
    keys: tuple[tuple[str, str], ...] = ()
    texts: tuple[str, ...] = ()
    wanted: tuple[str, ...] | None = None

    def batches(self) -> Iterator[Batch]:
        """The file's rows from the first on.

        Raises:
            UserError: it cannot be read, is damaged or truncated, a cell is no number, a column comes twice.
        """
        with naming_file(self.path):
            of_kind = self._parquet if holds_parquet(self.path) else self._csv
            for table, name_row in of_kind():
                titles = table.column_names
                if len(set(titles)) != len(titles):
                    raise UserError(f"a column comes twice among {first_few(titles)}")
                columns = dict(zip(titles, table.columns, strict=True))
                for key, value in self.keys:
                    columns[key] = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(table), np.int32)), [value])
                yield columns, name_row

    def _parquet(self) -> Iterator[tuple[Any, NameRow]]:
        try:
            with pyarrow.parquet.ParquetFile(
                self.path, pre_buffer=False, buffer_size=_BUFFER, page_checksum_verification=True
            ) as file:
                start = 0
                wanted = None if self.wanted is None else list(self.wanted)
                for batch in file.iter_batches(_BATCH, columns=wanted, use_threads=False):
                    yield pa.Table.from_batches([batch]), _counted_from(start, self._row)
                    start += len(batch)
        except (pa.ArrowException, UnicodeError) as error:
            raise UserError(f"not a readable Parquet file, or a truncated one ({one_line(error)[:120]})") from error

    def _row(self, row: int) -> str:
        return f"{self.name}: row {row}"

    def _csv(self) -> Iterator[tuple[Any, NameRow]]:
        encoding, found = table_form(self.path)
        delimiter = found or ","
        if len(list(islice(read_rows(self.path), 2))) == 1:
            return  # names, and no row
        header, first = first_rows(self.path, found)
        titles = header.cells
        # An empty first cell says nothing: the column may be a label's.
        texts = [
            title in self.texts or may_be_text(title, cell) or is_empty(cell)
            for title, cell in zip(titles, first.cells, strict=True)
        ]
        kinds = {f"column {k}": pa.string() if is_text else pa.float64() for k, is_text in enumerate(texts)}
        wanted = [k for k, title in enumerate(titles) if self.wanted is None or title in self.wanted]
        lines = line_names(self.path, encoding, delimiter)

        def line(row: int) -> str:
            return f"{self.name}: {lines(row)}"

        start = 0
        try:
            reader = pyarrow.csv.open_csv(
                self.path,
                pyarrow.csv.ReadOptions(
                    skip_rows=header.line, column_names=list(kinds), encoding=encoding, use_threads=False
                ),
                pyarrow.csv.ParseOptions(delimiter=delimiter),
                pyarrow.csv.ConvertOptions(
                    column_types=kinds, null_values=EMPTY_WORDS, include_columns=[f"column {k}" for k in wanted]
                ),
            )
            for batch in reader:
                table = pa.Table.from_batches([batch]).rename_columns([titles[k] for k in wanted])
                yield table, _counted_from(start, line)
                start += len(batch)
        except (pa.ArrowException, UnicodeError) as error:
            numbers = [k for k in wanted if kinds[f"column {k}"] == pa.float64()]
            _blame(self.path, titles, numbers)
            raise UserError(f"not a readable table ({one_line(error)[:120]})") from error


def open_long_files(files: list[LongFile], where: str, data: DataConfig, notes: tuple[str, ...] = ()) -> Blocks | None:
    """The series of a long table's files, in pieces; None if their first rows are no long table's.

    Raises:
        UserError: as ``blocks_of_rows``, ``RowMaker.rows`` and ``LongFile.batches``.
    """
    sample = next((batch for file in files for batch in file.batches() if _num_rows(batch)), None)
    if sample is None:
        raise UserError(f"{where}: holds no row")
    layout = _layout_of(sample, data)
    if layout is None:
        return None
    maker = RowMaker(layout, data, column_of_arrow)
    empty: dict[str, None] = {}

    def all_rows() -> Iterator[Rows]:
        for file in files:
            count = 0
            for batch in file.batches():
                if _num_rows(batch):
                    yield maker.rows(*batch)
                    count += 1
            if not count:
                empty[file.name] = None

    def account() -> tuple[str, ...]:
        return (
            *notes,
            *notes_of_ends(file.path for file in files if not holds_parquet(file.path)),
            *([f"{where}: {counted(len(empty), 'file')} without a row: {first_few(empty)}"] if empty else []),
        )

    return blocks_of_rows(all_rows, where, units=maker.units, positions=maker.positions, notes=account)


def _layout_of(sample: Batch, data: DataConfig) -> Layout | None:
    """The layout by a file's first rows, as ``series_of_table`` finds it."""
    batch, name_row = sample
    columns = tuple(column_of_arrow(name, array[:_SAMPLE]) for name, array in batch.items())
    time = time_column_of(Table(columns=columns, name_row=name_row))
    if time is None:
        return None
    others = [c for c in columns if c is not time and not numbers_rows(c) and not _is_pandas_index(c)]
    stamps = stamps_of(time, name_row, data)
    if stamps is None or (roles := find_roles(others, stamps)) is None:
        return None
    sensor = others[roles.sensor].name
    sensors = others[roles.sensor].cells.astype(str)
    readings, labels, places = [], [], {}
    beside = beside_a_forecast(others, np.unique(stamps.times_T, return_inverse=True)[1])
    for k, column in enumerate(others):
        if k in (roles.sensor, roles.channel, roles.unit) or column.name in beside:
            continue
        name = plain_name(column.name)
        if column.is_text and first_non_number(column) is not None:
            labels.append(column.name)
        elif name in (*LATITUDE_NAMES, *LONGITUDE_NAMES) and _one_for_each(column, sensors):
            places["latitude" if name in LATITUDE_NAMES else "longitude"] = column.name
        else:
            readings.append(column.name)
    if not readings:
        raise UserError(f"no column of readings beside {sensor!r}")
    if roles.channel is not None and len(readings) > 1:
        raise UserError(
            f"beside column {others[roles.channel].name!r}, which names what each row is a reading of, one column of "
            f"readings is wanted, got {first_few(readings)}"
        )
    return Layout(
        time=time.name,
        sensors=(sensor,),
        readings=tuple(readings),
        channels=() if roles.channel is None else (others[roles.channel].name,),
        unit=None if roles.unit is None else others[roles.unit].name,
        labels=tuple(labels),
        places=(places["latitude"], places["longitude"]) if len(places) == 2 else None,
    )


def _is_pandas_index(column: Column) -> bool:
    """Whether pandas wrote it for an index without a name: the rows' numbers before they were chosen or sorted."""
    return column.name.startswith("__index_level_") and not column.is_text


def _one_for_each(column: Column, sensors: np.ndarray) -> bool:
    pairs = set(zip(sensors.tolist(), as_numbers(column).tolist(), strict=True))
    return len(pairs) == len(set(sensors.tolist()))


def column_of_arrow(name: str, array: Any) -> Column:
    """A ``Column`` of an Arrow array."""
    return arrow_column(name, array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array]), False)


def _num_rows(batch: Batch) -> int:
    return len(next(iter(batch[0].values()), ()))


def _counted_from(start: int, name: Callable[[int], str]) -> NameRow:
    return lambda row: name(start + row)


def _blame(path: Path, titles: list[str], numbers: list[int]) -> None:
    """Raises UserError that names the first line with a fault, if one is found."""
    for row in islice(read_rows(path), 1, None):
        if len(row.cells) != len(titles):
            cause = "; is it truncated?" if len(row.cells) < len(titles) else ""
            raise UserError(f"line {row.line} has {len(row.cells)} columns, the header has {len(titles)}{cause}")
        for k in numbers:
            if not is_number(row.cells[k]) and not is_empty(row.cells[k]):
                raise UserError(f"line {row.line}, column {titles[k]!r}: {row.cells[k][:40]!r} is no number")
