"""``dcrnn-fast graph``: makes the list of links that ``--graph`` reads, and says how each came about.

From stations and a road network (distances by road), from stations' route and postmile, from their positions alone,
from rivers, from areas that touch, or from any graph file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro

from dcrnn_fast.command import run_command
from dcrnn_fast.config.command_line import parse
from dcrnn_fast.config.data import GraphConfig, GraphFormat, GridNeighbours
from dcrnn_fast.config.plain import shown
from dcrnn_fast.errors import UserError
from dcrnn_fast.files import clear_leftovers, folder_for_new_files, require_apart, require_creatable_folder
from dcrnn_fast.graph.account import account_lines, look_lines
from dcrnn_fast.graph.making.by_graph import by_graph
from dcrnn_fast.graph.making.by_polygon import Contiguity, by_polygon
from dcrnn_fast.graph.making.by_position import by_position
from dcrnn_fast.graph.making.by_postmile import by_postmile
from dcrnn_fast.graph.making.by_river import by_river
from dcrnn_fast.graph.making.by_road import by_road, read_roads
from dcrnn_fast.graph.making.made import MadeList
from dcrnn_fast.graph.making.stations import Stations, read_stations
from dcrnn_fast.graph.making.units import Unit

MAX_DISTANCE = 12_000.0
"""metres by road: METR-LA's published list ends at 11,895 m"""


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphFlags:
    """The sources, their limits, and the files to write."""

    output: Annotated[str | None, tyro.conf.arg(aliases=["-o"])] = None
    """CSV to write: from, to, cost (metres) or from, to, weight"""
    page: str | None = None
    """HTML page to write: stations and links on a map, what was moved how far, the account; opens offline"""
    stations: str | None = None
    """stations: a table with id, latitude, longitude (also bearing, or route, direction and postmile), PeMS metadata,
    or GeoJSON points; alone: along their routes if it has them, else by position"""
    roads: str | None = None
    """road network: GraphML of OSMnx, GeoJSON lines, .net.xml of SUMO (also .gz)"""
    rivers: str | None = None
    """reaches: a table with upstream, downstream, length, or station, next_downstream, length; with --stations those
    ends alone are gauges"""
    polygons: str | None = None
    """areas: GeoJSON polygons; links of weight 1 between those that touch"""
    graph: str | None = None
    """any file that train --graph reads, for its account, its page and a list of its weights; with --stations for their
    positions"""
    nearest: int | None = None
    """of each station only its k nearest: by road, along the route or river downstream, or as the crow flies"""
    max_distance: float | None = None
    """metres; only links that are no longer; left out: 12000 by road, no limit elsewhere"""
    max_snap: float = 100.0
    """metres that a station may be from a road"""
    snap_to: tuple[str, ...] = ()
    """kinds of road that stations are on (motorway trunk ...); left out: any"""
    station_type: tuple[str, ...] = ()
    """types of stations to take (ML HV ...); left out: all"""
    unit: Unit = "auto"
    """of postmiles and of rivers' lengths; auto: by the column's name"""
    contiguity: Contiguity = "queen"
    """areas touch if they share a point (queen) or an edge (rook)"""
    tolerance: float = 0.1
    """metres within which areas' corners are one point"""
    id_property: str | None = None
    """property of the areas that is their id; left out: the feature's id, or GEOID, code, name ..."""
    graph_format: GraphFormat = "auto"
    """contents of --graph; auto: by its ending and columns"""
    grid_neighbours: GridNeighbours = 8
    """grid: neighbours of a cell"""
    land_mask: str | None = None
    """grid: .npy of booleans, true where a cell is a node"""
    sigma: float | None = None
    """width of the kernel for the account and the page, in metres; the list holds distances all the same"""
    threshold: float = 0.1
    """weights below it are no links in the account and on the page"""


_USED_WITH = {
    "roads": ("stations", "max_snap", "snap_to", "nearest", "max_distance", "station_type", "sigma", "threshold"),
    "rivers": ("stations", "nearest", "max_distance", "unit", "station_type", "sigma", "threshold"),
    "polygons": ("contiguity", "tolerance", "id_property"),
    "graph": ("stations", "graph_format", "grid_neighbours", "land_mask", "station_type"),
    "stations": ("nearest", "max_distance", "station_type", "unit", "sigma", "threshold"),
}
"""a source -> the settings that it uses"""
_ALWAYS = ("output", "page")


