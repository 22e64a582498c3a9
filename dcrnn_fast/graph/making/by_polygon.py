"""Areas that touch: polygons of GeoJSON that share an edge (rook) or a point (queen).

Shape legend: N areas, P points of all rings, S segments, U different points, I incidences (an area has a part).
"""

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.making.globe import points_of
from dcrnn_fast.graph.making.made import MadeList
from dcrnn_fast.graph.making.roads.network import require_places
from dcrnn_fast.graph.making.segments import SegmentTree
from dcrnn_fast.graph.sensor_graph import require_unique_ids
from dcrnn_fast.messages import counted, first_few, naming_file
from dcrnn_fast.reading.geojson import Feature, property_named, read_features

Contiguity = Literal["queen", "rook"]
_ID_NAMES = ("id", "geoid", "geoid20", "geoid10", "fips", "code", "gid", "objectid", "region_id", "name")


def by_polygon(path: Path, *, contiguity: Contiguity, tolerance: float, id_property: str | None = None) -> MadeList:
    """Links of weight 1, both ways, between areas that touch; an area that touches no other is named.

    Points within ``tolerance`` metres are one point, also where an area's corner lies on another one's edge.

    Args:
        id_property: the property that is the areas' id; left out: the feature's id, or a property such as GEOID.
    Raises:
        UserError: no GeoJSON of polygons, an id is missing or comes twice, no two areas touch.
    """
    with naming_file(path):
        ids, rings = _areas(path, id_property)
        points_P2 = np.stack([np.frombuffer(rings.across), np.frombuffer(rings.up)], axis=1)
        on_globe = bool((np.abs(points_P2) <= (540, 90)).all())
        points_P3 = (
            points_of(points_P2[:, ::-1]) if on_globe else np.concatenate([points_P2, np.zeros((len(points_P2), 1))], 1)
        )
        pairs = _touching(points_P3, rings, len(ids), contiguity, tolerance)
        if not len(pairs[0]):
            raise UserError(
                f"no two of the {counted(len(ids), 'area')} share {'an edge' if contiguity == 'rook' else 'a point'} "
                f"within --tolerance {tolerance:g} m: give more metres if their borders do not quite meet"
            )
    rows_E, columns_E = pairs
    alone = np.setdiff1d(np.arange(len(ids)), rows_E).tolist()
    what = "an edge" if contiguity == "rook" else "a point or an edge"
    notes = [
        f"areas: {path.name}: {counted(len(ids), 'area')}, {len(rows_E) // 2} pairs share {what} ({contiguity}), "
        f"--tolerance {tolerance:g} m"
    ]
    if alone:
        notes.append(f"look: {counted(len(alone), 'area')} that no other touches: {first_few(ids[n] for n in alone)}")
    rows, columns, weights = rows_E, columns_E, np.ones(len(rows_E))
    if alone:
        own = np.array(alone)
        rows, columns = np.concatenate([rows, own]), np.concatenate([columns, own])
        weights = np.append(weights, np.zeros(len(own)))
    return MadeList(
        ids=ids,
        rows_E=rows,
        columns_E=columns,
        values_E=weights,
        holds="weights",
        source=path.name,
        positions_N2=_middles(points_P2, rings, len(ids)),
        on_globe=on_globe,
        notes=tuple(notes),
    )


class _Rings:
    """All rings: their points in a row, where each begins, and the area of each."""

    def __init__(self) -> None:
        self.across, self.up, self.first, self.area = array("d"), array("d"), array("q", [0]), array("q")

    def add(self, area: int, ring: Sequence[Any]) -> None:
        self.across.extend(float(point[0]) for point in ring)
        self.up.extend(float(point[1]) for point in ring)
        self.first.append(len(self.up))
        self.area.append(area)


def _areas(path: Path, id_property: str | None) -> tuple[tuple[str, ...], _Rings]:
    ids: list[str] = []
    rings = _Rings()
    for feature in read_features(path):
        if feature.kind not in ("Polygon", "MultiPolygon"):
            raise feature.refuse(f"areas are Polygons and MultiPolygons, this is a {feature.kind[:30]}")
        polygons = feature.coordinates if feature.kind == "MultiPolygon" else [feature.coordinates]
        for polygon in polygons:
            for ring in polygon:
                if not isinstance(ring, list) or len(ring) < 4:
                    raise feature.refuse("a ring needs four points, the last as the first")
                try:
                    rings.add(len(ids), ring)
                except (TypeError, ValueError, IndexError):
                    raise feature.refuse("its coordinates are no rings of (longitude, latitude)") from None
        ids.append(_id(feature, id_property))
    if not ids:
        raise UserError("holds no areas")
    require_unique_ids(ids)
    require_places(np.frombuffer(rings.across), np.frombuffer(rings.up))
    return tuple(ids), rings


