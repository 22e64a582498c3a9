"""NetCDF through xarray: a latitude/longitude grid flattened to nodes, or stations; variables are channels.

``dcrnn_fast.data.cf`` says what the variables mean.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import xarray as xr

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.cf.fields import fields_of
from dcrnn_fast.data.cf.names import with_coordinates
from dcrnn_fast.data.cf.parts import Part, blocks_of
from dcrnn_fast.data.cf.stations import open_stations, with_station
from dcrnn_fast.data.formats import Opened
from dcrnn_fast.data.formats.shared import stamps_of_file
from dcrnn_fast.errors import UserError
from dcrnn_fast.messages import first_few, naming_file
from dcrnn_fast.reading.damage import damage_told
from dcrnn_fast.reading.hdf5 import opened_hdf5, require_room
from dcrnn_fast.reading.netcdf import netcdf_damage_told, netcdf_kind


def open_netcdf(path: Path, data: DataConfig, graph: GraphConfig) -> Opened:
    """The chosen variables (left out: all numeric ones with a time dimension) of one grid or one set of stations.

    Fill values are missing readings. A grid with latitudes and longitudes, of its axes or of each cell, brings its
    graph along (``graph.grid_neighbours``); cells outside ``graph.land_mask`` are left out.

    Raises:
        UserError: unreadable or truncated, no time dimension, a missing variable (those there are listed), variables
            on different dimensions.
    """
    with naming_file(path):
        with opened_netcdf(path) as dataset:
            told = partial(_told, path, os.stat(path).st_size)
            stations = open_stations(dataset, path.name, data, partial(opened_netcdf, path), told)
        if stations is not None:
            return stations, None
        return blocks_of([[part_of(path, data)]], path.name, data, graph)


def part_of(path: Path, data: DataConfig) -> Part:
    """One NetCDF file; only its axes are read.

    Raises:
        UserError: as ``open_netcdf``.
    """
    with opened_netcdf(path) as dataset, _told(path):
        size = os.stat(path).st_size
        for name in dataset.coords:
            require_room(str(name), dataset[name].nbytes, path)
        fields = fields_of(dataset, data)
        for name in fields.variables:
            require_room(name, dataset[name].nbytes, path)
        stamps = stamps_of_file(fields.stamps, fields.num_steps, path, data)
    return Part(
        name=path.name,
        fields=fields,
        stamps=stamps,
        opened=partial(opened_netcdf, path),
        told=partial(_told, path, size),
    )


@contextmanager
def opened_netcdf(path: Path) -> Iterator[xr.Dataset]:
    """A NetCDF file as a dataset whose variables are read when they are used, its times not decoded.

    Raises:
        UserError: it cannot be opened. Errors of what the caller does pass as they are.
    """
    with _told(path):
        engine = _engine(path)
        if engine == "h5netcdf":
            _require_sound(path)
        opened = xr.open_dataset(path, engine=engine, decode_times=False, cache=False)
        try:
            dataset = with_station(with_coordinates(opened))
        except BaseException:
            opened.close()
            raise
    try:
        yield dataset
    finally:
        with _told(path):  # without scipy's warning about arrays that are still in use
            opened.close()


@contextmanager
def _told(path: Path, size: int = 0) -> Iterator[None]:
    """Turns errors on a damaged file into a UserError that names it; so is a file that has become shorter than ``size``
    bytes, of whose memory map a read would be a bus error.
    """
    with naming_file(path), netcdf_damage_told():
        if os.stat(path).st_size < size:
            raise UserError("was cut short while it was read")
        yield


def _engine(path: Path) -> str:
    """The library by which xarray reads this file: scipy or h5netcdf."""
    if (kind := netcdf_kind(path)) is not None:
        return "scipy" if kind == "classic" else "h5netcdf"
    with path.open("rb") as file:
        signature = file.read(4)
    if signature.startswith(b"PK"):
        raise UserError(f"is a zip archive of {_members(path)}: unpack it, and name the folder")
    if signature == b"GRIB":
        raise UserError("is GRIB, which is not read: download it as NetCDF, or convert it (cfgrib, grib_to_netcdf)")
    if signature == b"CDF\x05":
        raise UserError(
            "is NetCDF of the form CDF-5 (64-bit data), which is not read: convert it with nccopy -k nc4 IN OUT"
        )
    raise UserError(f"neither classic NetCDF (CDF) nor NetCDF-4 (HDF5): it begins with {signature!r}")


def _members(path: Path) -> str:
    """What a zip archive holds; the Climate Data Store sends one for files of means and sums (instant, accum)."""
    import zipfile

    with damage_told("it is a damaged zip archive"), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    stores = any("accum" in name for name in names) and any("instant" in name for name in names)
    what = ", as the Climate Data Store sends instantaneous and accumulated variables" if stores else ""
    return f"{first_few(names)}{what}"


def _require_sound(path: Path) -> None:
    """Fails if the file reads others, claims axes that it cannot hold (xarray reads them at once), or h5netcdf would
    fail half-made and later print a traceback from its destructor.

    Raises:
        UserError: it reads others or cannot hold its axes.
    """
    with opened_hdf5(path) as file:
        file.attrs.get("_nc3_strict")
        for name, item in file.items():
            for length in getattr(item, "shape", None) or ():
                require_room(name, length * 8, path)  # h5netcdf fills an axis up to its longest variable
