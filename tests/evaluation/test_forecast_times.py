"""Forecast files have their input's zone, and can be given back as input."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.sources import read_series
from dcrnn_fast.evaluation.forecasts import Forecast

NEWEST = np.datetime64("2024-10-27T00:00:00")
HOUR = np.timedelta64(3600, "s")


def _forecast(zone: str | None, names: tuple[str, str], units: tuple[str, str]) -> Forecast:
    return Forecast(
        values_FNO=np.random.default_rng(0).uniform(1, 9, (6, 3, 2)).astype(np.float32),
        times_F=NEWEST + np.arange(1, 7) * HOUR,
        ids=("007", "b", "c"),
        channels=names,
        units=units,
        past_values_PNO=np.zeros((3, 3, 2), dtype=np.float32),
        past_times_P=NEWEST - np.arange(3)[::-1] * HOUR,
        zone=zone,
    )


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "+05:30", "No/Where"])
@pytest.mark.parametrize(("names", "units"), [(("speed", "flow"), ("km/h", "")), (("0", "1"), ("", ""))])
def test_a_forecast_is_read_back_as_it_was(
    zone: str | None, names: tuple[str, str], units: tuple[str, str], tmp_path: Path
) -> None:
    forecast = _forecast(zone, names, units)
    for ending in ("csv", "parquet", "nc"):
        path = tmp_path / f"forecast.{ending}"
        forecast.write(path)
        series = read_series(DataConfig(data=str(path)))
        assert np.array_equal(series.times_T, forecast.times_F)
        assert (series.ids, series.channels, series.units) == (forecast.ids, names, units)
        np.testing.assert_array_equal(series.values_TNC, forecast.values_FNO)
        assert series.in_utc == (zone is not None or (None if ending == "nc" else False))


@pytest.mark.parametrize(
    ("zone", "first"),
    [
        (None, "2024-10-27T01:00:00"),
        ("UTC", "2024-10-27T01:00:00Z"),
        ("Europe/Berlin", "2024-10-27T02:00:00+01:00"),
        ("-03:00", "2024-10-26T22:00:00-03:00"),
        ("No/Where", "2024-10-27T01:00:00Z"),
    ],
)
def test_files_say_the_zone(zone: str | None, first: str, tmp_path: Path) -> None:
    forecast = _forecast(zone, ("speed", "flow"), ("", ""))
    forecast.write(tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text().splitlines()[1].split(",")[0] == first
    forecast.write(tmp_path / "x.parquet")
    dtype = pd.read_parquet(tmp_path / "x.parquet")["time"].dtype
    assert str(getattr(dtype, "tz", None)) in (str(zone), str(pd.Timestamp(first).tz))
    forecast.write(tmp_path / "x.nc")
    with xr.open_dataset(tmp_path / "x.nc", decode_times=False, engine="h5netcdf") as dataset:
        in_utc = "+00:00" in dataset["time"].attrs["units"]
        assert (in_utc, dataset["time"].attrs["long_name"]) == (zone is not None, "time (UTC)" if zone else "time")
    with xr.open_dataset(tmp_path / "x.nc", engine="h5netcdf") as dataset:
        assert np.array_equal(dataset["time"].values.astype("M8[s]"), forecast.times_F)
