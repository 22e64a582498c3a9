"""NetCDF through xarray: a latitude/longitude grid flattened to nodes, or stations; variables are channels.

Shape legend: T time, Y latitudes, X longitudes, N nodes, C channels.
"""

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from dcrnn_fast.config.sections import DataConfig, GraphConfig
from dcrnn_fast.data.cf_times import cf_times, require_date
from dcrnn_fast.data.formats import Source
from dcrnn_fast.data.formats.shared import make_from_file
from dcrnn_fast.data.number_times import number_times
from dcrnn_fast.data.times import Stamps, parse_times
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph, cell_ids, from_curved_grid, from_grid, read_land_mask
from dcrnn_fast.graph.positions import ID_NAMES, LATITUDE_NAMES, LONGITUDE_NAMES
from dcrnn_fast.messages import counted, first_few, naming_file
from dcrnn_fast.reading.hdf5 import opened_hdf5, require_room
from dcrnn_fast.reading.netcdf import netcdf_damage_told, netcdf_kind
from dcrnn_fast.reading.tables import plain_name

_DEFAULT_FILL = 9.969209968386869e36
"""the NetCDF library's value of floats that were never written"""


def read_netcdf(path: Path, data: DataConfig, graph: GraphConfig) -> Source:
    """The chosen variables (left out: all numeric ones with a time dimension) of one grid or one set of stations.

    Fill values are missing readings. A grid with latitudes and longitudes, of its axes or of each cell, brings its
    graph along (``graph.grid_neighbours``); cells where ``graph.land_mask`` is false are left out.

    Raises:
        UserError: unreadable or truncated, no time dimension, a missing variable (those there are listed), variables
            on different dimensions.
    """
    with naming_file(path), netcdf_damage_told():
        engine = _engine(path)
        if engine == "h5netcdf":
            _require_sound(path)
        with xr.open_dataset(path, engine=engine, decode_times=False) as opened:
            lazy = _with_coordinates(opened)
            time_name, stamps = _times(lazy, data)
            names, notes = _variable_names(lazy, time_name, data.variables)
            for name in (*names, *lazy.coords):
                require_room(str(name), lazy[name].nbytes, path)
            dataset = lazy[names].load()
        if empty := [dim for dim in dataset[names[0]].dims if dataset.sizes[dim] == 0]:
            raise UserError(f"its dimension {empty[0]} is empty")
        space = [dim for dim in dataset[names[0]].dims if dim != time_name and dataset.sizes[dim] > 1]
        single = [dim for dim in dataset[names[0]].dims if dim != time_name and dataset.sizes[dim] == 1]
        if not space and single:
            space = [single.pop()]
        space = _as_the_places(dataset, space)
        filled = [_without_default_fill(_in_order(dataset[name], time_name, space)) for name in names]
        valid = [_valid_only(dataset[name], array) for name, (array, _) in zip(names, filled, strict=True)]
        notes = (*notes, *(note for _, note in valid if note is not None))
        readings_TNC = np.stack([array for array, _ in valid], axis=-1).reshape(
            dataset.sizes[time_name], -1, len(names)
        )
        marks_gaps = any(_declares_gaps(dataset[name]) for name in names) or any(found for _, found in filled)
        units = tuple(str(dataset[name].attrs.get("units", "")) for name in names)
        ids, positions_N2, own_graph, keep_N = _nodes(dataset, space, graph)
        if keep_N is not None:
            readings_TNC = readings_TNC[:, keep_N]
    series = make_from_file(
        readings_TNC,
        stamps,
        ids,
        path,
        data,
        channels=tuple(names),
        units=units,
        positions_N2=positions_N2,
        marks_gaps=marks_gaps,
    )
    return series.with_notes((*series.notes, *(f"look: {path.name}: {note}" for note in notes))), own_graph


def _engine(path: Path) -> Literal["scipy", "h5netcdf"]:
    """The library by which xarray reads this file."""
    if (kind := netcdf_kind(path)) is None:
        with path.open("rb") as file:
            signature = file.read(4)
        raise UserError(f"neither classic NetCDF (CDF) nor NetCDF-4 (HDF5): it begins with {signature!r}")
    return "scipy" if kind == "classic" else "h5netcdf"


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


def _with_coordinates(dataset: xr.Dataset) -> xr.Dataset:
    """Makes positions and ids of stations coordinates, whether or not the file does; leaves out bounds of cells."""
    dataset = dataset.drop_vars(_bounds(dataset))
    known = (*LATITUDE_NAMES, *LONGITUDE_NAMES, *(name for name in ID_NAMES if name))
    names = [name for name in dataset.data_vars if plain_name(str(name)) in known or _names_stations(dataset[name])]
    return dataset.set_coords(names)


def _names_stations(variable: xr.DataArray) -> bool:
    return str(variable.attrs.get("cf_role", "")) == "timeseries_id"


