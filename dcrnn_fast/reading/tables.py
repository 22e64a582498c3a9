"""Text tables as people have them: with or without a header, with a byte order mark, with any usual delimiter.

Every cell stays text, so that a sensor called 00123 or 773869.0 keeps its name.
"""

import csv
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import naming_file, one_line

_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


@dataclass(frozen=True, slots=True)
class Row:
    """One line that is not blank: its number in the file (from 1) and its cells without surrounding spaces."""

    line: int
    cells: list[str]


def table_form(path: Path) -> tuple[str, str | None]:
    """Encoding (UTF-8, or UTF-16 by its byte order mark) and delimiter of a text table.

    The delimiter is the most frequent of comma, semicolon and tab in the first line; None if it has none of them.

    Raises:
        UserError: not text. ``OSError`` passes.
    """
    with path.open("rb") as binary:
        start = binary.read(4)
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if start.startswith(mark)), "utf-8")
    with path.open(encoding=encoding, newline="") as text, _readable():
        first = next((line for line in text if line.strip()), "")
    # A tie goes to the rarer mark: commas also stand for decimal points.
    delimiter = max(("\t", ";", ","), key=first.count)
    return encoding, delimiter if delimiter in first else None


def read_rows(path: Path) -> Iterator[Row]:
    """The lines of a text table in its ``table_form``, one at a time.

    Any line ends; cells are separated by spaces if there is no delimiter, and may stand in double quotes.

    Raises:
        UserError: not text, or an open quote at the end. ``OSError`` passes.
    """
    encoding, delimiter = table_form(path)
    with path.open(encoding=encoding, newline="") as text, _readable():
        if delimiter is None:
            for number, line in enumerate(text, start=1):
                if cells := line.split():
                    yield Row(number, cells)
            return
        reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True, strict=True)
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield Row(reader.line_num, stripped)


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except UnicodeError as error:
        raise UserError(f"not a text file in UTF-8 ({one_line(error)[:80]}); save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise UserError(f"not a readable table: {one_line(error)}") from error


def ends_with_a_line(path: Path) -> bool:
    """Whether a text's last line has an end, or there is none. ``OSError`` passes."""
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(-min(size, 2), os.SEEK_END)
        return stream.read().rstrip(b"\0")[-1:] in (b"\n", b"\r", b"")


def notes_of_ends(paths: Iterable[Path]) -> tuple[str, ...]:
    """A line of the account about texts whose last line has no end: nobody can tell that a number was cut there.

    Raises:
        UserError: one cannot be read.
    """
    open_ended = []
    for path in paths:
        with naming_file(path):
            if not ends_with_a_line(path):
                open_ended.append(path.name)
    return tuple(
        f"{name}: its last line has no line end: if the file was cut short, its last number may be wrong"
        for name in open_ended[:3]
    ) + ((f"the last lines of {len(open_ended) - 3} more files have no line end",) if len(open_ended) > 3 else ())


def read_table(path: Path) -> list[Row]:
    """All rows, at least one and all of one length, else UserError naming the line."""
    rows = list(read_rows(path))
    if not rows:
        raise UserError("the file is empty")
    for row in rows:
        if len(row.cells) != len(rows[0].cells):
            raise UserError(
                f"line {row.line} has {len(row.cells)} columns and line {rows[0].line} has {len(rows[0].cells)}; "
                "is the file truncated?"
            )
    return rows


def is_number(cell: str) -> bool:
    """Whether a cell is a number; inf and nan are."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def number(row: Row, column: int, what: str) -> float:
    """One cell as a number (``inf`` is one, ``nan`` and an empty cell are not), else UserError naming the line."""
    cell = row.cells[column]
    if not is_number(cell) or math.isnan(float(cell)):
        raise UserError(
            f"line {row.line}, column {column + 1}: {what} must be a number with a decimal point, got {cell[:40]!r}"
        )
    return float(cell)


def plain_name(cell: str) -> str:
    """A column's name without case, spaces, dashes and underscores."""
    return "".join(letter for letter in cell.casefold() if letter.isalnum())


def find_column(header: Sequence[str], names: Sequence[str]) -> int | None:
    """The column with the earliest of these (plain) names."""
    plain = [plain_name(cell) for cell in header]
    return next((plain.index(name) for name in names if name in plain), None)
