"""The one table of the formats of series; docs/adding.md shows how to add one."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from dcrnn_fast.config.sections import DataConfig, GraphConfig
from dcrnn_fast.data.blocks import Blocks, series_of_blocks
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.store import MANIFEST
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph.sensor_graph import SensorGraph

Source = tuple[SensorSeries, SensorGraph | None]
Reader = Callable[[Path, DataConfig, GraphConfig], Source]
Opened = tuple[Blocks, SensorGraph | None]
Opener = Callable[[Path, DataConfig, GraphConfig], Opened | None]


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of file or folder.

    Attributes:
        name: the word of ``--data-format``.
        endings: of its files' names, in lower case.
        reader: "module:function" of its ``Reader``; the module, and the library that it needs, is imported by the first
            file of this format. Left out: the series is made of what ``opener`` opens.
        is_folder: the format is a folder, not a file; None: either, as ``detects`` or the ending tells.
        marker: a file in such a folder that no other folder has.
        opener: "module:function" of its ``Opener``, if its files can be read in pieces; it gives None for one that it
            leaves to the reader.
        detects: "module:function" that tells a file or folder of this format by its contents, whatever its name is:
            (path) -> bool. It looks at names and first bytes alone, imports no library of a format, raises nothing.
        is_deep: files in folders of the folder are read too.
        beside: "module:function" of the files that are read beside a file of this format: (path) -> list[Path].
    """

    name: str
    endings: tuple[str, ...]
    reader: str | None = None
    is_folder: bool | None = False
    marker: str | None = None
    opener: str | None = None
    detects: str | None = None
    is_deep: bool = False
    beside: str | None = None

    def read(self, path: Path, data: DataConfig, graph: GraphConfig) -> Source:
        """The series, and the graph that it brings along, if any.

        Raises:
            UserError: the path is damaged or no such thing; the message names it.
        """
        if self.reader is None:
            opened = self.open(path, data, graph)
            if opened is None:
                raise ValueError(f"{self.name} has no reader for what its opener leaves")
            return series_of_blocks(opened[0], data), opened[1]
        read: Reader = _imported(self.reader)
        return read(path, data, graph)

    def open(self, path: Path, data: DataConfig, graph: GraphConfig) -> Opened | None:
        """The series to be read in pieces, and the graph that it brings along, if any; None: read it whole.

        Raises:
            UserError: as ``read``, of all but the readings.
        """
        if self.opener is None:
            raise ValueError(f"{self.name} cannot be read in pieces")
        open_path: Opener = _imported(self.opener)
        return open_path(path, data, graph)

    def claims(self, path: Path) -> bool:
        """Whether a path that is there is of this format by its contents, or a folder by its marker."""
        if self.is_folder is not None and path.is_dir() != self.is_folder:
            return False
        if self.marker is not None and (path / self.marker).exists():
            return True
        return self.detects is not None and bool(_imported(self.detects)(path))

    def files(self, path: Path) -> list[Path]:
        """The files that may be read for a file or folder of this format."""
        if path.is_dir():
            return sorted(one for one in (path.rglob if self.is_deep else path.glob)("*") if one.is_file())
        return [path, *(_imported(self.beside)(path) if self.beside is not None else [])]


def _imported(name: str) -> Any:
    module, function = name.split(":")
    return getattr(import_module(module), function)


