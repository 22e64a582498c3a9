"""Trackers: in a thread that the run never waits for, read back with their own readers, absent with one line."""

import glob
import importlib.util
import json
import resource
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest

from dcrnn_fast import train
from dcrnn_fast.config.sections import Config, OutputConfig, WatchConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.records.events import Ended, EpochDone, Event, Failed, Said, Saved, Started, Stepped
from dcrnn_fast.records.packages import require_package
from dcrnn_fast.records.queued import Queued
from dcrnn_fast.records.tensorboard import TensorBoard
from dcrnn_fast.records.wandb import WeightsAndBiases
from dcrnn_fast.records.watcher import FIRST, Watcher
from dcrnn_fast.records.watchers import Watchers
from tests.records.rows import row, started


def config_in(folder: Path, **watch: object) -> Config:
    return Config(output=OutputConfig(results=str(folder)), watch=WatchConfig(**watch))  # type: ignore[arg-type]


def stepped(number: int) -> Stepped:
    return Stepped(0, number, 8, 1 / number, 0.01)


class Slow(Watcher):
    """Notes what it sees; waits until it may, fails at what it cannot bear."""

    slow = True
    cannot: ClassVar[type | None] = None

    def __init__(self) -> None:
        self.may_go = threading.Event()
        self.seen: list[Event] = []
        self.closed = False

    def see(self, event: Event) -> None:
        self.may_go.wait()
        if self.cannot is not None and isinstance(event, self.cannot):
            raise ConnectionError("no answer\nfrom the server")
        self.seen.append(event)

    def close(self) -> None:
        self.may_go.wait()
        self.closed = True


class Fails(Slow):
    cannot = Saved


class Lines(Watcher):
    def __init__(self) -> None:
        self.said: list[str] = []

    def see(self, event: Event) -> None:
        if isinstance(event, Said):
            self.said.append(event.line)


def test_of_a_crowd_only_steps_are_left_out_and_the_order_stays() -> None:
    slow = Slow()
    queued = Queued(slow)
    began = time.monotonic()
    events: list[Event] = [started(), *map(stepped, range(1, 3000)), EpochDone(row()), Saved(8, ("latest.pt",))]
    for event in events:
        queued.see(event)
    assert time.monotonic() - began < 5, "the run waited for a tracker"
    slow.may_go.set()
    queued.close()
    assert slow.closed
    others = [event for event in slow.seen if not isinstance(event, Stepped)]
    assert others == [events[0], *events[-2:]]
    assert 900 < len(slow.seen) < 1100
    assert slow.seen == [event for event in events if event in slow.seen]


def test_a_tracker_that_fails_in_its_thread_is_dropped_with_one_line() -> None:
    fails, lines = Fails(), Lines()
    fails.may_go.set()
    watchers = Watchers([lines, Queued(fails)])
    watchers.tell(Saved(8, ("latest.pt",)))
    deadline = time.monotonic() + 30
    while not lines.said and time.monotonic() < deadline:
        watchers.tell(stepped(1))
        time.sleep(0.01)
    watchers.tell(Ended("finished", 1, 8, Path("latest.pt")))
    watchers.close()
    assert lines.said == ["Fails is told no more, training goes on: no answer from the server"]


