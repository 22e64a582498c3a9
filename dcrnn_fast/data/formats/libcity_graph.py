"""The graph of LibCity's .rel file, weighed as config.json says.

Shape legend: N sensors, E pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph
from dcrnn_fast.graph.kernel import PUBLISHED_THRESHOLD
from dcrnn_fast.graph.list_columns import WEIGHT_NAMES
from dcrnn_fast.graph.lists import from_distances, from_edges
from dcrnn_fast.messages import first_few
from dcrnn_fast.reading.tables import number, plain_name, read_table

_ENDS = (("origin_id",), ("destination_id",))
_CELL_ENDS = (("origin_row_id", "origin_column_id"), ("destination_row_id", "destination_column_id"))
_PLAIN = ("rel_id", "type", *(name for end in (*_ENDS, *_CELL_ENDS) for name in end))


def read_relations(
    path: Path, info: Mapping[str, Any], ids: Sequence[str], graph: GraphConfig, cells: Mapping[str, str]
) -> tuple[SensorGraph | None, str | None]:
    """The graph between these sensors, or None with a line that says which flag tells what the file holds.

    Args:
        info: of config.json. set_weight_link_or_dist = link, or no further column: each pair weighs 1.
            calculate_weight_adj: the column is a distance, for the kernel with the threshold weight_adj_epsilon. Else a
            column of 0 between pairs without a line (init_weight_inf_or_zero = zero), or one that is called a weight,
            is the weight. bidir_adj_mx: each pair counts in both directions.
        graph: sigma, leave to lose links, and a threshold of its own, if it is not the usual one.
        cells: the ids of a grid's cells, called ROW_COLUMN.
    Raises:
        UserError: no such columns, a cell that is no number, one pair with two values, errors of ``from_edges`` and
            ``from_distances``.
    """
    header, *rows = read_table(path)
    names = header.cells
    ends = _CELL_ENDS if _CELL_ENDS[0][0] in names else _ENDS
    if absent := [name for end in ends for name in end if name not in names]:
        raise UserError(f"line {header.line}: no column {absent[0]!r} among {first_few(names)}")
    if not rows:
        raise UserError("holds no pair")
    column = _weight_column(info, names)
    is_link = column is None or str(info.get("set_weight_link_or_dist", "")).lower() == "link"
    pairs: dict[tuple[str, str], float] = {}
    for row in rows:
        start, end = ("_".join(row.cells[names.index(name)] for name in end) for end in ends)
        start, end = cells.get(start, start), cells.get(end, end)
        if column is not None and not row.cells[names.index(column)]:
            continue  # LibCity leaves such lines out
        value = 1.0 if is_link or column is None else number(row, names.index(column), f"a {column}")
        if pairs.setdefault((start, end), value) != value:
            raise UserError(f"line {row.line}: the pair from {start!r} to {end!r} comes twice, with two values")
    if info.get("bidir_adj_mx"):
        pairs = {(end, start): value for (start, end), value in pairs.items()} | pairs
    known = set(ids)
    inside = {pair: value for pair, value in pairs.items() if known.issuperset(pair)}
    starts, ends_of, values = [a for a, _ in inside], [b for _, b in inside], list(inside.values())
    if not is_link and info.get("calculate_weight_adj"):
        epsilon = info.get("weight_adj_epsilon", 0.1)
        if not isinstance(epsilon, (int, float)) or not 0 <= epsilon < 1:
            raise UserError(f"config.json: weight_adj_epsilon must be a number in [0, 1), got {epsilon!r:.40}")
        made = from_distances(
            starts,
            ends_of,
            values,
            ids=ids,
            sigma=graph.sigma,
            threshold=float(epsilon) if graph.threshold == PUBLISHED_THRESHOLD else graph.threshold,
            allow_lost_links=graph.allow_lost_links,
        )
        return _named(made, path.name), None
    zero = str(info.get("init_weight_inf_or_zero", "")).lower() == "zero"
    if not is_link and not zero and plain_name(column or "") not in (*WEIGHT_NAMES, "adj", "linkweight"):
        return None, (
            f"look: config.json does not say whether {column!r} of {path.name} is a distance or a weight: give --graph "
            f"{path} with --graph-format distances or edges"
        )
    return _named(from_edges(starts, ends_of, values, ids=ids), path.name), None


def neighbours_of_cells(cells: Mapping[str, str], ids: Sequence[str], name: str) -> SensorGraph:
    """The graph of a grid without a file of pairs: each cell and the eight around it, as LibCity joins them."""
    known = set(ids)
    starts, ends = [], []
    for place, sensor in cells.items():
        if sensor not in known:
            continue
        row, column = (int(part) if part.isdecimal() else -1 for part in place.split("_", 1))
        for down, right in ((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)):
            if (other := cells.get(f"{row + down}_{column + right}")) in known:
                starts.append(sensor)
                ends.append(str(other))
    return _named(from_edges(starts, ends, [1.0] * len(starts), ids=ids), name)


def _named(graph: SensorGraph, name: str) -> SensorGraph:
    assert graph.account is not None
    return graph.with_account(replace(graph.account, file=name))


def _weight_column(info: Mapping[str, Any], names: Sequence[str]) -> str | None:
    told = info.get("weight_col") or None
    if isinstance(told, list):
        told = told[0] if len(told) == 1 else None
    others = [name for name in names if name not in _PLAIN]
    if told is not None:
        if told not in names:
            raise UserError(f"config.json names the column {told!r:.60}, the file has {first_few(names)}")
        return str(told)
    if len(others) > 1:
        raise UserError(f"config.json names no weight_col, and the file has several columns: {first_few(others)}")
    return others[0] if others else None
