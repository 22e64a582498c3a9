"""Times that are numbers, fractions of seconds, and clocks that are set back."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcrnn_fast.config.data import DataConfig
from dcrnn_fast.data.number_times import number_times
from dcrnn_fast.data.timestamps import offset_name, parse_times, whole_seconds
from dcrnn_fast.errors import UserError
from tests.data.written_files import read

NO_FLAGS = DataConfig()
FLAGS = DataConfig(start="2024-01-01", freq="1h")
TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@given(
    st.integers(31_536_000, 4_000_000_000),
    st.sampled_from([1, 60, 300, 3600, 86400]),
    st.sampled_from(list(TICKS)),
    st.sampled_from([np.int64, np.float64]),
)
def test_each_unit_since_1970_is_told_by_its_size(first: int, step: int, unit: str, kind: Any) -> None:
    wanted_T = first + step * np.arange(50)
    stamps = number_times((wanted_T * TICKS[unit]).astype(kind), "times", NO_FLAGS)
    assert stamps is not None
    assert np.array_equal(stamps.times_T, wanted_T.astype("M8[s]"))


@given(st.integers(-(10**19), 10**19), st.integers(1, 10**12), st.integers(2, 30))
def test_no_number_becomes_a_time_outside_1900_to_2100(first: int, step: int, count: int) -> None:
    numbers_T = (first + step * np.arange(count, dtype=object)).astype(np.float64)
    try:
        stamps = number_times(numbers_T, "times", NO_FLAGS)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert stamps is not None
    assert stamps.times_T.min() >= np.datetime64("1900-01-01")
    assert stamps.times_T.max() <= np.datetime64("2101-01-01")


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (np.arange(9), r"holds the plain count 0, 1, 2 \.\., no times: give --start"),
        (np.arange(1, 9), r"holds the plain count 1, 2, 3 \.\., no times: give --start"),
        (np.arange(9) * 300, "counted from the first row on, so that its date is not known: .*give --start and --freq"),
        (np.arange(4 * 366) * 86400, "counted from the first row on"),
        (2000 + np.arange(9), "a year, or a count: .*or give --start and --freq"),
        (45000 + np.arange(9) / 24, "the count of a spreadsheet"),
        (28401120 + np.arange(9) * 5, "in the year 1970 if it is seconds"),
        (1.7e10 + np.arange(9), "in none of s, ms, µs and ns since 1970 a time between 1971 and 2100"),
        (1704067200 + 0.1 * np.arange(9), r"rows are 0\.1 s apart"),
        (np.array([1704067200, np.nan]), "row 1 has no time"),
        ((1704067200 + 60 * np.arange(50)).astype("f4"), "resolve no more than 128 s, and rows fall on the same time"),
    ],
)
def test_other_numbers_are_refused_with_what_they_would_be(numbers: np.ndarray, said: str) -> None:
    with pytest.raises(UserError, match=said):
        number_times(numbers, "times", NO_FLAGS)


def test_counts_go_with_start_and_freq_and_dates_are_read() -> None:
    for first in (0, 1, 2000):
        assert number_times(first + np.arange(9), "times", FLAGS) is None
    stamps = number_times(np.array([20240131, 20240201]), "times", NO_FLAGS)
    assert stamps is not None
    assert stamps.times_T.astype(str).tolist() == ["2024-01-31T00:00:00", "2024-02-01T00:00:00"]


@pytest.mark.parametrize(
    ("form", "freq"), [("%Y%m%d%H", "1h"), ("%Y%m%d%H%M", "5min"), ("%Y%m%d%H%M", "1D"), ("%Y%m%d%H%M%S", "20s")]
)
@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_dates_with_hours_written_as_one_number(form: str, freq: str, kind: Any) -> None:
    # 2023010100 is also a second of 2034, 202301010000 a millisecond of 1976.
    wanted = pd.date_range("2023-01-01", periods=60, freq=freq)
    stamps = number_times(wanted.strftime(form).astype(np.int64).to_numpy().astype(kind), "times", NO_FLAGS)
    assert stamps is not None
    assert np.array_equal(stamps.times_T, wanted.to_numpy().astype("M8[s]"))


@pytest.mark.parametrize("wrong", [2023010124, 202301012400, 202301012360, 20230101240000])
def test_hours_from_1_to_24_are_no_seconds_since_1970(wrong: int) -> None:
    right = int(str(wrong)[:8].ljust(len(str(wrong)), "0"))
    with pytest.raises(UserError, match=rf"{wrong} is no time written as YmdH.*: write ISO times"):
        number_times(np.array([right, wrong]), "times", NO_FLAGS)


def test_a_count_with_a_hole_is_not_taken_out() -> None:
    # Without its column the rows after the hole would move up.
    for numbers in (np.r_[0:5, 6:9], np.r_[0:5, 6:9] * 300):
        with pytest.raises(UserError, match=r"write ISO times such as 2024-02-01T00:05$"):
            number_times(numbers, "times", FLAGS)


@given(st.integers(-(10**9), 3 * 10**9), st.integers(1, 86400), st.integers(-900, 900))
def test_times_that_miss_their_second_are_that_second(first: int, step: int, miss: int) -> None:
    wanted_T = first + step * np.arange(20)
    off_T = np.resize([0, miss, -miss], 20)
    times_T = (wanted_T * 10**9 + off_T).astype("M8[ns]")
    assert np.array_equal(whole_seconds(times_T), wanted_T.astype("M8[s]"))


def test_fractions_that_all_rows_share_do_not_bend_the_axis() -> None:
    for fraction in (430, 500, 501, 999):
        times_T = (np.arange(20) * 1000 + fraction).astype("M8[ms]")
        assert set(np.diff(whole_seconds(times_T))) == {np.timedelta64(1, "s")}
    for step in (100, 250, 1500):
        with pytest.raises(
            UserError, match="but times are kept to the second: average the readings over whole seconds"
        ):
            whole_seconds((np.arange(20) * step).astype("M8[ms]"))


@pytest.mark.parametrize(
    ("offset", "name"), [("Z", "UTC"), ("+00:00", "UTC"), ("-0", "UTC"), ("+1", "+01:00"), ("-0330", "-03:30")]
)
def test_offsets_have_one_name(offset: str, name: str) -> None:
    assert offset_name(offset) == name
    stamps = parse_times([f"2024-01-01T05:00{offset}"])
    assert (stamps.in_utc, stamps.zone) == (True, name)


def _csv(folder: Path, *times: str, header: str = "time") -> Path:
    path = folder / "x.csv"
    path.write_text(f"{header},a\n" + "".join(f"{time},{k % 3 + 1}\n" for k, time in enumerate(times)))
    return path


@pytest.mark.parametrize(
    ("hours", "said"),
    [
        (
            "01:30 02:00 02:30 02:00 02:30 03:00",
            r"at line 5 .*the clock goes back by an hour, .*: give the times an offset",
        ),
        (
            "00:00 01:00 02:00 02:00 03:00 04:00",
            "line 5 repeats the time of line 4.*or, where clocks were set back, give",
        ),
    ],
)
def test_an_autumn_clock_change_is_refused_with_its_cure(hours: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said) as error:
        read(_csv(tmp_path, *(f"2024-10-27 {hour}" for hour in hours.split())))
    assert str(error.value).count("x.csv") == 1
    offsets = ["+02:00"] * 3 + ["+01:00"] * 3
    series = read(_csv(tmp_path, *(f"2024-10-27 {h}{o}" for h, o in zip(hours.split(), offsets, strict=True))))
    assert (series.segments, series.zone) == (((0, 6),), "+01:00")


def test_a_spring_clock_change_is_a_gap_that_says_so(tmp_path: Path) -> None:
    spring = [f"2024-03-31 {hour}:00" for hour in ("00", "01", "03", "04")]
    assert "where local clocks are set forward" in read(_csv(tmp_path, *spring)).notes[0]
    assert "clocks" not in read(_csv(tmp_path, *(time.replace("31", "29") for time in spring))).notes[0]
    assert "clocks" not in read(_csv(tmp_path, *(f"{time}Z" for time in spring))).notes[0]


@pytest.mark.parametrize("header", ["time", "unix", "stamp", ""])
def test_a_column_of_numbers_is_the_axis_whatever_its_name(header: str, tmp_path: Path) -> None:
    path = _csv(tmp_path, *(str((1704067200 + 300 * k) * 1000) for k in range(9)), header=header)
    series = read(path)
    assert (series.ids, str(series.times_T[0]), series.freq) == (("a",), "2024-01-01T00:00:00", "5min")
    with pytest.raises(UserError, match="has times of its own, the first 2024-01-01T00:00:00: leave out --start"):
        read(path, start="2024-01-01", freq="5min")
    counted = _csv(tmp_path, *map(str, range(9)), header=header)
    with pytest.raises(UserError, match="the plain count 0, 1, 2"):
        read(counted)
    assert read(counted, start="2024-01-01", freq="5min").ids == ("a",)


def test_times_of_arrays_are_told_apart(tmp_path: Path) -> None:
    seconds_T = 1704067200 + 300 * np.arange(30)
    readings = np.random.default_rng(0).uniform(1, 9, (30, 2))
    axes = [(seconds_T * ticks).astype(kind) for ticks in TICKS.values() for kind in (np.int64, np.uint64, np.float64)]
    for times in (*axes, seconds_T.astype("M8[s]").astype("M8[ns]"), seconds_T.astype("M8[s]").astype(str)):
        np.savez(tmp_path / "x.npz", data=readings, times=times)
        series = read(tmp_path / "x.npz")
        assert np.array_equal(series.times_T, seconds_T.astype("M8[s]"))
    np.savez(tmp_path / "x.npz", data=readings, times=np.arange(30))
    with pytest.raises(UserError, match="the plain count 0, 1, 2"):
        read(tmp_path / "x.npz")
    assert read(tmp_path / "x.npz", start="2024-01-01", freq="5min").num_steps == 30
