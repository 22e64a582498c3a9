"""One door to every graph file: from the configuration to a SensorGraph."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

from dcrnn_fast.config.sections import GraphConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.grid import read_grid
from dcrnn_fast.graph.kernel import Kernel
from dcrnn_fast.graph.list_columns import DISTANCE_NAMES, WEIGHT_NAMES, end_columns, list_header
from dcrnn_fast.graph.lists import read_distances, read_edges
from dcrnn_fast.graph.matrices import Holds, read_matrix
from dcrnn_fast.graph.pickles import read_pickle
from dcrnn_fast.graph.positions import LATITUDE_NAMES, LONGITUDE_NAMES, from_positions, read_positions
from dcrnn_fast.graph.sensor_graph import SensorGraph
from dcrnn_fast.messages import about
from dcrnn_fast.reading.arrays import load_archive
from dcrnn_fast.reading.tables import Row, find_column, is_number, plain_name, read_rows

_PICKLE_ENDINGS = (".pkl", ".pickle")
_TEXT_ENDINGS = (".csv", ".tsv", ".txt")
_NETCDF_ENDINGS = (".nc", ".nc4", ".cdf", ".netcdf")


def read_graph(
    config: GraphConfig, *, ids: Sequence[str] | None = None, leave_out: Collection[str] = ()
) -> SensorGraph:
    """The graph of ``config.graph``, with self loops as configured.

    ``ids`` are the series' ids, where they are known. A matrix without ids takes them. With ``match="id"`` the lists
    and positions are read for these sensors, in this order, and every other sensor of the file is left out before
    sigma and neighbours are determined, as the published graphs were made; without them the nodes are the file's own.
    With ``match="position"`` a list must call its sensors by number. ``leave_out`` are ids of the series that lists and
    positions are read without. ``match_graph`` brings the result into the series' order.

    ``graph_format="auto"`` goes by the ending (.pkl, .npy, .npz, .nc) and, for text, by the header's names; a list
    without a header could hold distances, weights or positions, and a matrix with a diagonal of 0 and large values off
    it weights or distances: they must be told apart by ``graph_format``.

    Raises:
        UserError: no graph file named, or what its reader says.
    """
    if config.graph is None:
        raise UserError("no graph file given: name one with --graph")
    path = Path(config.graph)
    kind = detect_format(path) if config.graph_format == "auto" else config.graph_format
    wanted = ids
    if ids is not None and config.match == "id":
        wanted = [sensor for sensor in ids if sensor not in leave_out]
    kernel = Kernel(sigma=config.sigma, threshold=config.threshold, allow_lost_links=config.allow_lost_links)
    if kind in ("matrix", "distance_matrix", "pickle"):
        read = read_pickle if path.suffix.lower() in _PICKLE_ENDINGS or kind == "pickle" else read_matrix
        holds: Holds = "distances" if kind == "distance_matrix" else "weights"
        graph = read(path, ids=ids, holds="either" if config.graph_format == "auto" else holds, kernel=kernel)
    elif kind == "edges":
        graph = read_edges(path, ids=wanted, match=config.match)
    elif kind == "distances":
        graph = read_distances(path, ids=wanted, match=config.match, **asdict(kernel))
    elif kind == "positions":
        listed, positions_N2 = read_positions(path, ids=wanted if config.match == "id" else None)
        with about(path):
            graph = from_positions(
                positions_N2, listed, nearest=config.nearest, radius_km=config.radius_km, **asdict(kernel)
            )
        if graph.account is not None:
            graph = graph.with_account(replace(graph.account, file=path.name))
    else:
        graph = read_grid(path, neighbours=config.grid_neighbours, land_mask=config.land_mask)
    if config.sensor_positions is not None:
        graph = graph.with_positions(read_positions(config.sensor_positions, ids=graph.ids)[1])
    return graph.with_self_loops() if config.self_loops == "add" else graph


def detect_format(path: Path) -> str:
    """Which ``graph_format`` a file has, by its ending, its arrays' names or its header.

    Raises:
        UserError: it cannot be told, or the file cannot be read.
    """
    ending = path.suffix.lower()
    if ending in _PICKLE_ENDINGS:
        return "pickle"
    if ending == ".npy":
        return "matrix"
    if ending in _NETCDF_ENDINGS:
        return "grid"
    with about(path):
        if ending == ".npz":
            names = {plain_name(name): array.ndim for name, array in load_archive(path).items()}
            axes = [[names.get(name) == 1 for name in known] for known in (LATITUDE_NAMES, LONGITUDE_NAMES)]
            return "grid" if all(map(any, axes)) else "matrix"
        if ending in _TEXT_ENDINGS:
            return _text_format(path)
        raise UserError(
            f"the ending {ending or '(none)'!r} does not say what the graph file holds; set --graph-format to matrix, "
            "distance_matrix, edges, distances, positions, pickle or grid"
        )


def _text_format(path: Path) -> str:
    rows: list[Row] = list(islice(read_rows(path), 5))
    if not rows:
        raise UserError("the file is empty")
    header, num_lines = rows[0].cells, len(rows)
    start, end = end_columns(header)
    has = {
        what: find_column(header, names) is not None
        for what, names in {
            "distance": DISTANCE_NAMES,
            "weight": WEIGHT_NAMES,
            "latitude": LATITUDE_NAMES,
            "longitude": LONGITUDE_NAMES,
        }.items()
    }
    if has["latitude"] and has["longitude"]:
        return "positions"
    if start is not None and end is not None:
        if has["distance"] != has["weight"]:
            return "distances" if has["distance"] else "edges"
        if len(header) == 2:
            return "edges"
        raise UserError(
            f"the header {', '.join(header)[:100]!r} does not say whether it lists distances or weights; set "
            "--graph-format to distances or edges"
        )
    # A matrix has numbers beside its ids, and as many columns as lines but for those ids.
    names = any(len(row.cells) > 1 and not is_number(row.cells[1]) for row in rows[1:])
    if len(header) == 2 and (names or num_lines > 3 or list_header(rows)):
        return "edges"
    if len(header) == 3 and (names or is_number(header[2]) or num_lines not in (3, 4)):
        raise UserError(
            "three columns could be distances, weights, positions or a small matrix; set --graph-format to distances, "
            "edges, positions, matrix or distance_matrix"
        )
    return "matrix"
