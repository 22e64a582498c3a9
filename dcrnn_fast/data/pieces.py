"""How many rows of a series are worked on at a time, so that one that is larger than memory never lies there whole.

Shape legend: T time, N sensors, C channels.
"""

import math
from collections.abc import Iterator, Sequence

AT_ONCE = 1 << 22
"""readings: 32 MiB in float64. Sums over a series are made piece by piece: another number changes their last bits"""


def rows_at_once(shape: Sequence[int], readings: int | None = None) -> int:
    """So many rows of an array (T, ...) have at most so many readings (None: ``AT_ONCE``); at least one."""
    return max(1, (AT_ONCE if readings is None else readings) // max(math.prod(shape[1:]), 1))


def row_pieces(shape: Sequence[int], rows: range | None = None, readings: int | None = None) -> Iterator[slice]:
    """The rows of an array (T, ...), or some that follow each other, in order: slices of ``rows_at_once`` rows."""
    rows = range(shape[0]) if rows is None else rows
    count = rows_at_once(shape, readings)
    for start in range(rows.start, rows.stop, count):
        yield slice(start, min(start + count, rows.stop))
