"""Tells formats by what files and folders hold: their names and first bytes alone.

Each function is the ``detects`` of a line of ``FORMATS``. It imports no library of a format, and raises nothing: what
cannot be read is not of its format, and the reader that is then asked says why.
"""

import gzip
import os
import zlib
from pathlib import Path

_HEAD = 4096
"""bytes that are looked at"""


def names_in(folder: Path) -> list[str]:
    """The names in a folder, sorted; none if it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def head_of(path: Path, size: int = _HEAD) -> bytes:
    """The first bytes of a file, unpacked if it is gzip's; none if they cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(size)
        if head[:2] != b"\x1f\x8b":
            return head
        with gzip.open(path, "rb") as unpacked:
            return unpacked.read(size)
    except (OSError, EOFError, zlib.error):
        return b""
