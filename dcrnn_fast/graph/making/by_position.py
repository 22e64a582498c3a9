"""Stations by their positions alone: distances as the crow flies."""

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.making.made import MadeList, chosen_pairs, with_own_pairs
from dcrnn_fast.graph.making.stations import Stations
from dcrnn_fast.graph.positions import near_pairs


def by_position(
    stations: Stations, *, source: str, nearest: int | None = None, max_distance: float | None = None
) -> MadeList:
    """Links from each station to its nearest others, all within so many metres (haversine), or both limits.

    Raises:
        UserError: neither limit, positions that are no latitude and longitude, ``nearest`` not below the number of
            stations, no pair within the distance.
    """
    stations = stations.placed()
    if not stations.on_globe:
        raise UserError(f"{source} has x and y: distances as the crow flies need latitude and longitude")
    if nearest is None and max_distance is None:
        raise UserError(
            f"{source} has positions alone: --nearest or --max-distance for distances as the crow flies, --roads FILE "
            "for distances by road"
        )
    if nearest is not None and nearest >= len(stations.ids):
        raise UserError(f"--nearest {nearest} must be below the number of stations, {len(stations.ids)}")
    assert stations.positions_N2 is not None
    rows_E, columns_E, km_E = near_pairs(
        stations.positions_N2, nearest, None if max_distance is None else max_distance / 1000
    )
    rows_E, columns_E, metres_E = with_own_pairs(rows_E, columns_E, 1000 * km_E, len(stations.ids), 0.0)
    made = MadeList(
        ids=stations.ids,
        rows_E=rows_E,
        columns_E=columns_E,
        values_E=np.asarray(metres_E),
        holds="distances",
        source=source,
        positions_N2=stations.positions_N2,
        notes=stations.notes,
    )
    return chosen_pairs(made, nearest=nearest, max_distance=max_distance)
