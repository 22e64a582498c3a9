"""Stations along routes: by route, direction and place, from each station to the next ones downstream.

Shape legend: N stations, R stations of one carriageway.
"""

import math

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.making.made import MadeList, chosen_pairs, with_own_pairs
from dcrnn_fast.graph.making.stations import Stations, bearing_of
from dcrnn_fast.messages import counted, first_few
from dcrnn_fast.reading.tables import plain_name

_ALONG = {
    **dict.fromkeys(("increasing", "up", "forward", "with", "1"), 1),
    **dict.fromkeys(("decreasing", "down", "backward", "against", "2", "-1"), -1),
}


def by_postmile(
    stations: Stations, *, source: str, nearest: int | None = None, max_distance: float | None = None
) -> MadeList:
    """Links from each station to those downstream on its route and direction; the cost is the difference of places.

    Traffic to the north or east drives towards larger postmiles, to the south or west towards smaller ones, as the
    postmiles of California are counted. Without a column of directions the links lead both ways.

    Args:
        nearest: so many next stations downstream; max_distance: all within so many metres. Neither: the next one.
    Raises:
        UserError: no route or place columns, a direction of unknown meaning, no two stations on one route.
    """
    if stations.routes_N is None or stations.place_N is None:
        raise UserError(
            f"{source} has no columns of a route and a place along it (Fwy, Abs_PM; route, postmile, km ...): give "
            "--roads for distances by road, or --nearest or --max-distance for distances as the crow flies"
        )
    known_N = np.isfinite(stations.place_N)
    if not known_N.all():
        absent = [stations.ids[n] for n in np.flatnonzero(~known_N).tolist()]
        note = f"look: {counted(len(absent), 'station')} without a place on a route left out: {first_few(absent)}"
        stations = stations.take(known_N, note)
    assert stations.routes_N is not None
    assert stations.place_N is not None
    if nearest is None and max_distance is None:
        nearest = 1
    groups: dict[tuple[str, str], list[int]] = {}
    for n, route in enumerate(stations.routes_N):
        direction = plain_name(stations.directions_N[n]) if stations.directions_N is not None else ""
        groups.setdefault((route, direction), []).append(n)
    pairs = [
        _pairs_of(np.array(members), stations, sign, nearest, max_distance)
        for (_, direction), members in groups.items()
        for sign in ((1, -1) if stations.directions_N is None else (_sign(direction, stations, members),))
    ]
    rows_E, columns_E, metres_E = (np.concatenate(part) for part in zip(*pairs, strict=True))
    rows_E, columns_E, metres_E = with_own_pairs(rows_E, columns_E, metres_E, len(stations.ids), 0.0)
    made = MadeList(
        ids=stations.ids,
        rows_E=rows_E,
        columns_E=columns_E,
        values_E=metres_E,
        holds="distances",
        source=source,
        positions_N2=stations.positions_N2,
        on_globe=stations.on_globe,
        notes=stations.notes,
    )
    lone = [members[0] for members in groups.values() if len(members) == 1]
    notes = [f"routes: {counted(len(stations.ids), 'station')} on {counted(len(groups), 'route')}, directions apart"]
    if stations.directions_N is None:
        notes.append("look: no column of directions: the links lead both ways")
    if lone:
        notes.append(
            f"look: {counted(len(lone), 'station')} alone on a carriageway, without a link: "
            f"{first_few(stations.ids[n] for n in lone)}"
        )
    return chosen_pairs(made, nearest=None, max_distance=max_distance).with_notes(*notes)


def _sign(direction: str, stations: Stations, members: list[int]) -> int:
    """1 if the traffic drives towards larger places, else -1."""
    if direction in _ALONG:
        return _ALONG[direction]
    bearing = bearing_of(direction)
    east, north = math.sin(math.radians(bearing)), math.cos(math.radians(bearing))
    if math.isnan(bearing) or abs(east + north) < 1e-9:
        raise UserError(
            f"station {stations.ids[members[0]]!r} has the direction {direction!r}; known: N, S, E, W (also NB, north "
            "...), increasing, decreasing"
        )
    return 1 if east + north > 0 else -1


def _pairs_of(
    members_R: np.ndarray, stations: Stations, sign: int, nearest: int | None, max_distance: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From each station of a carriageway to the next ones downstream; two at one place are linked both ways."""
    assert stations.place_N is not None
    order_R = np.argsort(sign * stations.place_N[members_R], kind="stable")
    members_R = members_R[order_R]
    place_R = sign * stations.place_N[members_R]
    here_R = np.arange(len(members_R))
    begin_R = np.searchsorted(place_R, place_R, side="left")
    end_R = np.full(len(members_R), len(members_R))
    if max_distance is not None:
        end_R = np.searchsorted(place_R, place_R + max_distance * (1 + 1e-12), side="right")
    if nearest is not None:
        end_R = np.minimum(end_R, np.maximum(here_R + 1 + nearest, np.searchsorted(place_R, place_R, side="right")))
    counts_R = end_R - begin_R
    first_E = np.repeat(here_R, counts_R)
    second_E = np.arange(len(first_E)) - np.repeat(np.cumsum(counts_R) - counts_R - begin_R, counts_R)
    other_E = first_E != second_E
    first_E, second_E = first_E[other_E], second_E[other_E]
    return members_R[first_E], members_R[second_E], place_R[second_E] - place_R[first_E]
