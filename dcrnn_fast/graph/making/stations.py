"""Stations: ids, positions, the direction that they look at, and their place on a route, from tables and GeoJSON.

Shape legend: N stations.
"""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.making.units import Unit, column_with_unit, length_of
from dcrnn_fast.graph.positions import LATITUDE_NAMES, LONGITUDE_NAMES, STATION_ID_NAMES, zero_doubt
from dcrnn_fast.graph.sensor_graph import checked_positions, require_unique_ids
from dcrnn_fast.messages import counted, first_few, naming_file
from dcrnn_fast.reading.geojson import read_features
from dcrnn_fast.reading.tables import Row, find_column, is_number, plain_name, read_table

_DIRECTION_NAMES = ("dir", "direction", "traveldirection", "bound")
_BEARING_NAMES = ("bearing", "heading", "azimuth", "course")
_ROUTE_NAMES = ("fwy", "freeway", "route", "road", "highway", "line", "roadname", "routeid")
_PLACE_STEMS = ("position", "measure", "chainage", "distance", "offset")
_PLACE_NAMES = (
    "abspm",
    "postmile",
    "milepost",
    "milemarker",
    "milepoint",
    "pm",
    "mp",
    "km",
    "miles",
    "metres",
    "meters",
)
_TYPE_NAMES = ("type", "stationtype", "lanetype")
_COMPASS = {"n": 0.0, "ne": 45.0, "e": 90.0, "se": 135.0, "s": 180.0, "sw": 225.0, "w": 270.0, "nw": 315.0}
_WORDS = {"north": "n", "south": "s", "east": "e", "west": "w"}
_ID_NAMES = (*STATION_ID_NAMES[:-1], "name", "")


