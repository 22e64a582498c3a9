"""The one table of the formats of graphs; docs/adding.md shows how to add one.

Several formats share the endings of tables and archives: there the header or the arrays' names decide.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from dcrnn_fast.config.data import GraphConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.grid import read_grid
from dcrnn_fast.graph.kernel import Kernel
from dcrnn_fast.graph.lists import read_distances, read_edges
from dcrnn_fast.graph.matrices import Holds, read_matrix
from dcrnn_fast.graph.neighbourhoods import read_gal, read_gwt
from dcrnn_fast.graph.pickles import read_pickle
from dcrnn_fast.graph.positions import from_positions, read_positions, zero_doubt
from dcrnn_fast.graph.sensor_graph import SensorGraph
from dcrnn_fast.graph.shared_endings import format_of_archive, format_of_text
from dcrnn_fast.messages import naming_file


class Sensors(NamedTuple):
    """Ids of the series, None if they are not known: all of them, and those to read from lists and positions."""

    all: Sequence[str] | None
    wanted: Sequence[str] | None


Reader = Callable[[Path, GraphConfig, Sensors], SensorGraph]


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of graph file.

    Attributes:
        name: the word of ``--graph-format``.
        endings: of files that hold nothing else, in lower case.
        read: makes the graph, without self loops added.
        holds: such a file's contents, in words.
        uses: settings that this format uses and some others do not.
    """

    name: str
    endings: tuple[str, ...]
    read: Reader
    holds: str
    uses: tuple[str, ...] = ()


def kernel_of(config: GraphConfig) -> Kernel:
    """How distances become weights."""
    return Kernel(sigma=config.sigma, threshold=config.threshold, allow_lost_links=config.allow_lost_links)


def _matrix(path: Path, config: GraphConfig, sensors: Sensors) -> SensorGraph:
    holds: Holds = "distances" if config.graph_format == "distance_matrix" else "weights"
    if config.graph_format == "auto":
        holds = "either"
    is_pickle = config.graph_format == "pickle" or path.suffix.lower() in _PICKLE_ENDINGS
    return (read_pickle if is_pickle else read_matrix)(path, ids=sensors.all, holds=holds, kernel=kernel_of(config))


def _edges(path: Path, config: GraphConfig, sensors: Sensors) -> SensorGraph:
    return read_edges(path, ids=sensors.wanted, match=config.match)


def _distances(path: Path, config: GraphConfig, sensors: Sensors) -> SensorGraph:
    return read_distances(path, ids=sensors.wanted, match=config.match, **asdict(kernel_of(config)))


def _gal(path: Path, config: GraphConfig, sensors: Sensors) -> SensorGraph:
    return read_gal(path, ids=sensors.wanted, match=config.match)


def _gwt(path: Path, config: GraphConfig, sensors: Sensors) -> SensorGraph:
    return read_gwt(path, ids=sensors.wanted, match=config.match, kernel=kernel_of(config))


def _positions(path: Path, config: GraphConfig, sensors: Sensors) -> SensorGraph:
    ids, positions_N2 = read_positions(path, ids=sensors.wanted if config.match == "id" else None)
    with naming_file(path):
        graph = from_positions(
            positions_N2, ids, nearest=config.nearest, radius_km=config.radius_km, **asdict(kernel_of(config))
        )
    assert graph.account is not None
    doubts = tuple(filter(None, (zero_doubt(positions_N2, ids),)))
    return graph.with_account(replace(graph.account, file=path.name, doubts=doubts))


def _grid(path: Path, config: GraphConfig, sensors: Sensors) -> SensorGraph:
    mask = config.land_mask_file
    is_of_data = mask is None and config.land_mask is not None  # the series' cells choose among this file's
    return read_grid(path, neighbours=config.grid_neighbours, land_mask=mask, placed=is_of_data)


_PICKLE_ENDINGS = (".pkl", ".pickle")
_KERNEL = ("sigma", "threshold", "allow_lost_links")
FORMATS = (
    Format("matrix", (".npy",), _matrix, "a matrix of weights"),
    Format("distance_matrix", (), _matrix, "a matrix of distances", _KERNEL),
    Format("edges", (), _edges, "a list of weights"),
    Format("distances", (), _distances, "a list of distances", _KERNEL),
    Format("positions", (), _positions, "sensor positions", (*_KERNEL, "nearest", "radius_km")),
    Format("pickle", _PICKLE_ENDINGS, _matrix, "a matrix of weights"),
    Format("gal", (".gal",), _gal, "a list of neighbours"),
    Format("gwt", (".gwt",), _gwt, "a list of distances", _KERNEL),
    Format("grid", (".nc", ".nc4", ".cdf", ".netcdf"), _grid, "a grid", ("grid_neighbours", "land_mask")),
)
_SHARED: dict[str, Callable[[Path], str]] = {
    ".npz": format_of_archive,
    **dict.fromkeys((".csv", ".tsv", ".txt"), format_of_text),
}
"""endings of several formats -> the function that distinguishes them"""


def format_named(name: str) -> Format:
    """The format of this name, one of ``GraphFormat``'s but auto."""
    return next(one for one in FORMATS if one.name == name)


def find_format(path: Path) -> Format:
    """The format of a file by its ending, its arrays' names or its header.

    Raises:
        UserError: it cannot be determined, or the file cannot be read.
    """
    ending = path.suffix.lower()
    if (found := next((one for one in FORMATS if ending in one.endings), None)) is not None:
        return found
    with naming_file(path):
        if ending in _SHARED:
            return format_named(_SHARED[ending](path))
        names = [one.name for one in FORMATS]
        raise UserError(
            f"the ending {ending or '(none)'!r} does not say what the graph file holds; set --graph-format to "
            f"{', '.join(names[:-1])} or {names[-1]}"
        )
