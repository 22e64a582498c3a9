"""The one table of the formats of series; docs/adding.md shows how to add one."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from dcrnn_fast.config.sections import DataConfig, GraphConfig
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.store import MANIFEST
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.sensor_graph import SensorGraph

Source = tuple[SensorSeries, SensorGraph | None]
Reader = Callable[[Path, DataConfig, GraphConfig], Source]


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of file or folder.

    Attributes:
        name: the word of ``--data-format``.
        endings: of its files' names, in lower case.
        reader: "module:function" of its ``Reader``; the module, and the library that it needs, is imported by the first
            file of this format.
        is_folder: the format is a folder, not a file.
        marker: a file in such a folder that no other folder has.
    """

    name: str
    endings: tuple[str, ...]
    reader: str
    is_folder: bool = False
    marker: str | None = None

    def read(self, path: Path, data: DataConfig, graph: GraphConfig) -> Source:
        """The series, and the graph that it brings along, if any.

        Raises:
            UserError: the path is damaged or no such thing; the message names it.
        """
        module, name = self.reader.split(":")
        read: Reader = getattr(import_module(module), name)
        return read(path, data, graph)

    def takes(self, path: Path) -> bool:
        """Whether a path is of this format by its name, or a folder by its marker."""
        if path.is_dir() != self.is_folder:
            return False
        return path.suffix.lower() in self.endings or (self.marker is not None and (path / self.marker).exists())


_ROOM = "dcrnn_fast.data.formats."
FORMATS = (
    Format("hdf5", (".h5", ".hdf5", ".hdf"), _ROOM + "hdf5:read_hdf5"),
    Format("npz", (".npz",), _ROOM + "arrays:read_npz"),
    Format("npy", (".npy",), _ROOM + "arrays:read_npy"),
    Format("csv", (".csv", ".txt", ".tsv"), _ROOM + "tables:read_csv"),
    Format("parquet", (".parquet", ".pq"), _ROOM + "tables:read_parquet"),
    Format("netcdf", (".nc", ".nc4", ".cdf"), _ROOM + "netcdf:read_netcdf"),
    Format("channels", (), _ROOM + "folders:read_folder", is_folder=True),
    Format("continued", (), _ROOM + "folders:read_folder", is_folder=True),
    Format("scenarios", (), _ROOM + "folders:read_folder", is_folder=True),
    Format("store", (), "dcrnn_fast.data.store:read_store", is_folder=True, marker=MANIFEST),
)
_FOLDER = Format("folder", (), _ROOM + "folders:read_folder", is_folder=True)
"""channels, continued or scenarios: its reader finds out"""
ENDINGS = tuple(ending for one in FORMATS for ending in one.endings if not one.is_folder)


def format_by_ending(path: Path) -> str | None:
    """The format by a file's name, whether or not the file exists."""
    return next((one.name for one in FORMATS if path.suffix.lower() in one.endings), None)


def formats_of_path(path: Path, data_format: str) -> set[str]:
    """The formats of a file, of the files in a folder, or of a folder that is a format itself; none if unknown."""
    if not os.path.isdir(path):
        return {data_format if data_format != "auto" else format_by_ending(path) or ""} - {""}
    found = _find(path)
    if found is _FOLDER:
        found = next((one for one in FORMATS if one.is_folder and one.name == data_format), _FOLDER)
    if found.reader != _FOLDER.reader:
        return {found.name}
    return {kind for file in path.iterdir() if (kind := format_by_ending(file)) is not None}


def read_path(path: Path, data: DataConfig, graph: GraphConfig) -> Source:
    """The series of a file or folder in ``data.data_format``, and the graph that it brings along, if any.

    Raises:
        UserError: an unknown ending, a folder where a file is wanted or the reverse, and errors of the reader.
    """
    found = _find(path) if data.data_format == "auto" else next(f for f in FORMATS if f.name == data.data_format)
    if path.is_dir() != found.is_folder:
        raise UserError(f"data: {path} is a {'folder' if path.is_dir() else 'file'}, which {found.name} is not")
    return found.read(path, data, graph)


def _find(path: Path) -> Format:
    if (found := next((one for one in FORMATS if one.takes(path)), None)) is not None:
        return found
    if path.is_dir():
        return _FOLDER
    raise UserError(
        f"data: the ending of {path.name} does not say what it holds; known endings are {', '.join(ENDINGS)}, or set "
        "--data-format"
    )
