"""Stations onto roads: where on which arc each stands, and how far from the road it was.

Shape legend: N stations, A arcs, S segments of all arcs, K stops (a station on an arc), C candidates.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.making.globe import degrees_of, headings, plane_headings, points_of
from dcrnn_fast.graph.making.roads.network import RoadNetwork, kinds_in
from dcrnn_fast.graph.making.segments import SegmentTree
from dcrnn_fast.graph.making.stations import Stations
from dcrnn_fast.messages import first_few, metres_words, some

_AGREES, _AGREES_ABOUT = np.cos(np.radians(60)), np.cos(np.radians(85))
"""cosines of the angle between a station's direction and its road's: at first, and if no road is so"""
_SAME_PLACE = 1.0
"""metres between the nearest points of a street's two directions, if they share a line; and by how many metres the
carriageway that a station is put on must be nearer than one that leads back"""
_BACK = -0.7
"""cosine of the angle between two directions: they lead against each other"""


@dataclass(frozen=True, eq=False, slots=True)
class Snapped:
    """Stations on the network.

    Attributes:
        stations_K, arcs_K: int64; offsets_K: metres from the arc's tail.
        distance_N: metres from the road, also of a station that is too far from any.
        near_N: bool, whether it stands on a road.
        names_N: of its arc, "" without one.
        against_N: bool, whether no near road leads in the station's direction.
        between_N: bool, whether another carriageway that leads back is about as near, and the station has no direction.
        place_N2: (latitude, longitude) on the road, (x, y) on a plane.
    """

    stations_K: np.ndarray
    arcs_K: np.ndarray
    offsets_K: np.ndarray
    distance_N: np.ndarray
    near_N: np.ndarray
    names_N: tuple[str, ...]
    against_N: np.ndarray
    between_N: np.ndarray
    place_N2: np.ndarray


def snap(stations: Stations, network: RoadNetwork, *, max_snap: float, kinds: Collection[str] = ()) -> Snapped:
    """Puts each station on its nearest arc, and on the other direction too if the two share a line.

    A station with a direction is put on the nearest arc that leads there within 60 degrees, else within 85, else on
    the nearest.

    Args:
        max_snap: metres; a station that is farther from all roads stands nowhere.
        kinds: kinds of roads to stand on; empty: any.
    Raises:
        UserError: no road is of these kinds; the network is somewhere else.
    """
    usable_A = network.snappable_A.copy()
    if kinds:
        usable_A &= np.array([_is_kind(kind, kinds) for kind in network.kinds_A])
        if not usable_A.any():
            raise UserError(
                f"--snap-to names {some(sorted(kinds))}, and the network has no such road: it has "
                f"{first_few(sorted({kind for kind in network.kinds_A if kind})[:12], 12)}"
            )
    points_N3 = _points(stations, network)
    arcs_S, starts_S, along_S = _segments(network, usable_A)
    tree = SegmentTree(network.points_P3[starts_S], network.points_P3[starts_S + 1])
    distance_N = tree.nearest_distances(points_N3)
    _require_overlap(stations, network, distance_N, max_snap)
    found = tree.within(points_N3, np.full(len(points_N3), max_snap))
    best_C = _nearest_of_each_arc(found.points_C, arcs_S[found.segments_C], found.distances_C)
    points_C, segments_C, distances_C = (part[best_C] for part in found[:3])
    shares_C, arcs_C = found.shares_C[best_C], arcs_S[segments_C]
    steps_C3 = network.points_P3[starts_S[segments_C] + 1] - network.points_P3[starts_S[segments_C]]
    sizes_C = np.linalg.norm(steps_C3, axis=1)
    places_C3 = network.points_P3[starts_S[segments_C]] + shares_C[:, None] * steps_C3
    offsets_C = along_S[segments_C] + shares_C * sizes_C * network.lengths_A[arcs_C] / _measured(network)[arcs_C]
    leads_C3 = steps_C3 / np.where(sizes_C > 0, sizes_C, 1.0)[:, None]
    agrees_C = np.full(len(points_C), np.nan)
    if stations.bearing_N is not None:
        wanted_N3 = _headings(stations, network, stations.bearing_N)
        agrees_C = (leads_C3 * wanted_N3[points_C]).sum(axis=1)

    num_stations = len(stations.ids)
    near_N, against_N, between_N = (np.zeros(num_stations, dtype=bool) for _ in range(3))
    names = [""] * num_stations
    place_N3 = points_N3.copy()
    kept: list[int] = []
    bounds = np.searchsorted(points_C, np.arange(num_stations + 1))
    for n in range(num_stations):
        candidates = np.arange(bounds[n], bounds[n + 1])
        if not candidates.size:
            continue
        near_N[n] = True
        pool = candidates
        if np.isfinite(agrees_C[candidates]).any():
            for least in (_AGREES, _AGREES_ABOUT):
                if (fitting := candidates[agrees_C[candidates] > least]).size:
                    pool = fitting
                    break
            against_N[n] = pool is candidates
        first = pool[np.argmin(distances_C[pool])]
        distance_N[n], place_N3[n] = distances_C[first], places_C3[first]
        names[n] = network.names_A[arcs_C[first]]
        kept.append(int(first))
        if pool is candidates:
            swapped = network.junctions_A2[arcs_C[first]][::-1]
            same = (network.junctions_A2[arcs_C[candidates]] == swapped).all(axis=1)
            here = np.linalg.norm(places_C3[candidates] - places_C3[first], axis=1) < _SAME_PLACE
            same &= here
            back = ~here & (leads_C3[candidates] @ leads_C3[first] < _BACK)
            between_N[n] = (distances_C[candidates[back]] < distances_C[first] + _SAME_PLACE).any()
            kept += [int(other) for other in candidates[same] if other != first]
    kept_K = np.array(kept, dtype=np.int64)
    place_N2 = degrees_of(place_N3) if network.on_globe else place_N3[:, :2]
    return Snapped(
        points_C[kept_K],
        arcs_C[kept_K],
        np.minimum(offsets_C[kept_K], network.lengths_A[arcs_C[kept_K]]),
        distance_N,
        near_N,
        tuple(names),
        against_N,
        between_N,
        place_N2,
    )


def _points(stations: Stations, network: RoadNetwork) -> np.ndarray:
    assert stations.positions_N2 is not None
    if network.on_globe:
        return points_of(stations.positions_N2)
    return np.concatenate([stations.positions_N2, np.zeros((len(stations.ids), 1))], axis=1)


def _headings(stations: Stations, network: RoadNetwork, bearing_N: np.ndarray) -> np.ndarray:
    assert stations.positions_N2 is not None
    return headings(stations.positions_N2, bearing_N) if network.on_globe else plane_headings(bearing_N)


def _is_kind(kind: str, kinds: Collection[str]) -> bool:
    return any(word in kinds for word in kinds_in(kind))


def _segments(network: RoadNetwork, usable_A: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(S,) the arc of each segment, its first point, and its metres from the arc's tail."""
    counts_A = np.diff(network.first_A1) - 1
    counts_A[~usable_A] = 0
    arcs_S = np.repeat(np.arange(network.num_arcs), counts_A)
    place_S = np.arange(len(arcs_S)) - np.repeat(np.cumsum(counts_A) - counts_A, counts_A)
    starts_S = network.first_A1[arcs_S] + place_S
    sizes_S = np.linalg.norm(network.points_P3[starts_S + 1] - network.points_P3[starts_S], axis=1)
    before_S = np.cumsum(sizes_S) - sizes_S
    first_S = np.concatenate([[0], np.cumsum(counts_A)])[arcs_S]
    along_S = before_S - before_S[first_S] if len(arcs_S) else before_S
    # In the file's own length, which may differ from the line's.
    return arcs_S, starts_S, along_S * network.lengths_A[arcs_S] / _measured(network)[arcs_S]


