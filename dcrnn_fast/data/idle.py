"""The settings of data and graph that do nothing with a source, by the kinds of its files."""

import os
from collections.abc import Collection
from pathlib import Path

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.config.given import Needs
from dcrnn_fast.data.known import KNOWN
from dcrnn_fast.data.sources import formats_of
from dcrnn_fast.graph.formats import FORMATS, find_format, format_named

_KERNEL = "a graph from distances or positions"
_POSITIONS = "a graph from sensor positions"
_GRID = "a grid of latitudes and longitudes"
_WANTED = {
    "nearest": _POSITIONS,
    "radius_km": _POSITIONS,
    "sigma": _KERNEL,
    "threshold": _KERNEL,
    "allow_lost_links": _KERNEL,
    "grid_neighbours": _GRID,
    "land_mask": _GRID,
}
"""settings that only some graph formats use, and which these are in words"""
_GRIDDED = {"netcdf", "netcdf_folder", "zarr"}
"""formats that may hold a grid"""
_MADE = {"city": "the built-in city", "store": "a prepared store"}
"""sources whose times and missing readings are settled"""


def idle_in_reading(data: DataConfig) -> Needs:
    """The settings by which a source is read that this one has no use for."""
    kinds = formats_of(data)
    idle: Needs = {}
    if kinds and not kinds & {"hdf5", "hdf5_years"}:
        idle["hdf5_key"] = f"an HDF5 file, and --data is {_spoken(kinds)}"
    if "pems" not in kinds:
        idle["imputed"] = "station files of PeMS"
    if "city" not in kinds:
        idle |= dict.fromkeys(("city_nodes", "city_days", "city_seed"), "the built-in city (--data city)")
    if data.data not in KNOWN or os.path.exists(data.data):
        idle["data_folder"] = "a data set by its name"
    for kind, name in _MADE.items():
        if kinds == {kind}:
            idle |= dict.fromkeys(("start", "freq"), f"data without times, and {name} has its own")
            idle["missing_value"] = f"readings from a file, and {name} says itself which are missing"
    if kinds == {"city"}:
        idle["data_format"] = "a file or folder as --data"
    return idle


def idle_in_graph(graph: GraphConfig, data: DataConfig, given: Collection[str]) -> Needs:
    """The settings by which a graph is made that this one has no use for.

    Args:
        given: those that were given; only some of them need a look into the graph's file.

    Raises:
        UserError: the graph's file cannot be read, or its format cannot be determined.
    """
    kinds = formats_of(data)
    idle: Needs = {}
    if graph.graph is None and data.data not in KNOWN:
        idle |= dict.fromkeys(("graph_format", "match"), "a graph file (--graph)")
    idle |= _idle_in_operators(graph)
    if not _WANTED.keys() & set(given):
        return idle
    kind, which = _graph_kind(graph, data, kinds)
    for name, spoken in _WANTED.items():
        wanted = [one.name for one in FORMATS if name in one.uses]
        # The mask of a NetCDF file's grid cuts its readings too, with any graph.
        if kind not in (*wanted, "unknown") and not (name == "land_mask" and _GRIDDED & set(kinds)):
            idle[name] = f"{spoken}, and {which}"
    return idle


def _graph_kind(graph: GraphConfig, data: DataConfig, kinds: Collection[str]) -> tuple[str, str]:
    """A ``graph_format`` or another source, and in words; "unknown" if reading will fail with a message."""
    path = None if graph.graph is None else Path(graph.graph)
    if path is None and data.data in KNOWN and not os.path.exists(data.data):
        path = Path(data.data_folder, data.data, KNOWN[data.data].graph.name)
    if path is not None:
        if graph.graph_format != "auto":
            found = format_named(graph.graph_format)
        elif os.path.exists(path):
            found = find_format(path)
        else:
            return "unknown", ""
        return found.name, f"{path} holds {found.holds}"
    for made, name in _MADE.items():
        if set(kinds) == {made}:
            return made, f"{name} brings its graph along"
    if _GRIDDED & set(kinds):
        return "grid", "a NetCDF or zarr file's own graph is its grid"
    if "libcity" in kinds:
        return "distances", "without --graph it is LibCity's .rel file"
    if "npz" in kinds:
        return "matrix", "without --graph it is the .npz file's matrix"
    return "none", "there is no --graph"


def _idle_in_operators(graph: GraphConfig) -> Needs:
    """Choices about the diffusion that come to the same."""
    idle: Needs = {}
    if graph.hops < 2:
        idle["recursion"] = "--hops of at least 2"
    if graph.hops == 0:
        idle |= dict.fromkeys(("supports", "orientation", "edge_order"), "--hops of at least 1")
    elif graph.supports == "laplacian":
        idle |= dict.fromkeys(("orientation", "edge_order"), "random walks, and --supports is laplacian")
    return idle


def _spoken(kinds: Collection[str]) -> str:
    return " and ".join(sorted(_MADE.get(kind, kind) for kind in kinds))
