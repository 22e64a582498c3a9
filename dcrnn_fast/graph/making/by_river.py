"""Gauges on rivers: distances along the water, downstream, as sums of the reaches between them.

Shape legend: N gauges, V ends of reaches (gauges and others), W reaches, E pairs.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.list_columns import end_columns
from dcrnn_fast.graph.making.made import MadeList, chosen_pairs, with_own_pairs
from dcrnn_fast.graph.making.stations import Stations
from dcrnn_fast.graph.making.units import Unit, column_with_unit, length_of, require_not_negative
from dcrnn_fast.graph.sensor_graph import spelling_hint
from dcrnn_fast.messages import counted, first_few, naming_file
from dcrnn_fast.reading.tables import find_column, number, read_table

_OWN_NAMES = (
    "station",
    "stationid",
    "gauge",
    "gaugeid",
    "id",
    "hyrivid",
    "hybasid",
    "comid",
    "reach",
    "reachid",
    "node",
    "site",
)
_NEXT_NAMES = (
    *("nextdown", "nextdownstream", "downstream", "downstreamid", "next", "nextid", "nextdownid", "flowsinto"),
    *("downstreamgauge", "downstreamstation", "nextgauge", "nextstation"),
)
_LENGTH_STEMS = ("length", "distance", "dist", "reachlength", "cost")
_NOWHERE = ("", "-", "na", "nan", "none", "null", "outlet", "sea")
_NO_NEXT = (*_NOWHERE, "0", "-1")
_WHOLE = re.compile(r"(-?\d+)\.0+")
_BLOCK = 1 << 25


def by_river(
    path: Path,
    gauges: Stations | None,
    *,
    unit: Unit = "auto",
    nearest: int | None = None,
    max_distance: float | None = None,
) -> MadeList:
    """Links from each gauge to those downstream.

    The table has a reach on each line: upstream, downstream, length; or a station and the next one downstream, where 0
    or -1 means the sea, as an empty cell does in both, unless a line leads on from it. Ids lose the ".0" that pandas
    gives integers beside empty cells. Without lengths each reach is a link of weight 1.

    Args:
        gauges: the ends that are gauges; others only lie between them. None: every end is one.
        nearest: so many nearest downstream; max_distance: all within so many metres. Neither: the next gauge on each
            way down.
    Raises:
        UserError: the table cannot be read, a length is negative, the water runs in a circle, no reach names a gauge.
    """
    with naming_file(path):
        tails, heads, lengths_W, lowest, notes = _reaches(path, unit)
        names = list(dict.fromkeys([*(name for pair in zip(tails, heads, strict=True) for name in pair), *lowest]))
        number_of = {name: i for i, name in enumerate(names)}
        tails_W, heads_W = (np.array([number_of[name] for name in ends]) for ends in (tails, heads))
        _require_no_circle(tails_W, heads_W, names)
        ids: Sequence[str] = names if gauges is None else gauges.ids
        if lengths_W is None and (gauges is not None or max_distance is not None or nearest is not None):
            raise UserError("has no column of lengths (length_km, length_m ...), from which distances could be summed")
        if not any(name in number_of for name in ids):
            raise UserError(
                f"none of the gauges {first_few(ids)} is an end of a reach; the ends are {first_few(names)}"
                f"{spelling_hint(ids, names)}"
            )
    absent = [name for name in ids if name not in number_of]
    if absent:
        notes.append(f"look: no reach names {counted(len(absent), 'gauge')}, without a link: {first_few(absent)}")
    if gauges is None and max_distance is None and nearest is None:
        rows_E, columns_E = tails_W, heads_W
        values_E = np.ones(len(rows_E)) if lengths_W is None else lengths_W
        rows_E, columns_E, values_E = _shortest(rows_E, columns_E, values_E)
    else:
        assert lengths_W is not None
        place_N = np.array([number_of.get(name, -1) for name in ids])
        every = max_distance is not None or nearest is not None
        rows_E, columns_E, values_E = _sums(tails_W, heads_W, lengths_W, len(names), place_N, every, max_distance)
    rows_E, columns_E, values_E = with_own_pairs(rows_E, columns_E, values_E, len(ids), 0.0)
    made = MadeList(
        ids=tuple(ids),
        rows_E=rows_E,
        columns_E=columns_E,
        values_E=values_E,
        holds="weights" if lengths_W is None else "distances",
        source=path.name,
        positions_N2=None if gauges is None else gauges.positions_N2,
        on_globe=gauges is None or gauges.on_globe,
        notes=(*(() if gauges is None else gauges.notes), *notes),
    )
    return chosen_pairs(made, nearest=nearest, max_distance=max_distance, others="gauges")


def _reaches(path: Path, unit: Unit) -> tuple[list[str], list[str], np.ndarray | None, list[str], list[str]]:
    """Upper and lower ends, metres or None; the ends that flow into the sea; and notes."""
    rows = read_table(path)
    header = rows.pop(0).cells
    if not rows:
        raise UserError("the table has a header and no lines")
    tail, head = find_column(header, _OWN_NAMES), find_column(header, _NEXT_NAMES)
    nowhere: tuple[str, ...] = _NO_NEXT
    if tail is None or head is None:
        (tail, head), nowhere = end_columns(header), _NOWHERE
    if tail is None or head is None or tail == head:
        raise UserError(
            f"no columns upstream, downstream, or station, next_downstream in the header {', '.join(header)[:100]!r}"
        )
    column, notes = column_with_unit(header, _LENGTH_STEMS), []
    metres = 1.0
    if column is not None:
        metres, doubt = length_of(header[column], unit, _LENGTH_STEMS)
        notes += [f"look: {doubt}"] if doubt else []
    tails, heads, lengths, lowest = [], [], [], []
    known = {_whole(row.cells[tail]) for row in rows}
    for row in rows:
        above, below = _whole(row.cells[tail]), _whole(row.cells[head])
        if above == "":
            raise UserError(f"line {row.line}: an empty upstream id")
        if below.casefold() in nowhere and below not in known:
            lowest.append(above)
            continue
        tails.append(above)
        heads.append(below)
        if column is not None:
            lengths.append(require_not_negative(number(row, column, "a length"), row.line, "a length"))
    if not tails:
        raise UserError("no line leads downstream: every one ends in the sea")
    reaches = f"{len(tails)} {'reach' if len(tails) == 1 else 'reaches'}"
    notes.insert(0, f"rivers: {path.name}: {reaches}, {counted(len(lowest), 'outlet')}")
    if column is None:
        notes.append("look: no column of lengths: every link has the weight 1")
    return tails, heads, None if column is None else np.array(lengths) * metres, lowest, notes


def _whole(cell: str) -> str:
    found = _WHOLE.fullmatch(cell)
    return cell if found is None else found[1]


def _require_no_circle(tails_W: np.ndarray, heads_W: np.ndarray, names: Sequence[str]) -> None:
    from scipy.sparse.csgraph import connected_components

    ways = scipy.sparse.csr_array((np.ones(len(tails_W)), (tails_W, heads_W)), shape=(len(names),) * 2)
    _, part_V = connected_components(ways, connection="strong")
    inside_W = part_V[tails_W] == part_V[heads_W]
    if not inside_W.any():
        return
    below = dict(zip(tails_W[inside_W].tolist(), heads_W[inside_W].tolist(), strict=True))
    circle, place = [], int(tails_W[inside_W][0])
    while place not in circle:
        circle.append(place)
        place = below[place]
    circle = [*circle[circle.index(place) :], place]
    shown = " to ".join(names[v][:40] for v in (circle if len(circle) <= 8 else [*circle[:4], circle[-1]]))
    raise UserError(f"the water runs in a circle: {shown}; correct the direction of one of these reaches")


def _shortest(
    tails_W: np.ndarray, heads_W: np.ndarray, metres_W: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of parallel reaches the shortest alone."""
    order_W = np.lexsort((metres_W, heads_W, tails_W))
    first_W = np.ones(len(order_W), dtype=bool)
    first_W[1:] = (np.diff(tails_W[order_W]) != 0) | (np.diff(heads_W[order_W]) != 0)
    kept = order_W[first_W]
    return tails_W[kept], heads_W[kept], metres_W[kept]


