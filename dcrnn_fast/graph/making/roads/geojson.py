"""Road networks in GeoJSON: ways as ogr2ogr writes them from OpenStreetMap, or the edges of OSMnx."""

import re
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.making.roads.network import NetworkBuilder, RoadNetwork, is_for_cars, require_degrees
from dcrnn_fast.reading.geojson import Feature, property_named, read_features

_FORWARD, _BACKWARD, _BOTH = "forward", "backward", "both"
_WORDS = {
    **dict.fromkeys(("yes", "true", "1", "f", "ft", "forward", "with"), _FORWARD),
    **dict.fromkeys(("-1", "reverse", "t", "tf", "backward", "against"), _BACKWARD),
    **dict.fromkeys(("no", "false", "0", "b", "n", "both", ""), _BOTH),
}
_ONE_WAY_KINDS = ("motorway", "motorway_link")
_DIGITS = 7
"""decimals of degrees at which two coordinates are one node: 1 cm"""


def read_geojson_roads(path: Path) -> RoadNetwork:
    """The network of LineStrings and MultiLineStrings, whose lengths are measured on the mean sphere.

    Ways that share a vertex meet there, also in the middle of a line. A feature with the properties u and v is an edge
    of OSMnx, which has a feature for each direction; any other is a way, for both directions unless ``oneway`` (yes,
    -1, F, T, true ...), a roundabout or a motorway says otherwise. Ways that no car may use are left out.

    Raises:
        UserError: no GeoJSON, no lines, a value of ``oneway`` with an unknown meaning, coordinates that are no degrees.
    """
    across, up, first = array("d"), array("d"), array("q", [0])
    facts: list[tuple[str, str, str]] = []
    others: Counter[str] = Counter()
    for feature in read_features(path):
        kind = _kind(feature.properties)
        if feature.kind not in ("LineString", "MultiLineString"):
            others[f"{feature.kind} features"] += 1
            continue
        if not is_for_cars(kind):
            others["ways for others than cars"] += 1
            continue
        way = _direction(feature, kind)
        name = _name(feature)
        lines = feature.coordinates if feature.kind == "MultiLineString" else [feature.coordinates]
        for line in lines:
            try:
                across.extend(float(point[0]) for point in line)
                up.extend(float(point[1]) for point in line)
            except (TypeError, ValueError, IndexError):
                raise feature.refuse("its coordinates are no line of (longitude, latitude)") from None
            if len(across) != len(up) or len(up) - first[-1] < 2:
                raise feature.refuse("a line needs two points")
            first.append(len(up))
            facts.append((way, name, kind))
    notes = tuple(f"{count:,} {what} left out" for what, count in sorted(others.items()))
    if not facts:
        raise UserError(f"holds no LineStrings{': ' + '; '.join(notes) if notes else ''}")
    return _cut(np.frombuffer(across), np.frombuffer(up), first, facts, notes)


def _cut(
    across_P: np.ndarray, up_P: np.ndarray, first: array, facts: list[tuple[str, str, str]], notes: tuple[str, ...]
) -> RoadNetwork:
    """Arcs between the vertices that several lines share, and the lines' ends."""
    require_degrees(across_P, up_P)
    keys_P2 = np.round(np.stack([across_P, up_P], axis=1) * 10**_DIGITS).astype(np.int64)
    _, vertex_P, uses = np.unique(keys_P2, axis=0, return_inverse=True, return_counts=True)
    vertex_P = vertex_P.reshape(-1)
    is_node = uses > 1
    starts = np.frombuffer(first, dtype=np.int64)
    is_node[vertex_P[starts[:-1]]] = True
    is_node[vertex_P[starts[1:] - 1]] = True
    builder = NetworkBuilder()
    points_P2 = np.stack([across_P, up_P], axis=1)
    for (way, name, kind), begin, end in zip(facts, starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        cuts = begin + np.flatnonzero(is_node[vertex_P[begin:end]])
        for a, b in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            tail, head, line = int(vertex_P[a]), int(vertex_P[b]), points_P2[a : b + 1]
            if way != _BACKWARD:
                builder.add(tail, head, line, name=name, kind=kind)
            if way != _FORWARD:
                builder.add(head, tail, line[::-1], name=name, kind=kind)
    return builder.network(len(uses), notes=notes)


def _kind(properties: dict[str, Any]) -> str:
    value = property_named(properties, ("highway", "fclass", "type"))
    return str(value[0] if isinstance(value, list) and value else value or "")


def _name(feature: Feature) -> str:
    name = property_named(feature.properties, ("name", "ref"))
    number = property_named(feature.properties, ("osm_id", "osmid", "@id", "id")) or feature.id
    words = [str(name[0] if isinstance(name, list) and name else name) if name else ""]
    words.append(f"way {number}" if number is not None else f"feature {feature.number}")
    return ", ".join(filter(None, words))


def _direction(feature: Feature, kind: str) -> str:
    properties = feature.properties
    if property_named(properties, ("u",)) is not None and property_named(properties, ("v",)) is not None:
        return _FORWARD
    tags = dict(re.findall(r'"(oneway|junction)"=>"([^"]*)"', str(property_named(properties, ("other_tags",)) or "")))
    value = property_named(properties, ("oneway", "one_way"))
    value = tags.get("oneway") if value is None else value
    if value is None:
        junction = property_named(properties, ("junction",)) or tags.get("junction")
        return _FORWARD if junction in ("roundabout", "circular") or kind in _ONE_WAY_KINDS else _BOTH
    word = str(value).strip().casefold()
    if word in ("reversible", "alternating"):
        return _BOTH
    if word not in _WORDS:
        raise feature.refuse(
            f"oneway is {word[:20]!r}; known: yes, no, -1 (OpenStreetMap), F, T, B (Geofabrik), FT, TF, N, true, false"
        )
    return _WORDS[word]
