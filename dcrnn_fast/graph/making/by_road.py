"""Stations and a road network: the distance that a driver covers from each station to each other one."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.making.made import MadeList, chosen_pairs
from dcrnn_fast.graph.making.roads.geojson import read_geojson_roads
from dcrnn_fast.graph.making.roads.graphml import read_graphml
from dcrnn_fast.graph.making.roads.network import RoadNetwork
from dcrnn_fast.graph.making.roads.paths import road_distances
from dcrnn_fast.graph.making.roads.snapping import snap
from dcrnn_fast.graph.making.roads.sumo import read_sumo
from dcrnn_fast.graph.making.stations import Stations
from dcrnn_fast.messages import counted, first_few, metres_words, naming_file, some

_GZIP = b"\x1f\x8b"


def read_roads(path: Path, *, on_globe: bool) -> RoadNetwork:
    """A road network of any known kind, told by its content.

    Args:
        on_globe: wanted in latitude and longitude; else in the file's own metres, which only SUMO has.
    Raises:
        UserError: none of the known kinds, or errors of their readers.
    """
    with naming_file(path):
        with path.open("rb") as stream:
            start = stream.read(1 << 16)
        is_json = start.lstrip(b"\xef\xbb\xbf \t\r\n\x1e").startswith(b"{")
        is_graphml = not is_json and b"<graphml" in start
        if not is_json and not is_graphml and (start.startswith(_GZIP) or b"<net" in start):
            return read_sumo(path, on_globe=on_globe)
        if not is_json and not is_graphml:
            raise UserError(
                "is none of the known road networks: GraphML (OSMnx: save_graphml), GeoJSON of lines (ogr2ogr), "
                ".net.xml of SUMO, also compressed"
            )
        if not on_globe:
            raise UserError(
                "has latitude and longitude, but the stations have x and y: call these columns longitude and latitude "
                "if they are degrees"
            )
        return read_geojson_roads(path) if is_json else read_graphml(path)


def by_road(
    stations: Stations,
    network: RoadNetwork,
    *,
    source: str,
    max_distance: float,
    max_snap: float,
    snap_to: Collection[str] = (),
    nearest: int | None = None,
) -> MadeList:
    """The pairs within ``max_distance`` metres by road, in driving direction, and each station's own of 0 m.

    Raises:
        UserError: errors of ``snap``; no pair within the distance.
    """
    stations = stations.placed()
    snapped = snap(stations, network, max_snap=max_snap, kinds=snap_to)
    found = road_distances(network, snapped, max_distance)
    alone = np.flatnonzero(~snapped.near_N)
    made = MadeList(
        ids=stations.ids,
        rows_E=np.concatenate([found.rows_E, alone]),
        columns_E=np.concatenate([found.columns_E, alone]),
        values_E=np.concatenate([found.metres_E, np.zeros(len(alone))]),
        holds="distances",
        source=source,
        positions_N2=stations.positions_N2,
        on_globe=network.on_globe,
        moved_N2=snapped.place_N2,
        distance_N=snapped.distance_N,
        near_N=snapped.near_N,
        roads_N=snapped.names_N,
        notes=(
            *stations.notes,
            *(note if note.startswith("look: ") else f"roads: {source}: {note}" for note in network.notes),
        ),
    )
    listed = int((found.rows_E != found.columns_E).sum())
    on_road = int(snapped.near_N.sum())
    farthest = int(np.where(snapped.near_N, snapped.distance_N, -1.0).argmax())
    near_M = snapped.distance_N[snapped.near_N]
    notes = [
        f"roads: {source}: {network.described()}",
        f"stations: {on_road} of {len(stations.ids)} on a road, the median {metres_words(np.median(near_M))} from it, "
        f"the farthest {metres_words(near_M.max())} ({stations.ids[farthest]}), --max-snap {max_snap:g} m",
        f"pairs: {on_road * (on_road - 1):,}, {listed:,} of them within --max-distance {max_distance:g} m by road, "
        f"{on_road * (on_road - 1) - listed - found.unreachable:,} farther, {found.unreachable:,} that no road joins",
    ]
    if alone.size:
        names = [f"{stations.ids[n]!r} ({metres_words(snapped.distance_N[n])})" for n in alone]
        notes.append(
            f"look: no road is near {counted(len(names), 'station')}, without a link: {some(names)}; --max-snap "
            "allows more metres"
        )
    if found.unreachable:
        pairs = [f"{stations.ids[a]} to {stations.ids[b]}" for a, b in found.examples]
        notes.append(
            f"look: {found.unreachable:,} pairs of stations that no road joins: {some(pairs, 3)}"
            f"{' ...' if found.unreachable > len(pairs) else ''}; does the network end too near, or a street lead one "
            "way only?"
        )
    if snapped.between_N.any():
        between = [stations.ids[n] for n in np.flatnonzero(snapped.between_N)]
        notes.append(
            f"look: {counted(len(between), 'station')} put on one of two carriageways that are as near and lead "
            f"against each other: {first_few(between)}; a column bearing or direction says which"
        )
    if snapped.against_N.any():
        against = [stations.ids[n] for n in np.flatnonzero(snapped.against_N)]
        notes.append(
            f"look: no near road leads in the direction of {counted(len(against), 'station')}, put on the nearest: "
            f"{first_few(against)}"
        )
    return chosen_pairs(made, nearest=nearest, max_distance=None).with_notes(*notes)