def _bounds(dataset: xr.Dataset) -> set[Any]:
    """Variables that another one declares as the bounds of its cells, or that are named and shaped so."""
    found = set()
    for name, variable in dataset.variables.items():
        attributes = {**variable.encoding, **variable.attrs}
        found |= {attributes.get(key) for key in ("bounds", "climatology")}
        for bounds in (f"{name}_bnds", f"{name}_bounds"):
            if bounds in dataset and dataset[bounds].dims[:-1] == variable.dims and dataset[bounds].shape[-1] in (2, 4):
                found.add(bounds)
    return found & set(dataset.variables)


def _times(dataset: xr.Dataset, data: DataConfig) -> tuple[str, Stamps | None]:
    """The time dimension's name, and its times."""
    found = [
        name
        for name in map(str, dataset.dims)
        if name in dataset.coords
        and (" since " in str(dataset[name].attrs.get("units", "")) or plain_name(name) in ("time", "date"))
    ]
    if len(found) != 1:
        raise UserError(
            f"wanted one time dimension with times, found {first_few(found)} among {first_few(dataset.dims)}"
        )
    axis = dataset[found[0]].load()
    values_T, units = np.asarray(axis.values), str(axis.attrs.get("units", ""))
    if values_T.size == 0:
        raise UserError(f"its dimension {found[0]} is empty")
    if values_T.dtype.kind in "SUO":
        texts = [text.decode("utf-8") if isinstance(text, bytes) else str(text) for text in values_T.tolist()]
        return found[0], parse_times(texts)
    if " since " in units:
        return found[0], cf_times(values_T, units, str(axis.attrs.get("calendar", "standard")))
    require_date(units)
    return found[0], number_times(values_T, f"its {found[0]} (without units such as 'hours since 2000-01-01')", data)


def _declares_gaps(variable: xr.DataArray) -> bool:
    """Whether the file declares the value of a missing reading, or a range of valid ones."""
    keys = ("_FillValue", "missing_value", "valid_range", "valid_min", "valid_max")
    return any(key in variable.encoding or key in variable.attrs for key in keys)


