"""BasicTS folders of all three ages, as its scripts write them."""

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.data.sources import read_source
from dcrnn_fast.errors import UserError
from dcrnn_fast.graph import SensorGraph

IDS = ["773869", "767541", "717447"]
ADJACENCY = np.array([[1, 0.5, 0], [0, 1, 0.25], [0.125, 0, 1]], dtype=np.float32)
TIMES = pd.date_range("2012-03-01 08:00", periods=600, freq="5min")
READINGS = np.random.default_rng(3).integers(2, 560, (600, 3)).astype(np.float64) / 8
READINGS[5, 1] = READINGS[77, 0] = 0
START = "2012-03-01T08:00"


def _features(times: pd.DatetimeIndex, *, sevenths: bool = True) -> np.ndarray:
    """(T, 2): time of day, day of week."""
    time_T = (times.values - times.values.astype("datetime64[D]")) / np.timedelta64(1, "D")
    return np.stack([time_T, times.day_of_week / 7 if sevenths else times.day_of_week], axis=-1)


def _with_features(times: pd.DatetimeIndex, readings: np.ndarray, *, sevenths: bool = True) -> np.ndarray:
    features = np.repeat(_features(times, sevenths=sevenths)[:, None], readings.shape[1], axis=1)
    return np.concatenate([readings[:, :, None], features], axis=-1)


def _graph(folder: Path) -> None:
    loaded = [IDS, {sensor: n for n, sensor in enumerate(IDS)}, ADJACENCY]
    (folder / "adj_mx.pkl").write_bytes(pickle.dumps(loaded, protocol=2))


def _memmap(folder: Path, times: pd.DatetimeIndex = TIMES, **changed: Any) -> Path:
    folder.mkdir(exist_ok=True)
    readings_TNC = _with_features(times, READINGS[: len(times)]).astype(np.float32)
    (folder / "data.dat").write_bytes(readings_TNC.tobytes())
    settings = {"INPUT_LEN": 12, "OUTPUT_LEN": 12, "TRAIN_VAL_TEST_RATIO": [0.7, 0.1, 0.2], "NULL_VAL": 0.0}
    description = {
        "name": "METR-LA",
        "domain": "traffic speed",
        "shape": readings_TNC.shape,
        "num_time_steps": len(times),
        "num_nodes": 3,
        "num_features": 3,
        "feature_description": ["traffic speed", "time of day", "day of week"],
        "has_graph": True,
        "frequency (minutes)": 5,
        "regular_settings": settings,
    }
    (folder / "desc.json").write_text(json.dumps(description | changed))
    _graph(folder)
    return folder


def _split(folder: Path, times: pd.DatetimeIndex = TIMES, **changed: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for name, rows in (("train", slice(0, 420)), ("val", slice(420, 480)), ("test", slice(480, None))):
        np.save(folder / f"{name}_data.npy", READINGS[: len(times)][rows].astype(np.float32))
        np.save(folder / f"{name}_timestamps.npy", _features(times)[rows].astype(np.float32))
    description = {
        "name": "METR-LA",
        "domain": "traffic speed",
        "frequency (minutes)": 5,
        "shape": [len(times), 3],
        "timestamps_shape": [len(times), 2],
        "timestamps_description": ["time of day", "day of week"],
        "num_time_steps": len(times),
        "num_vars": 3,
        "has_graph": True,
        "regular_settings": {"train_val_test_ratio": [0.7, 0.1, 0.2], "rescale": True, "null_val": 0.0},
    }
    (folder / "meta.json").write_text(json.dumps(description | changed))
    _graph(folder)
    return folder


def _pickle(folder: Path, times: pd.DatetimeIndex = TIMES) -> Path:
    folder.mkdir(exist_ok=True)
    mean, std = READINGS[:400].mean(), READINGS[:400].std()
    scaled_TNC = _with_features(times, (READINGS[: len(times)] - mean) / std, sevenths=False)
    for name, part in (
        ("data", {"processed_data": scaled_TNC}),
        ("index", {"train": [(0, 12, 24)], "valid": [(1, 13, 25)], "test": [(2, 14, 26)]}),
        ("scaler", {"func": "re_standard_transform", "args": {"mean": mean, "std": std}}),
    ):
        (folder / f"{name}_in_12_out_12.pkl").write_bytes(pickle.dumps(part))
    _graph(folder)
    return folder


WRITERS = pytest.mark.parametrize("write", [_memmap, _split, _pickle], ids=["memmap", "split", "pickle"])


def _read(path: Path, start: str | None = START, freq: str | None = None) -> tuple[SensorSeries, SensorGraph | None]:
    return read_source(DataConfig(data=str(path), start=start, freq=freq), GraphConfig())


@WRITERS
def test_every_age_gives_the_readings_and_the_graph(write: Any, tmp_path: Path) -> None:
    series, graph = _read(write(tmp_path / "METR-LA"))
    assert (series.ids, series.freq, series.missing) == (tuple(IDS), "5min", "zero")
    assert series.channels == (("value",) if write is _pickle else ("traffic speed",))
    assert np.array_equal(series.times_T, TIMES.to_numpy().astype("M8[s]"))
    assert np.array_equal(series.values_TNC[..., 0], READINGS.astype(np.float32))
    assert np.array_equal(series.observed_TNC[..., 0], READINGS != 0)
    assert graph is not None
    assert graph.ids == tuple(IDS)
    assert np.array_equal(graph.adjacency.toarray(), ADJACENCY)
    assert any("no readings; the calendar is made here (--time-of-day, --day-of-week)" in note for note in series.notes)
    assert not any(note.startswith("look:") for note in series.notes)


@WRITERS
def test_times_follow_the_calendar_where_it_skips(write: Any, tmp_path: Path) -> None:
    """As PEMS-BAY's does in March: an hour is absent; here a week later half a day is too."""
    times = TIMES.delete(range(100, 112))
    times = times[:300].append(times[300:] + pd.Timedelta("2D12h"))
    series, _ = _read(write(tmp_path / "PEMS-BAY", times))
    assert np.array_equal(series.times_T, times.to_numpy().astype("M8[s]"))
    assert series.segments == ((0, 100), (100, 300), (300, 588))
    assert any(note.endswith("the calendar skips 732 row(s), the first before row 100") for note in series.notes)


@WRITERS
def test_starts_and_intervals_are_checked(write: Any, tmp_path: Path) -> None:
    folder = write(tmp_path / "x")
    with pytest.raises(
        UserError, match=r"give --start \(time of the first row, at 08:00 of a Thursday by its calendar\)"
    ):
        _read(folder, None)
    with pytest.raises(UserError, match=r"has rows every 5min, --freq says 1h"):
        _read(folder, START, "1h")
    for start in ("2012-03-01T09:00", "2012-03-02T08:00"):
        series, _ = _read(folder, start)
        assert any(f"begins at 08:00 of a Thursday, --start is {start}: is" in note for note in series.notes)


def _cut(name: str, count: int) -> Any:
    def change(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-count])

    return change


