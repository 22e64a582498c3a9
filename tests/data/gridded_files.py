"""Files of grids and stations as their publishers write them, in small."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

LATITUDES = np.array([52.0, 51.75, 51.5], "f4")
"""descending, as ERA5's are"""
LONGITUDES = np.array([0.0, 90, 180, 270], "f4")
"""around the globe"""


def kelvin(rows: int = 48, seed: int = 0, *more: int) -> np.ndarray:
    """(rows, ..., 3, 4) temperatures that int16 packs."""
    return np.random.default_rng(seed).uniform(270, 300, (rows, *more, 3, 4)).round(1)


def write_old_era5(
    path: Path, *, start: str = "2023-01-01", rows: int = 48, versions: int = 0, levels: int = 0, **more: Any
) -> xr.Dataset:
    """ERA5 as the Climate Data Store wrote it until 2024: classic NetCDF, int16 with a scale and an offset of the
    file's own, hours since 1900, and in recent months a dimension of ERA5 (1) and ERA5T (5), each missing where the
    other is. The readings before packing come back.
    """
    hours = (
        (pd.date_range(start, periods=rows, freq="1h") - pd.Timestamp("1900-01-01")) / pd.Timedelta("1h")
    ).to_numpy()
    coordinates: dict[str, Any] = {
        "longitude": ("longitude", more.get("longitudes", LONGITUDES), {"units": "degrees_east"}),
        "latitude": ("latitude", LATITUDES, {"units": "degrees_north"}),
        "time": ("time", hours.astype("i4"), {"units": "hours since 1900-01-01 00:00:00.0", "calendar": "gregorian"}),
    }
    shape, dims = [rows], ["time"]
    if versions:
        coordinates["expver"] = ("expver", np.array([1, 5], "i4"))
        shape, dims = [*shape, 2], [*dims, "expver"]
    if levels:
        coordinates["level"] = ("level", np.array([500, 850], "i4")[:levels], {"units": "millibars"})
        shape, dims = [*shape, levels], [*dims, "level"]
    values = np.random.default_rng(len(path.name)).uniform(270, 300, (*shape, 3, 4)).round(2)
    if versions:
        values[: rows // 2, 1], values[rows // 2 :, 0] = np.nan, np.nan
    encoding = {"dtype": "i2", "scale_factor": 0.0007, "add_offset": 285.0, "_FillValue": np.int16(-32767)}
    name = more.get("name", "t2m")
    dataset = xr.Dataset(
        {
            name: (
                (*dims, "latitude", "longitude"),
                values,
                {"units": more.get("units", "K"), "long_name": "temperature"},
            )
        },
        coordinates,
    )
    dataset.to_netcdf(path, engine="scipy", encoding={name: encoding})
    return dataset


def write_new_era5(path: Path, *, rows: int = 48, levels: bool = False, early: int = 5) -> xr.Dataset:
    """ERA5 as the Climate Data Store writes it since 2024: NetCDF-4, valid_time in seconds since 1970, a scalar number,
    and for each time the text of its version.
    """
    times = pd.date_range("2024-06-01", periods=rows, freq="1h")
    seconds = (times - pd.Timestamp("1970-01-01")) // pd.Timedelta("1s")
    versions = np.array(["0001"] * (rows - early) + ["0005"] * early, dtype="U4")
    coordinates: dict[str, Any] = {
        "number": ((), np.int64(0), {"standard_name": "realization", "units": "1"}),
        "valid_time": ("valid_time", np.asarray(seconds, "i8"), {"units": "seconds since 1970-01-01"}),
        "latitude": ("latitude", LATITUDES.astype("f8"), {"units": "degrees_north", "stored_direction": "decreasing"}),
        "longitude": ("longitude", LONGITUDES.astype("f8"), {"units": "degrees_east"}),
        "expver": ("valid_time", versions),
    }
    dims: tuple[str, ...] = ("valid_time", "latitude", "longitude")
    values = kelvin(rows)
    if levels:
        coordinates["pressure_level"] = ("pressure_level", [1000.0, 500.0], {"units": "hPa", "positive": "down"})
        dims, values = ("valid_time", "pressure_level", "latitude", "longitude"), kelvin(rows, 1, 2)
    dataset = xr.Dataset({"t" if levels else "t2m": (dims, values.astype("f4"), {"units": "K"})}, coordinates)
    encoding = {name: {"_FillValue": np.float32(np.nan), "zlib": True} for name in dataset.data_vars}
    dataset.to_netcdf(path, engine="h5netcdf", encoding=encoding)
    return dataset


def polar_places(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Axis in km, latitudes and longitudes of a map around the North Pole; its corners lie off the earth."""
    axis = np.linspace(-1, 1, size) * 8000
    x, y = np.meshgrid(axis, axis[::-1])
    distance = np.hypot(x, y)
    with np.errstate(invalid="ignore"):
        latitude = 90 - np.degrees(2 * np.arcsin(distance / 2 / 5500))
    longitude = np.degrees(np.arctan2(x, -y))
    return axis, latitude, np.where(np.isfinite(latitude), longitude, np.nan)


def write_sea_ice(path: Path, date: str = "2020-01-01", *, size: int = 7, rows: int = 1, **more: Any) -> xr.Dataset:
    """A day of OSI SAF's sea ice concentration: int32 in hundredths of a percent over (time, yc, xc), kilometres on
    a Lambert azimuthal map, a latitude and longitude for each cell, and status bits of which one is land.
    """
    axis, latitude, longitude = polar_places(size)
    land = np.zeros((size, size), dtype=bool)
    land[2:4, 5] = True
    if more.get("lost"):
        land[:] = False
    day = int(date.replace("-", ""))
    ice = np.random.default_rng(day).uniform(0, 100, (rows, size, size)).round(2)
    ice[:, ~np.isfinite(latitude)] = np.nan
    ice[:, land] = np.nan
    ice[:, 3, 0] = np.nan  # a cell that no satellite ever sees, and that no flag names
    status = np.where(land, 1, 4).astype("i1")[None].repeat(rows, 0)
    days = (
        pd.date_range(date, periods=rows, freq="1D") + pd.Timedelta("12h") - pd.Timestamp("1978-01-01")
    ).total_seconds()
    mapped = {"grid_mapping": "Lambert_Azimuthal_Grid", "coordinates": "lat lon"}
    dataset = xr.Dataset(
        {
            "Lambert_Azimuthal_Grid": ((), np.int32(0), {"grid_mapping_name": "lambert_azimuthal_equal_area"}),
            "time_bnds": (("time", "nv"), np.stack([days - 43200, days + 43200], axis=1)),
            "ice_conc": (
                ("time", "yc", "xc"),
                ice,
                {"units": "%", "valid_min": np.int32(0), "valid_max": np.int32(10000), **mapped},
            ),
            "status_flag": (
                ("time", "yc", "xc"),
                status,
                {
                    "flag_masks": np.array([1, 2, 4], "i1"),
                    "flag_meanings": "land lake open_water_filter",
                    **mapped,
                },
            ),
        },
        {
            "time": ("time", days, {"units": "seconds since 1978-01-01 00:00:00", "bounds": "time_bnds", "axis": "T"}),
            "xc": ("xc", axis, {"units": "km", "standard_name": "projection_x_coordinate"}),
            "yc": ("yc", axis[::-1], {"units": "km", "standard_name": "projection_y_coordinate"}),
            "lat": (("yc", "xc"), latitude.astype("f4"), {"units": "degrees_north"}),
            "lon": (("yc", "xc"), longitude.astype("f4"), {"units": "degrees_east"}),
        },
    )
    encoding = {
        "ice_conc": {"dtype": "i4", "scale_factor": 0.01, "_FillValue": np.int32(-32767), "zlib": True},
        "lat": {"_FillValue": None},
        "lon": {"_FillValue": None},
    }
    for name in ("ice_conc", "status_flag"):
        dataset[name].encoding["coordinates"] = dataset[name].attrs.pop("coordinates")
    dataset.to_netcdf(path, engine="h5netcdf", encoding=encoding)
    return dataset


STATION_TIMES = {
    "GOES": pd.date_range("2015-03-01", periods=30, freq="1h"),
    "KOELN": pd.date_range("2015-03-01T05:00", periods=20, freq="1h"),
    "BONN": pd.date_range("2015-03-01", periods=30, freq="1h").delete([3, 4, 17]),
}
"""of three gauges, each with times of its own: 30 common hours"""


def station_levels() -> dict[str, np.ndarray]:
    """A reading for each of ``STATION_TIMES``."""
    rng = np.random.default_rng(1)
    return {name: rng.uniform(1, 9, len(times)).round(3) for name, times in STATION_TIMES.items()}


def write_gauges(path: Path, layout: str, *, engine: str = "h5netcdf", **changes: Any) -> None:
    """Water levels of three gauges with characters as their ids, in one of the layouts of CF 9.3.

    Args:
        layout: contiguous, indexed or incomplete.
        changes: variables or attributes to replace.
    """
    levels = station_levels()
    hours = {name: _hours(times) for name, times in STATION_TIMES.items()}
    names = np.array(list(levels), dtype="S8")
    stations: dict[str, Any] = {
        "station_name": ("station", names, {"cf_role": "timeseries_id", "long_name": "gauge"}),
        "lat": ("station", [50.9, 50.94, 50.73], {"units": "degrees_north", "standard_name": "latitude"}),
        "lon": ("station", [7.0, 6.96, 7.1], {"units": "degrees_east", "standard_name": "longitude"}),
    }
    unit = {"units": "hours since 2015-03-01 00:00:00", "standard_name": "time", "axis": "T"}
    level = {"units": "m", "_FillValue": np.float64(-999), "coordinates": "time lat lon station_name"}
    if layout == "incomplete":
        rows = np.full((3, 30), np.nan), np.full((3, 30), -999.0)
        for k, name in enumerate(levels):
            rows[0][k, : len(hours[name])], rows[1][k, : len(hours[name])] = hours[name], levels[name]
        variables: dict[str, Any] = {
            "time": (("station", "obs"), rows[0], {**unit, "_FillValue": np.float64(-1)}),
            "level": (("station", "obs"), rows[1], level),
        }
    else:
        order = np.arange(sum(map(len, hours.values())))
        stations_S = np.repeat(np.arange(3), [len(times) for times in hours.values()])
        hours_S, levels_S = (np.concatenate(list(parts.values())) for parts in (hours, levels))
        if layout == "indexed":  # as they come in, hour after hour
            order = np.argsort(hours_S, kind="stable")
        variables = {
            "time": ("obs", hours_S[order].astype("i4"), unit),
            "level": ("obs", levels_S[order], level),
        }
        if layout == "indexed":
            variables["stationIndex"] = ("obs", stations_S[order].astype("i4"), {"instance_dimension": "station"})
        else:
            counts = np.array([len(times) for times in hours.values()], "i4")
            variables["row_size"] = ("station", counts, {"sample_dimension": "obs"})
    dataset = xr.Dataset(
        {**stations, **variables, **changes}, attrs={"featureType": "timeSeries", "Conventions": "CF-1.8"}
    )
    for name in ("level", "time"):
        fill = dataset[name].attrs.pop("_FillValue", None)
        dataset[name].encoding.update({"_FillValue": fill})
    dataset["level"].encoding["coordinates"] = dataset["level"].attrs.pop("coordinates")
    dataset.to_netcdf(path, engine=engine)  # type: ignore[call-overload]


def _hours(times: pd.DatetimeIndex) -> np.ndarray:
    return np.asarray((times - pd.Timestamp("2015-03-01")) / pd.Timedelta("1h"))
