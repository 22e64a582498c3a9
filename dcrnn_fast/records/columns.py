"""CSV files of a run, read: a column by its kind; a half line at the end, of a run that writes it now, is left out."""

import csv
import io
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from dcrnn_fast.config.plain import shown
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import open_regular
from dcrnn_fast.messages import one_line

Kind = Callable[[str], Any]


def whole(text: str) -> int:
    """A whole number; ValueError: it is none."""
    if not re.fullmatch(r"-?[0-9]{1,30}", text):
        raise ValueError
    return int(text)


def number(text: str) -> float:
    """A number, also nan and inf; ValueError: it is none."""
    if "_" in text or not text.isascii():
        raise ValueError
    return float(text)


def moment(text: str) -> datetime:
    """An ISO time with its zone; ValueError: it is none."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError
    return time


_WANTED = {whole: "a whole number", number: "a number", moment: "a time with its zone", str: "text"}


def read_text(path: Path) -> str:
    """A file's text.

    Raises:
        UserError: it is absent, cannot be read, or is not UTF-8.
    """
    try:
        with open_regular(path) as stream:
            return stream.read().decode("utf-8")
    except FileNotFoundError as error:
        raise UserError(f"there is no {path}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or one_line(error)}") from error


def read_columns(
    path: Path, kinds: Mapping[str, Kind], *, optional: Mapping[str, Kind] | None = None, prefix: str | None = None
) -> list[dict[str, Any]]:
    """The rows of a CSV file; columns that nobody asked for are left out.

    Args:
        kinds: column -> ``whole``, ``number``, ``moment`` or ``str``; optional: the same of columns that may be absent,
            or empty, which gives None.
        prefix: of further columns of numbers.
    Raises:
        UserError: it cannot be read, a column is absent, or a cell is not of its column's kind; the message names the
            file, the line and the column.
    """
    text = read_text(path)
    lines = csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""), strict=True)
    optional = optional or {}
    try:
        header = next(lines, None)
        if header is None:
            return []
        if missing := [name for name in kinds if name not in header]:
            raise UserError(f"{path} has no column {shown(missing[0])}")
        rows = []
        for cells in lines:
            if len(cells) != len(header):
                raise UserError(f"{path}, line {lines.line_num}: {len(cells)} cells, the header has {len(header)}")
            row: dict[str, Any] = dict.fromkeys(optional)
            for name, cell in zip(header, cells, strict=True):
                if (kind := _kind_of(name, kinds, optional, prefix)) is None or (name not in kinds and cell == ""):
                    continue
                try:
                    row[name] = kind(cell)
                except ValueError as error:
                    place = f"{path}, line {lines.line_num}, column {shown(name)}"
                    raise UserError(f"{place}: must be {_WANTED[kind]}, got {shown(cell)}") from error
            rows.append(row)
        return rows
    except csv.Error as error:
        raise UserError(f"{path}, line {lines.line_num}: no CSV: {error}") from error


def _kind_of(name: str, kinds: Mapping[str, Kind], optional: Mapping[str, Kind], prefix: str | None) -> Kind | None:
    if (kind := kinds.get(name, optional.get(name))) is not None:
        return kind
    return number if prefix is not None and name.startswith(prefix) else None
