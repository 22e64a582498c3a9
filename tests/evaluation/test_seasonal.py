"""Seasonal baselines: by time and not by row, fitted on training rows alone, chosen by validation."""

import numpy as np
import pytest

from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.opening import assemble_data
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.data.series_joining import join_parts
from dcrnn_fast.data.times import count_from
from dcrnn_fast.evaluation.baselines import fit_baselines
from dcrnn_fast.evaluation.seasonal import SeasonalPersistence, seasons
from dcrnn_fast.evaluation.slots import Climatology
from dcrnn_fast.evaluation.target_rows import TargetRows
from dcrnn_fast.graph import from_matrix
from tests.evaluation.few_readings import MONDAY, data_of

DAY, HOUR = np.timedelta64(86_400, "s"), np.timedelta64(3_600, "s")
LONG = np.timedelta64(5 * 366 * 86_400, "s")


def by_hand(data: ForecastData, start: int, season: np.timedelta64) -> np.ndarray:
    """(F, N) straight from the definition: the newest observed reading a whole number of seasons before."""
    series, form = data.series, data.window_format
    newest = start + form.past_steps - 1
    forecast = np.zeros((form.future_steps, series.num_sensors))
    for step in range(form.future_steps):
        target = series.times_T[newest + 1 + step]
        for node in range(series.num_sensors):
            seen = np.flatnonzero(series.observed_TNC[: newest + 1, node, 0])
            back = seen[(target - series.times_T[seen]) % season == np.timedelta64(0, "s")]
            row = back[-1] if len(back) else seen[-1]
            forecast[step, node] = series.values_TNC[row, node, 0]
    return forecast


@pytest.mark.parametrize("future_steps", [2, 30])  # 30 hours: no reading of yesterday is known for all of them
def test_the_newest_reading_of_the_same_hour_is_found_by_time_across_gaps(future_steps: int) -> None:
    rng = np.random.default_rng(4)
    times_T = count_from(MONDAY, HOUR, 240)
    times_T[100:] += 5 * HOUR  # a gap: rows are no longer whole days apart
    readings = rng.uniform(1, 9, (240, 2))
    readings[rng.random(readings.shape) < 0.2] = np.nan
    readings[:4] = 5.0  # the first window has a last value
    data = data_of(readings, times_T=times_T, future_steps=future_steps, cross_gaps=True)
    yesterday = SeasonalPersistence(TargetRows(data), "same hour yesterday", DAY)
    starts_W = np.array([0, 30, 90, 97, 110, 150, 200])
    forecast = yesterday.predict(starts_W)
    for start, forecast_FNO in zip(starts_W, forecast, strict=True):
        np.testing.assert_array_equal(forecast_FNO[..., 0], by_hand(data, int(start), DAY))


def test_nothing_after_the_newest_row_is_used() -> None:
    readings = np.random.default_rng(5).uniform(1, 9, (24 * 30, 2))
    changed = readings.copy()
    changed[504:] += 100
    one, two = (
        SeasonalPersistence(TargetRows(data_of(values, future_steps=30)), "same hour yesterday", DAY)
        for values in (readings, changed)
    )
    np.testing.assert_array_equal(one.predict(np.array([500])), two.predict(np.array([500])))
    assert (one.predict(np.array([501])) != two.predict(np.array([501]))).any()


def test_no_reading_of_another_scenario_is_used() -> None:
    ids = ("a", "b")
    one = [
        make_series(
            np.random.default_rng(k).uniform(1, 9, (24 * 4, 2)) + 100 * k,
            times_T=count_from(MONDAY, HOUR, 24 * 4),  # the same times in both
            ids=ids,
            missing="nan",
            where="x",
        )
        for k in range(2)
    ]
    like = data_of(np.ones((30, 2)) + np.arange(60).reshape(30, 2))
    data = assemble_data(join_parts(one, ["a", "b"], "x"), from_matrix(np.eye(2), ids), like.config)
    forecast = SeasonalPersistence(TargetRows(data), "same hour yesterday", DAY).predict(np.array([0, 24 * 4, 24 * 6]))
    assert (forecast[0] < 50).all()
    assert (forecast[1:] > 50).all()


@pytest.mark.parametrize(
    ("interval", "found"),
    [
        (np.timedelta64(300, "s"), ["same time yesterday", "same time last week"]),
        (HOUR, ["same hour yesterday", "same hour last week"]),
        (np.timedelta64(420, "s"), []),  # seven minutes do not divide a day
        (DAY, ["same day last week", "same day last year"]),
        (7 * DAY, ["same week last year"]),
        (np.timedelta64(1, "M"), ["same month last year"]),
        (np.timedelta64(5, "M"), []),
    ],
)
def test_seasons_that_fit_the_interval(interval: np.timedelta64, found: list[str]) -> None:
    assert [name for name, _ in seasons(interval, LONG)] == found
    assert seasons(interval, np.timedelta64(3_600, "s")) == []  # training saw no whole season


