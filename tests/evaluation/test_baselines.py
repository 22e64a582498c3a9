"""Baselines against figures worked out by hand, a process whose coefficients are known, and the public data sets."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.opening import assemble_data
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.data.times import count_from
from dcrnn_fast.evaluation import autoregression, target_rows
from dcrnn_fast.evaluation.autoregression import VectorAutoregression
from dcrnn_fast.evaluation.baselines import Baseline, LastReading, LastValue, SlotMean, fit_baselines
from dcrnn_fast.evaluation.metrics import HorizonSums, Scores
from dcrnn_fast.evaluation.target_rows import TargetRows
from dcrnn_fast.graph import from_matrix
from tests.evaluation.few_readings import MONDAY, data_of


def score(baseline: Baseline, data: ForecastData, starts_W: np.ndarray) -> HorizonSums:
    sums = HorizonSums(data.window_format.future_steps, data.series.num_sensors, data.window_format.output_channels)
    for starts in np.array_split(starts_W, max(1, len(starts_W) // 64)):
        batch = data.gather(starts)
        sums.add(torch.from_numpy(baseline.predict(starts).copy()), batch.y_BFNO, batch.observed_BFNO)
    return sums


def test_last_value_is_the_last_observed_one_and_the_training_mean_where_there_is_none() -> None:
    readings = np.arange(1.0, 201.0).reshape(100, 2)
    readings[82:84, 0] = np.nan
    readings[80:84, 1] = np.nan
    data = data_of(readings)
    trained = readings[: data.train.starts_W[-1] + 6, 1]
    forecast = LastValue(TargetRows(data)).predict(np.array([80]))
    np.testing.assert_allclose(forecast[0, :, 0, 0], readings[81, 0])
    np.testing.assert_allclose(forecast[0, :, 1, 0], trained.mean())
    np.testing.assert_array_equal(LastReading(TargetRows(data)).predict(np.array([80])), np.zeros((1, 2, 2, 1)))


def names(data: ForecastData) -> list[str]:
    return [baseline.name for baseline in fit_baselines(data).methods]


def test_the_raw_last_value_stands_beside_only_where_zeros_are_missing_readings() -> None:
    readings = 50 + np.random.default_rng(0).standard_normal((20, 3))
    assert names(data_of(readings)) == ["last value", "weekly mean", "VAR(3)"]
    readings[7, 1] = 0
    assert names(data_of(readings)) == ["last value", "weekly mean", "VAR(3)"]
    assert names(data_of(readings, missing="zero")) == ["last value", "raw last value", "weekly mean", "VAR(3)"]


def test_weekly_mean_takes_the_same_weekday_and_hour_of_observed_training_rows() -> None:
    hours = 24 * 7 * 5
    readings = np.random.default_rng(1).uniform(10, 20, (hours, 2))
    readings[::11] = np.nan
    data = data_of(readings, train_fraction=0.6)
    start = int(data.test.starts_W[5])
    forecast = SlotMean(TargetRows(data), data.window_format.interval).predict(np.array([start]))
    rows = np.arange(data.train.starts_W[-1] + 6)
    for step in range(2):
        same = rows[rows % (24 * 7) == (start + 4 + step) % (24 * 7)]
        np.testing.assert_allclose(forecast[0, step, :, 0], np.nanmean(readings[same], axis=0))


def test_a_slot_that_training_never_saw_takes_its_time_of_day_then_the_sensors_mean() -> None:
    readings = np.tile(np.arange(24.0) + 1, 4)[:, None] * np.ones((1, 2))  # Monday to Thursday, by the hour
    readings[12::24, 0] = np.nan  # noon is never observed by the first sensor
    data = data_of(readings, train_fraction=0.5, test_fraction=0.25)
    rows = TargetRows(data)
    mean = SlotMean(rows, data.window_format.interval).mean_GNO[..., 0]
    friday = 4 * 24
    assert mean[friday + 6, 0] == pytest.approx(7)
    assert mean[friday + 12, 1] == pytest.approx(13)
    assert mean[friday + 12, 0] == pytest.approx(float(rows.mean_NO[0, 0]))
    # Training reads Monday, Tuesday and the first hours of Wednesday.
    seen = int(data.train.starts_W[-1]) + 6
    assert f"weekly mean: training saw {seen} of its 168 slots" in fit_baselines(data).notes[0]


def test_months_are_compared_with_the_same_month_of_the_year() -> None:
    times_T = np.arange("2000-01", "2010-01", dtype="datetime64[M]")
    readings = (times_T.astype(int) % 12 + 1.0)[:, None] * np.ones((1, 2))
    data = data_of(readings, times_T=times_T)
    baseline = SlotMean(TargetRows(data), data.window_format.interval)
    assert baseline.name == "monthly mean"
    assert score(baseline, data, data.test.starts_W).overall().mae == pytest.approx(0, abs=1e-6)


def known_process(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """A VAR(3) of two series around (50, 20), and its coefficients [newest, middle, oldest] stacked."""
    coefficients_63 = np.array([[0.5, 0.1], [-0.2, 0.3], [0.1, 0.0], [0.2, 0.2], [0.1, -0.1], [0.0, 0.15]])
    rng = np.random.default_rng(3)
    values = np.zeros((rows, 2))
    for row in range(3, rows):
        lagged = np.concatenate([values[row - 1], values[row - 2], values[row - 3]])
        values[row] = lagged @ coefficients_63 + rng.standard_normal(2)
    return values + np.array([50.0, 20.0]), coefficients_63


def test_autoregression_recovers_a_known_process() -> None:
    readings, coefficients = known_process(20_000)
    fitted = VectorAutoregression(TargetRows(data_of(readings)))
    np.testing.assert_allclose(fitted.coefficients_QD[1:], coefficients, atol=0.03)


def test_autoregression_iterates_its_own_forecasts() -> None:
    readings, coefficients = known_process(20_000)
    data = data_of(readings)
    fitted = VectorAutoregression(TargetRows(data))
    start = int(data.test.starts_W[0])
    past = [readings[start + 3 - lag] - np.array([50.0, 20.0]) for lag in range(3)]
    for step in range(2):
        past.insert(0, np.concatenate(past[:3]) @ coefficients)
        expected = past[0] + np.array([50.0, 20.0])
        np.testing.assert_allclose(fitted.predict(np.array([start]))[0, step, :, 0], expected, atol=0.1)


def test_autoregression_does_not_depend_on_the_pieces_it_is_summed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    readings, _ = known_process(500)
    readings[40:60, 0] = np.nan
    whole = VectorAutoregression(TargetRows(data_of(readings))).coefficients_QD
    monkeypatch.setattr(target_rows, "_CHUNK_READINGS", 14)
    pieces = VectorAutoregression(TargetRows(data_of(readings))).coefficients_QD
    np.testing.assert_allclose(pieces, whole, rtol=1e-9, atol=1e-12)


def test_autoregression_has_no_lag_across_a_gap() -> None:
    # Two stretches of a clean rhythm, the second one out of step: a lag across the gap would blur the coefficients.
    step = np.arange(400)
    readings = np.sin(2 * np.pi * step / 10)[:, None] + 5
    readings[200:] = np.sin(2 * np.pi * (step[200:] + 5) / 10)[:, None] + 5
    times_T = count_from(MONDAY, np.timedelta64(3600, "s"), 400)
    times_T[200:] += np.timedelta64(100, "h")
    data = data_of(readings, times_T=times_T)
    assert len(data.series.segments) == 2
    overall = score(VectorAutoregression(TargetRows(data)), data, data.test.starts_W).overall()
    assert overall.mae < 1e-3


def test_constant_and_copied_sensors_are_no_problem() -> None:
    readings, _ = known_process(400)
    readings = np.column_stack([readings, readings[:, :1], np.full(400, 7.0)])
    data = data_of(readings)
    forecast = VectorAutoregression(TargetRows(data)).predict(data.test.starts_W)
    assert np.isfinite(forecast).all()
    np.testing.assert_allclose(forecast[:, :, 3], 7.0, atol=0.01)


@pytest.mark.parametrize("rows", [30, 60])
def test_no_test_target_is_known_to_a_baseline(rows: int) -> None:
    # Of 30 rows the last training windows forecast what the test windows forecast.
    readings = np.random.default_rng(0).uniform(1, 70, (rows, 3))
    data = data_of(readings, past_steps=12, future_steps=12)
    first_target = data.test.starts_W[0] + 12
    other = readings.copy()
    other[first_target:] += 100
    changed = data_of(other, past_steps=12, future_steps=12)
    starts_W = data.test.starts_W[:1]
    for one, two in zip(fit_baselines(data).methods, fit_baselines(changed).methods, strict=True):
        np.testing.assert_array_equal(one.predict(starts_W), two.predict(starts_W), err_msg=one.name)
    assert [(stretch.start, stretch.stop) for stretch in TargetRows(data).training_stretches()] == [
        (0, min(first_target, data.train.starts_W[-1] + 24))
    ]


def test_too_many_series_leave_the_autoregression_out_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    readings, _ = known_process(100)
    monkeypatch.setattr("dcrnn_fast.evaluation.baselines.VAR_MAX_SERIES", 1)
    fitted = fit_baselines(data_of(readings))
    assert [b.name for b in fitted.methods] == ["last value", "weekly mean", "same hour yesterday"]
    assert "VAR(3) is left out: 2 series" in fitted.notes[-1]


def test_a_single_past_step_leaves_one_lag() -> None:
    readings, _ = known_process(300)
    data = data_of(readings, past_steps=1)
    fitted = VectorAutoregression(TargetRows(data))
    assert fitted.name == "VAR(1)"
    assert autoregression.VAR_LAGS == 3
    assert np.isfinite(fitted.predict(data.test.starts_W)).all()


def test_several_target_channels_each_have_their_own_figures() -> None:
    speed, _ = known_process(300)
    readings = np.stack([speed, 100 * speed], axis=-1)
    data = data_of(readings, channels=("speed", "flow"), targets=("flow", "speed"))
    for baseline in fit_baselines(data).methods:
        forecast = baseline.predict(data.test.starts_W[:5])
        assert forecast.shape == (5, 2, 2, 2)
        np.testing.assert_allclose(forecast[..., 0], 100 * forecast[..., 1], rtol=1e-3)


def real_scores(data: ForecastData, starts_W: np.ndarray) -> dict[str, Scores]:
    return {b.name: score(b, data, starts_W).by_horizon() for b in fit_baselines(data).methods}


def test_metr_la_20_gives_the_published_figures(real_data: Path) -> None:
    with np.load(real_data / "metr_la_20" / "metr_la_20.npz") as file:
        readings, times, adjacency = file["speed"], file["t_unix_local"].astype("datetime64[s]"), file["adj"]
    ids = tuple(f"s{node}" for node in range(20))
    series = make_series(readings, times_T=times, ids=ids, missing="zero", where="metr_la_20")
    data = assemble_data(series, from_matrix(adjacency, ids), DataConfig())
    assert len(data.test) == 6850
    scores = real_scores(data, data.test.starts_W)
    raw = scores["raw last value"]
    np.testing.assert_allclose(raw.mae[[2, 5, 11]], [4.260, 5.421, 7.170], atol=6e-4)
    np.testing.assert_allclose(raw.rmse[[2, 5, 11]], [8.796, 11.200, 14.087], atol=6e-4)
    np.testing.assert_allclose(raw.mape[[2, 5, 11]], [0.113, 0.149, 0.205], atol=6e-4)
    weekly = scores["weekly mean"]
    np.testing.assert_allclose(weekly.mae, 4.52, atol=6e-3)
    np.testing.assert_allclose(weekly.rmse, 8.01, atol=6e-3)
    np.testing.assert_allclose(weekly.mape, 0.152, atol=6e-4)
    # The last observed value is the harder one to beat.
    np.testing.assert_allclose(scores["last value"].mae[[2, 5, 11]], [3.754, 4.586, 5.900], atol=6e-4)


def test_the_hague_gives_the_published_figures(real_data: Path) -> None:
    frame = pd.read_hdf(real_data / "the_hague" / "DH.h5")
    ids = tuple(map(str, frame.columns))
    series = make_series(frame.to_numpy(), times_T=frame.index.to_numpy(), ids=ids, missing="none", where="the_hague")
    config = DataConfig(past_steps=36, future_steps=8, missing="none")
    data = assemble_data(series, from_matrix(np.eye(len(ids)), ids), config)
    scores = real_scores(data, data.test.starts_W)
    np.testing.assert_allclose(scores["last value"].mae[[0, 7]], [6.68, 17.71], atol=6e-3)
    weekly = scores["weekly mean"]
    np.testing.assert_allclose(weekly.mae[[0, 7]], [5.25, 5.30], atol=6e-3)
    np.testing.assert_allclose(weekly.rmse.mean(), 8.28, atol=0.02)


@pytest.mark.parametrize(
    ("future_steps", "rmse", "mae"), [(3, 5.543, 3.156), (6, 6.699, 3.632), (9, 7.628, 4.042), (12, 8.456, 4.433)]
)
def test_los_loop_gives_the_published_figures_in_its_own_protocol(
    real_data: Path, future_steps: int, rmse: float, mae: float
) -> None:
    # The T-GCN code: the first 80 % of the rows train, windows lie within the other 404, its loop leaves the last one
    # out, and errors are pooled over the steps: our cumulative figure of the last horizon.
    frame = pd.read_csv(real_data / "los_loop" / "los_speed.csv")
    rows, test_rows = 2016, 404
    readings = frame.to_numpy(dtype=np.float64)
    times_T = count_from(np.datetime64("2012-03-01T00:00:00", "s"), np.timedelta64(300, "s"), rows)
    ids = tuple(frame.columns)
    series = make_series(readings, times_T=times_T, ids=ids, missing="none", where="los_loop")
    config = DataConfig(future_steps=future_steps, split="strict", train_fraction=0.8, missing="none")
    data = assemble_data(series, from_matrix(np.eye(len(ids)), ids), config)
    starts_W = np.arange(rows - test_rows, rows - 12 - future_steps)
    pooled = score(LastValue(TargetRows(data)), data, starts_W).by_horizon("cumulative")
    assert pooled.rmse[-1] == pytest.approx(rmse, abs=6e-4)
    assert pooled.mae[-1] == pytest.approx(mae, abs=6e-4)
