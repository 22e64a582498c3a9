"""What was understood of a series: numbers that numpy gives too, and doubts that are neither missed nor invented."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data import pieces
from dcrnn_fast.data.account import series_lines, series_looks
from dcrnn_fast.data.dataset import ForecastData
from dcrnn_fast.data.facts import odd_values, same_sensors, series_facts
from dcrnn_fast.data.opening import assemble_data, open_data
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.data.sources import read_series
from dcrnn_fast.data.store import write_store
from dcrnn_fast.data.times import count_from
from dcrnn_fast.data.window_account import facts_of, require_validation_targets, window_lines, window_looks
from dcrnn_fast.errors import UserError
from tests.data.made_series import START, random_series, ring

HOUR = np.timedelta64(3600, "s")
DAY = np.timedelta64(86_400, "s")
RNG = np.random.default_rng(0)


def made(readings: np.ndarray, *, missing: str = "nan", interval: np.timedelta64 = HOUR) -> SensorSeries:
    times_T = count_from(START, interval, len(readings))
    ids = tuple(f"s{n}" for n in range(readings.shape[1]))
    return make_series(readings, times_T=times_T, ids=ids, missing=missing, where="test", interval=interval)


def assembled(series: SensorSeries, **settings: object) -> ForecastData:
    return assemble_data(series, ring(series), DataConfig(data="x.csv", past_steps=3, future_steps=2, **settings))


def looks_of(series: SensorSeries, **asked: object) -> list[str]:
    return series_looks(series, series_facts(series), DataConfig(data="x.csv", **{"missing": "nan", **asked}))


@pytest.mark.parametrize("at_once", [1, 50, 1 << 22])
def test_facts_are_numpys_whatever_the_stretches(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(pieces, "AT_ONCE", at_once)
    series = random_series(90, 4, 2)
    values, observed = series.values_TNC.astype(np.float64) + 1e4, series.observed_TNC.copy()
    observed[:, 3, 1] = False
    values[5, 1, 0] = 0
    observed[5, 1, 0] = True
    series = replace(series, values_TNC=np.where(observed, values, 0).astype(np.float32), observed_TNC=observed)
    train_T = np.arange(90) < 40
    facts = series_facts(series, train_T)
    np.testing.assert_array_equal(facts.count_NC, observed.sum(axis=0))
    np.testing.assert_array_equal(facts.train_NC, observed[:40].sum(axis=0))
    assert facts.zeros_C.tolist() == [1, 0]
    assert facts.high_NC[3, 1] == -np.inf
    for c in range(2):
        kept = series.values_TNC[:, :, c][observed[:, :, c]].astype(np.float64)
        assert facts.low_NC[:, c].min() == kept.min()
        assert facts.high_NC[:, c].max() == kept.max()
        assert facts.means[c] == pytest.approx(kept.mean(), rel=1e-12)
        assert facts.deviations[c] == pytest.approx(kept.std(), rel=1e-9)


@pytest.mark.parametrize("at_once", [7, 1 << 22])
@pytest.mark.parametrize(
    ("normal", "value", "times"),
    [
        (RNG.normal(5, 1, (400, 5)), -9999, 6),
        (RNG.normal(5, 1, (400, 5)), -9999, 1),
        (RNG.normal(12, 8, (400, 5)), -99, 3),
        (RNG.integers(0, 4000, (400, 5)), 65535, 2),
        (RNG.uniform(0, 100, (400, 5)), 9999, 700),
        (RNG.normal(5, 1, (400, 5)), 9.969209968386869e36, 4),
        (RNG.normal(5, 1, (400, 5)), 1e20, 4),
        (RNG.uniform(20, 80, (400, 5)).round(1), -1, 40),
        (RNG.normal(290, 8, (400, 5)), 0, 30),
        (RNG.normal(5, 1, (400, 5)), 12345.6789, 5),
        (RNG.normal(5e-6, 1e-6, (400, 5)), 1.0, 3),
    ],
)
def test_a_value_far_from_all_others_is_named_with_its_count(
    monkeypatch: pytest.MonkeyPatch, normal: np.ndarray, value: float, times: int, at_once: int
) -> None:
    monkeypatch.setattr(pieces, "AT_ONCE", at_once)
    readings = normal.astype(np.float64)
    cells = np.random.default_rng(1).permutation(readings.size)[:times]
    readings.ravel()[cells] = value
    series = made(readings)
    (odd,) = odd_values(series, series_facts(series))
    row, sensor = divmod(int(cells.min()), 5)
    assert (odd.value, odd.count, odd.row, odd.sensor) == (float(np.float32(value)), times, row, sensor)
    others = np.delete(readings, cells).astype(np.float32)
    assert (odd.low, odd.high) == (others.min(), others.max())
    (line,) = looks_of(series, missing="auto")
    assert line.startswith(f"look: {times} reading")
    words = line.split(": if ")[1].split()
    assert f" {words[0]}, the first at sensor s{sensor}, " in line
    assert words[1:4] == ["marks", "a", "gap,"]
    assert words[4:] == (["--missing", "zero"] if value == 0 else ["--missing-value", words[0]])
    assert np.float32(float(words[0])) == np.float32(value), "the advice names the very value"


def test_two_marks_are_both_named_and_one_that_counts_as_missing_is_not() -> None:
    readings = RNG.normal(20, 5, (300, 4))
    readings[3:9, 1], readings[50:60, 2] = -9999, -99
    assert [odd.value for odd in odd_values(made(readings), series_facts(made(readings)))] == [-9999, -99]
    series = make_series(
        readings, times_T=count_from(START, HOUR, 300), ids=("a", "b", "c", "d"), missing="auto", where="t",
        missing_value=(-9999.0, -99.0),
    )  # fmt: skip
    assert looks_of(series, missing="auto", missing_value=(-9999.0, -99.0)) == []


@pytest.mark.parametrize(
    "readings",
    [
        RNG.gamma(0.05, 4, (2000, 5)).round(1),  # rain
        RNG.poisson(0.05, (2000, 5)),  # cases of a rare disease
        RNG.poisson(900, (2000, 5)),  # counts that reach 999
        RNG.normal(4, 2, (2000, 5)).round().clip(-1),  # whole degrees, never below -1
        RNG.integers(0, 65536, (2000, 5)),  # a counter of 16 bits
        RNG.lognormal(1, 1.5, (2000, 5)),  # flow of a river
        np.clip(np.sin(np.arange(2000) / 24 * 2 * np.pi), 0, None)[:, None] * RNG.uniform(0.3, 1, (2000, 5)),  # power
        RNG.choice([0.0, 1.0], (2000, 5)),
        np.tile(np.arange(2000.0), (5, 1)).T + np.arange(5),
    ],
)
def test_readings_as_they_are_raise_no_doubt(readings: np.ndarray) -> None:
    assert looks_of(made(readings.astype(np.float64))) == []


def test_zeros_that_were_said_to_be_readings_raise_no_doubt() -> None:
    readings = RNG.normal(290, 8, (400, 5))
    readings[3, :] = 0
    assert looks_of(made(readings), missing="nan") == []


def test_sensors_that_never_change_or_are_the_same_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "AT_ONCE", 64)
    readings = RNG.normal(5, 1, (100, 6))
    readings[:, 2] = 7.5
    readings[:, 4] = readings[:, 0]
    readings[:, 5] = readings[::-1, 1]  # same sum, same range
    series = made(readings)
    assert same_sensors(series, series_facts(series)) == [[0, 4]]
    assert looks_of(series) == [
        "look: 1 sensor never changes: s2 (7.5)",
        "look: sensors with the same readings in every row: 's0', 's4'",
    ]


def test_zeros_that_count_as_missing_come_first(tmp_path: Path) -> None:
    values = RNG.uniform(1, 2, (200, 2))
    values[::4] = 0
    values[3, 1] = 9999
    frame = pd.DataFrame(values, index=pd.date_range("2024-01-01", periods=200, freq="h"), columns=["a", "b"])
    frame.to_csv(tmp_path / "x.csv", index_label="time")
    asked = DataConfig(data=str(tmp_path / "x.csv"))
    series = read_series(asked)
    first, second = series_looks(series, series_facts(series), asked)
    assert first == (
        "look: 25 % of the readings are zeros and count as missing, because the file marks no gaps (--missing zero); "
        "if zeros are readings (power at night, counts, rain): --missing nan"
    )
    assert "9999" in second
    for rule in ("zero", "nan", "none"):
        said = replace(asked, missing=rule)
        series = read_series(said)
        assert [line for line in series_looks(series, series_facts(series), said) if "zeros" in line] == []
    write_store(tmp_path / "store", read_series(asked), None)
    stored = DataConfig(data=str(tmp_path / "store"))
    series = read_series(stored)
    assert series_looks(series, series_facts(series), stored)[0].startswith(
        "look: 25 % of the readings are missing: the store was prepared with --missing zero"
    )


def test_a_sensor_that_begins_after_the_training_part_is_named() -> None:
    readings = RNG.normal(5, 1, (100, 3))
    readings[:90, 1] = np.nan
    data = assembled(made(readings))
    assert window_looks(data, facts_of(data)) == [
        "look: 1 sensor without a reading in the training part: 's1'; nothing is learnt of their readings (--leave-out)"
    ]


@pytest.mark.parametrize(
    ("interval", "settings", "flags"),
    [
        (HOUR, {}, []),
        (12 * HOUR, {"day_of_week": True}, []),
        (DAY, {}, ["--no-time-of-day"]),
        (DAY, {"time_of_day": False, "day_of_week": True}, []),
        (7 * DAY, {"day_of_week": True}, ["--no-time-of-day", "--no-day-of-week"]),
        (np.timedelta64(1, "M"), {"day_of_week": True}, ["--no-time-of-day"]),
    ],
)
def test_time_channels_that_never_change_are_named(
    interval: np.timedelta64, settings: dict[str, bool], flags: list[str]
) -> None:
    data = assembled(made(RNG.normal(5, 1, (100, 2)), interval=interval), **settings)
    lines = window_looks(data, facts_of(data))
    assert [line.split("(")[-1].rstrip(")") for line in lines] == flags


def test_lines_say_times_zone_gaps_and_every_channel() -> None:
    series = random_series(100, 3, 2, gaps=(40, 70))
    values = series.values_TNC * np.float32(1e-6)
    series = replace(series, values_TNC=values, units=("m3/s", ""), in_utc=True)
    facts = series_facts(series)
    times, readings, first, second = series_lines(series, facts)
    assert times == "times: 2024-03-04 00:00 to 2024-03-04 10:15, UTC, every 5min, 2 gaps, the longest 1 h"
    missing = 1 - series.observed_TNC.mean()
    assert readings == f"readings: {missing:.2%} missing (--missing zero: zeros and NaN are missing)"
    kept = values[:, :, 0][series.observed_TNC[:, :, 0]].astype(np.float64)
    assert first == (
        f"channel c0 (m3/s): {kept.min():.5g} to {kept.max():.5g}, mean {kept.mean():.5g}, deviation {kept.std():.5g}, "
        f"zeros are missing, {100 * (1 - series.observed_TNC[:, :, 0].mean()):.3g} % missing"
    )
    assert "e-0" in first
    assert second.startswith("channel c1 (unit not given): ")
    plain = replace(made(kept[:50, None]), in_utc=False)
    assert series_lines(plain, series_facts(plain))[0].endswith(", no zone given, every 1h, without interruption")


def test_windows_are_told_with_the_times_that_they_forecast() -> None:
    data = assembled(made(RNG.normal(5, 1, (100, 2))))
    assert window_lines(data) == [
        "windows: 67 train, 10 validation, 19 test; 3 steps in, 2 out",
        "  train targets: 2024-03-04 03:00 to 2024-03-06 22:00",
        "  validation targets: 2024-03-06 22:00 to 2024-03-07 08:00",
        "  test targets: 2024-03-07 08:00 to 2024-03-08 03:00",
    ]


def test_validation_windows_without_a_target_are_refused_and_test_windows_told() -> None:
    readings = RNG.normal(5, 1, (100, 2))
    readings[60:] = np.nan
    data = assembled(made(readings))
    with pytest.raises(UserError, match=r"^the validation windows, 2024-03-06 22:00 to .* hold no observed target"):
        require_validation_targets(data)
    assert "look: the test windows hold no observed target: nothing will be evaluated" in window_looks(
        data, facts_of(data)
    )
    require_validation_targets(assembled(made(RNG.normal(5, 1, (100, 2)))))


def test_public_data_raise_no_false_doubt(real_data: Path) -> None:
    hague = GraphConfig(graph=str(real_data / "the_hague/adj_mx.pkl"), match="position")
    loop = GraphConfig(graph=str(real_data / "metr_la_graph/adj_mx.pkl"))
    week = {"start": "2012-03-01", "freq": "5min"}
    for asked, graph, words in (
        (
            DataConfig(data=str(real_data / "metr_la_20/metr_la_20.npz")),
            GraphConfig(),
            ["7.85 % of the readings are zeros"],
        ),
        (DataConfig(data=str(real_data / "the_hague/DH.h5"), missing="none"), hague, []),
        (DataConfig(data=str(real_data / "los_loop/los_speed.csv"), **week), loop, []),
        (DataConfig(), GraphConfig(), []),
    ):
        data = open_data(asked, graph)
        lines = [*series_looks(data.series, facts_of(data), asked), *window_looks(data, facts_of(data))]
        assert len(lines) == len(words)
        assert all(word in line for word, line in zip(words, lines, strict=True))
