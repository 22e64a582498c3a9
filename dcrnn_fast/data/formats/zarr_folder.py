"""A folder of zarr, format 2 or 3, through xarray: what ``netcdf`` is for a NetCDF file.

Each array's own metadata count. Consolidated metadata, a copy of them at the top, may be older than the arrays.
"""

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.cf.fields import fields_of
from dcrnn_fast.data.cf.names import with_coordinates
from dcrnn_fast.data.cf.parts import Part, blocks_of
from dcrnn_fast.data.cf.stations import open_stations, with_station
from dcrnn_fast.data.formats import Opened
from dcrnn_fast.data.formats.shared import stamps_of_file
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import naming_file
from dcrnn_fast.reading.damage import damage_told

_METADATA = (".zarray", "zarr.json", ".zgroup")
_MOST_COMPRESSED, _ALWAYS_HELD = 1032, 64 << 20
"""bytes that zlib makes of one at most; bytes that an array may claim beyond that"""
_CHUNKS_AT_ONCE = 2
"""chunks that are unpacked at the same time: each takes its size in memory, twice"""
_THREADS = 1
"""that unpack: the allocator keeps for each what it once took"""


def open_zarr(path: Path, data: DataConfig, graph: GraphConfig) -> Opened:
    """As ``open_netcdf``, with the same rules; chunks are read in the order of time.

    Raises:
        UserError: no zarr of format 2 or 3, damaged, an array alone, the package zarr is missing, and errors of
            ``open_netcdf``.
    """
    with naming_file(path):
        again, told = partial(opened_zarr, path), partial(_told, path)
        with opened_zarr(path) as dataset:
            stations = open_stations(dataset, path.name, data, again, told)
            if stations is not None:
                return stations, None
            with told():
                fields = fields_of(dataset, data)
                stamps = stamps_of_file(fields.stamps, fields.num_steps, path, data)
                absent = _check_chunks(path, fields.time_dim, (*map(str, dataset.coords), *fields.variables))
        part = Part(name=path.name, fields=fields, stamps=stamps, opened=again, told=told)
        notes = tuple(f"look: {path.name}: {note}" for note in absent)
        return blocks_of([[part]], path.name, data, graph, notes)