def _id(feature: Feature, id_property: str | None) -> str:
    if id_property is not None:
        value = feature.properties.get(id_property)
    else:
        value = feature.id if feature.id is not None else property_named(feature.properties, _ID_NAMES)
    if value is None or str(value).strip() == "":
        wanted = "an id" if id_property is None else f"the property {id_property!r}"
        raise feature.refuse(
            f"lacks {wanted}; it has {first_few(feature.properties)}: --id-property names the one that is the id"
        )
    return str(value).strip()


def _touching(
    points_P3: np.ndarray, rings: _Rings, num_areas: int, contiguity: Contiguity, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """(from, to) of areas that share a point or an edge."""
    import scipy.spatial
    from scipy.sparse.csgraph import connected_components

    places_U3, place_P = np.unique(points_P3, axis=0, return_inverse=True)
    place_P = place_P.reshape(-1)
    near = scipy.spatial.cKDTree(places_U3).query_pairs(tolerance, output_type="ndarray")
    same = scipy.sparse.coo_array((np.ones(len(near)), (near[:, 0], near[:, 1])), shape=(len(places_U3),) * 2)
    vertex_U = connected_components(same, directed=False)[1].astype(np.int64)
    first = np.frombuffer(rings.first, dtype=np.int64)
    area_P = np.repeat(np.frombuffer(rings.area, dtype=np.int64), np.diff(first))
    is_start = np.ones(len(points_P3), dtype=bool)
    is_start[first[1:] - 1] = False
    start_S = np.flatnonzero(is_start)

    # A corner that lies within another area's edge divides it.
    tree = SegmentTree(points_P3[start_S], points_P3[start_S + 1])
    on = tree.within(places_U3, np.full(len(places_U3), max(tolerance, 1e-6)))
    ends_S2 = vertex_U[np.stack([place_P[start_S], place_P[start_S + 1]], axis=1)]
    corner_C = vertex_U[on.points_C]
    inner = (corner_C != ends_S2[on.segments_C, 0]) & (corner_C != ends_S2[on.segments_C, 1])
    all_S = np.arange(len(start_S))
    segment = np.concatenate([all_S, on.segments_C[inner], all_S])
    vertex = np.concatenate([ends_S2[:, 0], corner_C[inner], ends_S2[:, 1]])
    share = np.concatenate([np.zeros(len(all_S)), on.shares_C[inner], np.ones(len(all_S))])
    order = np.lexsort((share, segment))
    segment, vertex = segment[order], vertex[order]
    area = area_P[start_S][segment]
    if contiguity == "queen":
        return _sharing(area, vertex, num_areas)
    follows = (segment[1:] == segment[:-1]) & (vertex[1:] != vertex[:-1])
    low, high = np.minimum(vertex[1:], vertex[:-1]), np.maximum(vertex[1:], vertex[:-1])
    _, edge = np.unique(np.stack([low[follows], high[follows]], axis=1), axis=0, return_inverse=True)
    return _sharing(area[1:][follows], edge.reshape(-1), num_areas)


def _sharing(area_I: np.ndarray, part_I: np.ndarray, num_areas: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of different areas that have a part in common, in order."""
    has = scipy.sparse.csr_array(
        (np.ones(len(area_I)), (area_I, part_I)), shape=(num_areas, int(part_I.max(initial=0)) + 1)
    )
    common = (has @ has.T).tocoo()
    different = common.row != common.col
    rows, columns = common.row[different].astype(np.int64), common.col[different].astype(np.int64)
    order = np.lexsort((columns, rows))
    return rows[order], columns[order]


def _middles(points_P2: np.ndarray, rings: _Rings, num_areas: int) -> np.ndarray:
    """(N, 2) the centre of gravity of each area's largest ring, (latitude, longitude) or (x, y)."""
    middles_N2, largest_N = np.zeros((num_areas, 2)), np.full(num_areas, -1.0)
    for area, begin, end in zip(rings.area, rings.first[:-1], rings.first[1:], strict=True):
        ring = points_P2[begin:end] - points_P2[begin]
        cross = ring[:-1, 0] * ring[1:, 1] - ring[1:, 0] * ring[:-1, 1]
        if abs(cross.sum()) > largest_N[area]:
            largest_N[area] = abs(cross.sum())
            middle = ((ring[:-1] + ring[1:]) * cross[:, None]).sum(axis=0) / (3 * cross.sum() or 1.0)
            middles_N2[area] = points_P2[begin] + middle
    on_globe = bool((np.abs(points_P2) <= (540, 90)).all())
    return middles_N2[:, ::-1] if on_globe else middles_N2
