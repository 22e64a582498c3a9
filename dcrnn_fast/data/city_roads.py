"""Roads of the synthetic city: its sensors' places, which sensor follows which, and the sensor graph.

Shape legend: N sensors, E pairs of sensors.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse
from scipy.sparse import csgraph

from dcrnn_fast.graph.sensor_graph import SensorGraph

EDGES_PER_NODE = 9.86
"""neighbours within the Gaussian kernel, the sensor itself included; METR-LA and PEMS-BAY have 8.3"""
KERNEL_THRESHOLD = 0.1
CENTRE_DEGREES = (52.0, 4.5)
KM_PER_DEGREE = 111.2
RAMP_REACH_KM = 0.7
TURN_ROUND_KM = 0.6


@dataclass(frozen=True, slots=True)
class Roads:
    """The road network.

    Attributes:
        ids: such as road003_out_07, in the order in which the traffic passes.
        position_N2: (latitude, longitude) in degrees.
        length_NN: csr, km of road from a sensor (row) to the next ones (column).
        flow_NN: csr, share of a sensor's traffic that goes on to each next one; rows sum to 1, or 0 at a dead end.
        free_speed_N: mph.
        line_starts: the first sensor of each line; a road has one line for each direction.
    """

    ids: tuple[str, ...]
    position_N2: np.ndarray
    length_NN: Any
    flow_NN: Any
    free_speed_N: np.ndarray
    line_starts: tuple[int, ...]


@dataclass(slots=True)
class _Plan:
    """Roads while they are drawn; positions in km."""

    ids: list[str] = field(default_factory=list)
    position: list[np.ndarray] = field(default_factory=list)
    road: list[int] = field(default_factory=list)
    free_speed: list[np.ndarray] = field(default_factory=list)
    line_starts: list[int] = field(default_factory=list)
    length: dict[tuple[int, int], float] = field(default_factory=dict)
    share: dict[tuple[int, int], float] = field(default_factory=dict)

    def join(self, start: int, stop: int, km: float, share: float) -> None:
        """Road from one sensor to another; where two roads join the same pair, the first one stands."""
        self.length.setdefault((start, stop), max(km, 0.05))
        self.share.setdefault((start, stop), share)


def build_roads(nodes: int, rng: np.random.Generator) -> Roads:
    """Two-way roads and every fifth one one-way, nearly straight, half of them across the others."""
    per_line = int(np.clip(round(1.4 * nodes**0.5), 2, 40))
    length_km = 0.85 * per_line
    # As many crossings on a road in a large city as in a small one.
    side_km = length_km * max((nodes / (1.8 * per_line) / 10) ** 0.5 - 1, 0.4)
    plan = _Plan()
    road = 0
    while len(plan.ids) < nodes:
        _draw_road(plan, road, nodes, per_line, side_km, rng)
        road += 1
    position_N2 = np.concatenate(plan.position)
    _add_ramps(plan, position_N2)
    shape = (nodes, nodes)
    share_NN = _matrix(plan.share, shape)
    total_N = share_NN.sum(axis=1)
    scale_N = np.divide(1.0, total_N, out=np.zeros(nodes), where=total_N > 0)
    latitude, longitude = CENTRE_DEGREES
    degrees_N2 = np.stack(
        [
            latitude + position_N2[:, 1] / KM_PER_DEGREE,
            longitude + position_N2[:, 0] / (KM_PER_DEGREE * np.cos(np.radians(latitude))),
        ],
        axis=1,
    )
    return Roads(
        ids=tuple(plan.ids),
        position_N2=degrees_N2,
        length_NN=_matrix(plan.length, shape),
        flow_NN=(scipy.sparse.diags_array(scale_N) @ share_NN).tocsr(),
        free_speed_N=np.concatenate(plan.free_speed),
        line_starts=tuple(plan.line_starts),
    )


def kernel_graph(roads: Roads) -> SensorGraph:
    """exp(-(road distance / sigma)^2), below 0.1 nothing, as Li et al. 2018 do it; sigma such that 9.86 weights stand
    in a row on average, or every pair that a road joins if those are fewer."""
    nodes = len(roads.ids)
    wanted = round(EDGES_PER_NODE * nodes)
    limit_km = 4.0
    rows_E, columns_E, km_E = _road_distances(roads.length_NN, limit_km)
    while len(km_E) < wanted and limit_km < 1e4:
        limit_km *= 2
        rows_E, columns_E, km_E = _road_distances(roads.length_NN, limit_km)
    wanted = min(wanted, len(km_E))
    nearest_E = np.argsort(km_E, kind="stable")[:wanted]
    reach_km = km_E[nearest_E[-1]]
    # A city of single sensors has no distance to measure: any width will do.
    sigma_km = reach_km / np.log(1 / KERNEL_THRESHOLD) ** 0.5 or 1.0
    weight_E = np.exp(-((km_E[nearest_E] / sigma_km) ** 2))
    adjacency = scipy.sparse.coo_array((weight_E, (rows_E[nearest_E], columns_E[nearest_E])), shape=(nodes, nodes))
    return SensorGraph(adjacency.tocsr(), roads.ids, roads.position_N2)


def _draw_road(plan: _Plan, road: int, nodes: int, per_line: int, side_km: float, rng: np.random.Generator) -> None:
    two_way = road % 5 != 4
    count = max(2, round(per_line * rng.uniform(0.8, 1.2)))
    along_km = np.cumsum(rng.uniform(0.6, 1.1, count))
    along_km -= along_km.mean()
    bend_km = rng.uniform(-0.05, 0.05) * np.abs(along_km[0]) * np.cos(along_km / along_km[-1] * np.pi / 2)
    heading = np.pi / 2 * (road % 2) + rng.normal(0, 0.2)
    ahead, aside = np.array([np.cos(heading), np.sin(heading)]), np.array([-np.sin(heading), np.cos(heading)])
    middle = rng.uniform(-side_km / 2, side_km / 2, 2)
    track_S2 = middle + along_km[:, None] * ahead + bend_km[:, None] * aside
    speed = rng.uniform(58, 68) if two_way else rng.uniform(38, 46)
    speed_S = speed + rng.normal(0, 1.5, (2, count))
    ends: list[tuple[int, int]] = []
    for k, direction in enumerate(("out", "in") if two_way else ("one",)):
        # The opposite direction runs 30 m aside.
        line_S2 = track_S2 if k == 0 else track_S2[::-1] + 0.03 * aside
        first, size = len(plan.ids), min(count, nodes - len(plan.ids))
        if size == 0:
            return
        line_S2 = line_S2[:size]
        for step, km in enumerate(np.hypot(*np.diff(line_S2, axis=0).T)):
            plan.join(first + step, first + step + 1, float(km), 1.0)
        plan.ids += [f"road{road:03d}_{direction}_{step:02d}" for step in range(size)]
        plan.position.append(line_S2)
        plan.road += [road] * size
        plan.free_speed.append(speed_S[k, :size])
        plan.line_starts.append(first)
        ends.append((first, first + size - 1))
    if two_way:
        (out_first, out_last), (in_first, in_last) = ends
        plan.join(out_last, in_first, TURN_ROUND_KM, 0.12)
        plan.join(in_last, out_first, TURN_ROUND_KM, 0.12)


def _add_ramps(plan: _Plan, position_N2: np.ndarray) -> None:
    """Pairs at close sensors of two roads: from each to the sensor that follows the other."""
    after = {start: stop for start, stop in plan.length if stop == start + 1}
    for i, j in _pairs_within(position_N2, RAMP_REACH_KM):
        if plan.road[i] == plan.road[j]:
            continue
        for start, other in ((i, j), (j, i)):
            if (stop := after.get(other)) is not None:
                km = float(np.hypot(*(position_N2[stop] - position_N2[start])))
                plan.join(start, stop, 0.3 + km, 0.12)


def _pairs_within(position_N2: np.ndarray, reach_km: float) -> list[tuple[int, int]]:
    """Pairs i < j that are no farther apart, in order; scipy's tree of points would take longer to import."""
    order_N = np.argsort(position_N2[:, 0], kind="stable")
    east_N = position_N2[order_N, 0]
    # A little farther than the reach, because the sum is rounded; the distance itself decides.
    stop_N = np.searchsorted(east_N, east_N + 1.001 * reach_km, side="right")
    pairs = []
    for k, stop in enumerate(stop_N):
        others_K = order_N[k + 1 : stop]
        apart_K2 = position_N2[others_K] - position_N2[order_N[k]]
        near_K = others_K[(apart_K2 * apart_K2).sum(axis=1) <= reach_km * reach_km]
        pairs += [(min(order_N[k], other), max(order_N[k], other)) for other in near_K]
    return sorted((int(i), int(j)) for i, j in pairs)


def _matrix(entries: dict[tuple[int, int], float], shape: tuple[int, int]) -> Any:
    rows, columns = np.array(list(entries), dtype=np.int64).reshape(-1, 2).T
    return scipy.sparse.coo_array((np.array(list(entries.values())), (rows, columns)), shape=shape).tocsr()


def _road_distances(length_NN: Any, limit_km: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and km of all pairs that a road of at most ``limit_km`` joins, each sensor with itself too."""
    nodes = length_NN.shape[0]
    pieces = []
    for first in range(0, nodes, 512):
        sources = np.arange(first, min(first + 512, nodes))
        km_SN = csgraph.dijkstra(length_NN, indices=sources, limit=limit_km)
        rows, columns = np.nonzero(np.isfinite(km_SN))
        pieces.append((rows + first, columns, km_SN[rows, columns]))
    rows_E, columns_E, km_E = (np.concatenate(part) for part in zip(*pieces, strict=True))
    return rows_E, columns_E, km_E