def test_a_tracker_that_hangs_at_its_end_holds_the_run_for_a_bounded_time() -> None:
    slow, lines = Slow(), Lines()
    watchers = Watchers([lines, Queued(slow, close_seconds=0.3)])
    watchers.tell(started())
    began = time.monotonic()
    watchers.close()
    assert 0.3 <= time.monotonic() - began < 10
    assert lines.said == ["Slow could not be closed: it has not come back for 0.3 s; what it still had is left out"]
    slow.may_go.set()


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    read.Reload()
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_tensorboard_has_no_step_twice_after_a_requeue(tmp_path: Path) -> None:
    """The first run is lost after step 20, its last checkpoint is of step 8: steps 9 to 20 come again."""
    config = config_in(tmp_path, tensorboard=True)

    def trained(begin: Started, steps: range) -> None:
        board = TensorBoard(config, FIRST)
        board.see(begin)
        for number in steps:
            board.see(stepped(number))
            if number % 8 == 0:
                board.see(EpochDone(row(number // 8, validation_mae=1 / number)))
        board.close()

    trained(started(), range(1, 21))
    time.sleep(1.1)  # their files are in the order of their seconds
    trained(started(row(1, validation_mae=1 / 8), resumed=True), range(9, 25))
    found = scalars(tmp_path)
    assert [step for step, _ in found["step/loss"]] == list(range(1, 25))
    assert [value for _, value in found["step/loss"]] == pytest.approx([1 / n for n in range(1, 25)])
    assert found["epoch/validation_mae"] == [(8, 0.125), (16, 0.0625), (24, pytest.approx(1 / 24))]
    assert {"epoch/train_loss", "epoch/data_wait_share", "step/learning_rate"} <= found.keys()


def test_tensorboard_that_comes_later_has_the_epochs_before(tmp_path: Path) -> None:
    board = TensorBoard(config_in(tmp_path, tensorboard=True), FIRST)
    board.see(started(row(1), row(2), resumed=True))
    board.see(EpochDone(row(3)))
    board.close()
    assert [step for step, _ in scalars(tmp_path)["epoch/validation_mae"]] == [8, 16, 24]


def test_weights_and_biases_offline_is_written_and_goes_on_under_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("_BEGINS_WITHIN", "_ENDS_WITHIN"):
        monkeypatch.setattr(f"dcrnn_fast.records.wandb.{name}", 100)
    config = config_in(tmp_path, wandb="offline", wandb_name="a name")
    identity = None
    for begin in (started(), started(row(), resumed=True)):
        lines = Lines()
        watchers = Watchers([lines, Queued(WeightsAndBiases(config, FIRST), close_seconds=120)])
        watchers.tell(begin)
        for number in range(1, 9):
            watchers.tell(stepped(begin.step + number))
        watchers.tell(EpochDone(row(begin.epoch + 1)))
        watchers.tell(Stepped(begin.epoch + 1, begin.step + 9, 8, 0.4375, 0.01))
        watchers.tell(Ended("SIGTERM", 1, begin.step + 9, Path("latest.pt")))
        watchers.close()
        assert lines.said == []
        mine = (tmp_path / "wandb_id.txt").read_text().strip()
        assert identity in (None, mine)
        identity = mine
    files = glob.glob(str(tmp_path / "wandb" / "offline-run-*" / f"run-{identity}.wandb"))
    assert len(files) == 2
    wanted = (b"epoch/validation_mae", b"0.4375", b'"SIGTERM"')  # an epoch, the last step, the end
    deadline = time.monotonic() + 60
    while missing := [each for file in files for each in wanted if each not in Path(file).read_bytes()]:
        assert time.monotonic() < deadline, missing  # its own process writes them, a moment later
        time.sleep(0.05)


def test_a_full_disk_is_one_error_of_tensorboard_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    tracker = TensorBoard(config_in(tmp_path, tensorboard=True), FIRST)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OSError):
            tracker.see(started())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert told == []
    ours = threading.Thread(target=lambda: 1 // 0)  # of any other thread it is told
    ours.start()
    ours.join()
    assert [each.exc_type for each in told] == [ZeroDivisionError]


@pytest.mark.parametrize(
    ("flags", "name", "installed_by"),
    [
        (("--tensorboard",), "tensorboard", "dcrnn_fast[tensorboard]"),
        (("--wandb", "offline"), "wandb", "dcrnn_fast[wandb]"),
        (("--monitor-gpu",), "pynvml", "nvidia-ml-py"),
        (("--monitor-cpu",), "psutil", "psutil"),
    ],
)
def test_a_package_that_is_missing_is_named_before_anything_is_written(
    tmp_path: Path,
    flags: tuple[str, ...],
    name: str,
    installed_by: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked, *more: None if asked == name else find(asked, *more))
    assert train.main(["--config", "debug", *flags, "--results", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == (
        f"dcrnn-fast train: error: {flags[0]} needs the package {name}: "
        f"pip install '{installed_by}', or leave {flags[0]} out\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_there_is_no_mistake() -> None:
    require_package("json", "--json", "json")
    with pytest.raises(UserError, match="--none needs the package no_such_package"):
        require_package("no_such_package", "--none", "nothing")


_FAKE = """
import json, pathlib
LOG = pathlib.Path(__file__).with_name("calls.jsonl")

def note(**what):
    with LOG.open("a") as stream:
        stream.write(json.dumps(what) + "\\n")

class Settings:
    def __init__(self, **_): pass

class Run:
    step = 12  # what the service has of the run
    summary = {}
    def log(self, values, step, commit):
        note(step=step, names=sorted(values))
    def finish(self, exit_code):
        note(finish=exit_code)

def init(**how):
    how.pop("settings")
    how["config"] = sorted(how["config"])
    note(**how)
    return Run()
"""


def test_weights_and_biases_online_goes_on_with_the_same_run_and_sends_no_step_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module in the service's place: there is none here."""
    (tmp_path / "wandb.py").write_text(_FAKE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    (tmp_path / "wandb_id.txt").write_text("1234abcd\n")
    tracker = WeightsAndBiases(config_in(tmp_path, wandb="online", wandb_project="p"), FIRST)
    tracker.see(started(row(), resumed=True))
    for number in range(9, 15):
        tracker.see(stepped(number))
    tracker.see(Failed("the disk is full"))
    tracker.close()
    monkeypatch.delitem(sys.modules, "wandb")
    begin, *logged, end = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert begin == {
        "project": "p",
        "name": None,
        "dir": str(tmp_path),
        "mode": "online",
        "id": "1234abcd",
        "resume": "allow",
        "config": ["data", "graph", "model", "output", "training", "watch"],
    }
    assert [call["step"] for call in logged] == [12, 13, 14]
    assert end == {"finish": 1}
