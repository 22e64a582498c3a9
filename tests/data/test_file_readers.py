"""Every reader on files that the usual libraries wrote, and on broken ones."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dcrnn_fast.config.sections import DataConfig, GraphConfig
from dcrnn_fast.data.dataset import open_data
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.sources import read_series, read_source
from dcrnn_fast.errors import UserError

TIMES = pd.date_range("2024-03-04", periods=40, freq="5min")
IDS = ["773869", "767541", "a b"]
READINGS = np.random.default_rng(0).uniform(1, 70, (40, 3)).round(3)
READINGS[3, 1] = 0
READINGS[5, 2] = np.nan


def _frame() -> pd.DataFrame:
    return pd.DataFrame(READINGS, index=TIMES, columns=IDS)


def _read(path: Path, **settings: Any) -> SensorSeries:
    return read_series(DataConfig(data=str(path), **settings))


def _csv(path: Path) -> None:
    _frame().to_csv(path, index_label="time")


def _parquet(path: Path) -> None:
    _frame().to_parquet(path)


def _parquet_texts(path: Path) -> None:
    frame = _frame()
    frame.insert(0, "when", [str(time) for time in TIMES])
    frame.to_parquet(path, index=False)


def _hdf5(path: Path) -> None:
    _frame().to_hdf(path, key="df")


def _hdf5_table(path: Path) -> None:
    _frame().to_hdf(path, key="speed/table", format="table", complevel=4, complib="zlib")


def _hdf5_nanoseconds(path: Path) -> None:
    """As METR-LA's own file has it."""
    frame = _frame()
    frame.index = frame.index.astype("datetime64[ns]")
    frame.to_hdf(path, key="df")


def _hdf5_two_blocks(path: Path) -> None:
    frame = _frame()
    frame["773869"] = frame["773869"].astype("float32")
    frame.to_hdf(path, key="df")


def _npz(path: Path) -> None:
    np.savez(path, data=READINGS[:, :, None], ids=np.array(IDS), times=TIMES.to_numpy())


def _stations(path: Path, engine: str) -> None:
    xr.Dataset(
        {"value": (("time", "station"), READINGS, {"_FillValue": -1.0})},
        coords={
            "time": TIMES,
            "station": ("station", IDS),
            "lat": ("station", [1.0, 2, 3]),
            "lon": ("station", [4.0, 5, 6]),
        },
    ).to_netcdf(path, engine=engine)  # type: ignore[call-overload]


WRITERS: list[Any] = [
    pytest.param("x.csv", _csv, id="csv"),
    pytest.param("x.parquet", _parquet, id="parquet"),
    pytest.param("t.parquet", _parquet_texts, id="parquet-texts"),
    pytest.param("x.h5", _hdf5, id="hdf5-fixed"),
    pytest.param("t.h5", _hdf5_table, id="hdf5-table"),
    pytest.param("n.h5", _hdf5_nanoseconds, id="hdf5-nanoseconds"),
    pytest.param("b.h5", _hdf5_two_blocks, id="hdf5-two-blocks"),
    pytest.param("x.npz", _npz, id="npz"),
    pytest.param("c.nc", lambda path: _stations(path, "scipy"), id="netcdf-classic"),
    pytest.param("x.nc", lambda path: _stations(path, "h5netcdf"), id="netcdf-4"),
]


@pytest.mark.parametrize(("name", "write"), WRITERS)
def test_every_format_gives_the_same_series(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / name)
    series = _read(tmp_path / name)
    assert series.ids == tuple(IDS)
    assert series.freq == "5min"
    assert np.array_equal(series.times_T, TIMES.to_numpy().astype("M8[s]"))
    wanted = np.nan_to_num(READINGS).astype(np.float32)
    assert np.array_equal(series.values_TNC[..., 0], wanted)
    assert np.array_equal(series.observed_TNC[..., 0], wanted != 0)
    nan = _read(tmp_path / name, missing="nan")
    assert np.array_equal(nan.observed_TNC[..., 0], ~np.isnan(READINGS))


