"""Graphs of sensors that are near each other on the globe.

Shape legend: N nodes, E edges; positions are (latitude, longitude) in degrees, distances kilometres.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.kernel import Kernel, weigh
from dcrnn_fast.graph.numbering import counting_hint
from dcrnn_fast.graph.sensor_graph import SensorGraph, checked_positions, require_unique_ids, spelling_hint
from dcrnn_fast.messages import counted, first_few, naming_file
from dcrnn_fast.reading.tables import find_column, is_number, number, read_table

EARTH_RADIUS_KM = 6371.0088
"""mean radius, IUGG"""
LATITUDE_NAMES = ("latitude", "lat")
LONGITUDE_NAMES = ("longitude", "lon", "lng", "long")
ID_NAMES = ("sensorid", "stationid", "detectorid", "nodeid", "id", "sensor", "station", "detector", "node", "index", "")
STATION_ID_NAMES = (*ID_NAMES[:-2], "detid", "gauge", "gaugeid", "siteno", "siteid", "site", *ID_NAMES[-2:])
"""of a table of stations, where no column of readings can have such a name"""

_ALL_PAIRS_UP_TO = 4096


def haversine_km(start_E2: np.ndarray, end_E2: np.ndarray) -> np.ndarray:
    """Great-circle distances between positions in degrees, on the mean sphere."""
    latitude_a, longitude_a = np.radians(np.moveaxis(start_E2, -1, 0))
    latitude_b, longitude_b = np.radians(np.moveaxis(end_E2, -1, 0))
    chord = (
        np.sin((latitude_b - latitude_a) / 2) ** 2
        + np.cos(latitude_a) * np.cos(latitude_b) * np.sin((longitude_b - longitude_a) / 2) ** 2
    )
    return np.asarray(2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(chord, 1.0))))


def from_positions(
    positions_N2: np.ndarray,
    ids: Sequence[str],
    *,
    nearest: int | None = None,
    radius_km: float | None = None,
    sigma: float | None = None,
    threshold: float = 0.1,
    allow_lost_links: bool = False,
) -> SensorGraph:
    """Directed edges from every sensor to its ``nearest`` others, to all within ``radius_km``, or to both limits.

    The weight is exp(-(d / sigma)²) of the haversine distance d in km, 0 if that is below ``threshold``. Sigma defaults
    to the standard deviation of the distances between all pairs of sensors (of every n-th sensor if there are more than
    4096), not of the linked pairs alone: those are of nearly one length, and their deviation would cut nearly every
    edge. With ``nearest`` it is wider if the threshold would remove a link. There are no self loops. Of equally near
    sensors the earlier ones are taken. For ``kernel.weigh``, which limits the links that the threshold may remove, the
    sensors within ``nearest`` are neighbours, those within ``radius_km`` alone all pairs within a reach.

    Raises:
        UserError: neither limit given, ``nearest`` not below N, a position off the globe, sensors that are all
            equally far from each other and no sigma, more links below the threshold than ``kernel.weigh`` allows.
    """
    require_unique_ids(ids)
    positions_N2 = checked_positions(positions_N2, ids)
    num_nodes = len(ids)
    if nearest is None and radius_km is None:
        raise UserError("a graph from positions needs --nearest (how many neighbours) or --radius-km")
    if nearest is not None and not 1 <= nearest < num_nodes:
        raise UserError(f"nearest must be at least 1 and below the number of sensors {num_nodes}, got {nearest}")
    if radius_km is not None and not radius_km > 0:
        raise UserError(f"radius_km must be positive, got {radius_km!r}")
    rows_E, columns_E, distances_E = near_pairs(positions_N2, nearest, radius_km)
    weighed = weigh(
        rows_E,
        columns_E,
        distances_E,
        num_nodes,
        Kernel(sigma=sigma if len(rows_E) else 1.0, threshold=threshold, allow_lost_links=allow_lost_links),
        kind="all pairs" if nearest is None else "neighbours",
        spread=_spread_km(positions_N2, nearest) if sigma is None and len(rows_E) else None,
    )
    account = weighed.account(
        file="positions in memory",
        kind="positions, " + _limits(nearest, radius_km),
        given=len(rows_E),
        sigma=weighed.sigma if len(rows_E) else sigma,
        sigma_from=f"km, {weighed.sigma_from}",
    )
    matrix = scipy.sparse.coo_array((weighed.weights_E, (rows_E, columns_E)), shape=(num_nodes, num_nodes))
    return SensorGraph(matrix, tuple(ids), positions_N2, account)


def zero_doubt(positions_N2: np.ndarray, ids: Sequence[str]) -> str | None:
    """A doubt about stations at latitude 0, longitude 0, which is what many files write for no position."""
    at_zero = [ids[n] for n in np.flatnonzero((positions_N2 == 0).all(axis=1)).tolist()]
    if not at_zero:
        return None
    return (
        f"{counted(len(at_zero), 'sensor')} at latitude 0, longitude 0: {first_few(at_zero)}; where that means no "
        "position, leave it out"
    )


def near_pairs(
    positions_N2: np.ndarray, nearest: int | None, radius_km: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(from, to, km) of each sensor and its ``nearest`` others, all within ``radius_km``, or both limits; in order of
    sensor and distance. One limit must be given, ``nearest`` below N.
    """
    rows_E, columns_E = _candidates(positions_N2, nearest, radius_km)
    distances_E = haversine_km(positions_N2[rows_E], positions_N2[columns_E])
    keep_E = np.ones(len(rows_E), dtype=bool) if radius_km is None else distances_E <= radius_km
    order_E = np.lexsort((columns_E, distances_E, rows_E))
    order_E = order_E[keep_E[order_E]]
    if nearest is not None:
        first_of_row_E = np.searchsorted(rows_E[order_E], rows_E[order_E], side="left")
        order_E = order_E[np.arange(len(order_E)) - first_of_row_E < nearest]
    return rows_E[order_E], columns_E[order_E], distances_E[order_E]


