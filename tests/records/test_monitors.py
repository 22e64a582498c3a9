"""What the machine does while a run goes: rows by threads that end with it, and their means in its metrics."""

import csv
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from ctypes.util import find_library
from datetime import datetime
from pathlib import Path

import pytest

from dcrnn_fast.config.sections import Config, OutputConfig, WatchConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.records.cpu_monitor import CpuMonitor
from dcrnn_fast.records.events import EpochDone, Event, Said, Stepped
from dcrnn_fast.records.gpu_monitor import GpuMonitor
from dcrnn_fast.records.monitor import Monitor
from dcrnn_fast.records.watcher import FIRST, Place
from dcrnn_fast.records.watchers import Watchers
from tests.checkout import ROOT
from tests.records.rows import row, started
from tests.training.rank_server import RankServer

TINY = ("--city-nodes", "5", "--city-days", "3", "--max-train-windows", "40", "--max-validation-windows", "20")


def config_in(folder: Path, every: float = 0.1) -> Config:
    watch = WatchConfig(monitor_cpu=True, monitor_gpu=True, monitor_every=every)
    return Config(output=OutputConfig(results=str(folder)), watch=watch)


def rows_of(path: Path) -> list[dict[str, str]]:
    text = path.read_text()
    assert text.endswith("\n"), "the last line is complete"
    found = list(csv.DictReader(text.splitlines()))
    assert all(None not in each and None not in each.values() for each in found), "a row has another length"
    return found


def stepped(number: int = 1) -> Stepped:
    return Stepped(0, number, 8, 1.0, 0.01)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a libnvidia-ml.so.1 with two GPUs."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    assert compiler is not None, "the package is compiled here: there is a compiler"
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("nvml_stub.c")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return folder


_WATCH = """
import json, sys, time
from pathlib import Path
from dcrnn_fast.records.events import EpochDone
from dcrnn_fast.records.gpu_monitor import GpuMonitor
from dcrnn_fast.records.watcher import FIRST
from tests.records.rows import row, started
from tests.records.test_monitors import config_in, stepped

monitor = GpuMonitor(config_in(Path(sys.argv[1])), FIRST)
monitor.see(started())
means = []
for epoch in (1, 2):
    time.sleep(0.5)
    monitor.see(stepped())
    means.append(monitor.measured())
    monitor.see(EpochDone(row(epoch)))
    means[-1]["rows"] = len(Path(sys.argv[1], "gpu_monitor.csv").read_text().splitlines()) - 1
monitor.close()
print(json.dumps(means))
"""