@contextmanager
def opened_zarr(path: Path) -> Iterator[xr.Dataset]:
    """A folder of zarr as a dataset whose variables are read when they are used, its times not decoded.

    Raises:
        UserError: it cannot be opened. Errors of what the caller does pass as they are.
    """
    with _told(path):
        _require_sound(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about codecs that only this library reads
            opened = xr.open_dataset(
                path, engine="zarr", chunks=None, decode_times=False, cache=False, consolidated=False
            )
        try:
            dataset = with_station(with_coordinates(opened))
        except BaseException:
            opened.close()
            raise
    import zarr

    try:
        with zarr.config.set({"async.concurrency": _CHUNKS_AT_ONCE, "threading.max_workers": _THREADS}):
            yield dataset
    finally:
        opened.close()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    with naming_file(path), damage_told("not a readable zarr folder, or an incomplete one"):
        yield


def _require_sound(path: Path) -> None:
    """Reads the metadata and no array.

    Raises:
        UserError: another format than 2 and 3, an array that would be unpickled or claims more than its files can hold,
            an array in place of a group, or the package is missing.
    """
    try:
        import zarr
    except ImportError:
        raise UserError("is zarr: install the package zarr (pip install 'dcrnn_fast[zarr]')") from None
    _require_files(path)
    folders = [path, *sorted(folder for folder in path.iterdir() if folder.is_dir())]
    for folder in folders:
        for name in _METADATA:
            if (folder / name).is_file():
                _check_metadata(folder / name)
        if (folder / ".zattrs").is_file():
            _json_in(folder / ".zattrs")
    if not any((path / name).is_file() for name in (".zgroup", "zarr.json")):
        if (path / ".zarray").is_file():
            raise UserError("is one array of zarr: name the folder above it, which has its times too")
        raise UserError("lacks its metadata (.zgroup or zarr.json): it is incomplete")
    top = zarr.open(path, mode="r", use_consolidated=False) if _is_group(path) else None
    if not isinstance(top, zarr.Group):
        raise UserError("is one array of zarr: name the folder above it, which has its times too")
    for name, array in top.arrays():
        if array.ndim <= 2:
            _require_room(path / name, name, int(array.nbytes))


def _require_files(folder: Path) -> None:
    """Checks that there is nothing in a folder that would be waited for.

    Raises:
        UserError: a pipe, a socket or a device.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _require_files(Path(entry.path))
            elif not entry.is_file() and not entry.is_dir() and not entry.is_symlink():
                raise UserError(f"{entry.path} is a pipe, a socket or a device: a zarr folder has files alone")


def _is_group(path: Path) -> bool:
    if (path / ".zgroup").is_file():
        return True
    found = json.loads((path / "zarr.json").read_bytes())
    return isinstance(found, dict) and found.get("node_type") == "group"


def _json_in(path: Path) -> dict[str, Any]:
    with damage_told(f"its {path.parent.name}/{path.name} is damaged"):
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise UserError(f"its {path.parent.name}/{path.name} is damaged: {found!r:.40}")
        return found


def _check_metadata(path: Path) -> None:
    found = _json_in(path)
    if found.get("zarr_format") not in (2, 3):
        raise UserError(f"is zarr of format {found.get('zarr_format')!r:.20}; formats 2 and 3 are read")
    if _names_pickle(found):
        raise UserError(f"its array {path.parent.name} is stored as pickles, which are never read: nothing was run")


def _names_pickle(value: Any) -> bool:
    if isinstance(value, dict):
        names = (value.get("id"), value.get("name"))
        return any(str(name).removeprefix("numcodecs.") == "pickle" for name in names) or any(
            map(_names_pickle, value.values())
        )
    return isinstance(value, list) and any(map(_names_pickle, value))


def _require_room(folder: Path, name: str, claimed: int) -> None:
    """Axes are read at once: they may not claim more than their files can hold."""
    if claimed <= _ALWAYS_HELD:
        return
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if claimed > _MOST_COMPRESSED * size + _ALWAYS_HELD:
        raise UserError(
            f"its part {name!r} claims {claimed:,} bytes, which files of {size:,} cannot hold: it is damaged"
        )


def _check_chunks(path: Path, time_dim: str, names: tuple[str, ...]) -> list[str]:
    """A note on each array with chunks that are not there: lost ones, and those that hold the fill value alone.

    Raises:
        UserError: times in such a chunk of several, a chunk that was cut short.
    """
    import zarr

    notes = []
    top = zarr.open_group(path, mode="r", use_consolidated=False)
    for name in names:
        array = top.get(name)
        if not isinstance(array, zarr.Array) or array.ndim == 0:
            continue
        kept = tuple(array.shards or array.chunks)  # what one file holds
        whole = int(np.prod([-(-size // length) for size, length in zip(array.shape, kept, strict=True)]))
        chunks = [file for file in (path / name).rglob("*") if file.is_file() and not _is_metadata(file.name)]
        if array.shards is None and array.compressors and type(array.compressors[-1]).__name__.startswith("Blosc"):
            for chunk in chunks:
                _require_whole_blosc(chunk, chunk.relative_to(path))
        if len(chunks) >= whole:
            continue
        absent = whole - len(chunks)
        if name == time_dim and kept[0] > 1:  # times are never the same
            raise UserError(f"{absent} of {whole} chunks of its times ({name}) are not there: it is incomplete")
        notes.append(
            f"{absent:,} of {whole:,} chunks of {name} are not there, which zarr reads as its fill value "
            f"{array.fill_value}"
        )
    return notes


def _require_whole_blosc(chunk: Path, name: Path) -> None:
    """A chunk of Blosc names its own length, which zarr does not compare with the file's."""
    with chunk.open("rb") as file:
        header = file.read(16)
    size = chunk.stat().st_size
    if len(header) < 16 or size < int.from_bytes(header[12:], "little"):
        raise UserError(f"its chunk {name} has {size} bytes, more were written: it is truncated")


def _is_metadata(name: str) -> bool:
    return name.startswith(".") or name == "zarr.json"
