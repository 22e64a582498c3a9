"""What a folder of series is: channels, stretches of one series, scenarios, or something that cannot be told."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dcrnn_fast.errors import UserError
from tests.data.written_files import read


def _write(
    folder: Path, name: str, start: str = "2024-01-01", rows: int = 40, sensors: str = "abc", **other: Any
) -> None:
    rng = np.random.default_rng(len(name))
    times = pd.date_range(start, periods=rows, freq=other.get("freq", "1h"))
    frame = pd.DataFrame(rng.uniform(1, 9, (rows, len(sensors))).round(3), index=times, columns=list(sensors))
    frame.to_csv(folder / name, index_label="time")


def _write_all(folder: Path, *names: str, **other: Any) -> None:
    for name in names:
        _write(folder, name, **other)


def test_files_over_the_same_times_and_sensors_are_channels(tmp_path: Path) -> None:
    _write(tmp_path, "speed.csv")
    _write(tmp_path, "flow.csv", sensors="cab")
    series = read(tmp_path)
    assert series.channels == ("flow", "speed")
    assert series.ids == ("c", "a", "b")
    assert series.parts == ((0, 40),)
    flow = read(tmp_path / "flow.csv")
    np.testing.assert_array_equal(series.values_TNC[..., 0], flow.values_TNC[..., 0])
    np.testing.assert_array_equal(
        series.values_TNC[..., 1], read(tmp_path / "speed.csv").take_sensors(series.ids).values_TNC[..., 0]
    )
    assert any(note.startswith("look: ") and "read as channels" in note for note in series.notes)
    assert read(tmp_path, data_format="scenarios").parts == ((0, 40), (40, 80))


def test_a_column_that_is_no_sensor_is_the_same_at_all_of_them(tmp_path: Path) -> None:
    _write_all(tmp_path, "speed.csv", "flow.csv")
    _write(tmp_path, "price.csv", sensors="p")
    series = read(tmp_path)
    assert (series.channels, series.ids) == (("flow", "price", "speed"), ("a", "b", "c"))
    price_T = read(tmp_path / "price.csv").values_TNC[:, 0, 0]
    np.testing.assert_array_equal(series.values_TNC[..., 1], np.repeat(price_T[:, None], 3, axis=1))
    assert "price.csv: one column, p, is the same at all 3 sensors" in series.notes
    with pytest.raises(UserError, match="has other ids than"):
        read(tmp_path, data_format="scenarios")
    _write(tmp_path, "late.csv", sensors="q", start="2024-02-01")
    with pytest.raises(UserError, match="has other ids than"):
        read(tmp_path)


def test_netcdf_files_with_a_variable_each_are_channels(tmp_path: Path) -> None:
    for name in ("u10", "v10"):
        values = ("time", "station"), np.random.default_rng(0).uniform(1, 9, (30, 2))
        xr.Dataset({name: values}, {"time": pd.date_range("2024", periods=30, freq="1h")}).to_netcdf(
            tmp_path / f"{name}.nc"
        )
    assert read(tmp_path).channels == ("u10", "v10")


@pytest.mark.parametrize(
    "names",
    [("train.npz", "val.npz", "test.npz"), ("x_train.csv", "x_test.csv"), ("Training.csv", "validation.csv")],
)
def test_the_parts_of_a_split_are_refused(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        if name.endswith("npz"):
            np.savez(tmp_path / name, x=np.ones((9, 12, 3, 2)), y=np.ones((9, 12, 3, 2)))
        else:
            _write(tmp_path, name)
    with pytest.raises(
        UserError, match="the parts of a split, as reference code cuts them into windows; give the series"
    ):
        read(tmp_path)
    if names[0].endswith("npz"):
        with pytest.raises(UserError, match="arrays of four dimensions are windows, cut already"):
            read(tmp_path / names[0])


def test_files_that_follow_each_other_are_one_series_in_the_order_of_time(tmp_path: Path) -> None:
    _write(tmp_path, "b.csv", "2024-01-01")
    _write(tmp_path, "a.csv", "2024-01-02T16:00")
    _write(tmp_path, "c.csv", "2024-01-05")
    series = read(tmp_path)
    assert series.parts == ((0, 120),)
    assert series.segments == ((0, 80), (80, 120))
    assert (np.diff(series.times_T) > np.timedelta64(0)).all()
    assert [note for note in series.notes if "1 gap(s)" in note]
    _write(tmp_path, "d.csv", "2024-01-05T10:00")
    with pytest.raises(UserError, match=r"times that overlap, and may be several things.*--data-format continued"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"d\.csv begins at 2024-01-05T10.* before c\.csv ends at"):
        read(tmp_path, data_format="continued")


def test_years_are_one_series_and_may_not_overlap(tmp_path: Path) -> None:
    _write(tmp_path, "2019.csv", "2019-01-01", rows=300, freq="1D")
    _write(tmp_path, "2020.csv", "2020-01-01", freq="1D")
    assert read(tmp_path).parts == ((0, 340),)
    _write(tmp_path, "2019.csv", "2019-01-01", rows=400, freq="1D")
    with pytest.raises(UserError, match=r"2020\.csv begins at 2020-01-01T00:00:00, before 2019\.csv ends"):
        read(tmp_path)


@pytest.mark.parametrize(
    "names", [("run1.csv", "run2.csv"), ("scenario_01.csv", "scenario_02.csv"), ("1.csv", "2.csv")]
)
def test_numbered_files_are_scenarios(names: tuple[str, str], tmp_path: Path) -> None:
    _write_all(tmp_path, *names)
    series = read(tmp_path)
    assert series.parts == ((0, 40), (40, 80))
    (note,) = series.notes
    assert note.startswith(f"look: {tmp_path}: {names[0]!r}, {names[1]!r} are read as scenarios; else: channels of the")
    _write(tmp_path, names[1], "2024-03-01")  # storms of other days
    assert read(tmp_path).parts == ((0, 40), (40, 80))


@pytest.mark.parametrize("names", [("pm10.csv", "pm25.csv"), ("base.csv", "high.csv"), ("no2.csv", "o3.csv")])
def test_what_cannot_be_told_is_refused_with_the_flags(names: tuple[str, str], tmp_path: Path) -> None:
    _write_all(tmp_path, *names)
    with pytest.raises(
        UserError, match=r"may be several things: .*channels; .*continued; .*--data-format scenarios"
    ) as said:
        read(tmp_path)
    assert "\n" not in str(said.value)
    assert read(tmp_path, data_format="channels").channels == tuple(name[:-4] for name in names)


def test_a_file_for_each_sensor_is_refused(tmp_path: Path) -> None:
    for name in ("rhein.csv", "mosel.csv"):
        _write(tmp_path, name, sensors="h")
    with pytest.raises(UserError, match="holds one sensor: give one table with a column for each sensor"):
        read(tmp_path)


def test_channels_must_share_times_and_sensors(tmp_path: Path) -> None:
    _write_all(tmp_path, "speed.csv", "flow.csv")
    _write(tmp_path, "flow.csv", "2024-01-02")
    with pytest.raises(UserError, match=r"speed\.csv has other times than flow\.csv: 40 rows from 2024-01-01"):
        read(tmp_path, data_format="channels")
    _write(tmp_path, "flow.csv", sensors="abd")
    with pytest.raises(UserError, match=r"speed\.csv has other sensors than flow\.csv: 'c', 'd' not in both"):
        read(tmp_path, data_format="channels")


def test_one_rule_for_missing_readings_holds_for_all_files(tmp_path: Path) -> None:
    _write_all(tmp_path, "speed.csv", "flow.csv")
    frame = pd.read_csv(tmp_path / "flow.csv", index_col="time")
    frame.iloc[3, 0] = 0
    frame.to_csv(tmp_path / "flow.csv")
    zero = read(tmp_path)
    assert (zero.missing, int((~zero.observed_TNC).sum())) == ("zero", 1)
    frame.iloc[4, 0] = np.nan
    frame.to_csv(tmp_path / "flow.csv")
    speeds = pd.read_csv(tmp_path / "speed.csv", index_col="time")
    speeds.iloc[5] = 0
    speeds.to_csv(tmp_path / "speed.csv")
    nan = read(tmp_path)
    assert (nan.missing, int((~nan.observed_TNC).sum())) == ("nan", 1)
