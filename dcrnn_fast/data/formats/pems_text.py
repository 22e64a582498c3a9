"""The text of one station file of PeMS: its columns some rows at a time, and the lines that are at fault."""

import re
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from dcrnn_fast.data.formats.pems_files import Head, Period, unpacked
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import naming_file, one_line

READ = {"f0": "time", "f1": "station", "f8": "observed", "f9": "flow", "f10": "occupancy", "f11": "speed"}
"""the columns that are read, and what they hold"""
_AT_ONCE = 4 << 20
"""bytes of text that are parsed at a time"""
_TIME = re.compile(r"(\d\d)/(\d\d)/(\d{4}) (\d\d:\d\d:\d\d)")


def row_of(text: str | None, period: Period) -> int:
    """The row of a time in its file's period, -1 if it is of another.

    Raises:
        UserError: it is no time, or between two steps.
    """
    found = _TIME.fullmatch(text or "")
    try:
        time = np.datetime64(f"{found[3]}-{found[1]}-{found[2]}T{found[4]}", "s") if found else None
    except ValueError:
        time = None
    if time is None:
        raise UserError(f"{_line_of(period, lambda cells: cells[0] == (text or ''))}: {text!r} is no time MM/DD/YYYY")
    steps = (time - period.first) / period.step
    if steps != np.floor(steps):
        line = _line_of(period, lambda cells: cells[0] == text)
        raise UserError(f"{line}: {text} lies between two steps of a {period.kind} file")
    return int(steps) if 0 <= steps < period.rows else -1


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
            source = pa.CompressedInputStream(str(path), "gzip") if path.suffix == ".gz" else pa.OSFile(str(path))
            with source:
                for batch in csv.open_csv(source, *options):
                    if batch.column(names.index("f1")).null_count:
                        _tell_fault(period, head)
                    yield batch
        except (pa.ArrowInvalid, OSError) as error:
            _tell_fault(period, head)
            raise UserError(f"is cut short or damaged ({one_line(error)[:120]}): fetch it again") from error


def _tell_fault(period: Period, head: Head) -> None:
    """Raises UserError about the first line that is no row; nothing if there is none."""
    wanted = [int(name[1:]) for name in READ if name != "f0"]

    def is_wrong(cells: list[str]) -> bool:
        if len(cells) != head.columns or not _TIME.fullmatch(cells[0]) or not cells[1].isdecimal():
            return True
        return any(cells[k] and not _is_number(cells[k]) for k in wanted)

    line = _line_of(period, is_wrong, skipped=head.skipped)
    if line is not None:
        raise UserError(f"{line} is no row of {head.columns} columns with a time, a station and numbers")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _line_of(period: Period, is_wrong: Callable[[list[str]], bool], skipped: int = 0) -> str | None:
    """ "FILE: line 7" of the first line of such cells."""
    with unpacked(period.path) as file:
        for number, line in enumerate(file, start=1):
            text = line.decode("latin-1").rstrip("\r\n")
            if number > skipped and text and is_wrong(text.split(",")):
                return f"{period.path}: line {number}"
    return None


def stations_of(period: Period, head: Head) -> np.ndarray:
    """All stations of a file."""
    return np.unique(
        [one for batch in batches_of(period, head, ("f1",)) for one in pc.unique(batch.column(0)).to_pylist()]
    )
