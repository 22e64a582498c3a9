"""ERA5 in the layout of the Climate Data Store until 2024 and in the one since then."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.sources import read_source
from dcrnn_fast.errors import UserError
from tests.data.gridded_files import LONGITUDES, write_new_era5, write_old_era5
from tests.data.written_files import read


def test_the_old_layout_is_unpacked_and_goes_around_the_globe(tmp_path: Path) -> None:
    written = write_old_era5(tmp_path / "era5.nc")
    series, graph = read_source(DataConfig(data=str(tmp_path / "era5.nc")), GraphConfig(grid_neighbours=4))
    assert (series.channels, series.units, series.freq, series.missing) == (("t2m",), ("K",), "1h", "nan")
    assert series.times_T[0] == np.datetime64("2023-01-01T00:00:00")
    # int16 keeps a reading to half of its scale.
    np.testing.assert_allclose(series.values_TNC[..., 0], written["t2m"].values.reshape(48, 12), atol=0.0004)
    assert graph is not None
    assert graph.ids[:2] == ("52_0", "52_90")
    around = graph.adjacency.tocsr()
    assert around[[graph.ids.index("52_270")], [graph.ids.index("52_0")]] == 1
    assert graph.num_edges == 2 * (3 * 4 + 2 * 4)


@pytest.mark.slow
def test_longitudes_from_minus_180_close_as_well(tmp_path: Path) -> None:
    write_old_era5(tmp_path / "era5.nc", longitudes=LONGITUDES - np.float32(180))
    _, graph = read_source(DataConfig(data=str(tmp_path / "era5.nc")), GraphConfig(grid_neighbours=4))
    assert graph is not None
    assert graph.ids[0] == "52_-180"
    assert graph.num_edges == 2 * (3 * 4 + 2 * 4)


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True])
def test_era5_and_era5t_are_merged(reverse: bool, tmp_path: Path) -> None:
    path = tmp_path / "era5.nc"
    written = write_old_era5(path, versions=2)
    if reverse:
        turned = xr.open_dataset(path, decode_cf=False).load().isel(expver=slice(None, None, -1))
        turned.to_netcdf(path, engine="scipy")
    series = read(path)
    assert series.observed_TNC.all()
    wanted = np.where(np.isnan(written["t2m"].values[:, 0]), written["t2m"].values[:, 1], written["t2m"].values[:, 0])
    np.testing.assert_allclose(series.values_TNC[..., 0], wanted.reshape(48, 12), atol=0.0004)
    assert any("ERA5 and ERA5T (expver) are merged" in note for note in series.notes)


@pytest.mark.slow
def test_era5_comes_before_era5t_where_both_are_there(tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    values = np.ones((24, 2, 3, 4), "f4") * np.array([5, 1], "f4")[None, :, None, None]
    values[20:, 1] = np.nan
    xr.Dataset(
        {"t2m": (("time", "expver", "lat", "lon"), values)},
        {
            "time": np.arange("2024-01-01", "2024-01-02", dtype="M8[h]"),
            "expver": [5, 1],
            "lat": [3, 2, 1],
            "lon": [1, 2, 3, 4],
        },
    ).to_netcdf(path, engine="h5netcdf")
    series = read(path)
    assert (series.values_TNC[:20] == 1).all()
    assert (series.values_TNC[20:] == 5).all()


@pytest.mark.slow
def test_levels_are_channels_and_may_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "levels.nc"
    written = write_old_era5(path, levels=2, name="t")["t"].values
    for variables, channels in (((), ("t_500", "t_850")), (("t",), ("t_500", "t_850")), (("t_850",), ("t_850",))):
        series = read(path, variables=variables)
        assert series.channels == channels
        np.testing.assert_allclose(series.values_TNC[..., -1], written[:, 1].reshape(48, 12), atol=0.0004)
    with pytest.raises(UserError, match=r"levels\.nc: no level 't_700'; there are 't_500', 't_850'"):
        read(path, variables=("t_700",))
    with pytest.raises(UserError, match="no variable 'u_500' over time; the variables are 't'"):
        read(path, variables=("u_500",))


def test_the_new_layout(tmp_path: Path) -> None:
    written = write_new_era5(tmp_path / "data_0.nc")
    series, graph = read_source(DataConfig(data=str(tmp_path / "data_0.nc")), GraphConfig())
    assert series.times_T[0] == np.datetime64("2024-06-01T00:00:00")
    np.testing.assert_array_equal(series.values_TNC[..., 0], written["t2m"].values.reshape(48, 12))
    assert graph is not None
    note = "look: data_0.nc: 5 rows of 48 are ERA5T (expver 0005), which ERA5 may replace later"
    assert note in series.notes
    write_new_era5(tmp_path / "levels.nc", levels=True)
    assert read(tmp_path / "levels.nc").channels == ("t_1000", "t_500")


@pytest.mark.slow
def test_the_time_that_a_reading_is_for_counts(tmp_path: Path) -> None:
    """As files made from GRIB have it: the start of a forecast, its step, and the time that it is for."""
    path = tmp_path / "grib.nc"
    hours = np.arange(30)
    values = ("time", "step", "latitude", "longitude"), np.ones((30, 1, 3, 4)) * hours[:, None, None, None]
    coordinates = {
        "time": ("time", hours, {"units": "hours since 2020-01-01"}),
        "step": ("step", [6.0], {"units": "hours"}),
        "valid_time": ("time", hours + 6, {"units": "hours since 2020-01-01"}),
        "latitude": [3.0, 2, 1],
        "longitude": [1.0, 2, 3, 4],
        "surface": 0.0,
    }
    xr.Dataset({"tp": values}, coordinates).to_netcdf(path, engine="h5netcdf")
    assert read(path).times_T[0] == np.datetime64("2020-01-01T06:00:00")
    steps = ("time", "step", "latitude", "longitude"), np.ones((30, 2, 3, 4))
    coordinates |= {"step": ("step", [6.0, 12.0], {"units": "hours"})}
    xr.Dataset({"tp": steps}, coordinates).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(UserError, match=r"grib\.nc: holds forecasts: 2 steps \(step\) from each of its times"):
        read(path)


def test_an_archive_of_means_and_sums_is_said(tmp_path: Path) -> None:
    path = tmp_path / "download.nc"
    with zipfile.ZipFile(path, "w") as archive:
        for kind in ("instant", "accum"):
            archive.writestr(f"data_stream-oper_stepType-{kind}.nc", b"CDF")
    with pytest.raises(UserError, match=r"is a zip archive of .*accum.* instantaneous and accumulated .*unpack it"):
        read(path)
    path.write_bytes(b"GRIB\0\0\0\2" * 40)
    with pytest.raises(UserError, match=r"download\.nc: is GRIB, which is not read"):
        read(path)
