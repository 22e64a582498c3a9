"""Masks and time axes: what is missing, where gaps are, which axes are refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.data.series_joining import join_parts
from dcrnn_fast.data.times import (
    advance,
    count_from,
    day_of_week,
    format_freq,
    fraction_of_day,
    parse_freq,
    regular_axis,
)
from dcrnn_fast.data.timestamps import parse_time
from dcrnn_fast.errors import UserError
from tests.data.made_series import FIVE_MINUTES, START, random_series


def _series(readings: list[list[float]], missing: str) -> SensorSeries:
    times_T = count_from(START, FIVE_MINUTES, len(readings))
    return make_series(np.array(readings), times_T=times_T, ids=("a", "b"), missing=missing, where="x.csv")


def test_missing_readings_become_a_mask_and_hold_zero() -> None:
    readings = [[1.0, 0.0], [np.nan, 2.0]]
    zero = _series(readings, "zero")
    assert zero.observed_TNC[..., 0].tolist() == [[True, False], [False, True]]
    nan = _series(readings, "nan")
    assert nan.observed_TNC[..., 0].tolist() == [[True, True], [False, True]]
    for series in (zero, nan):
        assert series.values_TNC[..., 0].tolist() == [[1.0, 0.0], [0.0, 2.0]]
    with pytest.raises(UserError, match=r"x\.csv: row 1, sensor a is NaN, but missing = none"):
        _series(readings, "none")
    assert _series([[0.0, 1.0], [2.0, 0.0]], "none").observed_TNC.all()


@pytest.mark.parametrize(
    ("reading", "fault"),
    [(np.inf, "inf is not finite"), (-np.inf, "-inf is not finite"), (1e300, r"1e\+300 is too large for float32")],
)
def test_readings_that_are_not_finite_are_refused(reading: float, fault: str) -> None:
    with pytest.raises(UserError, match=f"row 1, sensor b: the reading {fault}"):
        _series([[1.0, 2.0], [3.0, reading]], "zero")


def test_ids_times_and_shapes_must_fit() -> None:
    times_T = count_from(START, FIVE_MINUTES, 2)
    values = np.ones((2, 2))
    with pytest.raises(UserError, match="sensor id 'a' comes twice"):
        make_series(values, times_T=times_T, ids=("a", "a"), missing="zero", where="x")
    with pytest.raises(UserError, match="2 sensor ids wanted, got 1"):
        make_series(values, times_T=times_T, ids=("a",), missing="zero", where="x")
    with pytest.raises(UserError, match="2 rows of readings but 1 times"):
        make_series(values, times_T=times_T[:1], ids=("a", "b"), missing="zero", where="x")
    with pytest.raises(UserError, match="readings must be"):
        make_series(values[0], times_T=times_T, ids=("a", "b"), missing="zero", where="x")


def _axis(minutes: list[int]) -> np.ndarray:
    return START + np.array(minutes) * np.timedelta64(60, "s")


def test_irregular_axes_are_refused_by_row() -> None:
    with pytest.raises(UserError, match=r"f: row 2 repeats the time of row 1, 2024-03-04T00:05:00"):
        regular_axis(_axis([0, 5, 5, 10]), "f")
    with pytest.raises(UserError, match=r"times must increase, but row 3 .* comes before row 2"):
        regular_axis(_axis([0, 5, 10, 7, 15]), "f")
    for hours in ([120, 60, 0], [15, 10, 5]):
        with pytest.raises(UserError, match=r"f: its times run backwards, from .* to .*: reverse the order of its row"):
            regular_axis(_axis(hours), "f")
    with pytest.raises(UserError, match=r"rows are 5min apart, but row 3 \(2024-03-04T00:12:00\)"):
        regular_axis(_axis([0, 5, 10, 12, 15, 20, 25]), "f")
    with pytest.raises(UserError, match="row 1 has no time"):
        regular_axis(np.array([START, np.datetime64("NaT", "s")]), "f")
    with pytest.raises(UserError, match="at least two are needed"):
        regular_axis(_axis([0]), "f")


def test_a_spring_clock_change_is_a_gap() -> None:
    axis = regular_axis(_axis([105, 110, 115, 180, 185, 190]), "f")
    assert axis.interval == FIVE_MINUTES
    assert axis.segments == ((0, 3), (3, 6))


def test_calendar_months_are_recognised() -> None:
    months = np.array(["2001-11", "2001-12", "2002-01", "2002-02", "2002-03", "2002-06", "2002-07"], dtype="M8[M]")
    axis = regular_axis(months.astype("M8[s]") + np.timedelta64(14 * 86400, "s"), "f")
    assert format_freq(axis.interval) == "1MS"
    assert axis.segments == ((0, 5), (5, 7))
    last_days = np.array(["2001-12-31", "2002-01-31", "2002-02-28", "2002-03-31", "2002-04-30"], dtype="M8[s]")
    assert format_freq(regular_axis(last_days, "f").interval) == "1MS"


def test_months_are_added_by_the_calendar() -> None:
    month = parse_freq("1MS")
    assert advance(np.datetime64("2023-01-31T06:00:00"), np.arange(3), month).astype(str).tolist() == [
        "2023-01-31T06:00:00",
        "2023-02-28T06:00:00",
        "2023-03-31T06:00:00",
    ]


@given(st.integers(1, 5000), st.sampled_from(["s", "min", "h", "D", "W", "MS"]))
def test_freq_survives_its_text(count: int, unit: str) -> None:
    interval = parse_freq(f"{count}{unit}")
    assert parse_freq(format_freq(interval)) == interval


@pytest.mark.parametrize("freq", ["", "0min", "5 minutes", "-5min", "5", "min5", "1Y"])
def test_other_freqs_are_refused(freq: str) -> None:
    with pytest.raises(UserError, match="freq must be a number and one of"):
        parse_freq(freq)


def test_times_of_day_and_week() -> None:
    times = np.array(["2024-03-04T18:00:00", "1969-12-31T12:00:00"], dtype="M8[s]")
    assert fraction_of_day(times).tolist() == [0.75, 0.5]
    assert day_of_week(times).tolist() == [0, 2]
    with pytest.raises(UserError, match="start must be an ISO time"):
        parse_time("yesterday", "start")


def test_parts_are_never_joined_by_a_window() -> None:
    one, two = random_series(30), random_series(20, seed=1)
    joined = join_parts([one, two], ["a", "b"], "folder")
    assert joined.segments == joined.parts == ((0, 30), (30, 50))
    assert joined.notes == ()
    assert np.array_equal(joined.values_TNC[30:], two.values_TNC)
    with pytest.raises(UserError, match="folder: the times of one of a and b have an offset, the other's have none"):
        join_parts([replace(one, in_utc=True), replace(two, in_utc=False)], ["a", "b"], "folder")
    with pytest.raises(UserError, match="folder: b has other ids than a"):
        join_parts([one, random_series(20, 4)], ["a", "b"], "folder")


def test_the_newest_rows_keep_their_gaps() -> None:
    series = random_series(30, gaps=(20,))
    newest = series.tail(12)
    assert newest.segments == ((0, 2), (2, 12))
    assert np.array_equal(newest.values_TNC, series.values_TNC[18:])
    assert series.tail(5).segments == ((0, 5),)


def test_sensors_are_taken_by_id() -> None:
    series = random_series(10, 4)
    taken = series.take_sensors(("s3", "s0"))
    assert np.array_equal(taken.values_TNC, series.values_TNC[:, [3, 0]])
    with pytest.raises(UserError, match="the series has no sensor 's9'"):
        series.take_sensors(("s9",))