@pytest.mark.parametrize(("name", "write"), WRITERS)
def test_a_truncated_file_is_refused_in_one_line(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / name
    write(path)
    whole = path.read_bytes()
    for share in (0.05, 0.3, 0.6, 0.97):
        cut = whole[: int(len(whole) * share)]
        # Nobody can tell that a CSV was cut in its last cell: cut it before that.
        path.write_bytes(cut.rsplit(b",", 1)[0] if name.endswith(".csv") else cut)
        with pytest.raises(UserError, match=re.escape(name)) as caught:
            _read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.csv", "x.parquet", "x.h5", "x.npz", "x.npy", "x.nc"])
def test_garbage_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for content in (b"", b"\x00\xff\xfegarbage" * 50):
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            _read(path, start="2024-01-01", freq="5min")
        assert name in str(caught.value)


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_garbled_numpy_header_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    (np.save if name == "x.npy" else np.savez)(path, READINGS)
    whole = path.read_bytes()
    # An open bracket, and no expression at all: numpy passes on what Python's parser raises.
    for before, after in ((b"(40, 3), }", b"(40, 3),(("), (b"{'descr'", b",'descr' ")):
        assert before in whole
        path.write_bytes(whole.replace(before, after))
        with pytest.raises(UserError, match="truncated"):
            _read(path, start="2024-01-01", freq="5min")


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_root_of_netcdf_4_is_refused_without_noise(tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    xr.Dataset({"v": (("time", "station"), READINGS)}, {"time": TIMES}).to_netcdf(path, engine="h5netcdf")
    whole = bytearray(path.read_bytes())
    root = whole.index(b"OHDR")
    whole[root + 8] ^= 1
    path.write_bytes(whole)
    with pytest.raises(UserError, match=r"x\.nc"):
        _read(path)


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
        _read(path)


def test_an_empty_dimension_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    for name, steps, stations in (("time", 0, 3), ("station", 40, 0)):
        readings = ("time", "station"), READINGS[:steps, :stations]
        xr.Dataset({"v": readings}, {"time": TIMES[:steps]}).to_netcdf(path, engine="h5netcdf")
        with pytest.raises(UserError, match=f"dimension {name} is empty"):
            _read(path)


def test_a_csv_without_times_needs_start_and_freq(tmp_path: Path) -> None:
    _frame().to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(UserError, match="no time column: give --start"):
        _read(tmp_path / "x.csv")
    series = _read(tmp_path / "x.csv", start="2024-03-04 00:00", freq="5min")
    assert np.array_equal(series.times_T, TIMES.to_numpy().astype("M8[s]"))
    _csv(tmp_path / "timed.csv")
    with pytest.raises(UserError, match="has times of its own"):
        _read(tmp_path / "timed.csv", start="2024-03-04", freq="5min")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,a,b\n2024-01-01 00:00,1,2\n2024-01-01 00:05,1,x\n2024-01-01 00:10,1,2\n", "'x'"),
        ("time,a,b\n2024-01-01 00:00,1,2\n2024-01-01 00:05,1\n2024-01-01 00:10,1,2\n", "Expected 3 columns, got 2"),
        ("time,a,a\n2024-01-01 00:00,1,2\n2024-01-01 00:05,1,2\n", "'a' comes twice"),
        ("time,a,b\n2024-01-01 00:00,1,2\nsoon,1,2\n2024-01-01 00:10,1,2\n", "row 1: 'soon' is no time"),
        ("time,a,b\n0,1,2\n1,1,2\n2,1,2\n", "its first column 'time' holds '0'"),
        ("71.5,60.25\n70.0,61.0\n69.0,62.0\n", "add a header"),
        ("time,a,b\n", "at least one row"),
    ],
    ids=["word", "short-row", "twice", "no-time", "counted", "no-header", "no-row"],
)
def test_csv_mistakes_are_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(text)
    settings = {"start": "2024-01-01", "freq": "5min"} if "71.5" in text else {}
    with pytest.raises(UserError, match=r"x\.csv") as caught:
        _read(tmp_path / "x.csv", **settings)
    assert said in str(caught.value)


