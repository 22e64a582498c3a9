"""Several NetCDF files as one series: by day, by year, by variable, and files that do not fit."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.formats import open_path
from dcrnn_fast.data.sources import read_source
from dcrnn_fast.errors import UserError
from tests.data.gridded_files import write_old_era5, write_sea_ice
from tests.data.written_files import read


def _write_days(folder: Path, *days: int) -> None:
    for day in days:
        write_sea_ice(folder / f"ice_conc_nh_ease2-250_cdr-v3p0_202001{day:02d}1200.nc", f"2020-01-{day:02d}")


def _write(path: Path, name: str = "t2m", start: str = "2020-01-01", rows: int = 24, **more: Any) -> np.ndarray:
    values = np.random.default_rng(len(path.name)).uniform(1, 9, (rows, 2, 3))
    times = np.datetime64(start, "h") + np.arange(rows)
    xr.Dataset(
        {name: (("time", "lat", "lon"), values, {"units": more.get("units", "K")})},
        {"time": times, "lat": more.get("lat", [2.0, 1.0]), "lon": more.get("lon", [1.0, 2.0, 3.0])},
    ).to_netcdf(path, engine="scipy")
    return values


@pytest.mark.slow
def test_a_file_for_each_day_with_one_row_each(tmp_path: Path) -> None:
    _write_days(tmp_path, 2, 1, 4, 5)
    series, graph = read_source(DataConfig(data=str(tmp_path)), GraphConfig(land_mask="auto"))
    assert series.times_T.astype("M8[D]").astype(str).tolist() == [f"2020-01-0{day}" for day in (1, 2, 4, 5)]
    assert (series.freq, series.segments) == ("1D", ((0, 2), (2, 4)))
    assert graph is not None
    for row, day in enumerate((1, 2, 4, 5)):
        file = tmp_path / f"ice_conc_nh_ease2-250_cdr-v3p0_202001{day:02d}1200.nc"
        one, _ = read_source(DataConfig(data=str(file), freq="1D"), GraphConfig(land_mask="auto"))
        np.testing.assert_array_equal(series.values_TNC[row], one.values_TNC[0])
    assert any(
        "4 NetCDF files, 4 rows from 2020-01-01T12:00:00 to 2020-01-05T12:00:00" in note for note in series.notes
    )
    assert any("1 gap(s) in the time axis" in note for note in series.notes)
    _write_days(tmp_path, 2)
    (tmp_path / "again_20200102.nc").write_bytes(
        (tmp_path / "ice_conc_nh_ease2-250_cdr-v3p0_202001021200.nc").read_bytes()
    )
    with pytest.raises(UserError, match=r"again_20200102\.nc and ice_.*202001021200\.nc both hold 2020-01-02T12:00:00"):
        read_source(DataConfig(data=str(tmp_path)), GraphConfig(land_mask="auto"))


def test_years_of_several_variables_are_one_series(tmp_path: Path) -> None:
    written = {
        (name, start): _write(tmp_path / f"{name}_{start}.nc", name, start, units=unit)
        for name, unit in (("v10", "m s-1"), ("t2m", "K"))
        for start in ("2020-01-02", "2020-01-01")
    }
    series, graph = read_source(DataConfig(data=str(tmp_path)), GraphConfig())
    assert (series.channels, series.units) == (("t2m", "v10"), ("K", "m s-1"))
    assert series.segments == ((0, 48),)
    for c, name in enumerate(series.channels):
        wanted = np.concatenate([written[name, day] for day in ("2020-01-01", "2020-01-02")]).reshape(48, 6)
        np.testing.assert_array_equal(series.values_TNC[..., c], wanted.astype("f4"))
    assert graph is not None
    assert graph.ids == series.ids
    assert any("are read as channels and stretches of one series" in note for note in series.notes)
    told = read(tmp_path, data_format="continued")
    np.testing.assert_array_equal(told.values_TNC, series.values_TNC)
    one = read(tmp_path, variables=("v10",))
    np.testing.assert_array_equal(one.values_TNC[..., 0], series.values_TNC[..., 1])
    assert any("2 files without these variables not read" in note for note in one.notes)
    with pytest.raises(UserError, match="none of its 4 files has a variable 'sst'"):
        read(tmp_path, variables=("sst",))


def test_each_file_has_a_scale_and_an_offset_of_its_own(tmp_path: Path) -> None:
    for month in (1, 2):
        write_old_era5(tmp_path / f"era5_2023-0{month}.nc", start=f"2023-0{month}-01", rows=31 * 24)
    with xr.open_dataset(tmp_path / "era5_2023-02.nc", decode_cf=False, engine="scipy") as packed:
        dataset = packed.load()
    dataset["t2m"].attrs |= {"scale_factor": 0.0014, "add_offset": 200.0}
    dataset.to_netcdf(tmp_path / "era5_2023-02.nc", engine="scipy")
    series = read(tmp_path)
    parts = [read(tmp_path / f"era5_2023-0{month}.nc") for month in (1, 2)]
    np.testing.assert_array_equal(series.values_TNC, np.concatenate([part.values_TNC for part in parts]))
    assert series.num_steps == 2 * 31 * 24


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"start": "2020-01-01T12", "name": "t2m"},
            r"b_2020-01-02\.nc begins at 2020-01-01T12.* before a_2020-01-01\.nc",
        ),
        ({"units": "degC"}, r"b_2020-01-02\.nc has t2m in degC, a_2020-01-01\.nc in K: convert one of them"),
        (
            {"lat": [1.0, 2.0]},
            r"b_2020-01-02\.nc has another grid than a_2020-01-01\.nc: other latitudes: 1 to 2 where",
        ),
        ({"lon": [1.0, 2.0, 4.0]}, r"other longitudes: 1 to 4 where that has 1 to 3$"),
        (
            {"lon": [361.0, 362.0, 363.0]},
            r"other longitudes: .*, the same meridians counted from elsewhere \(0 to 360, -180 to 180\)",
        ),
        ({"name": "d2m"}, r"'t2m' and 'd2m' have other times: 48 times in one of them alone, the first 2020-01-01T00"),
    ],
)
def test_files_that_do_not_fit_are_named(settings: dict[str, Any], says: str, tmp_path: Path) -> None:
    _write(tmp_path / "a_2020-01-01.nc")
    _write(tmp_path / "b_2020-01-02.nc", **{"start": "2020-01-02", **settings})
    with pytest.raises(UserError, match=says) as caught:
        read(tmp_path, data_format="continued")
    assert "\n" not in str(caught.value)


def test_a_variable_in_one_file_alone_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "a.nc")
    values = ("time", "lat", "lon"), np.ones((24, 2, 3))
    times = np.datetime64("2020-01-02", "h") + np.arange(24)
    coordinates = {"time": times, "lat": [2.0, 1.0], "lon": [1.0, 2.0, 3.0]}
    xr.Dataset({"t2m": (*values, {"units": "K"}), "tp": values}, coordinates).to_netcdf(
        tmp_path / "b.nc", engine="scipy"
    )
    with pytest.raises(UserError, match=r"a\.nc has no variable 'tp', which b\.nc has: name those that all files have"):
        read(tmp_path)
    assert read(tmp_path, variables=("t2m",)).num_steps == 48


def test_a_file_with_times_out_of_order_or_cut_short_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "a.nc")
    _write(tmp_path / "b.nc", start="2020-01-02")
    with xr.open_dataset(tmp_path / "b.nc", decode_cf=False, engine="scipy") as opened:
        dataset = opened.load()
    dataset.isel(time=[0, 1, 3, 2, *range(4, 24)]).to_netcdf(tmp_path / "b.nc", engine="scipy")
    with pytest.raises(UserError, match=r"b\.nc: times must increase, but row 3"):
        read(tmp_path)
    whole = (tmp_path / "a.nc").read_bytes()
    (tmp_path / "b.nc").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "b.nc"))):
        read(tmp_path)


def test_numbered_files_are_scenarios_and_whole(tmp_path: Path) -> None:
    for k in (1, 2):
        _write(tmp_path / f"run{k}.nc")
    assert read(tmp_path).parts == ((0, 24), (24, 48))
    assert open_path(tmp_path, DataConfig(), GraphConfig()) is None


def test_channels_named_after_their_files(tmp_path: Path) -> None:
    for name in ("wind", "rain"):
        _write(tmp_path / f"{name}.nc", "value")
    assert read(tmp_path).channels == ("rain", "wind")
    (tmp_path / "wind.nc").rename(tmp_path / "pm10.nc")
    (tmp_path / "rain.nc").rename(tmp_path / "pm25.nc")
    with pytest.raises(UserError, match="have the same variables and times that overlap, and may be several things"):
        read(tmp_path)
    assert read(tmp_path, data_format="channels").channels == ("pm10", "pm25")


def test_blocks_end_at_the_files_borders_of_every_variable(tmp_path: Path) -> None:
    _write(tmp_path / "t2m_a.nc", rows=10)
    _write(tmp_path / "t2m_b.nc", start="2020-01-01T10", rows=14)
    _write(tmp_path / "v10_a.nc", "v10", rows=16)
    _write(tmp_path / "v10_b.nc", "v10", start="2020-01-01T16", rows=8)
    opened = open_path(tmp_path, DataConfig(), GraphConfig())
    assert opened is not None
    assert [block.shape for block in opened[0].read()] == [(10, 6, 2), (6, 6, 2), (8, 6, 2)]