@dataclass(frozen=True, eq=False, slots=True)
class Stations:
    """Stations of one file.

    Attributes:
        positions_N2: (latitude, longitude), or (x, y) in a network's own metres if not ``on_globe``; None without any.
        bearing_N: compass degrees of the traffic, NaN where it is not known; None if the file has none.
        directions_N, routes_N: as the file writes them; place_N: metres along the route, NaN where unknown.
        notes: what was left out, and doubts ("look: ...").
    """

    ids: tuple[str, ...]
    positions_N2: np.ndarray | None
    on_globe: bool
    bearing_N: np.ndarray | None
    directions_N: tuple[str, ...] | None
    routes_N: tuple[str, ...] | None
    place_N: np.ndarray | None
    notes: tuple[str, ...] = ()

    def take(self, keep_N: np.ndarray, *notes: str) -> "Stations":
        """These stations alone, with more notes."""
        chosen = np.flatnonzero(keep_N)

        def texts(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return None if values is None else tuple(values[n] for n in chosen)

        def numbers(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[chosen]

        return replace(
            self,
            ids=tuple(self.ids[n] for n in chosen),
            positions_N2=numbers(self.positions_N2),
            bearing_N=numbers(self.bearing_N),
            directions_N=texts(self.directions_N),
            routes_N=texts(self.routes_N),
            place_N=numbers(self.place_N),
            notes=(*self.notes, *notes),
        )

    def placed(self) -> "Stations":
        """Those with a position; the others are named in a note.

        Raises:
            UserError: none has one.
        """
        if self.positions_N2 is None:
            raise UserError("the stations have no positions: columns latitude and longitude, or x and y, are needed")
        known_N = np.isfinite(self.positions_N2).all(axis=1)
        if not known_N.any():
            raise UserError("no station has a position: latitude and longitude are empty in every line")
        if known_N.all():
            return self
        absent = [self.ids[n] for n in np.flatnonzero(~known_N)]
        return self.take(
            known_N, f"look: {counted(len(absent), 'station')} without a position left out: {first_few(absent)}"
        )


def read_stations(path: Path, *, types: Collection[str] = (), unit: Unit = "auto") -> Stations:
    """The stations of a table (also the metadata of PeMS) or of GeoJSON points.

    A table's columns are found by name: an id, latitude and longitude (or x and y), and if they are there a bearing or
    direction, a route, a place along it and a type. Without a header they are id, latitude, longitude.

    Args:
        types: only stations of these types, such as ML.
        unit: of the place along the route.
    Raises:
        UserError: the file cannot be read, a column is missing, an id is empty or comes twice, a position is not on the
            globe, no station is of these types.
    """
    with naming_file(path):
        rows, header = _geojson_table(path) if _is_geojson(path) else _table(path)
        return _chosen(rows, header, types, unit)


def _is_geojson(path: Path) -> bool:
    if path.suffix.lower() in (".geojson", ".json", ".geojsonl", ".geojsons"):
        return True
    with path.open("rb") as stream:
        return stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def _geojson_table(path: Path) -> tuple[list[Row], list[str]]:
    """The points as a table: their properties, then id (of the feature, if no property is one), longitude, latitude."""
    features = []
    for feature in read_features(path):
        if feature.kind != "Point":
            raise feature.refuse(f"stations are Points, this is a {feature.kind[:30]}")
        if not isinstance(feature.coordinates, list) or len(feature.coordinates) < 2:
            raise feature.refuse("a Point has the coordinates [longitude, latitude]")
        features.append(feature)
    if not features:
        raise UserError("holds no points")
    names = list(dict.fromkeys(name for feature in features for name in feature.properties))
    names = [name for name in names if plain_name(name) not in (*LATITUDE_NAMES, *LONGITUDE_NAMES, "x", "y")]
    number = [] if any(plain_name(name) in _ID_NAMES[:6] for name in names) else ["id"]
    rows = []
    for feature in features:
        cells = [_cell(feature.properties.get(name)) for name in names]
        cells += [feature.id or ""] if number else []
        rows.append(Row(feature.number, cells + [_cell(value) for value in feature.coordinates[:2]]))
    return rows, [*names, *number, "longitude", "latitude"]


def _cell(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _table(path: Path) -> tuple[list[Row], list[str]]:
    with path.open("rb") as stream:
        first = stream.readline().removeprefix(b"\xef\xbb\xbf").split(b"\t")
    if len(first) > 5 and plain_name(first[0].decode("latin1")) == "id" and b"Fwy" in first:
        return _pems_table(path)
    rows = read_table(path)
    head = rows[0].cells
    if len(head) == 3 and is_number(head[1]) and is_number(head[2]):
        return rows, ["id", "latitude", "longitude"]
    if len(rows) == 1:
        raise UserError("the table has a header and no lines")
    return rows[1:], head


def _pems_table(path: Path) -> tuple[list[Row], list[str]]:
    """PeMS' metadata: tabs, names with quotes in them, and lines whose last empty cells are missing."""
    rows = []
    with path.open(encoding="utf-8-sig", errors="replace") as text:
        header = [cell.strip() for cell in text.readline().rstrip("\r\n").split("\t")]
        for number, line in enumerate(text, start=2):
            cells = [cell.strip() for cell in line.rstrip("\r\n").split("\t")]
            if not any(cells):
                continue
            if len(cells) < header.index("Fwy") + 8 or len(cells) > len(header) + 4:
                raise UserError(f"line {number} has {len(cells)} columns, the header {len(header)}; is it truncated?")
            rows.append(Row(number, [*cells, *[""] * (len(header) - len(cells))]))
    if not rows:
        raise UserError("the table has a header and no lines")
    return rows, header


def _chosen(rows: list[Row], header: list[str], types: Collection[str], unit: Unit) -> Stations:
    name = find_column(header, _ID_NAMES)
    if name is None:
        raise UserError(f"no column sensor_id, station or id in the header {', '.join(header)[:100]!r}")
    kind, notes = find_column(header, _TYPE_NAMES), []
    if types:
        if kind is None:
            raise UserError(f"--station-type needs a column type, the header is {', '.join(header)[:100]!r}")
        wanted = {one.casefold() for one in types}
        present = Counter(row.cells[kind] for row in rows)
        rows = [row for row in rows if row.cells[kind].casefold() in wanted]
        if not rows:
            raise UserError(f"no station is of the type {', '.join(types)}; the file has {first_few(present, 12)}")
        notes.append(f"stations: {len(rows)} of type {', '.join(types)}, of {sum(present.values())} in the file")
    elif kind is not None and len(present := Counter(row.cells[kind] for row in rows)) > 1:
        said = ", ".join(f"{count} {what or '(empty)'}" for what, count in present.most_common(12))
        notes.append(f"look: stations of several types: {said}; --station-type takes some alone")
    ids = tuple(row.cells[name] for row in rows)
    require_unique_ids(ids)
    positions_N2, on_globe = _positions(rows, header, ids)
    if positions_N2 is not None and on_globe and (doubt := zero_doubt(positions_N2, ids)) is not None:
        notes.append(f"look: {doubt}")
    directions = find_column(header, _DIRECTION_NAMES)
    directions_N = None if directions is None else tuple(row.cells[directions] for row in rows)
    bearing = find_column(header, _BEARING_NAMES)
    bearing_N = None
    if bearing is not None:
        bearing_N = _numbers(rows, bearing, "a bearing")
    elif directions_N is not None:
        bearing_N = np.array([bearing_of(word) for word in directions_N])
        if not (bearing_N > 8).any() and all(map(is_number, filter(None, directions_N))):
            bearing_N = None  # numbers of directions, such as 1 and 2
    route = find_column(header, _ROUTE_NAMES)
    place = column_with_unit(header, _PLACE_STEMS, _PLACE_NAMES) if route is not None else None
    place_N = None
    if place is not None:
        length = length_of(header[place], unit, _PLACE_STEMS)
        place_N = _numbers(rows, place, "a place along the route") * length.metres
        notes += [f"look: {length.doubt}"] if length.doubt else []
    return Stations(
        ids,
        positions_N2,
        on_globe,
        None if bearing_N is None or np.isnan(bearing_N).all() else bearing_N,
        directions_N,
        None if route is None else tuple(row.cells[route] for row in rows),
        place_N,
        tuple(notes),
    )


def _positions(rows: list[Row], header: list[str], ids: Sequence[str]) -> tuple[np.ndarray | None, bool]:
    columns = [find_column(header, names) for names in (LATITUDE_NAMES, LONGITUDE_NAMES)]
    on_globe = None not in columns
    if not on_globe:
        columns = [find_column(header, (axis, f"{axis}m", f"{axis}coord")) for axis in "xy"]
        if None in columns:
            return None, True
    positions_N2 = np.stack([_numbers(rows, column or 0, "a position") for column in columns], axis=1)
    if on_globe:
        known_N = np.isfinite(positions_N2).all(axis=1)
        checked_positions(positions_N2[known_N], [ids[n] for n in np.flatnonzero(known_N).tolist()])
    return positions_N2, on_globe


def _numbers(rows: list[Row], column: int, what: str) -> np.ndarray:
    """(N,) with NaN for empty cells."""
    values = []
    for row in rows:
        cell = row.cells[column]
        if cell and not (is_number(cell) and not math.isinf(float(cell))):
            raise UserError(f"line {row.line}, column {column + 1}: {what} must be a number, got {cell[:40]!r}")
        values.append(float(cell) if cell else math.nan)
    return np.array(values)


def bearing_of(word: str) -> float:
    """Compass degrees of N, NB, north, northbound, SW or a number of degrees; NaN for anything else."""
    if is_number(word):
        return float(word)
    plain = plain_name(word).removesuffix("bound")
    plain = _WORDS.get(plain, plain)
    if plain not in _COMPASS and len(plain) > 1:
        plain = plain.removesuffix("b")
    return _COMPASS.get(plain, math.nan)