@pytest.mark.parametrize(
    ("write", "change", "said"),
    [
        (_memmap, _cut("data.dat", 8), r"data\.dat has 21,592 bytes, 600 x 3 x 3 float32 of desc\.json have 21,6"),
        (_memmap, _cut("desc.json", 1), r"desc\.json: not readable JSON, or truncated"),
        (
            lambda f: _memmap(f, shape=[600, 3]),
            None,
            r"desc\.json: shape must be times, sensors, features, got \[600, 3",
        ),
        (lambda f: _memmap(f, feature_description=["a"]), None, r"feature_description must name 3 features"),
        (
            lambda f: _memmap(f, **{"frequency (minutes)": "5"}),
            None,
            r"frequency \(minutes\) must be a positive number",
        ),
        (
            _memmap,
            lambda f: (f / "adj_mx.pkl").write_bytes(pickle.dumps([IDS[:2], {}, ADJACENCY[:2, :2]])),
            r"of 2 sensors, the",
        ),
        (_split, _cut("val_data.npy", 8), r"val_data\.npy: not a readable \.npy file, or a truncated one"),
        (
            _split,
            lambda f: (f / "val_data.npy").unlink(),
            r"no file val_data\.npy: the parts train, val and test make one series",
        ),
        (
            lambda f: _split(f, num_time_steps=700),
            None,
            r"its three parts have 600 rows, meta\.json says 700: a part is",
        ),
        (
            _split,
            lambda f: np.save(f / "val_data.npy", READINGS[:60, :2]),
            r"val_data\.npy is of \(2,\) sensors, train",
        ),
        (
            _pickle,
            _cut("data_in_12_out_12.pkl", 9),
            r"data_in_12_out_12\.pkl: not a readable pickle, or a truncated one .*raw_data",
        ),
        (
            _pickle,
            lambda f: (f / "scaler_in_12_out_12.pkl").write_bytes(pickle.dumps({"args": {"min": 1}})),
            r"wanted a scaler of a",
        ),
        (
            _pickle,
            lambda f: (f / "data_in_12_out_12.pkl").write_bytes(pickle.dumps({"x": 1})),
            r"called processed_data; give the fi",
        ),
        (
            _pickle,
            lambda f: (f / "data_in_12_out_12.pkl").write_bytes(pickle.dumps(Path("x"))),
            r"the pickle wants to run 'pathlib",
        ),
    ],
)
def test_files_that_are_wrong_are_named(write: Any, change: Any, said: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "x")
    if change is not None:
        change(folder)
    with pytest.raises(UserError, match=said) as caught:
        _read(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (_memmap, "desc.json"),
        (_memmap, "data.dat"),
        (_memmap, "adj_mx.pkl"),
        (_split, "meta.json"),
        (_split, "train_data.npy"),
        (_pickle, "data_in_12_out_12.pkl"),
        (_pickle, "scaler_in_12_out_12.pkl"),
    ],
)
def test_a_pipe_is_not_waited_for(write: Any, name: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "x")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(UserError, match=re.escape(name)):
        _read(folder)
