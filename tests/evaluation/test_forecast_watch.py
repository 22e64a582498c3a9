"""``forecast --watch``: a forecast for whatever is added, nothing wrong of what is half written, an end by a signal."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dcrnn_fast import forecast
from dcrnn_fast.config.data import DataConfig, GraphConfig
from dcrnn_fast.data import growing
from dcrnn_fast.data.growing import GrowingSource, state_of
from dcrnn_fast.data.series import SensorSeries
from dcrnn_fast.errors import STOPPED, UserError
from tests.checkout import ROOT
from tests.evaluation.small_city import SmallCity, make_small_city

PAST = 6
IDS = [f"{sensor:03d}" for sensor in range(8)]


def table(rows: int, first: int = 0) -> str:
    """Lines of a wide table: a row every five minutes."""
    times = pd.date_range("2024-01-01", periods=first + rows, freq="5min")[first:]
    level = np.random.default_rng(0).uniform(20, 60, (first + rows, len(IDS)))[first:].round(3)
    return "".join(f"{time:%Y-%m-%dT%H:%M},{','.join(map(str, row))}\n" for time, row in zip(times, level, strict=True))


HEADER = f"time,{','.join(IDS)}\n"


def source(path: Path) -> GrowingSource:
    return GrowingSource(DataConfig(data=str(path), missing="nan", freq="5min"), GraphConfig(), PAST)


def newest(path: Path) -> tuple[SensorSeries, bool]:
    """The newest rows, and whether all of the file was regarded."""
    seen: list[SensorSeries] = []
    complete = source(path).newest(seen.append)
    return seen[-1], complete


def test_of_a_long_file_the_end_alone_is_read(tmp_path: Path) -> None:
    path = tmp_path / "readings.csv"
    path.write_text(HEADER + "garbage that no reader takes\n" + table(3000))
    series, complete = newest(path)
    assert complete
    assert PAST < series.num_steps < 500
    whole = tmp_path / "whole.csv"
    whole.write_text(HEADER + table(3000))
    wanted = newest(whole)[0].tail(PAST)
    np.testing.assert_array_equal(series.tail(PAST).times_T, wanted.times_T)
    np.testing.assert_array_equal(series.tail(PAST).values_TNC, wanted.values_TNC)


def test_of_a_long_table_all_sensors_of_the_newest_times_are_read(tmp_path: Path) -> None:
    path = tmp_path / "readings.csv"
    times = pd.date_range("2024-01-01", periods=3000, freq="5min")
    rows = [f"{time:%Y-%m-%dT%H:%M},{one},{k + n}\n" for k, time in enumerate(times) for n, one in enumerate(IDS)]
    path.write_text("time,id,value\n" + "".join(rows))
    series, _ = newest(path)
    assert series.num_steps < 2000
    recent = series.tail(PAST).take_sensors(tuple(IDS))
    assert np.asarray(recent.observed_TNC).all()
    np.testing.assert_array_equal(recent.values_TNC[-1, :, 0], 2999 + np.arange(8))


def test_rows_that_stand_far_before_the_end_of_a_long_table_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A past sensor by sensor, to which rows are added time by time: the last sensor's past alone is at the end."""
    monkeypatch.setattr(growing, "_PIECE", 1 << 12)
    path = tmp_path / "readings.csv"
    times = [f"{time:%Y-%m-%dT%H:%M}" for time in pd.date_range("2024-01-01", periods=700, freq="5min")]
    by_sensor = [f"{time},{one},{k + n}\n" for n, one in enumerate(IDS) for k, time in enumerate(times[:600])]
    path.write_text("time,id,value\n" + "".join(by_sensor))
    watched, seen, sizes = source(path), list[SensorSeries](), list[int]()
    for first, k in ((600, 600), (601, 601), (602, 640), (641, 641)):
        with path.open("a") as file:
            file.write("".join(f"{times[t]},{one},{t + n}\n" for t in range(first, k + 1) for n, one in enumerate(IDS)))
        assert watched.newest(seen.append)
        recent = seen[-1].tail(PAST).take_sensors(tuple(IDS))
        assert np.asarray(recent.observed_TNC).all()
        np.testing.assert_array_equal(recent.values_TNC[:, 2, 0], np.arange(k - PAST + 3, k + 3))
        sizes.append(seen[-1].num_steps)
    assert sizes[0] == 601  # all of it
    assert sizes[-1] < 60


