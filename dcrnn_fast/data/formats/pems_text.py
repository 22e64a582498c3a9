"""The text of one station file of PeMS: its columns some rows at a time, and the lines that are at fault."""

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from dcrnn_fast.data.formats.pems_files import Head, Period, is_packed, lines_in, unpacked
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import naming_file, one_line

READ = {"f0": "time", "f1": "station", "f8": "observed", "f9": "flow", "f10": "occupancy", "f11": "speed"}
"""the columns that are read, and what they hold"""
_AT_ONCE = 4 << 20
"""bytes of text that are parsed at a time"""
_TIME = re.compile(r"(\d\d)/(\d\d)/(\d{4}) (\d\d:\d\d:\d\d)")


def row_of(text: str | None, period: Period, head: Head) -> int:
    """The row of a time in its file's period, -1 if it is of another.

    Raises:
        UserError: it is no time, or between two steps; the line is named.
    """
    row = _row(text or "", period)
    if row is None:
        tell_fault(period, head)
        raise UserError(f"{period.path}: {text!r} is no time of its steps")
    return row if 0 <= row < period.rows else -1


def _row(text: str, period: Period) -> int | None:
    """Steps from the beginning of the period; None: no time, or between two steps."""
    found = _TIME.fullmatch(text)
    try:
        time = np.datetime64(f"{found[3]}-{found[1]}-{found[2]}T{found[4]}", "s") if found else None
    except ValueError:
        time = None
    steps = np.nan if time is None else (time - period.first) / period.step
    return int(steps) if steps == np.floor(steps) else None


def batches_of(period: Period, head: Head, names: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """The columns of a file, some rows at a time.

    Raises:
        UserError: the file is cut short, or a line is no row of it: it is named.
    """
    types = dict.fromkeys(names, pa.float32()) | {"f0": pa.dictionary(pa.int32(), pa.utf8()), "f1": pa.int64()}
    options = (
        csv.ReadOptions(
            use_threads=False,
            block_size=_AT_ONCE,
            skip_rows=head.skipped,
            column_names=[f"f{k}" for k in range(head.columns)],
        ),
        csv.ParseOptions(quote_char=False),
        csv.ConvertOptions(include_columns=list(names), column_types={name: types[name] for name in names}),
    )
    path = period.path
    with naming_file(path):
        try:
            source = pa.CompressedInputStream(str(path), "gzip") if is_packed(path) else pa.OSFile(str(path))
            with source:
                for batch in csv.open_csv(source, *options):
                    if batch.column(names.index("f1")).null_count:
                        tell_fault(period, head)
                    yield batch
        except (pa.ArrowInvalid, OSError) as error:
            tell_fault(period, head)
            raise UserError(f"is cut short or damaged ({one_line(error)[:120]}): fetch it again") from error


def tell_fault(period: Period, head: Head) -> None:
    """Raises UserError about the first line that is no row; nothing if there is none."""
    numbers = [int(name[1:]) for name in READ if name not in ("f0", "f1")]
    rows: dict[str, int | None] = {}
    with unpacked(period.path) as file:
        for number, line in enumerate(lines_in(file), start=1):
            cells = line.decode("latin-1").rstrip("\r\n").split(",")
            if number <= head.skipped or cells == [""]:
                continue
            is_row = len(cells) == head.columns and cells[1].isdecimal()
            if is_row and cells[0] not in rows:
                rows[cells[0]] = _row(cells[0], period)
            if not is_row or rows[cells[0]] is None or not all(_is_number(cells[k]) for k in numbers if cells[k]):
                got = line[:60].decode("latin-1").strip()
                raise UserError(
                    f"{period.path}: line {number} is no row: wanted {head.columns} columns, a time MM/DD/YYYY "
                    f"HH:MM:SS at a step of {period.kind} data, a station, numbers; got {got!r}"
                )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def stations_of(period: Period, head: Head) -> np.ndarray:
    """All stations of a file."""
    return np.unique(
        [one for batch in batches_of(period, head, ("f1",)) for one in pc.unique(batch.column(0)).to_pylist()]
    )
