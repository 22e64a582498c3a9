"""Long tables in pieces: partitioned folders and large files give the bits of the whole reading."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import dcrnn_fast.data.formats.tables as tables
import dcrnn_fast.data.long_blocks as long_blocks
import dcrnn_fast.data.scratch as scratch
from dcrnn_fast.config.sections import DataConfig, GraphConfig
from dcrnn_fast.data.blocks import series_of_blocks
from dcrnn_fast.data.formats import open_path
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.errors import UserError
from dcrnn_fast.prepare import prepare
from tests.data.written_files import read


def _long(days: int = 40, sensors: int = 3) -> pd.DataFrame:
    draw = np.random.default_rng(days)
    times = pd.date_range("2024-01-20", periods=days * 4, freq="6h").repeat(sensors)
    frame = pd.DataFrame({"time": times, "station": np.tile([f"{n:03d}" for n in range(sensors)], days * 4)})
    frame["flow"] = draw.uniform(-5, 9, len(frame))
    frame["speed"] = draw.uniform(1, 70, len(frame))
    frame.loc[7, "flow"] = np.nan
    return frame.drop(index=[11, 30]).reset_index(drop=True)


def _write(frame: pd.DataFrame, folder: Path, keys: Callable[[pd.DataFrame], list[str]], ending: str) -> None:
    """As pyarrow and Spark partition: the keys leave the files."""
    for k, (names, part) in enumerate(frame.groupby(keys(frame), sort=False)):
        place = folder.joinpath(*(str(name) for name in np.atleast_1d(names)))
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"part-{k}.{ending}"
        part.to_csv(path, index=False) if ending == "csv" else part.to_parquet(path, index=False)


def _by_month(frame: pd.DataFrame) -> Any:
    return [("year=" + frame["time"].dt.strftime("%Y")), ("month=" + frame["time"].dt.strftime("%m"))]


def _same(one: SensorSeries, other: SensorSeries) -> None:
    assert (one.channels, one.units, one.missing, one.freq) == (other.channels, other.units, other.missing, other.freq)
    assert set(one.ids) == set(other.ids)
    one = one.take_sensors(other.ids)
    for array, wanted in ((one.values_TNC, other.values_TNC), (one.observed_TNC, other.observed_TNC)):
        assert np.array_equal(array, wanted)
    assert one.rest_TNC is not None
    assert other.rest_TNC is not None
    assert np.array_equal(one.rest_TNC, other.rest_TNC)
    assert np.array_equal(one.times_T, other.times_T)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_folders_of_months_and_of_sensors_give_the_bits_of_one_table(ending: str, tmp_path: Path) -> None:
    frame = _long()
    frame.to_csv(tmp_path / "whole.csv", index=False)
    whole = read(tmp_path / "whole.csv")
    _write(frame, tmp_path / "months", _by_month, ending)
    (tmp_path / "months" / "_SUCCESS").touch()
    (tmp_path / "months" / "year=2024" / "month=00").mkdir()
    none = frame.iloc[:0]
    path = tmp_path / "months" / "year=2024" / "month=00" / f"none.{ending}"
    none.to_csv(path, index=False) if ending == "csv" else none.to_parquet(path, index=False)
    months = read(tmp_path / "months")
    _same(months, whole)
    assert "months: 3 files read; their folders' 'year', 'month' are not: the times are in the files" in months.notes
    assert any(f"none.{ending}" in note and "months: 1 file without a row: " in note for note in months.notes)
    assert "months: 478 rows read: 3 sensors at 160 times" in months.notes
    for n, (sensor, part) in enumerate(frame.groupby("station")):
        place = tmp_path / "sensors" / f"station={sensor}"
        place.mkdir(parents=True)
        part = part.drop(columns="station")
        path = place / f"{n}.{ending}"
        part.to_csv(path, index=False) if ending == "csv" else part.to_parquet(path, index=False)
    _same(read(tmp_path / "sensors"), whole)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_large_file_is_opened_in_pieces(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = _long().sample(frac=1, random_state=0)
    frame["street"] = frame["station"].map({"000": "", "001": "Main St", "002": ""})
    frame = pd.concat([frame[frame["station"] != "001"][:1].assign(speed=np.nan), frame])
    path = tmp_path / f"x.{ending}"
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path, index=False)
    data = DataConfig(data=str(path))
    assert open_path(path, data, GraphConfig()) is None, "a small one is read whole"
    monkeypatch.setattr(tables, "_LARGE", 1)
    monkeypatch.setattr(scratch, "_IN_MEMORY", 1)
    opened = open_path(path, data, GraphConfig())
    assert opened is not None
    series = series_of_blocks(opened[0], data)
    _same(series, read(path))
    assert series.ids == read(path).ids
    assert any(re.search(r"\d+ rows stood before an earlier time of their sensor: sorted", n) for n in series.notes)
    frame.pivot_table(index="time", columns="station", values="flow").to_csv(tmp_path / "wide.csv")
    assert open_path(tmp_path / "wide.csv", data, GraphConfig()) is None, "a wide one is read whole"


def test_a_store_made_in_pieces_is_one_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = _long().sample(frac=1, random_state=1)
    frame.loc[5, "speed"] = -9
    frame = frame[frame["time"] != "2024-01-23 06:00"]
    frame.to_csv(tmp_path / "x.csv", index=False)
    pairs = [f"{a},{b},{1 + a + b}" for a in range(3) for b in range(3) if a != b]
    links = "\n".join(["from,to,cost", *(f"00{pair[0]},00{pair[2:]}" for pair in pairs)])
    (tmp_path / "links.csv").write_text(links + "\n")
    data = DataConfig(
        data=str(tmp_path / "x.csv"),
        missing_value=(-9,),
        fill_rows=True,
        leave_out=("002",),
        variables=("speed", "flow"),
        past_steps=2,
        future_steps=2,
    )
    graph = GraphConfig(graph=str(tmp_path / "links.csv"))
    prepare(data, graph, tmp_path / "whole")
    monkeypatch.setattr(tables, "_LARGE", 1)
    monkeypatch.setattr(scratch, "_IN_MEMORY", 1)
    monkeypatch.setattr(long_blocks, "_AT_ONCE", 50)
    series, _ = prepare(data, graph, tmp_path / "pieces")
    assert any("rows stood before an earlier time" in note for note in series.notes)
    names = [path.name for path in sorted((tmp_path / "whole").iterdir())]
    assert names == [path.name for path in sorted((tmp_path / "pieces").iterdir())]
    for name in ("values.npy", "observed.npy", "times.npy", "graph.npz"):
        assert (tmp_path / "pieces" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: pd.concat([f, f.iloc[[4]]]), None),
        (
            lambda f: pd.concat([f, f.iloc[[4]].assign(flow=1.0)]),
            r"months/year=2024/month=01/part-0\.csv: line \d+ is a second reading of sensor '001' at "
            r"2024-01-20T06:00:00 \(1\), after .*months/year=2024/month=01/part-0\.csv: line 6 \(",
        ),
        (lambda f: f.assign(flow=[*f["flow"].astype(object)[:-1], "x"]), r"line 337, column 'flow': 'x' is no number"),
        (lambda f: f.assign(station=[*f["station"][:-1], ""]), r"line 337, column 'station': no sensor is named"),
        (lambda f: f.assign(time=[*f["time"].astype(object)[:-1], ""]), r"part-2\.csv: line 2 has no time"),
        (lambda f: f.assign(note=["a", "b"] * (len(f) // 2)), r"column 'note': '[ab]' is no reading: take the column"),
        (lambda f: f[["time", "flow", "speed"]], r"part-0\.csv is no long table: a row for each time and sensor"),
    ],
)
def test_wrong_rows_are_named_and_repeated_ones_counted(change: Any, said: str | None, tmp_path: Path) -> None:
    frame = _long()
    changed = change(frame)
    keys = [
        part.reindex(changed.index) if len(part) != len(changed) else part.set_axis(changed.index)
        for part in _by_month(pd.concat([frame, frame.iloc[[4]]]) if len(changed) > len(frame) else frame)
    ]
    if said is not None and "no time" in said:
        keys[1] = keys[1].where(changed["time"] != "", "month=04")
    _write(changed, tmp_path / "months", lambda _: keys, "csv")
    if said is None:
        series = read(tmp_path / "months")
        assert "months: 2 readings came twice and said the same: each is taken once" in series.notes
        return
    with pytest.raises(UserError, match=said) as caught:
        read(tmp_path / "months")
    assert "\n" not in str(caught.value)


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    frame = _long()
    _write(frame, tmp_path / "a", _by_month, "csv")
    path = tmp_path / "a" / "year=2024" / "month=02" / "part-1.csv"
    text = path.read_text()
    path.write_text(text.replace("speed", "pace"))
    with pytest.raises(UserError, match=r"month=02/part-1\.csv: line 2: no column 'speed' here"):
        read(tmp_path / "a")
    path.write_text(text[: text.rindex(",")])
    with pytest.raises(UserError, match=r"part-1\.csv: line 337 has 3 columns, the header has 4; is it truncated"):
        read(tmp_path / "a")
    path.write_text(text.replace("2024-02-07 00:00:00", "2024-02-07T00:00Z"))
    with pytest.raises(UserError, match=r"part-1\.csv: .*give all times an offset, or n"):
        read(tmp_path / "a")
    path.rename(path.with_suffix(".parquet"))
    with pytest.raises(UserError, match="holds CSV and Parquet files: one kind is wanted"):
        read(tmp_path / "a")
    for file in sorted((tmp_path / "a").rglob("*.csv")):
        file.unlink()
    with pytest.raises(UserError, match=r"part-1\.parquet: not a readable Parquet file, or a truncated one"):
        read(tmp_path / "a")
    path.with_suffix(".parquet").unlink()
    with pytest.raises(UserError, match="holds no table: wanted files ending in"):
        read(tmp_path / "a")


def test_zones_channels_units_and_places(tmp_path: Path) -> None:
    frame = _long()
    stacked = frame.melt(["time", "station"], ["flow", "speed"], "channel", "reading").assign(name="street")
    stacked["unit"] = stacked["channel"].map({"flow": "1/h", "speed": "km/h"})
    stacked["lat"] = stacked["station"].map({"000": 1.0, "001": 2.0, "002": 3.0})
    stacked["lon"] = stacked["lat"] + 10
    stacked["station"] = stacked["station"].astype("category")
    keys = _by_month(stacked)
    stacked["time"] = stacked["time"].dt.tz_localize("Europe/Berlin")
    _write(stacked, tmp_path / "x", lambda _: keys, "parquet")
    series = read(tmp_path / "x")
    assert (series.channels, series.units, series.zone) == (("flow", "speed"), ("1/h", "km/h"), "Europe/Berlin")
    assert series.times_T[0] == np.datetime64("2024-01-19T23:00:00")
    assert series.positions_N2 is not None
    assert series.positions_N2.tolist() == [[1, 11], [2, 12], [3, 13]]