def test_no_time_at_the_beginning_of_a_tail_lacks_sensors(tmp_path: Path) -> None:
    """Rows of what is known ahead follow the newest reading, and any time of a tail may be the first that is read."""
    path = tmp_path / "readings.csv"
    times = [f"{time:%Y-%m-%dT%H:%M}" for time in pd.date_range("2024-01-01", periods=600, freq="5min")]
    for cut in (1, 4, 7):
        rows = [f"{time},{one},{k}\n" for k, time in enumerate(times) for one in IDS]
        path.write_text("time,id,value\ngarbage that no reader takes\n" + "".join(rows[cut:]))
        series, _ = newest(path)
        assert np.asarray(series.observed_TNC).all()
        assert PAST <= series.num_steps < 300


@pytest.mark.parametrize("rows", [12, 3000])
@pytest.mark.parametrize("cut", [1, 3, 30])
def test_a_line_that_is_half_written_is_not_read(tmp_path: Path, rows: int, cut: int) -> None:
    path = tmp_path / "readings.csv"
    path.write_text((HEADER + table(rows))[:-cut])
    series, complete = newest(path)
    assert not complete
    assert series.times_T[-1] == np.datetime64("2024-01-01T00:00") + (rows - 2) * np.timedelta64(5, "m")


def test_an_error_is_of_the_whole_file_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "readings.csv"
    path.write_text(HEADER + table(3000) + "2024-01-01T00:00" + ",1" * 8 + "\n")
    with pytest.raises(UserError, match=rf"^{path}: times must increase, but line 3002 "):
        newest(path)
    path.write_text(HEADER + table(12)[:-3] + "\n" + table(2, first=12)[:-3])
    newest(path)
    path.write_text(HEADER + "a" + table(12)[:-3])
    with pytest.raises(UserError, match=rf"^{path}"):
        newest(path)


@pytest.mark.parametrize("as_folder", [False, True])
def test_other_sources_are_read_whole(tmp_path: Path, as_folder: bool) -> None:
    """A Parquet file, and a folder of CSV files that continue each other."""
    path = tmp_path / "readings.parquet"
    if as_folder:
        path = tmp_path / "days"
        path.mkdir()
        (path / "1.csv").write_text(HEADER + table(12))
        (path / "2.csv").write_text(HEADER + table(8, first=12))
    else:
        (tmp_path / "readings.csv").write_text(HEADER + table(20))
        pd.read_csv(tmp_path / "readings.csv", index_col="time", parse_dates=True).to_parquet(path)
    series, complete = newest(path)
    assert complete
    assert series.num_steps == 20
    before = state_of(path)
    if as_folder:
        (path / "3.csv").write_text(HEADER + table(1, first=20))
        assert newest(path)[0].num_steps == 21
    else:
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(UserError, match="truncated"):
            newest(path)
    assert state_of(path) != before


@pytest.mark.parametrize("cut", [1, 3, 30])
def test_half_a_line_in_a_folder_is_not_read(tmp_path: Path, cut: int) -> None:
    """In the last file, and in one that grows; another may end without a line's end from the beginning."""
    days, whole = tmp_path / "days", HEADER + table(8, first=12)
    days.mkdir()
    (days / "1.csv").write_text((HEADER + table(12))[:-1])
    (days / "2.csv").write_text(whole[:-cut])
    watched = source(days)
    seen: list[SensorSeries] = []
    assert not watched.newest(seen.append)
    assert seen[-1].num_steps == 19
    (days / "2.csv").write_text(whole)
    assert watched.newest(seen.append)
    assert seen[-1].num_steps == 20
    (days / "3.csv").write_text(HEADER + table(8, first=20))
    (days / "2.csv").write_text(whole[:-cut])
    assert not watched.newest(seen.append)
    assert seen[-1].num_steps == 27


