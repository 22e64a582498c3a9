"""NetCDF: times, grids, stations with positions, variables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dcrnn_fast.config.sections import DataConfig, GraphConfig
from dcrnn_fast.data.dataset import open_data
from dcrnn_fast.data.sources import read_source
from dcrnn_fast.errors import UserError
from tests.data.written_files import READINGS, TIMES, read, write_stations


@pytest.mark.parametrize(
    ("units", "calendar"),
    [("days since 2000-01-01", "noleap"), ("days since 2000-01-01", "360_day"), ("fortnights since 2000-01-01", None)],
)
def test_times_that_are_no_dates_are_named(units: str, calendar: str | None, tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    attributes = {"units": units} | ({} if calendar is None else {"calendar": calendar})
    times = ("time", np.arange(40), attributes)
    xr.Dataset({"v": (("time", "station"), READINGS)}, {"time": times}).to_netcdf(path, engine="scipy")
    with pytest.raises(UserError, match=f"{units}.*no dates of the common calendar"):
        read(path)


def test_an_empty_dimension_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    for name, steps, stations in (("time", 0, 3), ("station", 40, 0)):
        readings = ("time", "station"), READINGS[:steps, :stations]
        xr.Dataset({"v": readings}, {"time": TIMES[:steps]}).to_netcdf(path, engine="h5netcdf")
        with pytest.raises(UserError, match=f"dimension {name} is empty"):
            read(path)


def _grid(path: Path, *, swapped: bool = False, engine: str = "h5netcdf") -> np.ndarray:
    values_TYX = np.random.default_rng(2).normal(size=(30, 3, 4)).astype(np.float32)
    values_TYX[2, 1, 1] = np.nan
    dims = ("time", "lon", "lat") if swapped else ("time", "lat", "lon")
    arrays = values_TYX.transpose(0, 2, 1) if swapped else values_TYX
    xr.Dataset(
        {"u": (dims, arrays, {"units": "m/s"}), "v": (dims, 2 * arrays), "area": (("lat", "lon"), np.ones((3, 4)))},
        coords={
            "time": pd.date_range("2001-01-01", periods=30, freq="MS"),
            "lat": [10.0, 20, 30],
            "lon": [0.0, 5, 10, 15],
        },
    ).to_netcdf(path, engine=engine, encoding={"u": {"_FillValue": -99.0}})  # type: ignore[call-overload]
    return values_TYX


@pytest.mark.parametrize("swapped", [False, True])
def test_a_grid_becomes_nodes_with_their_graph(swapped: bool, tmp_path: Path) -> None:
    values_TYX = _grid(tmp_path / "x.nc", swapped=swapped)
    config = DataConfig(data=str(tmp_path / "x.nc"), missing="nan")
    series, graph = read_source(config, GraphConfig(grid_neighbours=4))
    assert series.channels == ("u", "v")
    assert series.units == ("m/s", "")
    assert series.freq == "1MS"
    np.testing.assert_array_equal(series.values_TNC[..., 0], np.nan_to_num(values_TYX.reshape(30, 12)))
    assert series.observed_TNC[..., 0].sum() == 30 * 12 - 1
    assert graph is not None
    assert graph.ids == series.ids
    assert series.ids[5] == "20_5"
    assert series.positions_N2 is not None
    assert series.positions_N2[5].tolist() == [20.0, 5.0]
    assert graph.num_edges == 2 * (3 * 3 + 2 * 4)
    np.save(tmp_path / "mask.npy", np.arange(12).reshape(3, 4) % 3 == 0)
    masked, land = read_source(config, GraphConfig(land_mask=str(tmp_path / "mask.npy")))
    assert land is not None
    assert masked.ids == land.ids == tuple(series.ids[k] for k in range(0, 12, 3))
    np.testing.assert_array_equal(masked.values_TNC, series.values_TNC[:, ::3])


def test_positions_of_stations_reach_a_graph_that_has_none(tmp_path: Path) -> None:
    write_stations(tmp_path / "x.nc", "h5netcdf")
    np.save(tmp_path / "adj.npy", np.eye(3))
    config = DataConfig(data=str(tmp_path / "x.nc"), past_steps=3, future_steps=2)
    data = open_data(config, GraphConfig(graph=str(tmp_path / "adj.npy")))
    assert data.graph.positions_N2 is not None
    assert data.graph.positions_N2.tolist() == [[1, 4], [2, 5], [3, 6]]
    with pytest.raises(UserError, match="brings no graph along: give one with --graph"):
        open_data(config, GraphConfig())


def test_a_missing_variable_lists_the_others(tmp_path: Path) -> None:
    _grid(tmp_path / "x.nc")
    with pytest.raises(UserError, match=r"no variable 'speed' over time; the variables are 'u', 'v'"):
        read(tmp_path / "x.nc", variables=("speed",))
    assert read(tmp_path / "x.nc", variables=("v",), missing="nan").channels == ("v",)


def test_months_since_are_calendar_months(tmp_path: Path) -> None:
    xr.Dataset(
        {"t": (("time", "station"), np.ones((14, 2)))},
        coords={"time": ("time", np.arange(14), {"units": "months since 1990-11-01"})},
    ).to_netcdf(tmp_path / "m.nc", engine="scipy")
    series = read(tmp_path / "m.nc")
    assert series.freq == "1MS"
    assert series.times_T[[0, 3]].astype(str).tolist() == ["1990-11-01T00:00:00", "1991-02-01T00:00:00"]


@pytest.mark.parametrize("dims", [("yc", "xc"), ("xc", "yc")])
def test_a_grid_with_a_place_for_each_cell(dims: tuple[str, str], tmp_path: Path) -> None:
    y, x = np.meshgrid(np.linspace(1500, -1500, 4), np.linspace(-1700, 1700, 5), indexing="ij")
    values_TYX = np.random.default_rng(0).random((30, 4, 5)) + 1
    land_YX = np.zeros((4, 5), dtype=bool)
    land_YX[:2, 3:] = True
    values_TYX[:, land_YX] = np.nan
    values = values_TYX if dims == ("yc", "xc") else values_TYX.transpose(0, 2, 1)
    places = {
        "lat": (("yc", "xc"), 90 - np.degrees(2 * np.arctan(np.hypot(x, y) / 12742))),
        "lon": (("yc", "xc"), np.degrees(np.arctan2(x, -y))),
    }
    times = pd.date_range("2015-01-01", periods=30)
    xr.Dataset({"ice": (("time", *dims), values)}, {"time": times, **places}).to_netcdf(
        tmp_path / "ice.nc", engine="h5netcdf"
    )
    np.save(tmp_path / "ocean.npy", ~land_YX)
    table = [(f"{a}_{b}", *(places[name][1][a, b] for name in ("lat", "lon"))) for a, b in np.ndindex(4, 5)]
    pd.DataFrame(table, columns=["id", "latitude", "longitude"]).to_csv(tmp_path / "all.csv", index=False)
    data = DataConfig(data=str(tmp_path / "ice.nc"), missing="nan", past_steps=3, future_steps=2)
    mask = {"land_mask": str(tmp_path / "ocean.npy")}
    own = open_data(data, GraphConfig(**mask))  # type: ignore[arg-type]
    assert own.series.ids == own.graph.ids == tuple(f"{a}_{b}" for a, b in np.argwhere(~land_YX))
    np.testing.assert_allclose(own.series.values_TNC[..., 0], values_TYX[:, ~land_YX], rtol=1e-6)
    named = open_data(data, GraphConfig(graph=str(tmp_path / "ice.nc"), **mask))  # type: ignore[arg-type]
    assert named.graph.digest() == own.graph.digest()
    near = open_data(data, GraphConfig(graph=str(tmp_path / "all.csv"), nearest=4, **mask))  # type: ignore[arg-type]
    assert near.graph.ids == own.series.ids
    with pytest.raises(UserError, match=r"4 sensor\(s\) have no observed reading .*--leave-out, or --land-mask"):
        open_data(data, GraphConfig())