def test_times_with_a_zone_become_utc_and_are_said(tmp_path: Path) -> None:
    frame = _frame()
    frame.index = TIMES.tz_localize("Europe/Amsterdam")
    frame.to_csv(tmp_path / "x.csv", index_label="time")
    frame.to_parquet(tmp_path / "x.parquet")
    frame.to_hdf(tmp_path / "x.h5", key="df")
    for name in ("x.csv", "x.parquet", "x.h5"):
        series = _read(tmp_path / name)
        assert series.times_T[0] == np.datetime64("2024-03-03T23:00:00")
        assert "were read as UTC" in series.notes[0]


def test_hdf5_keys_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    _frame().to_hdf(path, key="speed")
    _frame().to_hdf(path, key="flow")
    with pytest.raises(UserError, match="choose one of its tables with --hdf5-key: flow, speed"):
        _read(path)
    with pytest.raises(UserError, match="no table under the key 'df'; the keys there: flow, speed"):
        _read(path, hdf5_key="df")
    assert _read(path, hdf5_key="/flow").num_sensors == 3


def test_integer_and_float_labels_become_ids(tmp_path: Path) -> None:
    for k, kind in enumerate((np.int64, np.float64)):
        frame = _frame()
        frame.columns = pd.Index(np.array([400001, 400017, 400030], dtype=kind))
        frame.to_hdf(tmp_path / f"{k}.h5", key="speed")
        assert _read(tmp_path / f"{k}.h5").ids == ("400001", "400017", "400030")


class _Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.target,)


def test_no_pickle_in_an_hdf5_file_is_run(tmp_path: Path) -> None:
    target = tmp_path / "ran"
    bomb = np.bytes_(pickle.dumps(_Bomb(target), protocol=0))
    pickle.loads(bomb)
    assert target.exists(), "the bomb works"
    target.unlink()
    path = tmp_path / "fixed.h5"
    _hdf5(path)
    with h5py.File(path, "a") as file:
        file["df/axis1"].attrs["freq"] = bomb
        file["df"].attrs["name"] = bomb
    assert _read(path).num_sensors == 3
    path = tmp_path / "table.h5"
    _hdf5_table(path)
    with h5py.File(path, "a") as file:
        file["speed/table/table"].attrs["values_block_0_kind"] = bomb
    with pytest.raises(UserError, match=r"its column labels would run .*: refused"):
        _read(path)
    path = tmp_path / "objects.h5"
    with pd.HDFStore(path) as store:
        frame = _frame().astype(object)
        frame.iloc[0, 0] = "text"
        with pytest.warns(pd.errors.PerformanceWarning):
            store.put("df", frame, track_times=False)
    with pytest.raises(UserError, match="does not hold numbers"):
        _read(path)
    assert not target.exists()


