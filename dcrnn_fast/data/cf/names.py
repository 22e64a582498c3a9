"""How dimensions and coordinates are known: by name, units and attributes of the CF conventions."""

import re
from typing import Any

import xarray as xr

from dcrnn_fast.graph.positions import ID_NAMES, LATITUDE_NAMES, LONGITUDE_NAMES
from dcrnn_fast.reading.tables import plain_name

VERSION_NAMES = ("expver",)
"""of a dimension whose entries are versions of one reading: ERA5 (1) before its preliminary form ERA5T (5)"""
_LEVEL_NAMES = (
    *("level", "levels", "lev", "plev", "pressure", "pressurelevel", "isobaricinhpa", "isobaricinpa", "height"),
    *("heightaboveground", "depth", "depthbelowlandlayer", "depthbelowland", "soillayer", "hybrid", "modellevel"),
)
_PRESSURES = ("hpa", "millibar", "millibars", "mbar", "mb", "pa")


def is_latitude(dataset: xr.Dataset, name: Any) -> bool:
    """Whether a coordinate holds latitudes."""
    return _is(dataset, name, LATITUDE_NAMES, "north")


def is_longitude(dataset: xr.Dataset, name: Any) -> bool:
    """Whether a coordinate holds longitudes."""
    return _is(dataset, name, LONGITUDE_NAMES, "east")


def _is(dataset: xr.Dataset, name: Any, names: tuple[str, ...], direction: str) -> bool:
    if name not in dataset.coords:
        return False
    units = str(dataset[name].attrs.get("units", "")).casefold()
    return (
        plain_name(str(name)) in names
        or re.fullmatch(f"degrees?_?{direction}|degrees?_?{direction[0]}", units) is not None
    )


def is_level(dataset: xr.Dataset, dim: Any) -> bool:
    """Whether a dimension counts levels above or below each other."""
    if plain_name(str(dim)) in _LEVEL_NAMES:
        return True
    if dim not in dataset.coords:
        return False
    attributes = dataset[dim].attrs
    units = str(attributes.get("units", "")).casefold()
    return str(attributes.get("axis", "")).upper() == "Z" or "positive" in attributes or units in _PRESSURES


def names_stations(variable: xr.DataArray) -> bool:
    """Whether the file says that a variable names its stations."""
    return str(variable.attrs.get("cf_role", "")) == "timeseries_id"


def with_coordinates(dataset: xr.Dataset) -> xr.Dataset:
    """Makes positions and ids of stations coordinates, whether or not the file does; leaves out bounds of cells."""
    dataset = dataset.drop_vars(_bounds(dataset))
    known = (*LATITUDE_NAMES, *LONGITUDE_NAMES, *(name for name in ID_NAMES if name))
    names = [name for name in dataset.data_vars if plain_name(str(name)) in known or names_stations(dataset[name])]
    return dataset.set_coords(names)


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


def text_of_id(value: Any) -> str:
    """The id that a value means: character arrays are padded with blanks; floats without a fraction are numbers."""
    if isinstance(value, bytes):
        return value.decode("utf-8").rstrip(" \0")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).rstrip(" \0")


def station_ids(dataset: xr.Dataset, dim: Any) -> tuple[str, ...]:
    """Ids of a dimension by the CF role, else by the dimension's own coordinate, else by name, else counted from 0."""
    roles = [name for name in dataset.coords if names_stations(dataset[name])]
    others = [name for name in dataset.coords if name != dim and plain_name(str(name)) in ID_NAMES]
    for name in (*roles, dim, *others):
        if name in dataset.coords and dataset[name].dims == (dim,):
            return tuple(text_of_id(value) for value in dataset[name].values.tolist())
    return tuple(map(str, range(dataset.sizes[dim])))