def test_the_same_month_last_year() -> None:
    times_T = np.arange("2000-01", "2010-01", dtype="datetime64[M]")
    readings = np.arange(120.0)[:, None] + np.array([0.0, 1000.0])
    data = data_of(readings, times_T=times_T, future_steps=3)
    (start,) = data.test.starts_W[:1]
    baseline = next(b for b in fit_baselines(data).methods if b.name == "same month last year")
    newest = start + 3
    np.testing.assert_array_equal(baseline.predict(np.array([start]))[0, :, 0, 0], newest + 1 + np.arange(3) - 12)


def yearly(days: int, hours: int = 1, noise: float = 1.0) -> np.ndarray:
    """Readings that follow the year, and the hour where there is one."""
    at = np.arange(days * hours) / hours
    rng = np.random.default_rng(7)
    season = 10 * np.sin(2 * np.pi * at / 365.25) + 3 * np.cos(2 * np.pi * at)
    return 30 + season[:, None] + rng.normal(0, noise, (days * hours, 2))


def test_climatology_knows_the_day_of_the_year_and_is_fitted_on_training_rows_alone() -> None:
    readings = yearly(1500)
    data = data_of(readings, minutes=24 * 60)
    climatology = Climatology(TargetRows(data), DAY)
    stop = int(data.train.starts_W[-1]) + 6
    day_T = data.series.times_T.astype("datetime64[D]") - data.series.times_T.astype("datetime64[Y]").astype(
        "datetime64[D]"
    )
    bin_T = np.minimum(day_T.astype(int) // 5, 72)
    start = int(data.test.starts_W[50])
    near = [(bin_T[start + 4] + k) % 73 for k in range(-3, 4)]
    wanted = readings[:stop][np.isin(bin_T[:stop], near)].mean(axis=0)
    np.testing.assert_allclose(climatology.predict(np.array([start]))[0, 0, :, 0], wanted, rtol=1e-6)


def test_climatology_knows_the_hour_too_and_fills_what_training_never_saw() -> None:
    readings = yearly(400, hours=24, noise=0.1)
    readings[3::24] = np.nan  # three o'clock is never observed
    data = data_of(readings, train_fraction=0.95, test_fraction=0.02)
    climatology = Climatology(TargetRows(data), HOUR)
    mean = climatology.mean_GNO.reshape(73, 24, 2)
    assert mean[10, 0, 0] - mean[10, 12, 0] == pytest.approx(6, abs=0.3)
    np.testing.assert_allclose(mean[10, 3], np.delete(mean[10], 3, axis=0).mean(axis=0), rtol=1e-3)


def test_validation_chooses_the_seasonal_baseline_and_the_strongest() -> None:
    year = fit_baselines(data_of(yearly(1500, noise=3.0), minutes=24 * 60))
    assert [b.name for b in year.methods] == ["last value", "weekly mean", "VAR(3)", "climatology"]
    assert (year.strongest, year.chosen_by) == ("climatology", "validation")
    said = "climatology is better by validation than same day last week and same day last year, which the tables leave"
    assert f"{said} out" in year.notes
    # A weekday's level that wanders from week to week: last week's is the best guess.
    rng = np.random.default_rng(9)
    week = 100 + 10 * np.cumsum(rng.standard_normal((60, 7, 2)), axis=0).reshape(420, 2) + 50 * rng.random((420, 2))
    short = fit_baselines(data_of(week, minutes=24 * 60, past_steps=3))
    assert (short.strongest, short.methods[-1].name) == ("same day last week", "same day last week")


def test_without_validation_windows_training_chooses_and_it_is_said() -> None:
    data = data_of(yearly(300), minutes=24 * 60, train_fraction=0.8, test_fraction=0.2)
    assert len(data.validation) == 0
    assert fit_baselines(data).chosen_by == "the training windows (there are no validation windows)"


def test_baselines_of_held_out_data_are_fitted_on_the_training_data() -> None:
    readings = yearly(20, hours=24)
    training = data_of(readings[: 24 * 15])
    held_out = data_of(readings[24 * 15 :], times_T=count_from(MONDAY + 15 * DAY, HOUR, 24 * 5))
    whole = data_of(readings)
    fitted = fit_baselines(held_out, held_out=True, training=training)
    own = {baseline.name: baseline for baseline in fit_baselines(training).methods}
    assert [baseline.name for baseline in fitted.methods] == list(own)
    starts_W = np.array([30, 40])
    for baseline in fitted.methods:
        alike = own[baseline.name].on(TargetRows(whole, TargetRows(training), held_out=True))
        np.testing.assert_allclose(
            baseline.predict(starts_W), alike.predict(starts_W + 24 * 15), rtol=1e-6, err_msg=baseline.name
        )


def test_without_the_training_data_only_what_needs_no_fit_stays_and_it_is_said() -> None:
    fitted = fit_baselines(data_of(yearly(10, hours=24)), held_out=True)
    assert [baseline.name for baseline in fitted.methods] == ["last value", "same hour yesterday"]
    assert fitted.strongest is None
    assert "not at hand" in fitted.notes[0]


def test_a_bound_holds_for_baselines_too_when_the_strongest_is_chosen() -> None:
    rng = np.random.default_rng(3)
    rain = np.maximum(rng.normal(-1, 1, (600, 2)), 0)
    data = data_of(rain)
    assert fit_baselines(data, at_least=0.0).strongest is not None
    assert data.series.missing == "nan"
    assert fit_baselines(data).minimum_O.tolist() == [0.0]