def test_no_pickle_in_an_array_file_is_run(tmp_path: Path) -> None:
    target = tmp_path / "ran"
    np.save(tmp_path / "x.npy", np.array([_Bomb(target)], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", data=np.array([_Bomb(target)], dtype=object))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(UserError, match=name):
            _read(tmp_path / name, start="2024-01-01", freq="5min")
    assert not target.exists()


def test_pems_arrays_have_channels(tmp_path: Path) -> None:
    flow_TNC = np.random.default_rng(1).uniform(1, 2, (30, 4, 3))
    np.savez(tmp_path / "PEMS08.npz", data=flow_TNC)
    settings: dict[str, Any] = {"start": "2016-07-01", "freq": "5min"}
    series = _read(tmp_path / "PEMS08.npz", **settings)
    assert (series.channels, series.ids) == (("0", "1", "2"), ("0", "1", "2", "3"))
    two = _read(tmp_path / "PEMS08.npz", variables=("2", "0"), **settings)
    np.testing.assert_array_equal(two.values_TNC, flow_TNC[:, :, [2, 0]].astype(np.float32))
    with pytest.raises(UserError, match="no channel '3'; the channels are 0, 1, 2"):
        _read(tmp_path / "PEMS08.npz", variables=("3",), **settings)
    np.save(tmp_path / "x.npy", flow_TNC)
    np.testing.assert_array_equal(_read(tmp_path / "x.npy", **settings).values_TNC, series.values_TNC)
    np.savez(tmp_path / "two.npz", a=flow_TNC, b=flow_TNC)
    with pytest.raises(UserError, match=r"called data; got a \(30, 4, 3\), b \(30, 4, 3\)"):
        _read(tmp_path / "two.npz", **settings)


def test_an_npz_brings_its_adjacency(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", data=READINGS, sensor_ids=np.array(IDS), times=TIMES.to_numpy(), adj=np.eye(3))
    _, graph = read_source(DataConfig(data=str(tmp_path / "x.npz")), GraphConfig())
    assert graph is not None
    assert graph.ids == tuple(IDS)
    assert graph.num_edges == 3


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
    _stations(tmp_path / "x.nc", "h5netcdf")
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
        _read(tmp_path / "x.nc", variables=("speed",))
    assert _read(tmp_path / "x.nc", variables=("v",), missing="nan").channels == ("v",)


def test_months_since_are_calendar_months(tmp_path: Path) -> None:
    xr.Dataset(
        {"t": (("time", "station"), np.ones((14, 2)))},
        coords={"time": ("time", np.arange(14), {"units": "months since 1990-11-01"})},
    ).to_netcdf(tmp_path / "m.nc", engine="scipy")
    series = _read(tmp_path / "m.nc")
    assert series.freq == "1MS"
    assert series.times_T[[0, 3]].astype(str).tolist() == ["1990-11-01T00:00:00", "1991-02-01T00:00:00"]


def test_scenarios_are_parts_of_one_series(tmp_path: Path) -> None:
    for k, rows in enumerate((slice(0, 20), slice(0, 30), slice(5, 15))):
        _frame().iloc[rows].to_csv(tmp_path / f"run{k}.csv", index_label="time")
    series = _read(tmp_path)
    assert series.parts == series.segments == ((0, 20), (20, 50), (50, 60))
    assert series.notes == ()
    _frame()[IDS[:2]].to_csv(tmp_path / "run3.csv", index_label="time")
    with pytest.raises(UserError, match=r"run3\.csv has other ids than run0\.csv: 2 of them where that has 3"):
        _read(tmp_path)
    _parquet(tmp_path / "run4.parquet")
    with pytest.raises(UserError, match="files of several kinds"):
        _read(tmp_path)


def test_unknown_names_endings_and_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a file or folder nor a known data set; known: city, metr-la"):
        read_series(DataConfig(data="metr-ls"))
    (tmp_path / "x.xlsx").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"the ending of x\.xlsx does not say"):
        _read(tmp_path / "x.xlsx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no series"):
        _read(tmp_path / "empty")


def test_nodes_of_the_graph_without_readings_are_left_out_and_said(tmp_path: Path) -> None:
    _frame().to_csv(tmp_path / "x.csv")
    ids = ["z", *IDS[::-1], "y"]
    pd.DataFrame(np.eye(5), index=ids, columns=ids).to_csv(tmp_path / "graph.csv")
    config = DataConfig(data=str(tmp_path / "x.csv"), past_steps=2, future_steps=2)
    data = open_data(config, GraphConfig(graph=str(tmp_path / "graph.csv")))
    assert data.graph.ids == tuple(IDS)
    assert data.notes == ("2 nodes of the graph have no series and are left out: 'z', 'y'",)
