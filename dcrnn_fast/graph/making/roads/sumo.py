"""Road networks of SUMO, .net.xml, plain or compressed: lanes, the ways through junctions, and who may use them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.making.roads.mercator import longitude_latitude, zone_of
from dcrnn_fast.graph.making.roads.network import NetworkBuilder, RoadNetwork
from dcrnn_fast.messages import counted
from dcrnn_fast.reading.xml_events import read_xml

_CAR = frozenset({"passenger", "private", "all"})
_NO_ROADS = ("crossing", "walkingarea", "connector")


def read_sumo(path: Path, *, on_globe: bool) -> RoadNetwork:
    """The network of a .net.xml file: an edge is as long as the middle of the lanes that cars may use.

    A vehicle passes from an edge to another only where a connection leads, and the way through a junction counts with
    its own length. A file without connections joins edges at their junctions.

    Args:
        on_globe: positions as longitude and latitude, by the network's projection (UTM); else its own x and y.
    Raises:
        UserError: no readable network, no edge for cars, a projection other than UTM with ``on_globe``.
    """
    handler = _SumoHandler()
    read_xml(path, handler)
    if not handler.is_net:
        raise UserError("is XML, but no network of SUMO: its first element is not net")
    return handler.network(on_globe)


@dataclass(slots=True)
class _Edge:
    ends: tuple[str, str]
    is_internal: bool
    name: str
    kind: str
    lanes: list[tuple[float, str]] = field(default_factory=list)
    """of those for cars: length, shape"""


class _SumoHandler:
    def __init__(self) -> None:
        self.is_net: bool | None = None
        self.offset, self.projection = (0.0, 0.0), "!"
        self.edges: dict[str, _Edge] = {}
        self.edge: _Edge | None = None
        self.closed_lanes: set[str] = set()
        self.connections: list[tuple[str, str]] = []
        self.closed_edges = 0

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if self.is_net is None:
            self.is_net = name == "net"
        if name == "lane":
            self._lane(attributes)
        elif name == "edge":
            number, function = attributes.get("id", ""), attributes.get("function", "")
            if function in _NO_ROADS:
                return
            is_internal = function == "internal" or number.startswith(":")
            if not is_internal and ("from" not in attributes or "to" not in attributes):
                raise UserError(f"edge {number[:40]!r} has no from and to: is it a file of netconvert?")
            words = filter(None, (attributes.get("name", ""), f"edge {number}"))
            kind = attributes.get("type", "").rpartition(".")[2]
            ends = attributes.get("from", ""), attributes.get("to", "")
            self.edge = self.edges[number] = _Edge(ends, is_internal, ", ".join(words), kind)
        elif name == "connection":
            self._connection(attributes)
        elif name == "location":
            self.projection = attributes.get("projParameter", "!").strip()
            self.offset = _point(attributes.get("netOffset", "0,0"))

    def end(self, name: str, text: str) -> None:
        if name == "edge":
            self.edge = None

    def network(self, on_globe: bool) -> RoadNetwork:
        builder = NetworkBuilder(on_globe=on_globe)
        junctions: dict[str, int] = {}
        open_edges = {number: edge for number, edge in self.edges.items() if edge.lanes}
        places = {number: place for place, number in enumerate(open_edges)}
        for number, edge in open_edges.items():
            length, shape = edge.lanes[len(edge.lanes) // 2]
            begin, end = (junctions.setdefault(junction, len(junctions)) for junction in edge.ends)
            if edge.is_internal:
                begin = end = -1 - places[number]
            tail, head = (2 * places[number], 2 * places[number] + 1) if self.connections else (begin, end)
            if edge.is_internal and not self.connections:
                continue
            builder.add(
                tail,
                head,
                self._placed(shape, number, on_globe),
                length=length,
                name=edge.name,
                kind=edge.kind,
                snappable=not edge.is_internal,
                junctions=(begin, end),
            )
        for a, b in self.connections:
            if a in places and b in places:
                builder.link(2 * places[a] + 1, 2 * places[b])
        closed = len(self.edges) - len(open_edges)
        notes = (f"{counted(closed, 'edge')} that cars may not use left out",) if closed else ()
        return builder.network(2 * len(places) if self.connections else len(junctions), notes=notes)

    def _lane(self, attributes: Mapping[str, str]) -> None:
        if self.edge is None:
            return
        allow, disallow = attributes.get("allow"), attributes.get("disallow", "")
        is_open = bool(_CAR & set(allow.split())) if allow is not None else not _CAR & set(disallow.split())
        if not is_open and not self.edge.is_internal:
            self.closed_lanes.add(attributes.get("id", ""))
            return
        try:
            self.edge.lanes.append((float(attributes["length"]), attributes["shape"]))
        except (KeyError, ValueError):
            raise UserError(f"lane {attributes.get('id', '')[:40]!r} has no length or no shape") from None

    def _connection(self, attributes: Mapping[str, str]) -> None:
        start, end, via = attributes.get("from", ""), attributes.get("to", ""), attributes.get("via")
        lanes = f"{start}_{attributes.get('fromLane', '')}", f"{end}_{attributes.get('toLane', '')}"
        if self.closed_lanes.isdisjoint(lanes):
            through = None if via is None else via.rpartition("_")[0]
            self.connections.append((start, through if through in self.edges else end))

    def _placed(self, shape: str, number: str, on_globe: bool) -> np.ndarray:
        line = np.array([_point(point) for point in shape.split()])
        if len(line) < 2:
            raise UserError(f"edge {number[:40]!r} has the shape {shape[:40]!r}, which is no line")
        if not on_globe:
            return line
        if (zone := zone_of(self.projection)) is None:
            said = "has no projection" if self.projection == "!" else f"has the projection {self.projection[:60]!r}"
            raise UserError(
                f"{said}, from which longitude and latitude do not follow (known: UTM): write it again by netconvert "
                "--proj.utm, or give the stations the columns id, x, y in the network's own metres"
            )
        east_P, north_P = line[:, 0] - self.offset[0], line[:, 1] - self.offset[1]
        return np.stack(longitude_latitude(east_P, north_P, zone), axis=1)


def _point(text: str) -> tuple[float, float]:
    try:
        x, y, *_ = map(float, text.split(","))
    except ValueError:
        raise UserError(f"wanted coordinates x,y, got {text[:40]!r}") from None
    return x, y
