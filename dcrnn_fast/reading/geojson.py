"""GeoJSON, one feature at a time: a collection, a single feature or geometry, or a feature on each line."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import one_line

_FEATURES = re.compile(r'"features"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,\x1e]*")


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: its number in the file (from 1), its id or None, its properties and its geometry."""

    number: int
    id: str | None
    properties: dict[str, Any]
    kind: str
    coordinates: Any

    def refuse(self, why: str) -> UserError:
        """An error that names this feature."""
        return UserError(f"feature {self.number}{'' if self.id is None else f' ({self.id[:40]!r})'}: {why}")


def read_features(path: Path) -> Iterator[Feature]:
    """The features of a file, in order; those without a geometry are left out.

    The text lies in memory as a whole, the features do not.

    Raises:
        UserError: no GeoJSON, truncated, or TopoJSON. ``OSError`` passes.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        for number, value in enumerate(_values(text), start=1):
            if (feature := _feature(number, value)) is not None:
                yield feature
    except UnicodeError as error:
        raise UserError(f"not a text file in UTF-8: {one_line(error)[:80]}") from error
    except RecursionError as error:
        raise UserError("no GeoJSON: its lists are nested too deeply") from error


def property_named(properties: dict[str, Any], names: Sequence[str]) -> Any:
    """The value of the first of these names (any case) that is there and not null; None without one."""
    plain = {key.casefold(): value for key, value in properties.items()}
    return next((plain[name] for name in names if plain.get(name) is not None), None)


def _values(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    found = _FEATURES.search(text)
    place, closing = (found.end(), "]") if found else (0, "")
    while True:
        place = _BETWEEN.match(text, place).end()  # type: ignore[union-attr]  # it matches nothing as well
        if place == len(text) or text[place] == closing:
            break
        try:
            value, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise UserError(f"no readable GeoJSON: {one_line(error)[:80]}; is the file truncated?") from error
        yield value
    if found:
        try:
            around = json.loads(text[: found.end()] + text[place:])
        except json.JSONDecodeError as error:
            raise UserError(f"no readable GeoJSON: {one_line(error)[:80]}; is the file truncated?") from error
        _require_degrees(around)


def _require_degrees(around: Any) -> None:
    """Refuses the member "crs" of former GeoJSON if it names anything but longitude and latitude."""
    crs = around.get("crs") if isinstance(around, dict) else None
    if crs is None or not isinstance(crs, dict):
        return
    properties = crs.get("properties")
    name = str(properties.get("name", "")) if isinstance(properties, dict) else ""
    if name and not re.search(r"CRS84|4326|4269|4258$", name):
        raise UserError(
            f"its coordinates are projected (crs {name[:60]}), not longitude and latitude: convert it, as with "
            "ogr2ogr -t_srs EPSG:4326 NEW.geojson THIS.geojson"
        )


def _feature(number: int, value: Any) -> Feature | None:
    if not isinstance(value, dict):
        raise UserError(f"no GeoJSON: feature {number} is a {type(value).__name__}, not an object")
    if value.get("type") == "Topology":
        raise UserError("TopoJSON, whose lines are compressed: convert it to GeoJSON")
    geometry: Any = value
    properties: Any = {}
    given_id: Any = None
    if value.get("type") == "Feature":
        geometry, properties, given_id = value.get("geometry"), value.get("properties") or {}, value.get("id")
        if geometry is None:
            return None
    if not isinstance(geometry, dict) or not isinstance(properties, dict) or "coordinates" not in geometry:
        raise UserError(
            f"no GeoJSON: feature {number} has the type {str(value.get('type'))[:40]!r}, and no coordinates"
        )
    return Feature(
        number,
        None if given_id is None else str(given_id),
        properties,
        str(geometry.get("type")),
        geometry["coordinates"],
    )