def test_every_gpu_has_a_row_each_time_and_what_it_cannot_say_is_empty(tmp_path: Path, nvml: Path) -> None:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(nvml), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", _WATCH, str(tmp_path)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "gpu_monitor.csv")
    assert tuple(rows[0]) == GpuMonitor.columns
    assert {each["gpu"] for each in rows} == {"0", "1"}
    for each in rows:
        second = each["gpu"] == "1"
        assert each["power_w"] == ("" if second else "412.5")
        assert each["temperature_c"] == ("61" if second else "60")
        assert (each["memory_used_mib"], each["memory_total_mib"]) == ("2048.0" if second else "1024.0", "81920.0")
    assert [int(each["utilisation_percent"]) for each in rows if each["gpu"] == "1"] == list(
        range(1, len(rows) // 2 + 1)
    )
    first = 0
    for mean in json.loads(done.stdout):
        mine = [float(each["utilisation_percent"]) for each in rows[first : mean["rows"]]]
        assert mine
        assert mean["gpu_utilisation_percent"] == pytest.approx(sum(mine) / len(mine))
        first = mean["rows"]


@pytest.mark.skipif(find_library("nvidia-ml") is not None, reason="there is NVML")
def test_without_nvml_there_is_one_line_and_no_file(tmp_path: Path) -> None:
    said: list[str] = []

    class Lines(CpuMonitor):
        def see(self, event: Event) -> None:
            if isinstance(event, Said):
                said.append(event.line)

    config = config_in(tmp_path)
    watchers = Watchers([Lines(config, FIRST), GpuMonitor(config, FIRST)])
    watchers.tell(started())
    for number in range(5):
        time.sleep(0.1)
        watchers.tell(stepped(number))
    watchers.close()
    (line,) = said
    assert line.startswith("--monitor-gpu: nothing to read here, NVML says '")
    assert line.endswith("; training goes on")
    assert not (tmp_path / "gpu_monitor.csv").exists()


def test_the_cpu_monitor_sees_a_busy_child_and_ends_with_the_run(tmp_path: Path) -> None:
    monitor = CpuMonitor(config_in(tmp_path), FIRST)
    before = threads()
    monitor.see(started())
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(1.2)
    finally:
        child.kill()
        child.wait()
    monitor.see(stepped())
    mean = monitor.measured()["cpu_percent"]
    monitor.see(EpochDone(row()))
    rows = rows_of(tmp_path / "cpu_monitor.csv")
    assert mean == pytest.approx(sum(float(each["cpu_percent"]) for each in rows) / len(rows))
    monitor.close()
    assert threads() == before
    rows = rows_of(tmp_path / "cpu_monitor.csv")
    assert tuple(rows[0]) == CpuMonitor.columns
    assert max(int(each["processes"]) for each in rows) >= 2
    assert max(float(each["process_cpu_percent"]) for each in rows) > 20
    assert all(float(each["process_rss_mib"]) > 20 for each in rows)
    times = [datetime.fromisoformat(each["time"]) for each in rows]
    assert times == sorted(times)


def test_a_resumed_run_goes_on_below_and_another_host_has_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "cpu_monitor.csv"
    header = ",".join(CpuMonitor.columns)
    path.write_text(f"{header}\n2026-01-01T00:00:00.000+00:00,h,1.0,2.0,3.0,4.0,5\n2026-01-01T00:0")
    elsewhere = Place(rank=4, local_rank=0, local_world=4)
    for place in (FIRST, elsewhere):
        monitor = CpuMonitor(config_in(tmp_path), place)
        monitor.see(started(row(), resumed=True))
        time.sleep(0.3)
        monitor.close()
    rows = rows_of(path)
    assert (rows[0]["host"], rows[0]["processes"]) == ("h", "5")
    assert len(rows) >= 2
    assert [datetime.fromisoformat(each["time"]) for each in rows]
    assert len(list(tmp_path.glob("cpu_monitor_*.csv"))) == 1
    assert rows_of(next(tmp_path.glob("cpu_monitor_*.csv")))
    assert not Place(rank=5, local_rank=1).has(CpuMonitor.where)


def test_a_run_that_lost_its_folder_writes_no_reading_there(tmp_path: Path) -> None:
    monitor = CpuMonitor(config_in(tmp_path), FIRST)
    holds = [True]
    watchers = Watchers([monitor], lambda: holds[0])
    watchers.tell(started())
    time.sleep(0.3)
    watchers.tell(stepped())
    holds[0] = False
    (tmp_path / "cpu_monitor.csv").write_text("the other run's\n")
    time.sleep(1.1)
    watchers.tell(stepped(2))
    watchers.close()
    assert (tmp_path / "cpu_monitor.csv").read_text() == "the other run's\n"
    assert "cpu_monitor" not in threads()


def test_a_full_disk_is_told_and_the_readings_follow(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.write_text("no folder")
    monitor = CpuMonitor(config_in(folder), FIRST)
    monitor.see(started())
    time.sleep(0.3)
    with pytest.raises(UserError, match=r"cannot write .*cpu_monitor\.csv"):
        monitor.see(stepped())
    folder.unlink()
    monitor.see(stepped(2))
    monitor.close()
    assert len(rows_of(folder / "cpu_monitor.csv")) >= 2


def test_a_reading_that_hangs_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcrnn_fast.records.monitor._CLOSE_SECONDS", 0.2)
    over = threading.Event()

    class Hangs(Monitor):
        stem = "cpu_monitor"
        columns = CpuMonitor.columns
        averaged = {}  # noqa: RUF012

        def open(self) -> None:
            over.wait()

        def read(self) -> list[list[object]]:
            return []

    monitor = Hangs(config_in(tmp_path), FIRST)
    monitor.see(started())
    began = time.monotonic()
    with pytest.raises(UserError, match=r"a reading for cpu_monitor\.csv has not come back for 0\.2 s"):
        monitor.close()
    assert time.monotonic() - began < 5
    over.set()


@pytest.mark.parametrize("end", [pytest.param("signal", marks=pytest.mark.slow), "failure"])
def test_two_ranks_leave_whole_files_when_a_signal_or_a_failure_ends_them(
    tmp_path: Path, rank_server: RankServer, end: str
) -> None:
    run = tmp_path / "run"
    flags = [*TINY, "--results", str(run), "--monitor-cpu", "--monitor-every", "0.1", "--epochs", "100000"]
    more = ["--save-every-epochs", "0", "--patience", "100000"]
    target = "train" if end == "signal" else "fails_late"
    job = rank_server.start(tmp_path / "job", 2, f"rank_programs:{target}", *flags, *more)
    if end == "signal":
        job.until(lambda: lines_of(run / "cpu_monitor.csv") > 3 < lines_of(run / "metrics.csv"))
        os.kill(job.pid(0), signal.SIGTERM)
        assert job.wait() == [85, 85]
    else:
        assert 2 in job.wait()
    rows = rows_of(run / "cpu_monitor.csv")
    assert max(int(each["processes"]) for each in rows) >= 3, "both ranks and what started them"
    assert {path.name for path in run.glob("cpu_monitor*")} == {"cpu_monitor.csv"}
    with open(run / "metrics.csv", newline="") as stream:
        known = [float(each["cpu_percent"]) for each in csv.DictReader(stream) if each["cpu_percent"]]
    readings = [float(each["cpu_percent"]) for each in rows]
    assert known
    assert min(readings) <= min(known) <= max(known) <= max(readings)


def lines_of(path: Path) -> int:
    """So far; 0: the file is not there yet."""
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.slow
def test_a_real_run_has_the_means_of_each_epochs_rows_in_its_metrics(tmp_path: Path, nvml: Path) -> None:
    flags = ["--monitor-gpu", "--monitor-cpu", "--monitor-every", "0.1", "--epochs", "3", "--results", str(tmp_path)]
    more = ["--city-nodes", "40", "--city-days", "10", "--threads", "1", "--device", "cpu"]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(nvml), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "dcrnn_fast.train", "--config", "debug", *flags, *more]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, cwd=ROOT, timeout=250)
    assert done.returncode == 0, done.stderr
    assert "gpu_monitor.csv, cpu_monitor.csv" in done.stdout
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    ends = [datetime.fromisoformat(line["time"]) for line in lines if line["event"] == "epoch"]
    with open(tmp_path / "metrics.csv", newline="") as stream:
        metrics = list(csv.DictReader(stream))
    for name, column, mean in (
        ("gpu_monitor.csv", "utilisation_percent", "gpu_utilisation_percent"),
        ("cpu_monitor.csv", "cpu_percent", "cpu_percent"),
    ):
        rows = rows_of(tmp_path / name)
        times = [datetime.fromisoformat(each["time"]) for each in rows]
        borders = [0, *(sum(time <= end for time in times) for end in ends)]
        for epoch, (first, last) in enumerate(itertools.pairwise(borders)):
            found = metrics[epoch][mean]
            # A reading that is under way when the epoch ends is in the next one.
            around = [float(each[column]) for each in rows[max(first - 1, 0) : last]]
            assert found == "" if last == 0 else min(around) <= float(found or around[0]) <= max(around)
        assert any(each[mean] for each in metrics)