def _measured(network: RoadNetwork) -> np.ndarray:
    """(A,) metres of the arcs' lines; 1 for a line of no length."""
    sizes = np.linalg.norm(np.diff(network.points_P3, axis=0), axis=1)
    sizes[network.first_A1[1:-1] - 1] = 0.0
    measured_A = np.add.reduceat(np.append(sizes, 0.0), network.first_A1[:-1])
    return np.where(measured_A > 0, measured_A, 1.0)


def _nearest_of_each_arc(points_C: np.ndarray, arcs_C: np.ndarray, distances_C: np.ndarray) -> np.ndarray:
    """Places of the nearest candidate for each station and arc, in order of station and distance."""
    order_C = np.lexsort((distances_C, arcs_C, points_C))
    first_C = np.ones(len(order_C), dtype=bool)
    first_C[1:] = (np.diff(points_C[order_C]) != 0) | (np.diff(arcs_C[order_C]) != 0)
    best = order_C[first_C]
    return np.asarray(best[np.lexsort((distances_C[best], points_C[best]))])


def _require_overlap(stations: Stations, network: RoadNetwork, distance_N: np.ndarray, max_snap: float) -> None:
    if (distance_N <= max_snap).any():
        return
    nearest = int(distance_N.argmin())
    boxes = [_box(positions) for positions in (stations.positions_N2, _corners(network))]
    raise UserError(
        f"none of the {len(distance_N)} stations is within --max-snap {max_snap:g} m of a road: the nearest, "
        f"{stations.ids[nearest]!r}, is {metres_words(distance_N[nearest])} away; the stations lie in {boxes[0]}, the "
        f"roads in {boxes[1]} ({'latitude, longitude' if network.on_globe else 'x, y in metres'}): another place, "
        "swapped columns, or another projection?"
    )


def _corners(network: RoadNetwork) -> np.ndarray:
    return degrees_of(network.points_P3) if network.on_globe else network.points_P3[:, :2]


def _box(positions_N2: np.ndarray | None) -> str:
    assert positions_N2 is not None
    low, high = positions_N2.min(axis=0), positions_N2.max(axis=0)
    return f"{low[0]:.6g} to {high[0]:.6g}, {low[1]:.6g} to {high[1]:.6g}"
