"""Forecasts from the newest steps: equal to the evaluation's, whatever the order, and honest about what is missing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from PIL import Image

import dcrnn_fast
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.data.times import count_from
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.forecasts import Forecast
from dcrnn_fast.forecaster import Forecaster
from tests.evaluation.small_city import SmallCity, make_small_city

PAST, FUTURE = 6, 4


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> SmallCity:
    return make_small_city(tmp_path_factory.mktemp("city"))


@pytest.fixture(scope="module")
def forecaster(city: SmallCity) -> Forecaster:
    return dcrnn_fast.load(city.checkpoint)


def rows(series: SensorSeries, first: int, last: int) -> SensorSeries:
    """Rows [first, last) as a series of their own."""
    return make_series(
        np.where(series.observed_TNC, series.values_TNC, np.nan)[first:last],
        times_T=series.times_T[first:last],
        ids=series.ids,
        missing=series.missing,
        where="rows",
        channels=series.channels,
        units=series.units,
    )


def evaluated(city: SmallCity, start: int) -> np.ndarray:
    """(F, N, O) that the evaluation computes for the window that begins at this row."""
    with torch.no_grad():
        return city.data.scaler.inverse(city.model(city.data.gather(np.array([start])).x_BPNC))[0].numpy()


@pytest.mark.parametrize("start", [0, 777, 1500])
def test_a_forecast_equals_the_evaluation_of_the_same_window(
    city: SmallCity, forecaster: Forecaster, start: int
) -> None:
    series = city.data.series
    forecast = forecaster.forecast(rows(series, start, start + PAST))
    np.testing.assert_array_equal(forecast.values_FNO, evaluated(city, start))
    np.testing.assert_array_equal(forecast.times_F, series.times_T[start + PAST : start + PAST + FUTURE])
    assert forecast.ids == series.ids
    assert (forecast.channels, forecast.units) == (("speed",), ("mph",))


def test_only_the_newest_steps_count(city: SmallCity, forecaster: Forecaster) -> None:
    forecast = forecaster.forecast(rows(city.data.series, 100, 400 + PAST))
    np.testing.assert_array_equal(forecast.values_FNO, evaluated(city, 400))


def test_sensors_are_found_by_their_ids(city: SmallCity, forecaster: Forecaster) -> None:
    series = rows(city.data.series, 400, 400 + PAST)
    reordered = series.take_sensors(series.ids[::-1])
    np.testing.assert_array_equal(forecaster.forecast(reordered).values_FNO, evaluated(city, 400))
    more = make_series(
        np.concatenate([np.full((PAST, 1), 3.0), reordered.values_TNC[..., 0]], axis=1),
        times_T=series.times_T,
        ids=("stranger", *reordered.ids),
        missing="zero",
        where="more",
    )
    np.testing.assert_array_equal(forecaster.forecast(more).values_FNO, evaluated(city, 400))


@pytest.mark.parametrize("rule", ["zero", "last", "mean"])
def test_missing_inputs_follow_the_rule_of_the_training_run(tmp_path: Path, rule: str) -> None:
    city = make_small_city(tmp_path, missing_input=rule)
    forecaster = dcrnn_fast.load(city.checkpoint)
    holes = ~city.data.series.observed_TNC[..., 0]
    starts = [start for start in range(len(holes) - 10) if holes[start : start + PAST].any()][::40]
    assert len(starts) > 5
    for start in starts:
        forecast = forecaster.forecast(rows(city.data.series, start, start + PAST))
        np.testing.assert_array_equal(forecast.values_FNO, evaluated(city, start))
    past = forecast.past_values_PNO[..., 0]
    np.testing.assert_array_equal(np.isnan(past), holes[start : start + PAST])


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "+05:30"])
def test_csv_has_the_bytes_that_pandas_writes(tmp_path: Path, zone: str | None) -> None:
    values = np.float32([[0.1, np.nan, -0.0], [1e-8, 3.4e38, np.inf]]).reshape(2, 3, 1)
    times = np.array(["2024-03-31T00:55", "2024-03-31T01:00"], dtype="datetime64[s]")
    ids = ("a,b", 'say "c"', "d e")
    forecast = Forecast(values, times, ids, ("flow\nper hour",), ("",), values[:1], times[:1] - 300, zone)
    forecast.to_csv(tmp_path / "f.csv")
    frame = forecast.to_pandas(long=True)
    frame["time"] = [time.isoformat(timespec="seconds").replace("+00:00", "Z") for time in frame["time"]]
    assert (tmp_path / "f.csv").read_bytes() == frame.to_csv(index=False, lineterminator="\n").encode()


def test_silent_sensors_are_named(city: SmallCity, forecaster: Forecaster) -> None:
    series = city.data.series
    start = next(row for row in range(400, 800) if series.observed_TNC[row : row + PAST].all())
    readings, newest = series.values_TNC[start : start + PAST].copy(), series.times_T[start + PAST - 1]
    readings[:, 2] = np.nan
    forecast = forecaster.forecast(readings, times=newest)
    assert "1 of 8 sensors have no observed reading" in forecast.notes[0]
    assert series.ids[2] in forecast.notes[0]
    assert np.isfinite(forecast.values_FNO).all()
    nothing = forecaster.forecast(np.full_like(readings, np.nan), times=newest)
    assert "none of the newest steps" in nothing.notes[0]


def test_arrays_with_times_and_ids(city: SmallCity, forecaster: Forecaster) -> None:
    series = city.data.series
    readings = series.values_TNC[390 : 400 + PAST, :, 0]
    wanted = evaluated(city, 400)
    by_rows = forecaster.forecast(readings, times=series.times_T[390 : 400 + PAST])
    by_newest = forecaster.forecast(readings, times=series.times_T[400 + PAST - 1])
    by_ids = forecaster.forecast(readings[:, ::-1], times=str(series.times_T[400 + PAST - 1]), ids=series.ids[::-1])
    with_channel = forecaster.forecast(readings[..., None], times=series.times_T[400 + PAST - 1])
    by_list = forecaster.forecast(readings, times=list(series.times_T[390 : 400 + PAST]))
    for forecast in (by_rows, by_newest, by_ids, with_channel, by_list):
        np.testing.assert_array_equal(forecast.values_FNO, wanted)
    with pytest.raises(UserError, match="times must be datetime64"):
        forecaster.forecast(readings, times="soon")
    with pytest.raises(UserError, match="readings must be"):
        forecaster.forecast(readings[0], times=series.times_T[405])
    with pytest.raises(UserError, match="without times"):
        forecaster.forecast(readings)


def test_a_table_brings_its_ids_and_times(city: SmallCity, forecaster: Forecaster) -> None:
    series = city.data.series
    wanted = evaluated(city, 400)
    rows = slice(400, 400 + PAST)
    table = pd.DataFrame(series.values_TNC[rows, :, 0], pd.DatetimeIndex(series.times_T[rows]), list(series.ids))
    turned = table[table.columns[::-1]].assign(stranger=3.0)
    for forecast in (
        forecaster.forecast(table),
        forecaster.forecast(turned),
        forecaster.forecast(turned.reset_index(drop=True), times=series.times_T[400 + PAST - 1]),
        forecaster.forecast(table.set_axis(range(8), axis=1), ids=series.ids),
    ):
        np.testing.assert_array_equal(forecast.values_FNO, wanted)
        assert forecast.times_F[0] == series.times_T[400 + PAST]
    with pytest.raises(
        UserError, match=r"the table's columns are named '0', '1', .*, the model's sensors 'road000_out_00', "
    ):
        forecaster.forecast(table.set_axis(range(8), axis=1))
    with pytest.raises(UserError, match="lacks 1 of the model's 8 sensors"):
        forecaster.forecast(table.iloc[:, 1:])
    with pytest.raises(UserError, match=r"the readings are of 5 sensor\(s\), the model's are 8: give all"):
        forecaster.forecast(table.to_numpy()[:, :5], times=table.index)


def zoned(forecaster: Forecaster, in_utc: bool | None) -> Forecaster:
    """The same model, trained on times with an offset, without one, or before that was known."""
    return replace(forecaster, window_format=replace(forecaster.window_format, in_utc=in_utc))


def test_times_with_an_offset_go_with_a_model_of_such_times(
    city: SmallCity, forecaster: Forecaster, recwarn: pytest.WarningsRecorder
) -> None:
    series = city.data.series
    readings, newest = series.values_TNC[400 : 400 + PAST], series.times_T[400 + PAST - 1]
    index = pd.DatetimeIndex(series.times_T[400 : 400 + PAST], tz="UTC").tz_convert("Europe/Amsterdam")
    with_offset: list[Any] = [index, list(index), index[-1], index[-1].to_pydatetime(), index[-1].isoformat()]
    local: list[Any] = [index.tz_localize(None), newest.item(), str(newest)]
    for times in with_offset:
        for in_utc in (True, None):
            forecast = zoned(forecaster, in_utc).forecast(readings, times=times)
            assert forecast.times_F[0] == series.times_T[400 + PAST]
            assert not any("UTC" in note for note in forecast.notes)
        with pytest.raises(UserError, match="has times with an offset, the model was trained on times without one"):
            zoned(forecaster, False).forecast(readings, times=times)
    for times in local:
        with pytest.raises(UserError, match="without an offset, the model was trained on times with one, read as UTC"):
            zoned(forecaster, True).forecast(readings, times=times)
    # numpy's times cannot have an offset.
    assert "its times are taken for UTC" in zoned(forecaster, True).forecast(readings, times=newest).notes[-1]
    assert not any("UTC" in note for note in zoned(forecaster, False).forecast(readings, times=newest).notes)
    assert not recwarn


def test_the_caller_may_train_elsewhere_meanwhile(city: SmallCity, forecaster: Forecaster) -> None:
    forecast = forecaster.forecast(rows(city.data.series, 400, 400 + PAST))
    assert all(parameter.grad is None for parameter in forecaster.model.parameters())
    assert isinstance(forecast.values_FNO, np.ndarray)
    assert forecast.values_FNO.dtype == np.float32


class TestRefusals:
    def refused(self, forecaster: Forecaster, series: SensorSeries, message: str) -> None:
        with pytest.raises(UserError, match=message) as error:
            forecaster.forecast(series)
        assert "\n" not in str(error.value)

    def test_too_few_steps(self, city: SmallCity, forecaster: Forecaster) -> None:
        self.refused(forecaster, rows(city.data.series, 0, PAST - 1), "reads the newest 6 steps.* has only 5")

    def test_a_gap_among_the_newest_steps(self, city: SmallCity, forecaster: Forecaster) -> None:
        series = city.data.series
        kept = np.r_[0:10, 14 : 14 + PAST - 1]
        holed = make_series(
            series.values_TNC[kept], times_T=series.times_T[kept], ids=series.ids, missing="zero", where="holed"
        )
        self.refused(forecaster, holed, "there is a gap before 2024-01-01T01:10:00")

    def test_a_gap_before_them_is_none_of_its_business(self, city: SmallCity, forecaster: Forecaster) -> None:
        series = city.data.series
        kept = np.r_[0:10, 400 : 400 + PAST]
        holed = make_series(
            series.values_TNC[kept], times_T=series.times_T[kept], ids=series.ids, missing="zero", where="holed"
        )
        np.testing.assert_array_equal(forecaster.forecast(holed).values_FNO, evaluated(city, 400))

    def test_missing_sensors(self, city: SmallCity, forecaster: Forecaster) -> None:
        series = rows(city.data.series, 0, PAST)
        lacking = series.take_sensors(series.ids[1:])
        self.refused(forecaster, lacking, f"lacks 1 of the model's 8 sensors: '{series.ids[0]}'")

    def test_an_interval_of_months(self, city: SmallCity, forecaster: Forecaster) -> None:
        series = city.data.series
        months = count_from(np.datetime64("2024-01-01", "s"), np.timedelta64(1, "M"), 20)
        monthly = make_series(series.values_TNC[:20], times_T=months, ids=series.ids, missing="zero", where="monthly")
        self.refused(forecaster, monthly, "a row every 1MS, the model was trained on every 5min")

    def test_another_interval(self, city: SmallCity, forecaster: Forecaster) -> None:
        series = city.data.series
        coarse = make_series(
            series.values_TNC[:20],
            times_T=count_from(series.times_T[0], np.timedelta64(600, "s"), 20),
            ids=series.ids,
            missing="zero",
            where="coarse",
        )
        self.refused(forecaster, coarse, "a row every 10min, the model was trained on every 5min")

    def test_other_channels_and_units(self, city: SmallCity, forecaster: Forecaster) -> None:
        series = rows(city.data.series, 0, PAST)
        self.refused(forecaster, replace(series, channels=("flow",)), "lacks channel 'speed'")
        self.refused(forecaster, replace(series, units=("km/h",)), "speed in km/h, the model was trained on mph")


@pytest.fixture(scope="module")
def forecast(city: SmallCity, forecaster: Forecaster) -> Forecast:
    return forecaster.forecast(rows(city.data.series, 400, 400 + PAST))


def test_csv_and_parquet_give_the_forecast_back(forecast: Forecast, tmp_path: Path) -> None:
    forecast.write(tmp_path / "f.csv")
    forecast.write(tmp_path / "f.parquet")
    csv = pd.read_csv(tmp_path / "f.csv", dtype={"value": np.float32}, parse_dates=["time"])
    for frame in (csv, pd.read_parquet(tmp_path / "f.parquet")):
        assert list(frame.columns) == ["time", "step", "id", "channel", "unit", "value"]
        table = frame.pivot(index="time", columns="id", values="value")[list(forecast.ids)]
        np.testing.assert_array_equal(table.to_numpy(), forecast.values_FNO[..., 0])
        np.testing.assert_array_equal(table.index.to_numpy().astype("datetime64[s]"), forecast.times_F)
        assert set(frame["unit"]) == {"mph"}
        assert set(frame["step"]) == {1, 2, 3, 4}
    assert (tmp_path / "f.csv").read_text().splitlines()[1].startswith("2024-01-02T09:50:00,1,")


def test_netcdf_gives_the_forecast_back_with_its_meaning(forecast: Forecast, tmp_path: Path) -> None:
    forecast.write(tmp_path / "f.nc")
    with xr.open_dataset(tmp_path / "f.nc", engine="h5netcdf") as dataset:
        np.testing.assert_array_equal(dataset["speed"].values, forecast.values_FNO[..., 0])
        np.testing.assert_array_equal(dataset["time"].values.astype("datetime64[s]"), forecast.times_F)
        assert dataset["station"].values.tolist() == list(forecast.ids)
        assert dataset["speed"].attrs["units"] == "mph"
        assert dataset["forecast_reference_time"].values == forecast.past_times_P[-1]
        assert forecast.positions_N2 is not None
        np.testing.assert_array_equal(dataset["latitude"].values, forecast.positions_N2[:, 0])
        assert dataset["longitude"].attrs["units"] == "degrees_east"
        assert dataset.attrs["Conventions"].startswith("CF-")


def test_several_channels_keep_their_units(forecast: Forecast, tmp_path: Path) -> None:
    both = replace(
        forecast,
        values_FNO=np.concatenate([forecast.values_FNO, 2 * forecast.values_FNO], axis=2),
        past_values_PNO=forecast.past_values_PNO.repeat(2, axis=2),
        channels=("speed", "flow"),
        units=("mph", ""),
    )
    both.write(tmp_path / "f.csv")
    frame = pd.read_csv(tmp_path / "f.csv", keep_default_na=False)
    assert dict(zip(frame["channel"], frame["unit"], strict=True)) == {"speed": "mph", "flow": ""}
    both.write(tmp_path / "f.nc")
    with xr.open_dataset(tmp_path / "f.nc", engine="h5netcdf") as dataset:
        assert "units" not in dataset["flow"].attrs
        np.testing.assert_array_equal(dataset["flow"].values, 2 * dataset["speed"].values)
    both.plot(tmp_path / "f.png")
    assert (tmp_path / "f.png").exists()


def test_plot(forecast: Forecast, tmp_path: Path) -> None:
    forecast.plot(tmp_path / "f.png")
    forecast.plot(tmp_path / "two.png", ids=forecast.ids[:2])
    with Image.open(tmp_path / "f.png") as six, Image.open(tmp_path / "two.png") as two:
        assert six.height > two.height
    with pytest.raises(UserError, match="no sensor 'nowhere'"):
        forecast.plot(tmp_path / "f.png", ids=["nowhere"])
    with pytest.raises(UserError, match=r"\.png, \.pdf or \.svg"):
        forecast.plot(tmp_path / "f.gif")
    with pytest.raises(UserError, match=r"\.csv, \.parquet or \.nc"):
        forecast.write(tmp_path / "f.xlsx")


@pytest.mark.parametrize("value", [-9999.0, 65535.0, 1e20, 3e5])
def test_a_mark_of_gaps_that_nobody_declared_is_named(city: SmallCity, forecaster: Forecaster, value: float) -> None:
    series = rows(city.data.series, 100, 100 + PAST)
    values_TNC = np.array(series.values_TNC)
    assert not any("deviations" in note for note in forecaster.forecast(series).notes)
    values_TNC[-2:, 1] = value
    odd = replace(series, values_TNC=values_TNC.astype(np.float32), observed_TNC=np.ones_like(values_TNC, dtype=bool))
    (note,) = [note for note in forecaster.forecast(odd).notes if "deviations" in note]
    shown = str(np.float32(value)).removesuffix(".0")
    assert note.startswith("look: 2 readings lie over 10 deviations from those in training, the first " + shown)
    assert f"--missing-value {shown}" in note
    assert series.ids[1] in note
