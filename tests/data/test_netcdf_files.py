"""NetCDF: times, grids, stations with positions, variables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.cf_times import cf_times
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.data.sources import read_source
from dcrnn_fast.errors import UserError
from tests.data.written_files import READINGS, TIMES, read, write_stations


def _with_times(path: Path, numbers: np.ndarray, units: str, calendar: str = "standard", **attributes: str) -> Path:
    times = ("time", numbers, {"units": units, "calendar": calendar, **attributes})
    readings = np.random.default_rng(0).uniform(1, 9, (len(numbers), 3))
    xr.Dataset({"v": (("time", "station"), readings)}, {"time": times}).to_netcdf(path, engine="h5netcdf")
    return path


@pytest.mark.parametrize(
    ("units", "calendar"),
    [
        ("fortnights since 2000-01-01", "standard"),
        ("days since spring", "standard"),
        ("days since 2000-01-01", "mayan"),
    ],
)
def test_times_that_are_no_dates_are_named(units: str, calendar: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{units}.*are no times since a date"):
        read(_with_times(tmp_path / "x.nc", np.arange(40), units, calendar))


@pytest.mark.parametrize(
    ("units", "numbers", "first", "freq"),
    [
        ("days since 1950-01-01", 26000 + np.arange(600) / 288, "2021-03-09T00:00:00", "5min"),
        ("days since 1950-01-01", (26000 + np.arange(60) / 24).astype("f4"), "2021-03-09T00:00:00", "1h"),
        ("hours since 1-1-1 00:00:0.0", 17067072.0 + np.arange(60) / 12, "1948-01-01T00:00:00", "5min"),
        ("hours since 1900-01-01", np.arange(60, dtype="i4"), "1900-01-01T00:00:00", "1h"),
        ("seconds since 1970-01-01T00:00:00Z", 1.7e9 + 600.0 * np.arange(60), "2023-11-14T22:13:20", "10min"),
        ("Hours since 2000-1-1 06:00 +1:00", np.arange(60), "2000-01-01T05:00:00", "1h"),
        ("milliseconds since 1970-01-01", 1_700_000_000_000 + 1000 * np.arange(60), "2023-11-14T22:13:20", "1s"),
    ],
)
def test_float_times_and_old_references_are_exact(
    units: str, numbers: np.ndarray, first: str, freq: str, tmp_path: Path
) -> None:
    series = read(_with_times(tmp_path / "x.nc", numbers, units))
    assert (str(series.times_T[0]), series.freq) == (first, freq)
    assert series.segments == ((0, len(numbers)),)
    assert series.in_utc == (True if units.endswith(("Z", "+1:00")) else None)


@pytest.mark.parametrize("calendar", ["standard", "proleptic_gregorian", "noleap", "360_day", "all_leap", "julian"])
@given(days=st.integers(-200_000, 800_000))
def test_calendars_count_days_as_their_dates_say(calendar: str, days: int) -> None:
    reference = {"noleap": 365, "all_leap": 366, "360_day": 360}.get(calendar)
    try:
        time = cf_times(np.array([days]), "days since 2000-01-01", calendar).times_T[0].astype("M8[D]")
    except UserError as error:
        assert "a day that does not exist" in str(error)  # noqa: PT017
        return
    if reference is None:
        assert time == np.datetime64("2000-01-14" if calendar == "julian" else "2000-01-01") + days
    else:
        assert int(str(time).rsplit("-", 2)[0]) == 2000 + days // reference


def test_days_that_no_year_has_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    with pytest.raises(UserError, match=r"row 59 is 2000-02-30 of the calendar 360_day, a day that does not exist"):
        read(_with_times(path, np.arange(70), "days since 2000-01-01", "360_day"))
    series = read(_with_times(path, np.arange(50, 70), "days since 2000-01-01", "noleap"))
    assert series.segments == ((0, 9), (9, 20))
    monthly = read(_with_times(path, np.arange(0, 720, 30), "days since 2000-01-01", "360_day"))
    assert monthly.freq == "1MS"


def test_subsecond_times_are_refused_and_own_numbers_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rows are 0\.1 s apart, but times are kept to the second: average"):
        read(_with_times(tmp_path / "x.nc", np.arange(50) * 0.1, "seconds since 2000-01-01"))
    values = ("time", "station"), np.ones((50, 2))
    xr.Dataset({"v": values}, {"time": np.arange(50)}).to_netcdf(tmp_path / "n.nc")
    with pytest.raises(UserError, match="the plain count 0, 1, 2"):
        read(tmp_path / "n.nc")
    assert read(tmp_path / "n.nc", start="2000-01-01", freq="1D").freq == "1D"


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
def test_the_cf_role_names_the_stations(engine: str, tmp_path: Path) -> None:
    names = np.array(["RHEIN_KOELN", "BONN", "MOSEL"], dtype="S12")
    for k, ids in enumerate((names, names.astype("U"), np.array([7, 11, 30]))):
        path = tmp_path / f"{k}.nc"
        xr.Dataset(
            {
                "level": (("time", "station"), np.ones((30, 3), "f4"), {"units": "m"}),
                "gauge": ("station", ids, {"cf_role": "timeseries_id"}),
            },
            {"time": pd.date_range("2010", periods=30), "station": [1, 2, 3]},
        ).to_netcdf(path, engine=engine)  # type: ignore[call-overload]
        assert read(path).ids == tuple(map(str, ids.astype("U").tolist()))


def test_bounds_and_flags_are_no_channels(tmp_path: Path) -> None:
    times = pd.date_range("2010", periods=30)
    flag = np.zeros((30, 3), "i1")
    xr.Dataset(
        {
            "level": (("time", "station"), np.ones((30, 3))),
            "time_bnds": (("time", "bnds"), np.ones((30, 2))),
            "edges": (("time", "station", "bnds"), np.ones((30, 3, 2))),
            "depth": (("time", "station"), np.ones((30, 3)), {"bounds": "edges"}),
            "quality": (("time", "station"), flag, {"flag_values": flag[0], "flag_meanings": "good bad"}),
        },
        {"time": times},
    ).to_netcdf(tmp_path / "x.nc")
    series = read(tmp_path / "x.nc")
    assert series.channels == ("level", "depth")
    assert series.notes == ("look: x.nc: 'quality' hold flags, no readings, and are left out",)
    assert read(tmp_path / "x.nc", variables=("quality",)).channels == ("quality",)


def test_declared_fill_values_mark_gaps(tmp_path: Path) -> None:
    counts = np.arange(90).reshape(30, 3)
    counts[4, 1] = -9
    coordinates = {"time": pd.date_range("2010", periods=30)}
    for attributes in ({"_FillValue": np.int32(-9)}, {"missing_value": np.int32(-9)}):
        variable = (("time", "station"), counts.astype("i4"), {**attributes, "scale_factor": 0.5})
        xr.Dataset({"v": variable}, coordinates).to_netcdf(tmp_path / "x.nc", engine="scipy")
        series = read(tmp_path / "x.nc")
        assert series.missing == "nan"
        assert series.observed_TNC[..., 0].tolist() == (counts >= 0).tolist()
        assert series.values_TNC[7, 2, 0] == counts[7, 2] / 2
    unwritten = counts.astype("f4")
    unwritten[4, 1] = 9.969209968386869e36
    encoding = {"v": {"_FillValue": None}}
    xr.Dataset({"v": (("time", "station"), unwritten)}, coordinates).to_netcdf(tmp_path / "x.nc", encoding=encoding)
    assert read(tmp_path / "x.nc").observed_TNC[..., 0].tolist() == (counts >= 0).tolist()


@pytest.mark.filterwarnings("ignore:saving variable v with floating point data as an integer dtype")
@pytest.mark.parametrize("engine", ["scipy", "h5netcdf"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("split", [False, True])
def test_readings_outside_the_valid_range_are_missing(engine: str, packed: bool, split: bool, tmp_path: Path) -> None:
    """A bound itself is valid, also after unpacking; zeros of a file that says what is valid are readings."""
    readings = np.tile(np.arange(48.0)[:, None] / 4, (1, 2))
    readings[3] = 0.0
    readings[5, 1], readings[7, 0] = 99.75, -0.25
    bounds = np.array([0, 1175], dtype="i2") if packed else np.array([0.0, 11.75])
    attributes = {"valid_min": bounds[0], "valid_max": bounds[1]} if split else {"valid_range": bounds}
    values = (("time", "station"), readings, attributes)
    times = ("time", np.arange(48), {"units": "hours since 2020-01-01"})
    encoding = (
        {"v": {"dtype": "i2", "scale_factor": 0.01, "_FillValue": None}} if packed else {"v": {"_FillValue": None}}
    )
    path = tmp_path / "x.nc"
    xr.Dataset({"v": values}, {"time": times}).to_netcdf(path, engine=engine, encoding=encoding)
    series = read(path)
    assert series.missing == "nan"
    assert sorted(map(tuple, np.argwhere(~series.observed_TNC[:, :, 0]))) == [(5, 1), (7, 0)]
    assert [note for note in series.notes if "valid" in note] == [
        "look: x.nc: 2 readings of v outside its valid range (0 to 11.75): missing"
    ]


def test_a_valid_range_without_numbers_is_said(tmp_path: Path) -> None:
    values = (("time", "station"), np.ones((48, 2)) * np.arange(48)[:, None], {"valid_range": "0 to 11"})
    times = ("time", np.arange(48), {"units": "hours since 2020-01-01"})
    xr.Dataset({"v": values}, {"time": times}).to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    series = read(tmp_path / "x.nc")
    assert series.observed_TNC.all()
    assert "look: x.nc: v declares a valid range that holds no numbers (0 to 11): not applied" in series.notes


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
    with pytest.raises(
        UserError, match=r"4 sensor\(s\) have no observed reading .*silent takes all such, or --land-mask"
    ):
        open_data(data, GraphConfig())
