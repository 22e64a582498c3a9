"""One column of a table: its name, and cells that are numbers, times or texts.

Shape legend: R rows.
"""

import re
from dataclasses import dataclass

import numpy as np

from dcrnn_fast.data.timestamps import Stamps, whole_seconds
from dcrnn_fast.reading.tables import is_number

TIME_NAMES = (
    *("time", "timestamp", "datetime", "date", "times", "timestamps", "ds", "dateandtime", "timeutc", "utc"),
    *("datetimeutc", "dateutc", "localtime", "timelocal", "unixtime", "unix", "epoch", ""),
)
EMPTY_CELLS = frozenset({"", "nan", "na", "n/a", "#n/a", "null", "none", "<na>", "nat"})
"""in small letters: cells that hold no reading"""
_BOUND = re.compile(r"(?:(.+)_)?(?:lower|upper)_[0-9][0-9.e+-]*")


@dataclass(frozen=True, eq=False)
class Column:
    """A column.

    Attributes:
        cells: (R,) integers, floats (NaN where empty), ``datetime64``, or objects: stripped texts, "" where empty.
        zone: of ``datetime64`` that are UTC.
    """

    name: str
    cells: np.ndarray
    zone: str | None = None

    @property
    def is_text(self) -> bool:
        """Whether the cells are texts (which may all be numbers)."""
        return self.cells.dtype.kind == "O"

    def stamps(self) -> Stamps:
        """The times of a column of times."""
        return Stamps(whole_seconds(self.cells), self.zone is not None, self.zone)


def bounded_by(name: str) -> str | None:
    """What an interval's bound of this name bounds: speed for speed_lower_90, "" for upper_50; None: it is none."""
    found = _BOUND.fullmatch(name)
    return found and (found[1] or "")


def is_empty(cell: str) -> bool:
    """Whether a cell is empty, or a word for that."""
    return cell.casefold() in EMPTY_CELLS


def first_non_number(column: Column) -> int | None:
    """The first row of a column of texts that is neither a number nor empty."""
    known: dict[str, bool] = {}
    for row, cell in enumerate(column.cells.tolist()):
        if not known.setdefault(cell, is_empty(cell) or is_number(cell)):
            return row
    return None


def as_numbers(column: Column) -> np.ndarray:
    """(R,) numbers, NaN for empty cells; of texts that are numbers, else see ``first_non_number``."""
    if not column.is_text:
        return column.cells
    texts, text_R = in_order_met(column.cells)
    return np.array([np.nan if is_empty(text) else float(text) for text in texts], dtype=np.float64)[text_R]


def as_texts(column: Column) -> np.ndarray:
    """(R,) objects: the cells as names; floats without a fraction lose their ".0"."""
    if column.is_text:
        return column.cells
    if column.cells.dtype.kind == "f":
        return np.array(["" if np.isnan(x) else f"{x:.17g}" for x in column.cells.tolist()], dtype=object)
    return column.cells.astype(str).astype(object)


def in_order_met(cells_R: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The different texts in the order in which they first come, and int64 (R,): which of them each cell is."""
    index_of: dict[str, int] = {}
    text_R = [index_of.setdefault(cell, len(index_of)) for cell in cells_R.tolist()]
    return list(index_of), np.array(text_R, dtype=np.int64)