def test_every_change_of_a_file_or_folder_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "readings.csv"
    assert state_of(path) == ()
    path.write_text("a")
    states = [state_of(path), state_of(tmp_path)]
    path.write_text("b")
    os.utime(path, (1, 1))  # a clock that was set back
    states += [state_of(path), state_of(tmp_path)]
    Path(tmp_path, "new").write_text("b")
    Path(tmp_path, "new").replace(path)
    os.utime(path, (1, 1))
    states += [state_of(path), state_of(tmp_path)]
    assert len(set(states)) == 6


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> SmallCity:
    return make_small_city(tmp_path_factory.mktemp("watched"))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--watch"], "--watch needs --data"),
        (["--watch", "--data", "nowhere.csv"], "there is no file or folder nowhere.csv"),
        (["--watch", "--data", ".", "--node-parallel", "2"], "--watch is for one process"),
    ],
)
def test_a_mistake_ends_it_at_once(
    city: SmallCity, flags: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert forecast.main([str(city.checkpoint), *flags]) == 2
    assert said in capsys.readouterr().err


class Watcher:
    """The command in a process of its own, on a table of the city's sensors."""

    def __init__(self, city: SmallCity, folder: Path) -> None:
        self.folder, self.path, self.output = folder, folder / "in.csv", folder / "out.csv"
        self.header = f"time,{','.join(city.data.series.ids)}\n"
        self.path.write_text(self.header + table(20))
        self.said = folder / "said.txt"
        words = [str(city.checkpoint), "--data", str(self.path), "--watch", "-o", str(self.output)]
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dcrnn_fast.forecast", *words],
                cwd=ROOT, stdout=said, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip

    def first(self) -> str:
        """The first time of the forecast that is there now; "" if there is none."""
        return self.output.read_text().splitlines()[1].split(",")[0] if self.output.exists() else ""

    def wait_for(self, there: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not there():
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < end, f"{what}: {self.said.read_text()}"
            time.sleep(0.1)

    def wait_for_first(self, wanted: str) -> None:
        self.wait_for(lambda: self.first() == wanted, f"a forecast from {wanted}")

    def anonymous_kib(self) -> int:
        """RssAnon of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0])

    def append(self, text: str) -> None:
        with self.path.open("a") as stream:
            stream.write(text)


@pytest.fixture
def watcher(city: SmallCity, tmp_path: Path) -> Iterator[Watcher]:
    made = Watcher(city, tmp_path)
    yield made
    made.process.kill()
    made.process.wait()


@pytest.mark.slow
def test_a_growing_file_is_followed_whatever_happens_to_it(watcher: Watcher) -> None:
    watcher.wait_for_first("2024-01-01T01:40:00")
    watcher.append(table(1, first=20))
    watcher.wait_for_first("2024-01-01T01:45:00")
    row = table(1, first=21)
    watcher.append(row[:40])  # half a line
    time.sleep(1.5)
    assert watcher.first() == "2024-01-01T01:45:00"
    watcher.append(row[40:])
    watcher.wait_for_first("2024-01-01T01:50:00")
    watcher.path.rename(watcher.folder / "rotated")
    time.sleep(1.5)
    watcher.path.write_text(watcher.header)  # a new day's file without rows
    watcher.append("2024-01-01T02:00" + ",1" * 8 + "\n" + "2024-01-01T01:00" + ",1" * 8 + "\n")  # and out of order
    watcher.wait_for(lambda: "trying again" in watcher.said.read_text(), "a line about the rows")
    new = watcher.folder / "new"
    new.write_text(watcher.header + table(30))
    new.replace(watcher.path)
    watcher.wait_for_first("2024-01-01T02:30:00")
    watcher.process.send_signal(signal.SIGTERM)
    assert watcher.process.wait(20) == STOPPED
    said = watcher.said.read_text()
    assert said.count("trying again") == 1
    assert said.count(str(watcher.output)) == 4  # a line for each forecast
    assert "stopped by SIGTERM" in said
    assert not list(watcher.folder.glob("*tmp*"))


@pytest.mark.prove
@pytest.mark.timeout(0)
def test_memory_stays_for_days(watcher: Watcher) -> None:
    """DCRNN_FAST_SOAK_SECONDS: how long (a minute; an hour by hand)."""
    seconds = float(os.environ.get("DCRNN_FAST_SOAK_SECONDS", "60"))
    watcher.wait_for_first("2024-01-01T01:40:00")
    begin, row, readings = time.monotonic(), 20, []
    while time.monotonic() - begin < seconds:
        watcher.append(table(1, first=row)[:25])
        time.sleep(0.05)
        watcher.append(table(1, first=row)[25:])
        row += 1
        first = pd.Timestamp("2024-01-01") + row * pd.Timedelta("5min")
        watcher.wait_for_first(f"{first:%Y-%m-%dT%H:%M:%S}")
        readings.append(watcher.anonymous_kib())
    quarter = len(readings) // 4  # in the first one the allocators still take what they keep
    early, late = np.median(readings[quarter : 2 * quarter]), np.median(readings[-quarter:])
    print(f"{len(readings)} forecasts in {seconds:.0f} s; RssAnon {early / 1024:.1f} MiB early, {late / 1024:.1f} late")
    assert late - early < 4 * 1024, readings
    watcher.process.send_signal(signal.SIGINT)
    assert watcher.process.wait(20) == STOPPED
