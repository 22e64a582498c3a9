"""Road networks in GraphML, as OSMnx writes them: every attribute as text, an edge for each direction."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.making.roads.network import NetworkBuilder, RoadNetwork, is_for_cars
from dcrnn_fast.messages import counted, first_few
from dcrnn_fast.reading.xml_events import read_xml

_LATITUDE, _LONGITUDE = ("y", "lat", "latitude"), ("x", "lon", "lng", "longitude")
_WANTED_OF_EDGES = frozenset({"length", "geometry", "oneway", "name", "ref", "osmid", "highway", "from", "to"})
_YES = ("true", "yes", "1")


def read_graphml(path: Path) -> RoadNetwork:
    """The network of a GraphML file; lengths from its ``length`` in metres, else from the lines.

    An undirected graph's edges lead both ways unless their ``oneway`` says otherwise: then from the node that OSMnx
    notes as ``from``, for source and target have no order there. Edges that no car may use are left out.

    Raises:
        UserError: no readable GraphML, nodes without a position, an edge of a node that is not there, coordinates that
            are no degrees.
    """
    handler = _GraphmlHandler()
    read_xml(path, handler)
    return handler.network()


class _GraphmlHandler:
    def __init__(self) -> None:
        self.builder = NetworkBuilder()
        self.names_of_keys: dict[str, str] = {}
        self.positions: dict[str, tuple[int, float, float]] = {}
        self.crs, self.directed, self.seen = "", True, False
        self.key = ""
        self.node: str | None = None
        self.ends: tuple[str, str] | None = None
        self.values: dict[str, str] = {}
        self.left_out, self.unordered = 0, 0

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "data":
            self.key = self.names_of_keys.get(attributes.get("key", ""), attributes.get("key", ""))
        elif name == "edge":
            if "source" not in attributes or "target" not in attributes:
                raise UserError("no readable GraphML: an edge without source or target")
            self.ends = attributes["source"], attributes["target"]
            self.values.clear()
        elif name == "node":
            self.node = attributes.get("id", "")
            self.values.clear()
        elif name == "key":
            self.names_of_keys[attributes.get("id", "")] = attributes.get("attr.name", "")
        elif name == "graph":
            self.seen = True
            self.directed = attributes.get("edgedefault", "directed") == "directed"

    def end(self, name: str, text: str) -> None:
        if name == "data":
            if self.ends is not None:
                if self.key in _WANTED_OF_EDGES:
                    self.values[self.key] = text.strip()
            elif self.node is not None:
                self.values[self.key.casefold()] = text
            elif self.key == "crs":
                self.crs = text.strip()
        elif name == "node":
            assert self.node is not None
            self.positions[self.node] = (len(self.positions), *self._position(self.node))
            self.node = None
        elif name == "edge":
            self._edge()
            self.ends = None

    def network(self) -> RoadNetwork:
        if not self.seen:
            raise UserError("is XML, but no GraphML: it has no graph element")
        try:
            return self.builder.network(len(self.positions), notes=tuple(self._notes()))
        except UserError as error:
            said = f" (crs {self.crs})" if self.crs and "projected" in str(error) else ""
            raise UserError(f"{error}{said}") from error

    def _notes(self) -> Iterator[str]:
        if self.left_out:
            yield f"{counted(self.left_out, 'edge')} for others than cars left out (footway, cycleway ...)"
        if self.unordered:
            yield (
                f"look: an undirected graph with {counted(self.unordered, 'one-way edge')} whose direction it does not "
                "say: taken from source to target; write the directed graph (OSMnx: before convert.to_undirected)"
            )

    def _position(self, node: str) -> tuple[float, float]:
        longitude, latitude = (
            next((self.values[key] for key in keys if key in self.values), "") for keys in (_LONGITUDE, _LATITUDE)
        )
        try:
            return float(longitude), float(latitude)
        except ValueError:
            raise UserError(
                f"node {node[:40]!r} has no numbers x and y (longitude and latitude), it has "
                f"{first_few(sorted(self.values))}: a road network needs them, as OSMnx writes them"
            ) from None

    def _edge(self) -> None:
        assert self.ends is not None
        if absent := [node for node in self.ends if node not in self.positions]:
            raise UserError(f"an edge names the node {absent[0][:40]!r}, which is not above it; is the file complete?")
        values, ends = self.values, self.ends
        kind = values.get("highway", "")
        if not is_for_cars(kind):
            self.left_out += 1
            return
        is_one_way = values.get("oneway", "").casefold() in _YES
        if not self.directed and is_one_way:
            if (values.get("from"), values.get("to")) == ends[::-1]:
                ends = ends[::-1]
            elif (values.get("from"), values.get("to")) != ends:
                self.unordered += 1
        (tail, *begin), (head, *end) = (self.positions[node] for node in ends)
        line = _line(values["geometry"]) if "geometry" in values else np.array([begin, end])
        if np.abs(line[0] - begin).sum() > np.abs(line[-1] - begin).sum():
            line = line[::-1]
        words = [values.get("name", "") or values.get("ref", ""), f"way {values['osmid']}" if "osmid" in values else ""]
        facts = {
            "length": _number(values.get("length")),
            "name": ", ".join(filter(None, words)),
            "kind": kind,
        }
        self.builder.add(tail, head, line, **facts)  # type: ignore[arg-type]
        if not self.directed and not is_one_way:
            self.builder.add(head, tail, line[::-1], **facts)  # type: ignore[arg-type]


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise UserError(f"an edge's length must be a number (metres), got {text[:40]!r}") from None


def _line(text: str) -> np.ndarray:
    """(P, 2) of a WKT LINESTRING, with or without heights."""
    kind, _, rest = text.partition("(")
    try:
        points = np.array([point.split()[:2] for point in rest.rstrip(") ").split(",")], dtype=np.float64)
    except ValueError:
        points = np.zeros((0, 2))
    if not kind.upper().startswith("LINESTRING") or points.shape[0] < 2 or points.shape[1:] != (2,):
        raise UserError(f"an edge's geometry must be a LINESTRING of numbers, got {text[:60]!r}")
    return points