def _valid_only(variable: xr.DataArray, readings: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Readings with NaN outside the range that the file declares valid (CF 2.5.1), and a note if there are such."""
    attributes = variable.attrs
    low, high = attributes.get("valid_min", -np.inf), attributes.get("valid_max", np.inf)
    if "valid_range" in attributes:
        low, high = np.asarray(attributes["valid_range"]).reshape(-1)[[0, -1]]
    bounds = np.asarray([low, high])
    if bounds.dtype.kind not in "iuf":
        declared = attributes.get("valid_range", f"{low} to {high}")
        return readings, f"{variable.name} declares a valid range that holds no numbers ({declared}): not applied"
    # Bounds of the packed type are packed; what was decoded in float32 may miss a bound by its rounding.
    slack = np.abs(bounds) * np.finfo(np.float32).eps
    scale, offset = (
        float(variable.encoding.get(key, value)) for key, value in (("scale_factor", 1), ("add_offset", 0))
    )
    if (scale, offset) != (1, 0) and all(
        np.asarray(bound).dtype.kind in "iu" for bound in (low, high) if np.isfinite(bound)
    ):
        bounds = np.sort(bounds * scale + offset)
        slack = np.full(2, abs(scale) / 2)
    invalid = (readings < bounds[0] - slack[0]) | (readings > bounds[1] + slack[1])
    if not invalid.any():
        return readings, None
    count, declared = int(invalid.sum()), f"{bounds[0]:g} to {bounds[1]:g}"
    note = f"{counted(count, 'reading')} of {variable.name} outside its valid range ({declared}): missing"
    return np.where(invalid, np.nan, readings), note


def _without_default_fill(readings: np.ndarray) -> tuple[np.ndarray, bool]:
    """Readings with NaN where nothing was ever written (NetCDF's own fill of floats), and whether there are such."""
    if readings.dtype.kind != "f":
        return readings, False
    never_written = readings == readings.dtype.type(_DEFAULT_FILL)
    if not never_written.any():
        return readings, False
    return np.where(never_written, np.nan, readings), True


def _variable_names(dataset: xr.Dataset, time_name: str, wanted: tuple[str, ...]) -> tuple[list[str], tuple[str, ...]]:
    """The variables to read, and a note about flags that are none."""
    usable = [
        str(name)
        for name, variable in dataset.data_vars.items()
        if time_name in variable.dims and variable.ndim > 1 and variable.dtype.kind in "fiu"
    ]
    flags = [name for name in usable if {"flag_values", "flag_masks", "flag_meanings"} & set(dataset[name].attrs)]
    names = list(wanted) or [name for name in usable if name not in flags]
    notes = () if wanted or not flags else (f"{first_few(flags)} hold flags, no readings, and are left out",)
    if unknown := [name for name in names if name not in usable]:
        raise UserError(f"no variable {first_few(unknown)} over time; the variables are {first_few(usable, 20)}")
    if not names:
        raise UserError(f"no variable over {time_name} and space among {first_few(dataset.data_vars, 20)}")
    shapes = {name: set(dataset[name].dims) for name in names}
    if other := [name for name in names if shapes[name] != shapes[names[0]]]:
        raise UserError(
            f"variables {names[0]} and {other[0]} have different dimensions {dataset[names[0]].dims} and "
            f"{dataset[other[0]].dims}: choose with --variables"
        )
    return names, notes


def _in_order(variable: xr.DataArray, time_name: str, space: list[Any]) -> np.ndarray:
    if not 1 <= len(space) <= 2:
        raise UserError(
            f"variable {variable.name} must lie over time and one or two dimensions of space, got {variable.dims} "
            f"{variable.shape}"
        )
    latitude_last = len(space) == 2 and _is(variable.coords, space[1], LATITUDE_NAMES, "north")
    order = space[::-1] if latitude_last else space
    single = [dim for dim in variable.dims if dim != time_name and dim not in space]
    return variable.squeeze(single).transpose(time_name, *order).values


def _nodes(
    dataset: xr.Dataset, space: list[Any], config: GraphConfig
) -> tuple[tuple[str, ...], np.ndarray | None, SensorGraph | None, np.ndarray | None]:
    """Ids, positions, graph and the nodes to keep (None: all)."""
    latitude = _coordinate(dataset, LATITUDE_NAMES, "north")
    longitude = _coordinate(dataset, LONGITUDE_NAMES, "east")
    if len(space) == 1:
        if config.land_mask is not None:
            raise UserError("--land-mask needs a grid of latitudes and longitudes, and this file holds stations")
        return _station_ids(dataset, space[0]), _positions(latitude, longitude, tuple(space)), None, None
    if latitude is not None and longitude is not None and latitude.ndim == longitude.ndim == 1:
        mask_YX = None if config.land_mask is None else read_land_mask(config.land_mask)
        grid = from_grid(latitude.values, longitude.values, neighbours=config.grid_neighbours, mask_YX=mask_YX)
        return grid.ids, grid.positions_N2, grid, None if mask_YX is None else mask_YX.reshape(-1)
    shape = (dataset.sizes[space[0]], dataset.sizes[space[1]])
    mask_YX = None if config.land_mask is None else read_land_mask(config.land_mask)
    keep_N = None if mask_YX is None else mask_YX.reshape(-1)
    if latitude is None or longitude is None or not latitude.dims == longitude.dims == tuple(space):
        return cell_ids(shape, mask_YX=mask_YX), None, None, keep_N
    grid = from_curved_grid(
        shape,
        latitude_YX=latitude.values,
        longitude_YX=longitude.values,
        neighbours=config.grid_neighbours,
        mask_YX=mask_YX,
    )
    return grid.ids, grid.positions_N2, grid, keep_N


def _as_the_places(dataset: xr.Dataset, space: list[Any]) -> list[Any]:
    """The dimensions of space in the order of two-dimensional latitudes, which rows and columns are counted by."""
    latitude = _coordinate(dataset, LATITUDE_NAMES, "north")
    if latitude is None or latitude.ndim != 2 or set(latitude.dims) != set(space):
        return space
    return list(latitude.dims)


def _positions(latitude: xr.DataArray | None, longitude: xr.DataArray | None, dims: tuple[Any, ...]) -> Any:
    """(N, 2) if both lie on exactly these dimensions, else None."""
    if latitude is None or longitude is None or not latitude.dims == longitude.dims == dims:
        return None
    return np.stack([latitude.values, longitude.values], axis=-1).reshape(-1, 2).astype(np.float64)


def _coordinate(dataset: xr.Dataset, names: tuple[str, ...], direction: str) -> xr.DataArray | None:
    found = (dataset[name] for name in dataset.coords if _is(dataset.coords, name, names, direction))
    return next(found, None)


def _station_ids(dataset: xr.Dataset, dim: Any) -> tuple[str, ...]:
    """Ids by the CF role, else by the dimension's own coordinate, else by name."""
    roles = [name for name in dataset.coords if _names_stations(dataset[name])]
    others = [name for name in dataset.coords if name != dim and plain_name(str(name)) in ID_NAMES]
    for name in (*roles, dim, *others):
        if name in dataset.coords and dataset[name].dims == (dim,):
            return tuple(_station_id(value) for value in dataset[name].values.tolist())
    return tuple(map(str, range(dataset.sizes[dim])))


def _station_id(value: Any) -> str:
    """Character arrays are padded with blanks; floats without a fraction are numbers of stations."""
    if isinstance(value, bytes):
        return value.decode("utf-8").rstrip(" \0")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).rstrip(" \0")


def _is(coordinates: Any, name: Any, names: tuple[str, ...], direction: str) -> bool:
    if name not in coordinates:
        return False
    units = str(coordinates[name].attrs.get("units", "")).casefold()
    return (
        plain_name(str(name)) in names
        or re.fullmatch(f"degrees?_?{direction}|degrees?_?{direction[0]}", units) is not None
    )