def make(flags: GraphFlags) -> MadeList:
    """The list of the source that the flags name.

    Raises:
        UserError: no source or several, a setting without use, errors of the source's module.
    """
    source = _source(flags)
    stations = None
    if flags.stations is not None:
        stations = read_stations(Path(flags.stations), types=flags.station_type, unit=flags.unit)
    if source == "rivers":
        return by_river(
            Path(str(flags.rivers)), stations, unit=flags.unit, nearest=flags.nearest, max_distance=flags.max_distance
        )
    if source == "polygons":
        return by_polygon(
            Path(str(flags.polygons)),
            contiguity=flags.contiguity,
            tolerance=flags.tolerance,
            id_property=flags.id_property,
        )
    if source == "graph":
        config = GraphConfig(
            graph=flags.graph,
            graph_format=flags.graph_format,
            grid_neighbours=flags.grid_neighbours,
            land_mask=flags.land_mask,
        )
        return by_graph(config, stations)
    assert stations is not None
    name = Path(str(flags.stations)).name
    if source == "roads":
        return _by_road(flags, stations)
    if stations.place_N is not None:
        return by_postmile(stations, source=name, nearest=flags.nearest, max_distance=flags.max_distance)
    return by_position(stations, source=name, nearest=flags.nearest, max_distance=flags.max_distance)


def _by_road(flags: GraphFlags, stations: Stations) -> MadeList:
    path = Path(str(flags.roads))
    network = read_roads(path, on_globe=stations.on_globe)
    return by_road(
        stations,
        network,
        source=path.name,
        max_distance=MAX_DISTANCE if flags.max_distance is None else flags.max_distance,
        max_snap=flags.max_snap,
        snap_to=flags.snap_to,
        nearest=flags.nearest,
    )


def _source(flags: GraphFlags) -> str:
    given = [name for name in ("roads", "rivers", "polygons", "graph") if getattr(flags, name) is not None]
    if len(given) > 1:
        raise UserError(f"--{given[0]} and --{given[1]} are two sources: give one")
    if not given and flags.stations is None:
        raise UserError(
            "no source: give --stations (with --roads for distances by road), --rivers, --polygons or --graph"
        )
    source = given[0] if given else "stations"
    if source == "roads" and flags.stations is None:
        raise UserError("--roads needs --stations, a table with id, latitude, longitude")
    used = {source, *_USED_WITH[source], *_ALWAYS}
    defaults = GraphFlags()
    for field in fields(GraphFlags):
        value = getattr(flags, field.name)
        if field.name not in used and value != getattr(defaults, field.name):
            flag = field.name.replace("_", "-")
            raise UserError(f"--{flag} has no use with --{source.replace('_', '-')}: leave it out")
    for name, least in (("nearest", 1), ("max_distance", 0), ("max_snap", 0), ("tolerance", 0)):
        limit: float | None = getattr(flags, name)
        if limit is not None and not (least <= limit < float("inf")):
            raise UserError(f"--{name.replace('_', '-')} must be at least {least}, got {shown(limit)}")
    return source


def main(argv: list[str] | None = None) -> int:
    """Runs ``dcrnn-fast graph ...``."""
    return run_command("graph", _run, argv)


def _run(argv: list[str]) -> int:
    flags = parse(GraphFlags, argv, prog="dcrnn-fast graph", description=__doc__ or "")
    inputs = [flags.stations, flags.roads, flags.rivers, flags.polygons, flags.graph, flags.land_mask]
    for name, output in (("--output", flags.output), ("--page", flags.page)):
        if output is not None:
            require_apart([output], inputs, name)
            if Path(output).is_dir():
                raise UserError(f"{name} {output} is a folder: name a file")
            require_creatable_folder(Path(output).parent, f"{name} folder")
    if flags.output is not None and flags.page is not None and Path(flags.output) == Path(flags.page):
        raise UserError(f"--output and --page are both {flags.page}: name two files")
    made = make(flags)
    doubt = made.longest_doubt()
    lines = list(dict.fromkeys([*made.notes, *([f"look: {doubt}"] if doubt else []), *_account(made, flags)]))
    print("\n".join(sorted(lines, key=lambda line: not line.startswith("look: "))))
    if flags.output is not None:
        with _place_of(flags.output) as path:
            made.write(path)
        print(f"{flags.output}: {len(made.rows_E):,} lines, {int(made.linked.sum()):,} of them links")
    if flags.page is not None:
        from dcrnn_fast.graph.making.page import write_page  # for a page alone

        with _place_of(flags.page) as path:
            write_page(path, made, lines, sigma=flags.sigma, threshold=flags.threshold)
        print(f"{flags.page}: the map of it")
    return 0


def _account(made: MadeList, flags: GraphFlags) -> list[str]:
    """The graph that ``--graph`` makes of the list, or why it would refuse it."""
    try:
        graph = made.graph(sigma=flags.sigma, threshold=flags.threshold)
    except UserError as error:
        return [f"look: train --graph would refuse the list: {error}"]
    # Of a graph file its own line has said what it gives.
    return [*look_lines(graph), *account_lines(graph)[flags.graph is not None :]]


@contextmanager
def _place_of(output: str) -> Iterator[Path]:
    """The file to write, in a folder that is there."""
    path = Path(output)
    with folder_for_new_files(path.parent, "folder"):
        clear_leftovers(path.parent, [path.name])
        yield path


if __name__ == "__main__":
    raise SystemExit(main())
