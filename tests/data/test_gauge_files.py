"""Stations of CF files in every layout: common times, ragged arrays, incomplete arrays, one station alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.cf import samples, stations
from dcrnn_fast.data.formats import open_path
from dcrnn_fast.errors import UserError
from tests.data.gridded_files import STATION_TIMES, station_levels, write_gauges
from tests.data.written_files import read


def _wanted() -> np.ndarray:
    table = {name: pd.Series(levels, STATION_TIMES[name]) for name, levels in station_levels().items()}
    return pd.DataFrame(table).to_numpy()


@pytest.mark.parametrize("layout", ["contiguous", "indexed", "incomplete"])
@pytest.mark.parametrize("engine", ["scipy", pytest.param("h5netcdf", marks=pytest.mark.slow)])
def test_every_layout_is_joined_on_the_common_times(layout: str, engine: str, tmp_path: Path) -> None:
    path = tmp_path / "gauges.nc"
    write_gauges(path, layout, engine=engine)
    series = read(path)
    assert series.ids == ("GOES", "KOELN", "BONN")
    assert (series.channels, series.units, series.freq, series.missing) == (("level",), ("m",), "1h", "nan")
    np.testing.assert_array_equal(series.observed_TNC[..., 0], np.isfinite(_wanted()))
    np.testing.assert_array_equal(series.values_TNC[..., 0], np.nan_to_num(_wanted()).astype("f4"))
    assert series.positions_N2 is not None
    assert series.positions_N2[2].tolist() == [50.73, 7.1]
    assert series.notes == (
        "look: gauges.nc: 77 readings of 3 stations are joined on 30 common times (85.6% of them are there, the others "
        "are missing)",
        "look: gauges.nc: 1 station(s) begin after 2015-03-01T00:00:00 or end before 2015-03-02T05:00:00: 'KOELN'",
    )


@pytest.mark.slow
def test_times_that_xarray_leaves_out_are_none(tmp_path: Path) -> None:
    """xarray writes NaT as the lowest integer, without a fill value."""
    times = pd.date_range("2024-01-01", periods=4, freq="h").to_numpy()
    times_SO = np.array([times, [times[1], times[3], *["NaT"] * 2]], dtype="M8[ns]")
    xr.Dataset(
        {
            "time": (("station", "o"), times_SO, {"standard_name": "time"}),
            "level": (("station", "o"), [[1.0, 2, 3, 4], [5, 6, np.nan, np.nan]], {"units": "m"}),
        },
        attrs={"featureType": "timeSeries"},
    ).to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    series = read(tmp_path / "x.nc")
    observed = np.where(series.observed_TNC, series.values_TNC, np.nan)[..., 0]
    np.testing.assert_array_equal(observed, [[1, np.nan], [2, 5], [3, np.nan], [4, 6]])


@pytest.mark.parametrize("layout", ["contiguous", "indexed", "incomplete"])
def test_pieces_of_the_file_and_blocks_of_rows_may_end_anywhere(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gauges(tmp_path / "x.nc", layout, engine="scipy")
    monkeypatch.setattr(samples, "_AT_ONCE", 7)
    monkeypatch.setattr(stations, "rows_at_once", lambda shape: 4)
    opened = open_path(tmp_path / "x.nc", DataConfig(), GraphConfig())
    assert opened is not None
    blocks = list(opened[0].read())
    assert [len(block) for block in blocks] == [4] * 7 + [2]
    np.testing.assert_array_equal(np.concatenate(blocks)[..., 0], _wanted())


@pytest.mark.parametrize(
    ("layout", "changes", "says"),
    [
        (
            "contiguous",
            {"row_size": ("station", np.array([30, 20, 20], "i4"), {"sample_dimension": "obs"})},
            "row_size counts 70 readings, and there are 77: is the file truncated",
        ),
        (
            "indexed",
            {"stationIndex": ("obs", np.full(77, 5, "i4"), {"instance_dimension": "station"})},
            "stationIndex names station 5, counted from 0, and there are 3",
        ),
        (
            "indexed",
            {"stationIndex": ("obs", np.zeros(77, "i4"), {"instance_dimension": "station"})},
            "station GOES has two readings of 2015-03-01T00:00:00: leave one out",
        ),
        (
            "indexed",
            {"stationIndex": ("obs", np.zeros(77, "i4"), {"instance_dimension": "gauge"})},
            "stationIndex names the dimension gauge, which is not there",
        ),
        (
            "indexed",
            {"row_size": ("station", np.full(3, 9, "i4"), {"sample_dimension": "obs"})},
            "row_size and stationIndex both say whose its readings are",
        ),
    ],
)
def test_counts_and_indices_that_do_not_fit_are_named(
    layout: str, changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    write_gauges(tmp_path / "x.nc", layout, engine="scipy", **changes)
    with pytest.raises(UserError, match=rf"x\.nc: {says}"):
        read(tmp_path / "x.nc")


def test_readings_without_a_time_or_a_station_are_counted(tmp_path: Path) -> None:
    index = np.repeat([0, 1, 2], [30, 20, 27])
    index[[3, 50]] = -1
    times = np.concatenate([np.arange(30), 5 + np.arange(20), np.delete(np.arange(30), [3, 4, 17])]).astype("f8")
    times[10] = np.nan
    changes = {
        "stationIndex": ("obs", index.astype("i4"), {"instance_dimension": "station"}),
        "time": ("obs", times, {"units": "hours since 2015-03-01", "_FillValue": -1.0}),
        "level": ("obs", np.arange(77.0), {"units": "m", "coordinates": "lat lon", "_FillValue": -5.0}),
    }
    write_gauges(tmp_path / "x.nc", "indexed", engine="scipy", **changes)
    series = read(tmp_path / "x.nc")
    assert int(series.observed_TNC.sum()) == 74
    assert "look: x.nc: 3 readings without a time or a station are left out" in series.notes


def test_one_station_without_a_dimension_for_it(tmp_path: Path) -> None:
    path = tmp_path / "one.nc"
    dataset = xr.Dataset(
        {
            "t2": ("time", np.arange(40.0), {"units": "K"}),
            "name": ((), np.bytes_("EHAM"), {"cf_role": "timeseries_id"}),
        },
        {"time": pd.date_range("2020", periods=40, freq="1h"), "lat": 52.3, "lon": 4.8},
        {"featureType": "timeSeries"},
    )
    dataset.to_netcdf(path, engine="scipy")
    series = read(path)
    assert (series.ids, series.channels) == (("EHAM",), ("t2",))
    assert series.positions_N2 is not None
    assert series.positions_N2.tolist() == [[52.3, 4.8]]


@pytest.mark.parametrize("kind", ["trajectory", "profile", "point", "trajectoryProfile"])
def test_what_is_no_series_of_stations_says_what_it_is(kind: str, tmp_path: Path) -> None:
    dataset = xr.Dataset({"t": ("time", np.arange(40.0))}, {"time": np.arange(40)}, {"featureType": kind})
    dataset.to_netcdf(tmp_path / "x.nc", engine="scipy")
    with pytest.raises(UserError, match=rf"x\.nc: its featureType is {kind.casefold()}: .* no series of sensors"):
        read(tmp_path / "x.nc")