_ROOM = "dcrnn_fast.data.formats."
_DETECT = _ROOM + "detect:"
FORMATS = (
    Format("hdf5", (".h5", ".hdf5", ".hdf"), opener=_ROOM + "hdf5:open_hdf5", beside=_ROOM + "largest:beside_series"),
    Format("npz", (".npz",), _ROOM + "arrays:read_npz", beside=_ROOM + "largest:beside_scaled"),
    Format("npy", (".npy",), _ROOM + "arrays:read_npy"),
    Format("csv", (".csv", ".txt", ".tsv"), _ROOM + "tables:read_csv", opener=_ROOM + "tables:open_csv"),
    Format("parquet", (".parquet", ".pq"), _ROOM + "tables:read_parquet", opener=_ROOM + "tables:open_parquet"),
    Format("netcdf", (".nc", ".nc4", ".cdf"), opener=_ROOM + "netcdf:open_netcdf"),
    Format(
        "netcdf_folder",
        (),
        _ROOM + "netcdf_folder:read_netcdf_folder",
        is_folder=True,
        opener=_ROOM + "netcdf_folder:open_netcdf_folder",
        detects=_ROOM + "detect:is_netcdf_folder",
    ),
    Format(
        "zarr",
        (".zarr",),
        is_folder=True,
        opener=_ROOM + "zarr_folder:open_zarr",
        detects=_DETECT + "is_zarr",
        is_deep=True,
    ),
    Format("tsf", (".tsf",), opener=_ROOM + "tsf:open_tsf"),
    Format("channels", (), _ROOM + "folders:read_folder", is_folder=True, opener=_ROOM + "folders:open_folder"),
    Format("continued", (), _ROOM + "folders:read_folder", is_folder=True, opener=_ROOM + "folders:open_folder"),
    Format("scenarios", (), _ROOM + "folders:read_folder", is_folder=True),
    Format(
        "partitioned",
        (),
        is_folder=True,
        opener=_ROOM + "partitioned:open_partitioned",
        detects=_DETECT + "is_partitioned",
        is_deep=True,
    ),
    Format("basicts", (), is_folder=True, opener=_ROOM + "basicts:open_basicts", detects=_DETECT + "is_basicts"),
    Format(
        "libcity",
        (".dyna", ".grid"),
        is_folder=None,
        opener=_ROOM + "libcity:open_libcity",
        detects=_DETECT + "is_libcity",
        beside=_ROOM + "libcity:beside_readings",
    ),
    Format("usgs", (".rdb",), is_folder=None, opener=_ROOM + "usgs:open_usgs", detects=_DETECT + "is_usgs"),
    Format("store", (), "dcrnn_fast.data.store:read_store", is_folder=True, marker=MANIFEST),
    Format(
        "pems",
        (),
        is_folder=None,
        opener=_ROOM + "pems:open_pems",
        detects=_DETECT + "is_pems",
        is_deep=True,
        beside=_ROOM + "pems_files:metadata_beside",
    ),
    Format("hdf5_years", (), is_folder=True, opener=_ROOM + "hdf5_years:open_years", detects=_DETECT + "is_years"),
)
_FOLDER = Format("folder", (), _ROOM + "folders:read_folder", is_folder=True)
"""channels, continued or scenarios: its reader finds out"""
ENDINGS = tuple(ending for one in FORMATS for ending in one.endings if not one.is_folder)


def format_by_ending(path: Path) -> str | None:
    """The format by a file's name, whether or not the file exists."""
    return next((one.name for one in FORMATS if path.suffix.lower() in one.endings), None)


def formats_of_path(path: Path, data_format: str) -> set[str]:
    """The formats of a file, of the files in a folder, or of a folder that is a format itself; none if unknown."""
    found = _told(path) if data_format == "auto" else next(one for one in FORMATS if one.name == data_format)
    if found is None:
        return set()
    if found.reader != _FOLDER.reader or not os.path.isdir(path):
        return {found.name}
    return {kind for file in path.iterdir() if (kind := format_by_ending(file)) is not None}


def files_of_path(path: Path, data_format: str) -> list[Path]:
    """The files that may be read for a file or folder that is there; its own if its format is unknown."""
    found = _told(path) if data_format == "auto" else next(one for one in FORMATS if one.name == data_format)
    return (found or _FOLDER).files(path)


def read_path(path: Path, data: DataConfig, graph: GraphConfig) -> Source:
    """The series of a file or folder in ``data.data_format``, and the graph that it brings along, if any.

    Raises:
        UserError: an unknown ending, a folder where a file is wanted or the reverse, and errors of the reader.
    """
    return _find(path, data.data_format).read(path, data, graph)


def open_path(path: Path, data: DataConfig, graph: GraphConfig) -> Opened | None:
    """``read_path`` in pieces; None if this format can only be read whole."""
    found = _find(path, data.data_format)
    return None if found.opener is None else found.open(path, data, graph)


def _find(path: Path, data_format: str) -> Format:
    found = _told(path) if data_format == "auto" else next(one for one in FORMATS if one.name == data_format)
    if found is None:
        raise UserError(
            f"data: the ending of {path.name} does not say what it holds; known endings are {', '.join(ENDINGS)}, or "
            "set --data-format"
        )
    if found.is_folder is not None and path.is_dir() != found.is_folder:
        raise UserError(f"data: {path} is a {'folder' if path.is_dir() else 'file'}, which {found.name} is not")
    return found


def _told(path: Path) -> Format | None:
    """The format by what is there, else by the name."""
    return _claimant(path) or _by_name(path)


def _claimant(path: Path) -> Format | None:
    """The format that a file or folder is of by its contents.

    Raises:
        UserError: several, which is for the user to settle.
    """
    if not os.path.exists(path):
        return None
    claimants = [one for one in FORMATS if one.claims(path)]
    if len(claimants) > 1:
        names = [one.name for one in claimants]
        raise UserError(
            f"data: {path} can be read as {' and as '.join(names)}: say which with "
            f"{' or '.join(f'--data-format {name}' for name in names)}"
        )
    return claimants[0] if claimants else None


def _by_name(path: Path) -> Format | None:
    is_folder = path.is_dir()
    named = (one for one in FORMATS if one.is_folder in (is_folder, None) and path.suffix.lower() in one.endings)
    return next(named, _FOLDER if is_folder else None)