def _sums(
    tails_W: np.ndarray,
    heads_W: np.ndarray,
    metres_W: np.ndarray,
    num_ends: int,
    place_N: np.ndarray,
    every: bool,
    max_distance: float | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of gauges and metres between them: of each to ``every`` one downstream, or to the next ones."""
    from scipy.sparse.csgraph import dijkstra

    tails_W, heads_W, metres_W = _shortest(tails_W, heads_W, metres_W)
    known = np.flatnonzero(place_N >= 0)
    # A gauge ends the ways that come down to it, unless those go on: then a link of 0 m leads on from there.
    below_V = np.arange(num_ends)
    below_V[place_N[known]] = num_ends + np.arange(len(known))
    parts = [(below_V[tails_W], heads_W, metres_W)]
    if every:
        parts.append((place_N[known], below_V[place_N[known]], np.zeros(len(known))))
    tails, heads, metres = (np.concatenate(part) for part in zip(*parts, strict=True))
    size = num_ends + len(known)
    order = np.lexsort((heads, tails))
    starts = np.searchsorted(tails[order], np.arange(size + 1))
    ways = scipy.sparse.csr_array((metres[order], heads[order], starts), shape=(size, size))
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    block = max(1, _BLOCK // size)
    for first in range(0, len(known), block):
        sources = np.arange(first, min(first + block, len(known)))
        limit = np.inf if max_distance is None else max_distance
        metres_XN = dijkstra(ways, indices=num_ends + sources, limit=limit)[:, place_N[known]]
        source, target = np.nonzero(np.isfinite(metres_XN))
        other = sources[source] != target
        found.append((known[sources[source][other]], known[target[other]], metres_XN[source, target][other]))
    rows_E, columns_E, metres_E = (np.concatenate(part) for part in zip(*found, strict=True))
    return rows_E, columns_E, metres_E
