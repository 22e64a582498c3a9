"""Every reader on files that the usual libraries wrote, and on mistakes in them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.data.sources import read_series, read_source
from dcrnn_fast.errors import UserError
from tests.data.written_files import IDS, READINGS, TIMES, WRITERS, make_frame, read, write_csv, write_parquet


@pytest.mark.parametrize(("name", "write"), WRITERS)
def test_every_format_gives_the_same_series(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / name)
    series = read(tmp_path / name, missing="zero")
    assert series.ids == tuple(IDS)
    assert series.freq == "5min"
    assert np.array_equal(series.times_T, TIMES.to_numpy().astype("M8[s]"))
    wanted = np.nan_to_num(READINGS).astype(np.float32)
    assert np.array_equal(series.values_TNC[..., 0], wanted)
    assert np.array_equal(series.observed_TNC[..., 0], wanted != 0)
    nan = read(tmp_path / name)  # the file marks gaps itself: its zeros are readings
    assert nan.missing == "nan"
    assert np.array_equal(nan.observed_TNC[..., 0], ~np.isnan(READINGS))


def test_a_csv_without_times_needs_start_and_freq(tmp_path: Path) -> None:
    make_frame().to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(UserError, match="no time column: give --start"):
        read(tmp_path / "x.csv")
    series = read(tmp_path / "x.csv", start="2024-03-04 00:00", freq="5min")
    assert np.array_equal(series.times_T, TIMES.to_numpy().astype("M8[s]"))
    write_csv(tmp_path / "timed.csv")
    with pytest.raises(UserError, match="has times of its own"):
        read(tmp_path / "timed.csv", start="2024-03-04", freq="5min")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "time,a,b\n2024-01-01 00:00,1,2\n2024-01-01 00:05,1,x\n2024-01-01 00:10,1,2\n",
            "line 3, column 'b': 'x' is no n",
        ),
        (
            "time;a\n2024-01-01;1\n\n2024-01-02;1,5\n",
            "line 4, column 'a': '1,5' is no number; wanted numbers with a",
        ),
        (
            "time,a,\n2024-01-01,1,\n2024-01-02,1,\n",
            "x.csv: sensor id 2 of 2 is empty; name it, or take",
        ),
        ("# by X\ntime,a\n2024-01-01,1\n", "line 1 must name the sensors, with commas"),
        ("time,a\n\n2024-01-01,1\n2024-01-02,1e300\n", "line 4, sensor a: the reading 1e+300 is too large for float32"),
        ("time,a\n2024-01-01,1\n\n2024-01-01,1\n", "line 4 repeats the time of line 2, 2024-01-01T00:00:00"),
        (
            "time,a,b\n2024-01-01 00:00,1,2\n2024-01-01 00:05,1\n2024-01-01 00:10,1,2\n",
            "line 3 has 2 columns, the head",
        ),
        ("time,a,a\n2024-01-01 00:00,1,2\n2024-01-01 00:05,1,2\n", "'a' comes twice"),
        ("time,a,b\n2024-01-01 00:00,1,2\nsoon,1,2\n2024-01-01 00:10,1,2\n", "line 3: 'soon' is no ISO 8601 time"),
        (
            "time,a,b\n0,1,2\n1,1,2\n2,1,2\n",
            "its column of times 'time' holds the plain count 0, 1, 2, no times: give --start",
        ),
        ("71.5,60.25\n70.0,61.0\n69.0,62.0\n", "add a header"),
        ("time,a,b\n", "at least one row"),
    ],
    ids=[
        *("word", "comma", "no-id", "comment", "too-large", "twice-a-time", "short-row", "twice", "no-time", "counted"),
        *("no-header", "no-row"),
    ],
)
def test_csv_mistakes_are_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(text)
    settings = {"start": "2024-01-01", "freq": "5min"} if "71.5" in text else {}
    with pytest.raises(UserError, match=r"x\.csv") as caught:
        read(tmp_path / "x.csv", **settings)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "times",
    [
        *(["01/02/2024", "02/02/2024"], ["01.02.2024 00:00", "01.02.2024 00:05"], ["01/13/2024", "01/14/2024"]),
        *(["00:05", "00:10"], ["01.01.24 00:00", "01.01.24 00:05"], ["01/01/2024 12:00 AM", "01/01/2024 12:05 AM"]),
        ["today", "now"],
    ],
)
def test_times_whose_day_would_be_guessed_are_refused(
    times: list[str], tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "x.csv").write_text("time,a\n" + "".join(f"{time},1\n" for time in times))
    with pytest.raises(UserError, match="is no ISO 8601 time: write times as 2024-02-01T00:05") as caught:
        read(tmp_path / "x.csv")
    assert f"x.csv: line 2: {times[0]!r}" in str(caught.value)
    assert not recwarn


@pytest.mark.parametrize(
    "times",
    [
        *(["2024-02-01", "2024-02-02"], ["2024-02-01T00:00", "2024-02-02T00:00"], ["2024/02/01", "2024/02/02"]),
        *(["2024-02-01 00:00:00.000000", "2024-02-02 00:00:00.000000"], ["20240201T00", "20240202T00"]),
        *(["2024-02-01t00:00:00z", " 2024-02-02T00:00Z "], ["2024-02-01 00:00:00 UTC", "2024-02-02 00:00:00 UTC"]),
        ["2024-02-01T02:00:00+02:00", "2024-02-02T02:00:00+2:00"],
    ],
)
def test_clear_times_are_read(times: list[str], tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("day,a\n" + "".join(f"{time},1\n" for time in times))
    series = read(tmp_path / "x.csv")
    assert series.times_T.astype(str).tolist() == ["2024-02-01T00:00:00", "2024-02-02T00:00:00"]
    assert series.in_utc == any(mark in times[0].upper() for mark in ("Z", "UTC", "+"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_and_a_blank_first_line(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("\ntime;straße\n2024-02-01;1\n2024-02-02;2\n", encoding=encoding)
    series = read(tmp_path / "x.csv")
    assert series.ids == ("straße",)
    assert series.values_TNC[:, 0, 0].tolist() == [1, 2]


@pytest.mark.parametrize("text", ["time,straße\n2024-02-01,1\n", "time,a\n2024-02-01,1\n2024-02-02,ß\n"])
def test_other_encodings_are_told_what_to_do(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"not a text file in UTF-8 .*; save it as CSV in UTF-8"):
        read(tmp_path / "x.csv")


def test_only_some_times_with_an_offset_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("time,a\n2024-02-01T00:00+01:00,1\n2024-02-01T00:05,1\n")
    with pytest.raises(UserError, match=r"line 3: '2024-02-01T00:05' and .* of line 2: give all times an offset, or"):
        read(tmp_path / "x.csv")


def test_times_with_a_zone_become_utc_and_are_said(tmp_path: Path) -> None:
    frame = make_frame()
    frame.index = TIMES.tz_localize("Europe/Amsterdam")
    frame.to_csv(tmp_path / "x.csv", index_label="time")
    frame.to_parquet(tmp_path / "x.parquet")
    frame.to_hdf(tmp_path / "x.h5", key="df")
    for name in ("x.csv", "x.parquet", "x.h5"):
        series = read(tmp_path / name)
        assert series.times_T[0] == np.datetime64("2024-03-03T23:00:00")
        assert "were read as UTC" in series.notes[0]
        assert series.in_utc
    write_csv(tmp_path / "local.csv")
    assert read(tmp_path / "local.csv").in_utc is False
    np.save(tmp_path / "x.npy", READINGS)
    for start, in_utc in (("2024-03-04T00:00+01:00", True), ("2024-03-04", False)):
        assert read(tmp_path / "x.npy", start=start, freq="5min", missing="nan").in_utc is in_utc


def test_hdf5_keys_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    make_frame().to_hdf(path, key="speed")
    make_frame().to_hdf(path, key="flow")
    with pytest.raises(UserError, match="choose one of its tables with --hdf5-key: flow, speed"):
        read(path)
    with pytest.raises(UserError, match="no table under the key 'df'; the keys there: flow, speed"):
        read(path, hdf5_key="df")
    assert read(path, hdf5_key="/flow").num_sensors == 3


def test_integer_and_float_labels_become_ids(tmp_path: Path) -> None:
    for k, kind in enumerate((np.int64, np.float64)):
        frame = make_frame()
        frame.columns = pd.Index(np.array([400001, 400017, 400030], dtype=kind))
        frame.to_hdf(tmp_path / f"{k}.h5", key="speed")
        assert read(tmp_path / f"{k}.h5").ids == ("400001", "400017", "400030")


def test_pems_arrays_have_channels(tmp_path: Path) -> None:
    flow_TNC = np.random.default_rng(1).uniform(1, 2, (30, 4, 3))
    np.savez(tmp_path / "PEMS08.npz", data=flow_TNC)
    settings: dict[str, Any] = {"start": "2016-07-01", "freq": "5min"}
    series = read(tmp_path / "PEMS08.npz", **settings)
    assert (series.channels, series.ids) == (("0", "1", "2"), ("0", "1", "2", "3"))
    two = read(tmp_path / "PEMS08.npz", variables=("2", "0"), **settings)
    np.testing.assert_array_equal(two.values_TNC, flow_TNC[:, :, [2, 0]].astype(np.float32))
    with pytest.raises(UserError, match="no channel '3'; the channels are 0, 1, 2"):
        read(tmp_path / "PEMS08.npz", variables=("3",), **settings)
    np.save(tmp_path / "x.npy", flow_TNC)
    np.testing.assert_array_equal(read(tmp_path / "x.npy", **settings).values_TNC, series.values_TNC)
    np.savez(tmp_path / "two.npz", a=flow_TNC, b=flow_TNC)
    with pytest.raises(UserError, match=r"called data; got a \(30, 4, 3\), b \(30, 4, 3\)"):
        read(tmp_path / "two.npz", **settings)


def test_an_npz_brings_its_adjacency(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", data=READINGS, sensor_ids=np.array(IDS), times=TIMES.to_numpy(), adj=np.eye(3))
    _, graph = read_source(DataConfig(data=str(tmp_path / "x.npz")), GraphConfig())
    assert graph is not None
    assert graph.ids == tuple(IDS)
    assert graph.num_edges == 3


def test_scenarios_are_parts_of_one_series(tmp_path: Path) -> None:
    for k, rows in enumerate((slice(0, 20), slice(0, 30), slice(5, 15))):
        make_frame().iloc[rows].to_csv(tmp_path / f"run{k}.csv", index_label="time")
    series = read(tmp_path)
    assert series.parts == series.segments == ((0, 20), (20, 50), (50, 60))
    (note,) = series.notes
    assert "'run0.csv', 'run1.csv', 'run2.csv' are read as scenarios; else: " in note
    make_frame()[IDS[:2]].to_csv(tmp_path / "run3.csv", index_label="time")
    with pytest.raises(UserError, match=r"run3\.csv has other ids than run0\.csv: 2 of them where that has 3"):
        read(tmp_path)
    write_parquet(tmp_path / "run4.parquet")
    with pytest.raises(UserError, match="files of several kinds"):
        read(tmp_path)


def test_unknown_names_endings_and_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a file or folder nor a known data set; known: city, metr-la"):
        read_series(DataConfig(data="metr-ls"))
    (tmp_path / "x.xlsx").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"the ending of x\.xlsx does not say"):
        read(tmp_path / "x.xlsx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no series"):
        read(tmp_path / "empty")


def test_nodes_of_the_graph_without_readings_are_left_out_and_said(tmp_path: Path) -> None:
    make_frame().to_csv(tmp_path / "x.csv")
    ids = ["z", *IDS[::-1], "y"]
    pd.DataFrame(np.eye(5), index=ids, columns=ids).to_csv(tmp_path / "graph.csv")
    config = DataConfig(data=str(tmp_path / "x.csv"), past_steps=2, future_steps=2)
    data = open_data(config, GraphConfig(graph=str(tmp_path / "graph.csv")))
    assert data.graph.ids == tuple(IDS)
    assert data.notes == ("2 nodes of the graph have no series and are left out: 'z', 'y'",)
