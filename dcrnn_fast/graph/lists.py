"""Edge lists and distance lists: one line for each pair of sensors.

Shape legend: N nodes, E pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import scipy.sparse

from dcrnn_fast.config.data import Match
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.account import GraphAccount
from dcrnn_fast.graph.kernel import LOSS_ALLOWED, Kernel, weigh
from dcrnn_fast.graph.list_columns import read_list
from dcrnn_fast.graph.numbering import counting_hint, first_number, in_numeric_order, is_numbering, whole_numbers
from dcrnn_fast.graph.sensor_graph import SensorGraph, require_unique_ids, spelling_hint
from dcrnn_fast.messages import first_few, naming_file


def from_edges(
    from_ids: Sequence[str],
    to_ids: Sequence[str],
    weights_E: Sequence[float] | np.ndarray,
    *,
    ids: Sequence[str] | None = None,
) -> SensorGraph:
    """The graph with these directed edges.

    Args:
        weights_E: finite and not negative; 0 is no edge.
        ids: the nodes, in order: pairs with another end are left out, and a sensor that no pair names has no
            neighbours. Left out: the ids in order of their first appearance, pair by pair, from before to.
    Raises:
        UserError: a NaN, infinite or negative weight, one pair with two weights, more nodes without a pair than a list
            of the same sensors would leave (half of them, or 5 % if the list names other sensors), one whose id only
            looks different.
    """
    return _of_weights(_pairs(from_ids, to_ids, weights_E, ids, "weight"))


def from_distances(
    from_ids: Sequence[str],
    to_ids: Sequence[str],
    distances_E: Sequence[float] | np.ndarray,
    *,
    ids: Sequence[str] | None = None,
    sigma: float | None = None,
    threshold: float = 0.1,
    allow_lost_links: bool = False,
) -> SensorGraph:
    """The graph whose weights are a Gaussian kernel of directed distances: exp(-(d / sigma)²), as the published graphs.

    Args:
        distances_E: any unit, not negative; ``inf`` means no path. A sensor's distance to itself, if listed, counts (it
            gives the self loop of weight 1).
        ids: as ``from_edges``.
        sigma: in the distances' unit; left out: by the kind of list, see ``kernel.weigh``.
        threshold: weights below it become 0.
        allow_lost_links: see ``kernel.weigh``.
    Raises:
        UserError: a NaN or negative distance, one pair with two distances, errors of ``kernel.weigh``, nodes without a
            pair as ``from_edges``.
    """
    pairs = _pairs(from_ids, to_ids, distances_E, ids, "distance")
    return _of_distances(pairs, Kernel(sigma=sigma, threshold=threshold, allow_lost_links=allow_lost_links))


def read_edges(path: str | Path, *, ids: Sequence[str] | None = None, match: Match = "id") -> SensorGraph:
    """The graph of an edge list: columns from, to, weight (no third column: every weight is 1); see ``from_edges``.

    With a header the columns are found by name, without one they are the first, second and third. Ids stay text.

    Args:
        ids: the series' ids.
        match: "position": the list calls its sensors by number, 0 to N-1 or 1 to N in any order; the i-th node is the
            i-th number, and is called by its number from 0.
    Raises:
        UserError: by position, a list that names its sensors otherwise; errors of ``from_edges``.
    """
    path = Path(path)
    with naming_file(path):
        starts, ends, values = read_list(path, "weight", ids)
        return of_pairs(starts, ends, values, "weight", ids=ids, match=match, file=path.name)


def read_distances(
    path: str | Path,
    *,
    ids: Sequence[str] | None = None,
    match: Match = "id",
    sigma: float | None = None,
    threshold: float = 0.1,
    allow_lost_links: bool = False,
) -> SensorGraph:
    """The graph of a distance list: columns from, to, cost (or distance); see ``from_distances``, ``read_edges``."""
    path, kernel = Path(path), Kernel(sigma=sigma, threshold=threshold, allow_lost_links=allow_lost_links)
    with naming_file(path):
        starts, ends, values = read_list(path, "distance", ids)
        return of_pairs(starts, ends, values, "distance", ids=ids, match=match, file=path.name, kernel=kernel)


def of_pairs(
    from_ids: Sequence[str],
    to_ids: Sequence[str],
    values: Sequence[float],
    what: Literal["weight", "distance"],
    *,
    ids: Sequence[str] | None,
    match: Match,
    file: str,
    kernel: Kernel | None = None,
) -> SensorGraph:
    """The graph of a list that was read from ``file``, for readers of other forms of lists; see ``read_distances``."""
    pairs = _matched(from_ids, to_ids, values, what, ids, match, file)
    graph = _of_weights(pairs) if what == "weight" else _of_distances(pairs, kernel or Kernel())
    assert graph.account is not None
    return graph.with_account(replace(graph.account, file=file, matched_by=match))


@dataclass(frozen=True, eq=False, slots=True)
class _Pairs:
    """Different pairs of nodes with their values, and an account of the others."""

    nodes: tuple[str, ...]
    rows_E: np.ndarray
    columns_E: np.ndarray
    values_E: np.ndarray
    given: int
    unknown: int
    duplicates: int
    doubts: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.nodes), len(self.nodes)


def _of_weights(pairs: _Pairs) -> SensorGraph:
    matrix = scipy.sparse.coo_array((pairs.values_E, (pairs.rows_E, pairs.columns_E)), shape=pairs.shape)
    account = GraphAccount(
        file="edges in memory",
        kind="a list of edges",
        given=pairs.given,
        unknown=pairs.unknown,
        duplicates=pairs.duplicates,
        no_path=int((pairs.values_E == 0).sum()),
        doubts=pairs.doubts,
    )
    return SensorGraph(matrix, pairs.nodes, account=account)


def _of_distances(pairs: _Pairs, kernel: Kernel) -> SensorGraph:
    weighed = weigh(pairs.rows_E, pairs.columns_E, pairs.values_E, len(pairs.nodes), kernel)
    matrix = scipy.sparse.coo_array((weighed.weights_E, (pairs.rows_E, pairs.columns_E)), shape=pairs.shape)
    account = weighed.account(
        file="distances in memory",
        kind="a list of neighbours" if weighed.kind == "neighbours" else "a list of all pairs within a reach",
        given=pairs.given,
        unknown=pairs.unknown,
        duplicates=pairs.duplicates,
        doubts=pairs.doubts,
    )
    return SensorGraph(matrix, pairs.nodes, account=account)


def _matched(
    from_ids: Sequence[str],
    to_ids: Sequence[str],
    values: Sequence[float],
    what: Literal["weight", "distance"],
    ids: Sequence[str] | None,
    match: Match,
    file: str,
) -> _Pairs:
    if match == "id":
        return _pairs(from_ids, to_ids, values, ids, what)
    numbers = whole_numbers([*from_ids, *to_ids])
    if numbers is None:
        other = next(name for name in (*from_ids, *to_ids) if whole_numbers([name]) is None)
        raise UserError(
            f"--match position needs a list that calls its sensors by number (0 to N-1), this one names {other!r}: the "
            "order of a list's lines is no order of sensors; leave the flag out, and give series and list the same ids"
        )
    if ids is not None and in_numeric_order(tuple(ids)) is not None:
        raise UserError(
            f"--match position would lay number 0 or 1 on the column {ids[0]!r}: the series calls its columns by "
            "number too, in another order; leave the flag out to match by id"
        )
    count = len(ids) if ids is not None else max(numbers.values()) + 1
    start = first_number(numbers.values(), count)
    if start is None:
        raise UserError(
            f"--match position needs the numbers 0 to {count - 1} for {count} columns, this list goes up to "
            f"{max(numbers.values())}: they are ids, or numbers of other columns; leave the flag out to match by id"
        )
    from_numbers, to_numbers = ([str(numbers[name] - start) for name in names] for names in (from_ids, to_ids))
    pairs = _pairs(from_numbers, to_numbers, values, tuple(map(str, range(count))), what, every_node_named=False)
    if start == 0:
        return pairs
    first = "the first column" if ids is None else f"the first column {ids[0]!r}"
    return replace(pairs, doubts=(*pairs.doubts, f"{file} counts its sensors from 1: number 1 is {first}"))


def _pairs(
    from_ids: Sequence[str],
    to_ids: Sequence[str],
    values: Sequence[float] | np.ndarray,
    ids: Sequence[str] | None,
    what: Literal["weight", "distance"],
    *,
    every_node_named: bool = True,
) -> _Pairs:
    """The different pairs between the wanted nodes (``ids``, or all that are named)."""
    values_E = np.asarray(values, dtype=np.float64)
    if not len(from_ids) == len(to_ids) == values_E.size or values_E.ndim != 1:
        raise UserError(
            f"a {what} list needs as many from ids, to ids and {what}s, got {len(from_ids)}, {len(to_ids)} and "
            f"{values_E.size}"
        )
    named = dict.fromkeys(node for pair in zip(from_ids, to_ids, strict=True) for node in pair)
    nodes = tuple(named if ids is None else ids)
    require_unique_ids(nodes)
    doubts = _require_named(nodes, tuple(named)) if every_node_named else ()
    index_of = {node: index for index, node in enumerate(nodes)}
    value_of: dict[tuple[int, int], float] = {}
    unknown = duplicates = 0
    for start, end, value in zip(from_ids, to_ids, values_E.tolist(), strict=True):
        if start not in index_of or end not in index_of:
            unknown += 1
            continue
        if not value >= 0 or (what == "weight" and value == np.inf):
            raise UserError(f"a {what} must be a number and not negative, got {value:g} from {start!r} to {end!r}")
        pair = index_of[start], index_of[end]
        if (known := value_of.setdefault(pair, value)) != value:
            raise UserError(f"the pair from {start!r} to {end!r} comes twice, with the {what}s {known:g} and {value:g}")
        duplicates += 1
    duplicates -= len(value_of)
    pairs_E2 = np.array(list(value_of), dtype=np.int64).reshape(-1, 2)
    kept_E = np.array(list(value_of.values()), dtype=np.float64)
    return _Pairs(nodes, pairs_E2[:, 0], pairs_E2[:, 1], kept_E, len(from_ids), unknown, duplicates, doubts)


def _require_named(nodes: Sequence[str], named: Sequence[str]) -> tuple[str, ...]:
    """Refuses a list that is not about these nodes; else returns doubts about the nodes that it never names."""
    known, wanted = set(named), set(nodes)
    absent = [node for node in nodes if node not in known]
    if not absent:
        return ()
    strangers = [name for name in named if name not in wanted]
    hint = spelling_hint(absent, strangers)
    start = f"{len(absent)} of the {len(nodes)} sensors are not in the list: {first_few(absent)}; the list names"
    if not hint and len(absent) == len(nodes) and is_numbering(named, len(nodes)):
        raise UserError(
            f"{start} its sensors by number ({first_few(named)}): --match position lays number i on column i"
        )
    if counting := counting_hint(nodes, named):
        raise UserError(
            f"{start} {first_few(strangers or named)}{counting}; --match position lays its first number on the first "
            f"column; if the numbers do mean the same sensors, give {absent[0]!r} a line {absent[0]},{absent[0]},0"
        )
    if hint or len(absent) * 2 > len(nodes) or (strangers and len(absent) > LOSS_ALLOWED * len(nodes)):
        cure = "correct the ids"
        if not hint:
            cure += ", leave these sensors out (--leave-out), or give one that has no neighbours a line ID,ID,0"
        raise UserError(f"{start} {first_few(strangers or named)}{hint}; {cure}")
    if not strangers:
        return ()
    return (
        f"{len(absent)} sensors stand in no line of the list ({first_few(absent)}), which names {len(strangers)} "
        f"others ({first_few(strangers)})",
    )
