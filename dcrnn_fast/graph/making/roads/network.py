"""A road network in memory: directed arcs between nodes, each with its line.

Shape legend: V nodes, A arcs, P points of all arcs' lines, L links (ways from node to node without a line).
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.making.globe import points_of
from dcrnn_fast.messages import counted, metres_words

_FARTHEST = 1e9
_NOT_FOR_CARS = frozenset({
    *("footway", "cycleway", "path", "steps", "pedestrian", "bridleway", "corridor", "elevator", "platform", "track"),
    *("proposed", "construction", "abandoned", "raceway", "rest_area", "services", "bus_guideway", "via_ferrata"),
})  # fmt: skip


@dataclass(frozen=True, eq=False, slots=True)
class RoadNetwork:
    """Directed arcs; a street for both directions is two.

    Attributes:
        tails_A, heads_A: int64, the nodes at which an arc begins and ends.
        lengths_A: metres, positive.
        first_A1: (A + 1) int64: the points of arc a are ``points_P3[first_A1[a] : first_A1[a + 1]]``, from tail to
            head.
        points_P3: metres, on the sphere or, if not ``on_globe``, on a plane.
        names_A, kinds_A: what the file calls an arc, and the kind of its road; "" if it does not say.
        snappable_A: bool, whether a station can stand on it.
        junctions_A2: int64, the places on the ground at which it begins and ends: two arcs are two directions of one
            street only if theirs are swapped.
        tails_L, heads_L: more ways between nodes, of no length: turns that are allowed.
    """

    num_nodes: int
    tails_A: np.ndarray
    heads_A: np.ndarray
    lengths_A: np.ndarray
    first_A1: np.ndarray
    points_P3: np.ndarray
    names_A: Sequence[str]
    kinds_A: Sequence[str]
    snappable_A: np.ndarray
    junctions_A2: np.ndarray
    tails_L: np.ndarray
    heads_L: np.ndarray
    on_globe: bool
    notes: tuple[str, ...] = ()

    @property
    def num_arcs(self) -> int:
        """A."""
        return len(self.lengths_A)

    def described(self) -> str:
        """The network in a few words."""
        return f"{self.num_arcs:,} directed edges, {metres_words(self.lengths_A.sum())}"


class NetworkBuilder:
    """Collects arcs one by one, in little memory."""

    def __init__(self, *, on_globe: bool = True) -> None:
        self._on_globe = on_globe
        self._tails, self._heads, self._first = array("q"), array("q"), array("q", [0])
        self._from, self._to = array("q"), array("q")
        self._lengths, self._across, self._up = array("d"), array("d"), array("d")
        self._names: list[str] = []
        self._kinds: list[str] = []
        self._snappable = array("b")
        self._tails_of_links, self._heads_of_links = array("q"), array("q")
        self._known_kinds: dict[str, str] = {}

    def add(
        self,
        tail: int,
        head: int,
        line: Sequence[tuple[float, float]] | np.ndarray,
        *,
        length: float | None = None,
        name: str = "",
        kind: str = "",
        snappable: bool = True,
        junctions: tuple[int, int] | None = None,
    ) -> None:
        """One arc; ``line`` holds (longitude, latitude) or (x, y) from tail to head, at least two points.

        Args:
            length: metres; left out, or not positive: the line's.
            junctions: left out: tail and head.
        """
        points = np.asarray(line, dtype=np.float64)
        self._tails.append(tail)
        self._heads.append(head)
        begin, end = junctions or (tail, head)
        self._from.append(begin)
        self._to.append(end)
        self._lengths.append(length if length is not None and length > 0 else np.nan)
        self._across.extend(points[:, 0].tolist())
        self._up.extend(points[:, 1].tolist())
        self._first.append(len(self._up))
        self._names.append(name)
        self._kinds.append(self._known_kinds.setdefault(kind, kind))
        self._snappable.append(snappable)

    def link(self, tail: int, head: int) -> None:
        """A turn from one node to another."""
        self._tails_of_links.append(tail)
        self._heads_of_links.append(head)

    def network(self, num_nodes: int, *, notes: tuple[str, ...] = ()) -> RoadNetwork:
        """All arcs.

        Raises:
            UserError: there is none; coordinates that are no degrees.
        """
        if not len(self._lengths):
            raise UserError("holds no road that cars may use" if notes else "holds no road")
        across_P, up_P = np.frombuffer(self._across), np.frombuffer(self._up)
        first_A1 = np.frombuffer(self._first, dtype=np.int64)
        require_places(across_P, up_P)
        if self._on_globe:
            require_degrees(across_P, up_P)
            points_P3 = points_of(np.stack([up_P, across_P], axis=1))
        else:
            points_P3 = np.stack([across_P, up_P, np.zeros_like(up_P)], axis=1)
        steps = np.linalg.norm(np.diff(points_P3, axis=0), axis=1)
        # The step from one line's last point to the next line's first is no road.
        steps[first_A1[1:-1] - 1] = 0.0
        measured_A = np.add.reduceat(np.append(steps, 0.0), first_A1[:-1])
        given_A = np.frombuffer(self._lengths)
        return RoadNetwork(
            num_nodes,
            np.frombuffer(self._tails, dtype=np.int64),
            np.frombuffer(self._heads, dtype=np.int64),
            np.where(np.isnan(given_A), measured_A, given_A),
            first_A1,
            points_P3,
            self._names,
            self._kinds,
            np.frombuffer(self._snappable, dtype=np.int8).astype(bool),
            np.stack([np.frombuffer(self._from, np.int64), np.frombuffer(self._to, np.int64)], axis=1),
            np.frombuffer(self._tails_of_links, dtype=np.int64) if self._tails_of_links else np.zeros(0, np.int64),
            np.frombuffer(self._heads_of_links, dtype=np.int64) if self._heads_of_links else np.zeros(0, np.int64),
            self._on_globe,
            notes,
        )


def kinds_in(kind: str) -> list[str]:
    """The kinds of a road; OSMnx writes several of one edge as the text of a list."""
    return [word.strip("[]' \"") for word in kind.split(",")]


def is_for_cars(kind: str) -> bool:
    """Whether cars may use a road of this kind, as far as OpenStreetMap's ``highway`` says."""
    return not _NOT_FOR_CARS.issuperset(kinds_in(kind))


def require_places(across_P: np.ndarray, up_P: np.ndarray) -> None:
    """Refuses coordinates that are no numbers, or farther away than any unit makes of the Earth."""
    bad_P = ~((np.abs(across_P) < _FARTHEST) & (np.abs(up_P) < _FARTHEST))
    if bad_P.any():
        raise UserError(
            f"{counted(int(bad_P.sum()), 'coordinate')} of it are no place on the Earth: NaN, inf, or over 1e9"
        )


def require_degrees(longitude_P: np.ndarray, latitude_P: np.ndarray) -> None:
    """Refuses coordinates in metres, feet or any unit but degrees."""
    off = (np.abs(latitude_P) > 90) | (np.abs(longitude_P) > 540)
    if off.any():
        place = int(np.flatnonzero(off)[0])
        raise UserError(
            f"its coordinates are projected, such as x {longitude_P[place]:.6g}, y {latitude_P[place]:.6g}, and not "
            "longitude and latitude in degrees: write it again unprojected (OSMnx: project_graph(G, to_latlong=True); "
            "ogr2ogr: -t_srs EPSG:4326)"
        )
