"""Files that grow by whole lines."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path


def append(path: Path, lines: bytes) -> None:
    """Appends all of the lines, or none; makes the file if it is missing.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    # Not blocking: a pipe without a reader is an error, and is not waited for.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o666)
    size = os.fstat(descriptor).st_size
    try:
        while lines:
            lines = lines[os.write(descriptor, lines) :]
    except BaseException:
        os.ftruncate(descriptor, size)
        raise
    finally:
        os.close(descriptor)


def csv_line(cells: Iterable[object]) -> bytes:
    """One row; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()