def _limits(nearest: int | None, radius_km: float | None) -> str:
    limits = [] if nearest is None else [f"the {nearest} nearest"]
    return " of those ".join(limits + ([] if radius_km is None else [f"all within {radius_km:g} km"]))


def read_positions(path: str | Path, *, ids: Sequence[str] | None = None) -> tuple[tuple[str, ...], np.ndarray]:
    """(ids, positions_N2) of a table of sensors.

    With a header the columns are found by name (sensor_id, station, id ..; latitude or lat; longitude, lon, lng or
    long; others are ignored), without one they are id, latitude, longitude. Ids stay text.

    Args:
        ids: the sensors wanted, in order; left out: all, in the file's order.
    Raises:
        UserError: the file cannot be read, a column is missing, an id is empty, comes twice or is not in the table, a
            position is not on the globe.
    """
    path = Path(path)
    with naming_file(path):
        rows = read_table(path)
        columns: list[int | None] = [0, 1, 2]
        if not (len(rows[0].cells) >= 3 and is_number(rows[0].cells[1]) and is_number(rows[0].cells[2])):
            header = rows.pop(0).cells
            columns = [find_column(header, names) for names in (STATION_ID_NAMES, LATITUDE_NAMES, LONGITUDE_NAMES)]
            if None in columns:
                raise UserError(f"no columns sensor_id, latitude, longitude in the header {', '.join(header)[:100]!r}")
            if not rows:
                raise UserError("the table has a header and no lines")
        elif len(rows[0].cells) != 3:
            raise UserError(
                f"sensor positions without a header have the columns id, latitude, longitude, got "
                f"{len(rows[0].cells)} columns"
            )
        name, latitude, longitude = (column for column in columns if column is not None)
        listed = tuple(row.cells[name] for row in rows)
        require_unique_ids(listed)
        degrees = [(number(row, latitude, "a latitude"), number(row, longitude, "a longitude")) for row in rows]
        positions_N2 = checked_positions(degrees, listed)
        if ids is None:
            return listed, positions_N2
        index_of = {node: index for index, node in enumerate(listed)}
        if absent := [node for node in ids if node not in index_of]:
            hint = spelling_hint(absent, listed) or counting_hint(ids, listed)
            cure = (
                "correct the ids"
                if hint
                else ("leave them out of the series (--leave-out, or --land-mask for the land cells of a grid)")
            )
            raise UserError(
                f"{len(absent)} of the {len(ids)} sensors have no position: {first_few(absent)}; the file has "
                f"{first_few(listed)}{hint}; {cure}"
            )
        return tuple(ids), positions_N2[[index_of[node] for node in ids]]


def _candidates(
    positions_N2: np.ndarray, nearest: int | None, radius_km: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (from, to) of different sensors that surely contain the wanted ones."""
    latitude_N, longitude_N = np.radians(positions_N2.T)
    flat_N = np.cos(latitude_N)
    points_N3 = np.stack([flat_N * np.cos(longitude_N), flat_N * np.sin(longitude_N), np.sin(latitude_N)], axis=1)
    import scipy.spatial  # 9 MB that only a graph of this kind needs

    tree = scipy.spatial.cKDTree(points_N3)
    if nearest is not None:
        # The tree breaks ties as it likes: ask for all within the k-th distance (and a little, for rounding).
        reach_N = np.asarray(tree.query(points_N3, k=nearest + 1)[0])[:, -1] * (1 + 1e-9) + 1e-12
    else:
        assert radius_km is not None
        angle = min(radius_km / EARTH_RADIUS_KM, np.pi)
        reach_N = np.full(len(points_N3), 2 * np.sin(angle / 2) * (1 + 1e-9) + 1e-12)
    found = tree.query_ball_point(points_N3, reach_N, return_sorted=True)
    rows_E = np.repeat(np.arange(len(found)), [len(neighbours) for neighbours in found])
    columns_E = np.concatenate([np.asarray(neighbours, dtype=np.int64) for neighbours in found])
    different_E = rows_E != columns_E
    return rows_E[different_E], columns_E[different_E]


def _spread_km(positions_N2: np.ndarray, nearest: int | None) -> float:
    chosen_N2 = positions_N2[:: -(-len(positions_N2) // _ALL_PAIRS_UP_TO)]
    distances = np.concatenate(
        [haversine_km(chosen_N2[i], chosen_N2[i + 1 :]) for i in range(len(chosen_N2) - 1)] or [np.zeros(1)]
    )
    spread = float(distances.std())
    # The longest of the nearest links is a width as well.
    if spread <= 1e-9 * float(distances.max()) and (nearest is None or distances.max() == 0):
        raise UserError(
            f"all pairs of sensors are {distances[0]:g} km apart: their standard deviation gives no kernel width; set "
            "one with --sigma (km)"
        )
    return spread
