"""Which readings are missing: as the file says, as the flags say, and what follows from it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.device_windows import DeviceWindows
from dcrnn_fast.data.known import KNOWN, is_published
from dcrnn_fast.data.left_out import silenced
from dcrnn_fast.data.opening import assemble_data, open_data
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.series_from_readings import make_series
from dcrnn_fast.data.series_joining import join_parts
from dcrnn_fast.data.sources import read_series
from dcrnn_fast.data.store import open_store
from dcrnn_fast.data.times import count_from
from dcrnn_fast.errors import UserError
from dcrnn_fast.prepare import prepare
from tests.data.made_series import FIVE_MINUTES, START, ring

READINGS_TN = np.random.default_rng(3).uniform(270, 300, (40, 3)).round(2)


def write_csv(path: Path, readings_TN: np.ndarray, **settings: Any) -> None:
    times = pd.date_range("2024-01-01", periods=len(readings_TN), freq="h", name="time")
    pd.DataFrame(readings_TN, index=times, columns=["a", "b", "c"]).to_csv(path, **settings)


def series_of(readings_TN: np.ndarray, **settings: Any) -> SensorSeries:
    return make_series(
        readings_TN,
        times_T=count_from(START, FIVE_MINUTES, len(readings_TN)),
        ids=tuple("abc"),
        where="test",
        **{"missing": "auto"} | settings,
    )


def with_cells(readings: np.ndarray, value: float, *rows: int) -> np.ndarray:
    changed = readings.copy()
    changed[list(rows), 1] = value
    return changed


@pytest.mark.parametrize(
    ("readings_TN", "rule", "missing"),
    [
        (READINGS_TN, "nan", 0),
        (with_cells(READINGS_TN, 0.0, 3, 4), "zero", 2),
        (with_cells(with_cells(READINGS_TN, 0.0, 3, 4), np.nan, 7), "nan", 1),
        (with_cells(READINGS_TN, 0.0, 3).astype(np.int64), "zero", 1),
        (with_cells(READINGS_TN - 285, 0.0, 3), "nan", 0),
        (with_cells(with_cells(READINGS_TN, 0.0, 3), -9999, 5), "zero", 1),
        (READINGS_TN.astype(np.int64), "nan", 0),
    ],
    ids=["complete", "zeros", "zeros-and-nan", "whole-zeros", "both-signs", "zeros-and-a-constant", "whole"],
)
def test_the_readings_tell_which_are_missing(readings_TN: np.ndarray, rule: str, missing: int) -> None:
    series = series_of(readings_TN)
    assert series.missing == rule
    assert int((~series.observed_TNC).sum()) == missing


def test_a_declared_fill_value_makes_zeros_readings_even_where_no_reading_has_it(tmp_path: Path) -> None:
    values = with_cells(READINGS_TN, 0.0, 3)
    dataset = xr.Dataset(
        {"rain": (("time", "station"), values)},
        coords={"time": pd.date_range("2024-01-01", periods=40, freq="h"), "station": list("abc")},
    )
    dataset.to_netcdf(tmp_path / "x.nc", engine="h5netcdf", encoding={"rain": {"_FillValue": -1.0}})
    series = read_series(DataConfig(data=str(tmp_path / "x.nc")))
    assert (series.missing, bool(series.observed_TNC.all())) == ("nan", True)
    assert series_of(values, marks_gaps=True).missing == "nan"


def test_values_that_mean_missing(tmp_path: Path) -> None:
    readings_TN = with_cells(with_cells(with_cells(READINGS_TN, -9999, 2, 3), 999.9, 5), 0.0, 6)
    write_csv(tmp_path / "x.csv", readings_TN)
    series = read_series(DataConfig(data=str(tmp_path / "x.csv"), missing_value=(-9999.0, 999.9)))
    assert series.missing == "nan"  # the file marks its gaps, so its zero is a reading
    assert np.flatnonzero(~series.observed_TNC[:, 1, 0]).tolist() == [2, 3, 5]
    assert (series.values_TNC[~series.observed_TNC] == 0).all()


def test_a_value_that_means_missing_is_compared_in_float32() -> None:
    readings_TN = with_cells(READINGS_TN, np.float32(-99.9), 4).astype(np.float32)
    assert not series_of(readings_TN, missing_value=(-99.9,)).observed_TNC[4, 1, 0]
    whole = READINGS_TN.astype(np.int16)
    whole[7, 2] = -999
    assert not series_of(whole, missing_value=(-999.0,)).observed_TNC[7, 2, 0]


def test_flags_win_over_what_the_file_tells() -> None:
    readings_TN = with_cells(with_cells(READINGS_TN, 0.0, 3), np.nan, 7)
    assert int((~series_of(readings_TN, missing="zero").observed_TNC).sum()) == 2
    with pytest.raises(UserError, match="row 7, sensor b is NaN, but missing = none"):
        series_of(readings_TN, missing="none")


def test_the_default_for_gaps_and_scaler_is_right_far_from_zero() -> None:
    config = DataConfig(data="kelvin.csv", past_steps=4, future_steps=2)
    series = series_of(np.where(np.random.default_rng(0).random(READINGS_TN.shape) < 0.25, np.nan, READINGS_TN))
    data = assemble_data(series, ring(series), config)
    assert (data.config.missing, data.config.missing_input, data.config.scaler) == ("nan", "last", "observed")
    assert data.window_format.missing_input == "last"
    assert 280 < data.scaler.mean[0] < 290
    assert data.scaler.std[0] < 15
    batch = data.gather(data.train.starts_W)
    assert float(batch.x_BPNC[..., 0].abs().max()) < 3  # no gap is read as 0 K
    assert not data.published


def test_the_published_recipe_is_the_default_of_the_published_data_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    config = DataConfig(data="metr-la.h5", past_steps=4, future_steps=2)
    series = series_of(with_cells(READINGS_TN, 0.0, 3, 4))
    assert not is_published(config, series)  # a name says nothing about a file
    monkeypatch.setitem(KNOWN, "metr-la", replace(KNOWN["metr-la"], shape=(40, 3)))
    data = assemble_data(series, ring(series), config)
    assert data.published
    assert (data.config.missing_input, data.config.scaler) == ("zero", "published")
    unmarked = series_of(READINGS_TN)
    assert not is_published(config, unmarked)
    assert is_published(DataConfig(data="pems-bay"), unmarked)
    chosen = assemble_data(series, ring(series), replace(config, missing_input="last", scaler="observed"))
    assert (chosen.config.missing_input, chosen.config.scaler) == ("last", "observed")


def matrix_of(folder: Path) -> str:
    np.save(folder / "ring.npy", np.roll(np.eye(3), 1, axis=1))
    return str(folder / "ring.npy")


def test_sensors_are_left_out_by_id_or_by_a_file(tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", with_cells(READINGS_TN, np.nan, *range(40)))  # b is dead
    (tmp_path / "ring.csv").write_text("from,to,weight\na,b,1\nb,c,1\nc,a,1\n")
    config = DataConfig(data=str(tmp_path / "x.csv"), past_steps=4, future_steps=2)
    for graph in (matrix_of(tmp_path), str(tmp_path / "ring.csv")):
        with pytest.raises(UserError, match="'b'"):
            open_data(config, GraphConfig(graph=graph))
        data = open_data(replace(config, leave_out=("b",)), GraphConfig(graph=graph))
        assert data.series.ids == data.graph.ids == ("a", "c")
        assert data.graph.adjacency.toarray().tolist() == [[0, 0], [1, 0]]
        assert any("1 sensor(s) left out: 'b'" in note for note in data.notes)
    (tmp_path / "dead.txt").write_text("b\n\n")
    data = open_data(replace(config, leave_out=(str(tmp_path / "dead.txt"),)), GraphConfig(graph=graph))
    assert data.config.leave_out == ("b",)  # a checkpoint keeps the ids, not a file that may change
    by_position = open_data(replace(config, leave_out=("b",)), GraphConfig(graph=matrix_of(tmp_path), match="position"))
    assert by_position.graph.adjacency.toarray().tolist() == [[0, 0], [1, 0]]


def test_silent_sensors_are_left_out_by_one_word(tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", with_cells(READINGS_TN, np.nan, *range(40)))  # b is dead
    config = DataConfig(data=str(tmp_path / "x.csv"), past_steps=4, future_steps=2)
    graph = GraphConfig(graph=matrix_of(tmp_path), match="position")
    with pytest.raises(UserError, match="--leave-out silent"):
        open_data(config, graph)
    data = open_data(replace(config, leave_out=("c", "silent")), graph)
    assert data.series.ids == data.graph.ids == ("a",)
    assert data.config.leave_out == ("c", "b")  # a checkpoint keeps the ids: others may be silent in new data
    series, _ = prepare(replace(config, leave_out=("silent",)), GraphConfig(), tmp_path / "store")
    assert series.ids == open_store(tmp_path / "store")[0].ids == ("a", "c")
    write_csv(tmp_path / "y.csv", READINGS_TN)
    whole = open_data(replace(config, data=str(tmp_path / "y.csv"), leave_out=("silent",)), graph)
    assert (whole.series.ids, whole.config.leave_out) == (("a", "b", "c"), ())


def test_a_sensor_called_as_the_word_is_itself(tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", with_cells(READINGS_TN, np.nan, *range(40)))
    text = (tmp_path / "x.csv").read_text()
    (tmp_path / "x.csv").write_text(text.replace(",c", ",silent", 1))
    config = DataConfig(data=str(tmp_path / "x.csv"), past_steps=4, future_steps=2, leave_out=("silent",))
    with pytest.raises(UserError, match="no observed reading of 'value' at all: 'b'"):
        open_data(config, GraphConfig(graph=matrix_of(tmp_path), match="position"))


@pytest.mark.parametrize(
    ("leave_out", "said"),
    [
        (("z",), "has no sensor 'z'; it has 'a', 'b', 'c'"),
        (("a", "b", "c"), "names all 3 sensors"),
        (("a", "a"), "each sensor once"),
        (("empty.txt",), "holds no sensor id"),
    ],
)
def test_what_cannot_be_left_out_is_refused(
    leave_out: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").write_text("\n")
    write_csv(Path("x.csv"), READINGS_TN)
    config = DataConfig(data="x.csv", past_steps=4, future_steps=2, leave_out=leave_out)
    with pytest.raises(UserError, match=said):
        open_data(config, GraphConfig(graph=matrix_of(tmp_path)))


def test_absent_rows_become_missing_readings(tmp_path: Path) -> None:
    write_csv(tmp_path / "all.csv", READINGS_TN)
    lines = (tmp_path / "all.csv").read_text().splitlines(keepends=True)
    kept = [row for row in range(40) if row not in (5, 6, 20)]
    (tmp_path / "x.csv").write_text(lines[0] + "".join(lines[1 + row] for row in kept))
    plain = read_series(DataConfig(data=str(tmp_path / "x.csv")))
    assert len(plain.segments) == 3
    assert "--fill-rows" in plain.notes[0]
    filled = read_series(DataConfig(data=str(tmp_path / "x.csv"), fill_rows=True))
    whole = read_series(DataConfig(data=str(tmp_path / "all.csv")))
    assert filled.segments == ((0, 40),)
    assert np.array_equal(filled.times_T, whole.times_T)
    assert np.array_equal(filled.observed_TNC.all(axis=(1, 2)), np.isin(np.arange(40), kept))
    assert np.array_equal(filled.values_TNC[kept], whole.values_TNC[kept])
    assert "3 absent row(s) filled" in filled.notes[0]
    assert filled.missing == "nan"


def test_absent_months_are_filled_by_the_calendar() -> None:
    times = np.array(["2023-12-31", "2024-01-31", "2024-03-31", "2024-04-30", "2024-05-31"], dtype="datetime64[s]")
    series = make_series(
        READINGS_TN[:5],
        times_T=times,
        ids=tuple("abc"),
        missing="none",
        where="test",
        interval=np.timedelta64(1, "M"),
        fill_rows=True,
    )
    assert series.times_T.astype("datetime64[D]").astype(str).tolist() == [
        *("2023-12-31", "2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31")
    ]
    assert series.observed_TNC.all(axis=(1, 2)).tolist() == [True, True, False, True, True, True]


@pytest.mark.parametrize(
    ("moved", "said"),
    [
        (np.timedelta64(430, "s"), "rows cannot be filled: row 30 .* is no multiple of 5min after"),
        (np.timedelta64(3000 * 300, "s"), "3000 rows are absent and 40 there, the longest gap before row 30"),
    ],
)
def test_rows_that_cannot_be_filled_are_refused(moved: np.timedelta64, said: str) -> None:
    times_T = count_from(START, FIVE_MINUTES, 40)
    times_T[30:] += moved
    with pytest.raises(UserError, match=said):
        make_series(READINGS_TN, times_T=times_T, ids=tuple("abc"), missing="nan", where="test", fill_rows=True)


def test_a_ready_made_source_takes_no_flag_that_it_cannot_follow() -> None:
    with pytest.raises(UserError, match="missing_value: city was made with its gaps marked"):
        read_series(DataConfig(city_nodes=4, city_days=1, missing_value=(-1.0,)))


def test_what_the_network_reads_has_all_digits_of_the_file(tmp_path: Path) -> None:
    """The same bits in any unit, where float32 alone would round other ones."""
    readings_TN = np.random.default_rng(1).normal(12, 8, (200, 3)).round(3)
    read = []
    for factor, offset in ((1.0, 0.0), (1e-6, 0.0), (1e6, 0.0), (1.0, 273.15), (5 / 9, 255.372)):
        write_csv(tmp_path / "x.csv", readings_TN * factor + offset)
        config = DataConfig(data=str(tmp_path / "x.csv"), past_steps=4, future_steps=2)
        data = open_data(config, GraphConfig(graph=matrix_of(tmp_path)))
        batch = data.gather(data.train.starts_W)
        read.append((batch.x_BPNC.numpy(), batch.labels_BFNO.numpy()))
        device = DeviceWindows(data, torch.device("cpu")).batch(data.train.starts_W)
        assert torch.equal(device.x_BPNC, batch.x_BPNC)
        assert torch.equal(device.labels_BFNO, batch.labels_BFNO)
        assert np.array_equal(data.series.values_TNC[..., 0], (readings_TN * factor + offset).astype(np.float32))
    for x_BPNC, labels_BFNO in read[1:]:
        assert np.array_equal(x_BPNC, read[0][0])
        assert np.array_equal(labels_BFNO, read[0][1])
    plain = open_data(config, GraphConfig(graph=matrix_of(tmp_path)), all_digits=False)
    assert not np.array_equal(plain.gather(plain.train.starts_W).x_BPNC.numpy(), read[0][0])


def test_the_digits_follow_their_readings() -> None:
    readings = np.random.default_rng(2).uniform(1, 2, (30, 3, 2)) / 3
    series = make_series(
        readings,
        times_T=count_from(START, FIVE_MINUTES, 30),
        ids=tuple("abc"),
        missing="nan",
        where="test",
        channels=("x", "y"),
    )
    everything = slice(None)
    np.testing.assert_allclose(series.readings(everything), readings, rtol=1e-14)
    assert not np.allclose(series.values_TNC, readings, rtol=1e-9)
    taken = series.take_sensors(("c", "a")).take_channels((1,)).tail(5)
    np.testing.assert_allclose(taken.readings(everything), readings[-5:, [2, 0]][..., 1:], rtol=1e-14)
    joined = join_parts([series, replace(series, rest_TNC=None)], ["1", "2"], "test")
    np.testing.assert_allclose(joined.readings(everything)[:30], readings, rtol=1e-14)
    assert np.array_equal(joined.readings(everything)[30:], series.values_TNC.astype(np.float64))
    quiet = silenced(series, {"b", "d"}, ("a", "b", "c", "d"))
    np.testing.assert_allclose(quiet.readings(everything)[:, [0, 2]], readings[:, [0, 2]], rtol=1e-14)
    assert not quiet.readings(everything)[:, [1, 3]].any()
