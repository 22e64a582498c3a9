"""Road distances between stations on a network.

Shape legend: N stations, V nodes of the network, K stops, E pairs, W ways (weighted edges) of the graph to search.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse

from dcrnn_fast.graph.making.roads.network import RoadNetwork
from dcrnn_fast.graph.making.roads.snapping import Snapped

_BLOCK = 1 << 25
"""distances in memory at once: 256 MiB"""
_SAME = 0.01
"""metres within which two stations stand at one place, and a station at its arc's end at the node itself"""


class RoadDistances(NamedTuple):
    """Pairs of stations within the reach, in order, those of a station with itself included; and the number of pairs of
    different stations that no road joins, with the first few of them."""

    rows_E: np.ndarray
    columns_E: np.ndarray
    metres_E: np.ndarray
    unreachable: int
    examples: tuple[tuple[int, int], ...]


def road_distances(network: RoadNetwork, snapped: Snapped, max_distance: float) -> RoadDistances:
    """The shortest ways from each station to the others, in driving direction, up to ``max_distance`` metres.

    A station that stands on an arc after another one reaches it only around the block. Sources are searched in blocks
    of 256 MiB.
    """
    import scipy.sparse.csgraph  # 9 MB that only a graph of this kind needs

    num_stations = len(snapped.near_N)
    ways, start, end = _ways(network, snapped)
    rows, columns, metres = [], [], []
    block = max(1, _BLOCK // ways.shape[0])
    on_road = np.flatnonzero(snapped.near_N)
    for first in range(0, len(on_road), block):
        sources = on_road[first : first + block]
        found = scipy.sparse.csgraph.dijkstra(ways, indices=start + sources, limit=max_distance)
        found = found[:, end : end + num_stations]
        # Rounding: the limit holds for the sum, which may be a little above the distance.
        source, target = np.nonzero(np.isfinite(found))
        rows.append(sources[source])
        columns.append(target)
        metres.append(found[source, target])
    if not rows:
        return RoadDistances(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), 0, ())
    unreachable, examples = _unreachable(ways, start + on_road, end + on_road, on_road)
    return RoadDistances(np.concatenate(rows), np.concatenate(columns), np.concatenate(metres), unreachable, examples)


def _ways(network: RoadNetwork, snapped: Snapped) -> tuple["scipy.sparse.csr_array", int, int]:
    """The graph to search, and the numbers of the first station's start and end in it.

    After the V nodes come the stops, then a start and an end for each station: nothing leads into a start or out of an
    end, so that no way passes a station by turning around on the road.
    """
    num_stops, num_stations = len(snapped.stations_K), len(snapped.near_N)
    first_stop = network.num_nodes
    start = first_stop + num_stops
    end = start + num_stations
    order_K = np.lexsort((snapped.offsets_K, snapped.arcs_K))
    arcs_K, offsets_K = snapped.arcs_K[order_K], snapped.offsets_K[order_K]
    lengths_K = network.lengths_A[arcs_K]
    stop_K = first_stop + order_K
    is_first_K, is_last_K = np.ones(num_stops, bool), np.ones(num_stops, bool)
    is_first_K[1:] = is_last_K[:-1] = np.diff(arcs_K) != 0
    before_K = np.concatenate([[0], stop_K[:-1]])
    gap_K = np.diff(offsets_K, prepend=0.0)
    back_K = ~is_first_K & (gap_K <= _SAME)
    # (from, to, metres) of: tail to the first stop, stop to stop, back at one place, last stop to head.
    parts = [
        (network.tails_A, network.heads_A, network.lengths_A),
        (network.tails_L, network.heads_L, np.zeros(len(network.tails_L))),
        (network.tails_A[arcs_K[is_first_K]], stop_K[is_first_K], offsets_K[is_first_K]),
        (before_K[~is_first_K], stop_K[~is_first_K], gap_K[~is_first_K]),
        (stop_K[back_K], before_K[back_K], np.zeros(int(back_K.sum()))),
        (stop_K[is_last_K], network.heads_A[arcs_K[is_last_K]], (lengths_K - offsets_K)[is_last_K]),
        (start + snapped.stations_K[order_K], stop_K, np.zeros(num_stops)),
        (stop_K, end + snapped.stations_K[order_K], np.zeros(num_stops)),
    ]
    for at_end_K, node_K in (
        (offsets_K <= _SAME, network.tails_A[arcs_K]),
        (offsets_K >= lengths_K - _SAME, network.heads_A[arcs_K]),
    ):
        stations = snapped.stations_K[order_K][at_end_K]
        parts.append((start + stations, node_K[at_end_K], np.zeros(len(stations))))
        parts.append((node_K[at_end_K], end + stations, np.zeros(len(stations))))
    tails_W, heads_W, metres_W = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _least(tails_W, heads_W, metres_W, end + num_stations), start, end


def _least(tails_W: np.ndarray, heads_W: np.ndarray, metres_W: np.ndarray, size: int) -> "scipy.sparse.csr_array":
    """A sparse matrix with the shortest of parallel ways; those of length 0 stay in it."""
    order_W = np.lexsort((metres_W, heads_W, tails_W))
    tails_W, heads_W, metres_W = tails_W[order_W], heads_W[order_W], metres_W[order_W]
    keep_W = np.ones(len(tails_W), dtype=bool)
    keep_W[1:] = (np.diff(tails_W) != 0) | (np.diff(heads_W) != 0)
    starts = np.searchsorted(tails_W[keep_W], np.arange(size + 1))
    return scipy.sparse.csr_array(
        (metres_W[keep_W], heads_W[keep_W].astype(np.int32), starts.astype(np.int32)), shape=(size, size)
    )


def _unreachable(
    ways: "scipy.sparse.csr_array", starts_N: np.ndarray, ends_N: np.ndarray, stations_N: np.ndarray
) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Pairs of different stations that no way joins at any distance, by the parts of the graph that are strongly
    connected: stations of one part reach the same others."""
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    present = scipy.sparse.csr_array((np.ones(ways.nnz), ways.indices, ways.indptr), shape=ways.shape)
    # A start's own part is the start alone: what it reaches is decided by where it leads.
    _, part_V = connected_components(present, connection="strong")
    num_parts = int(part_V.max()) + 1
    coo = present.tocoo()
    between = part_V[coo.row] != part_V[coo.col]
    parts = scipy.sparse.csr_array(
        (np.ones(int(between.sum())), (part_V[coo.row[between]], part_V[coo.col[between]])),
        shape=(num_parts, num_parts),
    )
    end_of_part = np.full(num_parts, -1)
    end_of_part[part_V[ends_N]] = np.arange(len(ends_N))
    reached: dict[tuple[int, ...], np.ndarray] = {}
    count = 0
    examples: list[tuple[int, int]] = []
    for place, start in enumerate(part_V[starts_N]):
        into = tuple(parts.indices[parts.indptr[start] : parts.indptr[start + 1]].tolist())
        if into not in reached:
            seen = breadth_first_order(parts, start, return_predecessors=False)
            ends = end_of_part[seen]
            reached[into] = np.setdiff1d(np.arange(len(ends_N)), ends[ends >= 0])
        missing = reached[into]
        missing = missing[missing != place]
        count += len(missing)
        if len(examples) < 3 and len(missing):
            examples.append((int(stations_N[place]), int(stations_N[missing[0]])))
    return count, tuple(examples)
