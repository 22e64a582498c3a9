"""Which columns of a text table are the two ends of a pair, and which its weight or distance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dcrnn_fast.errors import UserError
from dcrnn_fast.reading.tables import Row, find_column, is_number, number, plain_name, read_table

DISTANCE_NAMES = (
    "distance", "dist", "cost", "costs", "distances",
    *(f"{what}{unit}" for what in ("distance", "dist", "length") for unit in ("m", "km", "mi", "meters", "metres")),
    "distancemiles", "length", "metres", "meters", "km", "miles", "traveltime", "traveltimes", "traveltimemin",
)  # fmt: skip
WEIGHT_NAMES = ("weight", "weights", "w", "similarity", "affinity", "connectivity", "connected", "strength")

_FROM_WORDS = ("from", "source", "src", "origin", "orig", "upstream", "up", "start", "begin", "i", "u")
_TO_WORDS = ("to", "target", "dst", "destination", "dest", "downstream", "down", "end", "j", "v")
# Words beside these: from_sensor_id, upstreamGauge, node_to. "Node 1" and "node 2" mean first and second.
_BESIDES = (
    "id", "node", "sensor", "station", "gauge", "site", "detector", "vertex", "point", "cell", "region", "area",
    "segment", "reach", "city", "county", "bus", "name", "code", "index", "idx", "stop",
)  # fmt: skip
_FIRST, _SECOND = ("1", "a"), ("2", "b")


def end_columns(header: Sequence[str]) -> tuple[int | None, int | None]:
    """The columns of a pair's first and second end, by their names."""
    ends: list[int | None] = []
    for words, place in ((_FROM_WORDS, _FIRST), (_TO_WORDS, _SECOND)):
        cores = [_core(cell) for cell in header]
        found = [word for word in words if word in [core for core, _ in cores]]
        if found:
            ends.append([core for core, _ in cores].index(found[0]))
            continue
        ends.append(next((i for i, (core, beside) in enumerate(cores) if beside and core in place), None))
    return ends[0], ends[1]


def read_list(
    path: Path, what: Literal["weight", "distance"], ids: Sequence[str] | None
) -> tuple[list[str], list[str], list[float]]:
    """(from ids, to ids, values) of a list with or without a header; without a third column every weight is 1.

    Args:
        ids: the series' ids, if they are known: a first line that is no pair of them is a header.
    Raises:
        UserError: no such columns, a value that is no number, an empty id; the line is named.
    """
    rows = read_table(path)
    width = len(rows[0].cells)
    if width < (2 if what == "weight" else 3):
        raise UserError(f"a {what} list has the columns from, to, {what}, got {width} column{'s' * (width > 1)}")
    first, second, third = (0, 1, 2 if width > 2 else None)
    if list_header(rows, ids):
        header = rows.pop(0).cells
        start, end = end_columns(header)
        value = find_column(header, WEIGHT_NAMES if what == "weight" else DISTANCE_NAMES)
        if width == 2 and (start is None) != (end is None):
            start, end = (1 - end, end) if end is not None else (start, 1 - (start or 0))
        if start is not None and end is not None and (value is not None or width <= 3):
            rest = [column for column in range(width) if column not in (start, end)]
            first, second, third = start, end, value if value is not None else next(iter(rest), None)
        elif width > 3:
            raise UserError(f"no columns from, to, {what} in the header {', '.join(header)[:100]!r}")
    elif width > 3:
        raise UserError(f"a {what} list without a header has 3 columns (from, to, {what}), got {width}")
    if not rows:
        raise UserError("the list has a header and no lines")
    for row in rows:
        if not row.cells[first] or not row.cells[second]:
            raise UserError(f"line {row.line}: an empty sensor id")
    return (
        [row.cells[first] for row in rows],
        [row.cells[second] for row in rows],
        [1.0 if third is None else number(row, third, f"a {what}") for row in rows],
    )


def list_header(rows: Sequence[Row], ids: Sequence[str] | None = None) -> bool:
    """Whether a list's first row names its columns, by its own words or by the other rows."""
    head = rows[0].cells
    if len(head) > 2:
        return not any(is_number(cell) for cell in head[2:])
    if any(column is not None for column in end_columns(head)) and not (ids is not None and set(head) <= set(ids)):
        return True
    others = [row.cells for row in rows[1:]]
    if any(map(is_number, head)) or not others:
        return False
    if all(is_number(cell) for cells in others for cell in cells):
        return True
    return ids is not None and not set(head) & {*ids, *(cell for cells in others for cell in cells)}


def _core(cell: str) -> tuple[str, bool]:
    """A column's plain name without the words beside it, and whether there were any."""
    core = plain = plain_name(cell)
    shorter = ""
    while shorter != core:
        shorter = core
        for word in _BESIDES:
            core = core.removesuffix(word).removeprefix(word) or core
    return core, core != plain
