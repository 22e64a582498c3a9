"""A forecast as tables of pandas and as a data set of xarray, with intervals, channels, units, zone and positions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dcrnn_fast.config.sections import DataConfig
from dcrnn_fast.data.blocks import outline_of_blocks
from dcrnn_fast.data.formats.long_files import LongFile, open_long_files
from dcrnn_fast.data.sources import read_series
from dcrnn_fast.evaluation.forecasts import Forecast

F, N = 3, 4
IDS = ("a", "007", "c", "d")


def made(channels: tuple[str, ...] = ("speed",), *, intervals: bool = False, zone: str | None = None) -> Forecast:
    values_FNO = np.arange(F * N * len(channels), dtype=np.float32).reshape(F, N, len(channels))
    start = np.datetime64("2024-03-30T23:00", "s")
    forecast = Forecast(
        values_FNO=values_FNO,
        times_F=start + np.arange(1, F + 1) * np.timedelta64(3600, "s"),
        ids=IDS,
        channels=channels,
        units=("mph", "veh/h")[: len(channels)],
        past_values_PNO=np.zeros((2, N, len(channels)), np.float32),
        past_times_P=start - np.arange(2)[::-1] * np.timedelta64(3600, "s"),
        zone=zone,
        positions_N2=np.array([[52.0 + n, 4.0 + n] for n in range(N)]),
    )
    if not intervals:
        return forecast
    half_L = np.array([1, 3], np.float32)[:, None, None, None]
    return replace(forecast, levels=(0.5, 0.9), lower_LFNO=values_FNO - half_L, upper_LFNO=values_FNO + half_L)


def test_a_wide_table_has_the_form_of_readings() -> None:
    frame = made().to_pandas()
    assert frame.index.name == "time"
    assert frame.index.tz is None
    assert list(frame.columns) == list(IDS)
    assert frame["007"].tolist() == [1, 5, 9]
    assert frame.loc["2024-03-31 01:00", "c"] == 6


def test_times_are_in_the_zone() -> None:
    index = made(zone="Europe/Berlin").to_pandas().index
    assert isinstance(index, pd.DatetimeIndex)
    assert str(index.tz) == "Europe/Berlin"
    # The clock goes forward at 01:00 UTC.
    assert [str(time) for time in index] == [
        "2024-03-31 01:00:00+01:00", "2024-03-31 03:00:00+02:00", "2024-03-31 04:00:00+02:00"
    ]  # fmt: skip


def test_channels_and_intervals_are_levels_above_the_ids() -> None:
    forecast = made(("speed", "flow"))
    frame = forecast.to_pandas()
    assert frame.columns.names == ["channel", "id"]
    np.testing.assert_array_equal(frame["flow"].to_numpy(), forecast.values_FNO[..., 1])
    frame = made(("speed", "flow"), intervals=True).to_pandas()
    assert frame.columns.names == ["value", "channel", "id"]
    np.testing.assert_array_equal(frame["lower_90"]["flow"].to_numpy(), forecast.values_FNO[..., 1] - 3)
    frame = made(intervals=True).to_pandas()
    assert frame.columns.names == ["value", "id"]
    assert list(frame.columns.levels[0]) == sorted(["value", "lower_50", "upper_50", "lower_90", "upper_90"])
    assert frame["upper_50"]["007"].tolist() == [2, 6, 10]


def test_a_renamed_column_index_is_its_users_own() -> None:
    first = made().to_pandas()
    first.columns.name = "changed"
    first.iloc[:] = -1
    again = made().to_pandas()
    assert again.columns.name == "id"
    assert again["007"].tolist() == [1, 5, 9]


@pytest.mark.parametrize("intervals", [False, True])
def test_netcdf_is_the_data_set(tmp_path: Path, intervals: bool) -> None:
    forecast = made(("speed", "flow"), intervals=intervals, zone="Europe/Berlin")
    made_set = forecast.to_xarray()
    assert made_set["flow"].attrs["units"] == "veh/h"
    assert ("flow_lower_90" in made_set) == intervals
    assert made_set["latitude"].sel(station="c") == 54
    assert made_set["time"].attrs["long_name"] == "time (UTC)"
    forecast.to_netcdf(tmp_path / "forecast.nc")
    with xr.open_dataset(tmp_path / "forecast.nc") as read:
        xr.testing.assert_equal(read.load(), made_set)


@pytest.mark.parametrize("ending", ["csv", "parquet", "nc"])
@pytest.mark.parametrize("channels", [("speed",), ("speed", "flow")])
def test_a_forecast_with_intervals_is_read_as_readings(tmp_path: Path, ending: str, channels: tuple[str, ...]) -> None:
    forecast = made(channels, intervals=True)
    path = tmp_path / f"f.{ending}"
    forecast.write(path)
    data = DataConfig(data=str(path), missing="nan")
    series = read_series(data)
    assert (series.ids, series.channels, series.units) == (IDS, channels, forecast.units)
    np.testing.assert_array_equal(series.values_TNC, forecast.values_FNO)
    told = "'speed_lower_50', 'speed_upper_50'" if ending == "nc" else "'lower_50', 'upper_50'"
    assert [told in note and "bounds of" in note for note in series.notes].count(True) == 1
    if ending == "nc":
        bound = read_series(replace(data, variables=("speed_lower_50",)))
        assert forecast.lower_LFNO is not None
        np.testing.assert_array_equal(bound.values_TNC[..., 0], forecast.lower_LFNO[0, ..., 0])
        return
    blocks = open_long_files([LongFile(path, path.name)], path.name, data)
    assert blocks is not None
    assert outline_of_blocks(blocks, data).series.channels == channels
