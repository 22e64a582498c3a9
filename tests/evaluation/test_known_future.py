"""Forecasts of a model that knows channels ahead: where its future rows come from, and which it lacks."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dcrnn_fast import convert, forecast
from dcrnn_fast.checkpoints.save import save_checkpoint
from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import ModelConfig
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.opening import assemble_data
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.data.times import count_from
from dcrnn_fast.errors import UserError
from dcrnn_fast.evaluation.evaluator import predict
from dcrnn_fast.forecaster import Forecaster
from dcrnn_fast.loading import load
from dcrnn_fast.model.build import build_model
from tests.data.made_series import ring
from tests.evaluation.small_city import state_of

P, F, START = 4, 3, np.datetime64("2024-03-04T00:00:00", "s")
NEWEST = 40  # the row before the forecast
CHANNELS = ("speed", "rain", "price")


def series_of(missing: str) -> SensorSeries:
    """Sixty hours at three sensors; a gap of rain at one of them in the first step to forecast."""
    rng = np.random.default_rng(2)
    readings_TNC = rng.uniform(1, 70, (60, 3, 3)).round(2)
    if missing != "none":
        readings_TNC[NEWEST + 1, 1, 1] = np.nan
    return make_series(
        readings_TNC, times_T=count_from(START, np.timedelta64(3600, "s"), 60), ids=("a", "b", "c"), missing=missing,
        where="test", channels=CHANNELS,
    )  # fmt: skip


def made(folder: Path, *known: str, missing: str = "nan", **settings: Any) -> tuple[ForecastData, Forecaster]:
    series = series_of(missing)
    config = DataConfig(
        past_steps=P, future_steps=F, targets=("speed",), known_ahead=known, missing=missing, **settings
    )
    data = assemble_data(series, ring(series), config)
    config = Config(data=data.config, model=ModelConfig(hidden_units=4, num_layers=1))
    config = replace(config, training=replace(config.training, loss_unit="deviation"))
    form = data.window_format
    model = build_model(
        config, data.graph, input_channels=form.input_channels, output_channels=1, known_channels=form.num_known
    )
    folder.mkdir(exist_ok=True)
    return data, load(save_checkpoint(folder, state_of(config, data, model), "model.pt"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[ForecastData, Forecaster]:
    return made(tmp_path_factory.mktemp("known"), "rain", "price")


def wanted(data: ForecastData, forecaster: Forecaster) -> np.ndarray:
    """The forecast of the window in the middle of the series."""
    batch = data.gather(np.array([NEWEST - P + 1]))
    scaler = data.scaler.take(data.window_format.target_channels)
    return predict(forecaster.model, batch.x_BPNC, scaler, known_BFNK=batch.known_BFNK)[0].numpy()


def rows(series: SensorSeries, first: int, stop: int) -> SensorSeries:
    return series.head(stop).tail(stop - first)


def without_targets(series: SensorSeries, first: int) -> SensorSeries:
    """From a row on."""
    observed_TNC = np.array(series.observed_TNC)
    observed_TNC[first:, :, 0] = False
    return replace(series, values_TNC=np.where(observed_TNC, series.values_TNC, 0), observed_TNC=observed_TNC)


def test_the_future_may_come_in_any_form(model: tuple[ForecastData, Forecaster]) -> None:
    """The same bits as in training and evaluation, a gap in the rain too."""
    data, forecaster = model
    past, future = rows(data.series, 0, NEWEST + 1), rows(data.series, NEWEST + 1, NEWEST + 8)
    known_RNK = np.where(future.observed_TNC, future.readings(slice(None)), np.nan)[..., 1:]
    shuffled = future.take_channels((2, 1, 0)).take_sensors(("c", "a", "b"))
    given: dict[str, tuple[SensorSeries, Any]] = {
        "rows after the newest": (without_targets(rows(data.series, 0, NEWEST + 8), NEWEST + 1), None),
        "a series with the past": (past, data.series),
        "a series in another order": (past, shuffled),
        "an array": (past, known_RNK[:F]),
        "beside rows that are not used": (without_targets(rows(data.series, 0, NEWEST + 3), NEWEST + 1), known_RNK[:F]),
    }
    for name, (recent, known) in given.items():
        got = forecaster.forecast(recent, known=known)
        np.testing.assert_array_equal(got.values_FNO, wanted(data, forecaster), err_msg=name)
        assert got.times_F.tolist() == future.times_T[:F].tolist()
        assert any(note.startswith("rain: 1 of 9 values that are known ahead are missing") for note in got.notes)
        used = any("are taken for what is known ahead; the forecast begins at" in note for note in got.notes)
        assert used == (known is None)
    long_ago = without_targets(data.series, NEWEST + 1)  # 19 rows: more than are looked at first
    np.testing.assert_array_equal(forecaster.forecast(long_ago).values_FNO, wanted(data, forecaster))


def test_one_value_a_step_is_that_of_all_sensors(model: tuple[ForecastData, Forecaster]) -> None:
    data, forecaster = model
    past, times = rows(data.series, 0, NEWEST + 1), data.series.times_T[NEWEST + 1 : NEWEST + 1 + F]
    each_FK = np.array([[1.0, 50.0], [2.0, 60.0], [3.0, 10.0]])
    everywhere = forecaster.forecast(past, known=np.repeat(each_FK[:, None], 3, axis=1)).values_FNO
    table = pd.DataFrame(each_FK[:, ::-1], columns=["price", "rain"])
    dated = table.set_index(pd.DatetimeIndex(times)).iloc[[0, 1, 2]]
    for known in (each_FK, table, dated, dated.assign(other=0.0)):
        np.testing.assert_array_equal(forecaster.forecast(past, known=known).values_FNO, everywhere)
    later = table.set_index(pd.DatetimeIndex(times + np.timedelta64(3600, "s")))
    with pytest.raises(UserError, match=r"^known: .* missing: rain, price at 2024-03-05T17:00:00: add them"):
        forecaster.forecast(past, known=later)


def test_what_is_missing_is_named(model: tuple[ForecastData, Forecaster]) -> None:
    data, forecaster = model
    past = rows(data.series, 0, NEWEST + 1)
    with pytest.raises(UserError) as nothing:
        forecaster.forecast(past)
    assert str(nothing.value) == (
        "the recent data: the model knows rain, price ahead, and its forecast needs the 3 rows from "
        "2024-03-05T17:00:00 to 2024-03-05T19:00:00; missing: rain, price at 2024-03-05T17:00:00 to "
        "2024-03-05T19:00:00 (3 rows): add them to the readings, targets empty, or give them with --known"
    )
    observed_TNC = np.array(data.series.observed_TNC)
    observed_TNC[NEWEST + 1, :, 1] = observed_TNC[[NEWEST + 1, NEWEST + 3], :, 2] = False
    with pytest.raises(
        UserError, match=r"missing: rain at 2024-03-05T17:00:00; price at 2024-03-05T17:00:00, 2024-03-0"
    ):
        forecaster.forecast(past, known=replace(data.series, observed_TNC=observed_TNC))
    for known, said in (
        ([[0, 0], [0], [0, 0]], "known must be an array of numbers: "),
        (
            np.zeros((3, 2, 2)),
            r"known must be \(steps, 3 sensors, 2 channels\), or \(steps, 2 channels\) for all sensors",
        ),
        (np.zeros(3), r"got \(3,\)"),
        (
            np.zeros((4, 2)),
            "known has 4 rows without times, the forecast has 3 steps: give those from 2024-03-05T17",
        ),
        (np.zeros((2, 3, 2)), "missing: rain, price at 2024-03-05T19:00:00: add them"),
        (pd.DataFrame({"rain": [1.0]}), "the table's columns are 'rain'; wanted a column for each of rain, price"),
        (data.series.take_channels((0, 1)), "known lacks channel 'price'"),
        (data.series.take_sensors(("a", "b")), "known lacks 1 of the model's 3 sensors: 'c'"),
        (replace(data.series.take_channels((1,)), ids=("rain", "x", "y"), channels=("value",)), "none for 'price'"),
    ):
        with pytest.raises(UserError, match=said):
            forecaster.forecast(past, known=known)
    # Where the forecast begins is not known: the rows may all be of the future.
    with pytest.raises(UserError, match=r"no reading of speed in any of its 6 rows: .* give more rows"):
        forecaster.forecast(without_targets(rows(data.series, NEWEST - 5, NEWEST + 1), 0), known=data.series)


def test_the_calendar_needs_no_rows_and_other_models_take_none(tmp_path: Path) -> None:
    data, forecaster = made(tmp_path / "calendar", "calendar", day_of_week=True)
    past = rows(data.series, 0, NEWEST + 1)
    np.testing.assert_array_equal(forecaster.forecast(past).values_FNO, wanted(data, forecaster))
    with pytest.raises(UserError, match="this model knows the calendar ahead, which needs no rows"):
        forecaster.forecast(past, known=data.series)
    data, forecaster = made(tmp_path / "nothing")
    # Rows without targets are the newest steps of a model that knows nothing ahead.
    silent = without_targets(rows(data.series, 0, NEWEST + 2), NEWEST + 1)
    assert forecaster.forecast(silent).times_F[0] == data.series.times_T[NEWEST + 2]


@pytest.mark.parametrize("missing", ["none", "zero"])
def test_under_every_rule_for_missing_readings(tmp_path: Path, missing: str) -> None:
    """A model whose training had no gap has no targets in the future; where 0 is missing, a row of zeros is there."""
    data, forecaster = made(tmp_path, "rain", missing=missing)
    readings_TNC = data.series.readings(slice(0, NEWEST + 1 + F))
    readings_TNC[NEWEST + 1 :, :, 0] = np.nan
    if missing == "zero":
        readings_TNC[NEWEST + 2, :, 1] = 0
        data.series.observed_TNC[NEWEST + 2, :, 1] = False  # type: ignore[index]
    got = forecaster.forecast(readings_TNC, times=data.series.times_T[: NEWEST + 1 + F])
    np.testing.assert_array_equal(got.values_FNO, wanted(data, forecaster))
    assert any("(zeros are missing to this model)" in note for note in got.notes) == (missing == "zero")


def write_channels(folder: Path, series: SensorSeries, *, targets_until: int) -> str:
    folder.mkdir()
    for c, name in enumerate(series.channels):
        values_TN = np.where(series.observed_TNC, series.readings(slice(None)), np.nan)[..., c]
        if name == "speed":
            values_TN[targets_until:] = np.nan
        frame = pd.DataFrame(values_TN, index=pd.Index(series.times_T, name="time"), columns=series.ids)
        frame.to_csv(folder / f"{name}.csv")
    return str(folder)


def test_the_command_asks_for_the_rows(
    tmp_path: Path, model: tuple[ForecastData, Forecaster], capsys: pytest.CaptureFixture[str]
) -> None:
    data, forecaster = model
    (tmp_path / "model").mkdir()
    shutil.copy(forecaster.about["checkpoint"], tmp_path / "model" / "model.pt")
    flags = [str(tmp_path / "model" / "model.pt"), "--data-format", "channels", "-o", str(tmp_path / "f.csv"), "--data"]
    long, past = rows(data.series, 20, NEWEST + 1 + F), rows(data.series, 20, NEWEST + 1)
    whole = write_channels(tmp_path / "whole", long, targets_until=NEWEST - 19)
    short = write_channels(tmp_path / "short", past, targets_until=NEWEST)
    assert forecast.main([*flags, whole]) == 0
    assert forecast_in(tmp_path / "f.csv") == wanted(data, forecaster).ravel().tolist()
    assert "the newest 3 rows without a reading of a target are taken for what is known" in capsys.readouterr().err
    assert forecast.main([*flags, short]) == 2
    assert "missing: rain, price at 2024-03-05T17:00:00 to 2024-03-05T19:00:00 (3 rows)" in capsys.readouterr().err
    assert forecast.main([*flags, short, "--known", whole]) == 0
    assert forecast_in(tmp_path / "f.csv") == wanted(data, forecaster).ravel().tolist()
    times = data.series.times_T[NEWEST + 1 : NEWEST + 1 + F]
    table = pd.DataFrame({"rain": 3.0, "price": [1.0, 2.0, 3.0]}, index=pd.Index(times, name="time"))
    table.to_csv(tmp_path / "known.csv")
    assert forecast.main([*flags, short, "--known", str(tmp_path / "known.csv")]) == 0
    everywhere = forecaster.forecast(past, known=table).values_FNO
    assert forecast_in(tmp_path / "f.csv") == everywhere.ravel().tolist()
    capsys.readouterr()
    for more, said in (
        (["--known", "none.csv"], "--known none.csv: there is no such file or folder"),
        (["--known", str(tmp_path / "f.csv")], "which is an input: give another --output"),
    ):
        assert forecast.main([*flags, short, *more]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    assert convert.main([flags[0], "--export", "-o", str(tmp_path / "port.tar")]) == 2
    assert "trained with --known-ahead (rain, price, the calendar), cannot be exported" in capsys.readouterr().err


def forecast_in(path: Path) -> list[float]:
    return np.float32(pd.read_csv(path)["value"]).tolist()
