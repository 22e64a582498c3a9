"""One stream of events for all: the files' formats, and trackers that fail without ending a run."""

import contextlib
import csv
import errno
import io
import json
import math
import os
import socket
from pathlib import Path
from typing import ClassVar

import pytest

from dcrnn_fast.config.sections import Config, OutputConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.records import watchers as watchers_module
from dcrnn_fast.records.events import (
    COLUMNS,
    BadStep,
    Ended,
    EpochDone,
    EpochRow,
    Event,
    Failed,
    Overflow,
    Said,
    Saved,
    Starting,
    Stepped,
    Validating,
)
from dcrnn_fast.records.jsonl import EventsFile
from dcrnn_fast.records.lock import LOCK, FolderLock, Holder
from dcrnn_fast.records.metrics_csv import MetricsFile
from dcrnn_fast.records.terminal import Terminal
from dcrnn_fast.records.watcher import Place, Watcher
from dcrnn_fast.records.watchers import RUN_FILES, Watchers, open_watchers
from dcrnn_fast.system import machine, usable_cores
from tests.records.rows import row, started


def config_in(folder: Path) -> Config:
    return Config(output=OutputConfig(results=str(folder)))


def lines_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


class Tracker(Watcher):
    """Keeps what it saw, and fails at a kind of event."""

    fails_at: ClassVar[type | None] = None

    def __init__(self, config: Config | None = None) -> None:
        self.seen: list[Event] = []
        self.closed = 0

    def see(self, event: Event) -> None:
        if self.fails_at is not None and isinstance(event, self.fails_at):
            raise ConnectionError("no answer\nfrom the server")
        self.seen.append(event)

    def close(self) -> None:
        self.closed += 1


class Fragile(Tracker):
    fails_at = Saved


class Needed(Fragile):
    needed = True


class Lasting(Fragile):
    lasting = True


class Stuck(Tracker):
    def close(self) -> None:
        raise OSError("cannot flush")


def test_every_column_is_a_field_and_the_files_keep_their_order(tmp_path: Path) -> None:
    assert (
        *("epoch", "step", "learning_rate", "label_probability", "train_loss", "gradient_norm", "skipped_steps"),
        *("validation_mae", "validation_error", "validation_rmse", "validation_mape", "best"),
        *("train_seconds", "validation_seconds", "windows_per_second", "data_wait_share", "communication_share"),
        *("gpu_utilisation_percent", "cpu_percent", "flops_per_second", "peak_share"),
    ) == COLUMNS
    config, done = config_in(tmp_path), row(targets={"flow": 2.0, "share": 0.5})
    assert list(done.to_dict()) == [*COLUMNS, "validation_mae_flow", "validation_mae_share"]
    assert EpochRow.from_dict(done.to_dict()) == done
    for watcher in (MetricsFile(config), EventsFile(config)):
        watcher.see(started())
        watcher.see(EpochDone(done))
    header, values = list(csv.reader((tmp_path / "metrics.csv").open()))
    assert header == list(done.to_dict())
    assert [float(value) for value in values] == [float(value) for value in done.to_dict().values()]
    assert list(lines_of(tmp_path)[-1]) == ["time", "event", *done.to_dict()]


def test_events_are_not_written_to_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events.jsonl")
    for resumed in (False, True):
        with pytest.raises(UserError, match=r"cannot write .*events\.jsonl"):
            EventsFile(config_in(tmp_path)).see(started(resumed=resumed))


def test_a_row_of_an_older_version_is_ranked_by_its_mae_and_stays_as_it_was() -> None:
    values = row().to_dict()
    del values["validation_error"]
    old = EpochRow.from_dict(values)
    assert old.error == old.validation_mae
    assert old.to_dict() == values


def test_each_event_is_written_in_its_own_words(tmp_path: Path) -> None:
    told: list[Event] = [
        Said("before the folder is this run's"),
        Said("graph:\n  hops: 2"),
        Starting(),
        started(),
        Said("a line"),
        Stepped(0, 1, 8, 3.0, 0.01),
        Overflow(2, 32768.0),
        BadStep(3, math.inf, (5, 9), ("2024-01-01", "2024-01-02"), ends_run=False),
        Validating(0, 20),
        EpochDone(row(validation_mape=math.nan)),
        Saved(8, ("best.pt", "latest.pt")),
        started(row(), resumed=True),
        Ended("SIGTERM", 1, 9, Path("latest.pt")),
    ]
    file = EventsFile(config_in(tmp_path))
    for event in told:
        file.see(event)
    entries = lines_of(tmp_path)
    for entry in entries:
        assert str(entry.pop("time")).endswith("+00:00")
    epoch = entries.pop(5)
    assert epoch["event"] == "epoch"
    assert epoch["validation_mape"] is None
    here = {"host": socket.gethostname(), "cpu": machine()["cpu"], "cores": usable_cores(), "device": "cpu"}
    assert entries == [
        {"event": "note", "line": "before the folder is this run's"},
        {"event": "start", "epoch": 0, "step": 0, "ranks": 1} | here,
        {"event": "note", "line": "a line"},
        {"event": "overflow", "step": 2, "loss_scale": 32768.0},
        {"event": "bad_step", "step": 3, "gradient_norm": "inf", "windows": [5, 9]},
        {"event": "save", "step": 8, "files": ["best.pt", "latest.pt"]},
        {"event": "resume", "epoch": 1, "step": 8, "ranks": 1} | here,
        {"event": "end", "reason": "SIGTERM", "epoch": 1, "step": 9},
    ]


def test_a_resumed_run_clears_the_line_that_a_kill_has_torn_and_epochs_that_come_again(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines = ['{"event": "start"}', '{"event": "epoch", "epoch": 1}', '{"event": "sa', '{"event": "epoch", "epoch": 2}']
    torn = "\n".join([*lines, '{"event": "save", "step": 8}', '{"time": "2026-0'])
    path.write_text(torn)
    file = EventsFile(config_in(tmp_path))
    file.see(Said("an earlier run may yet be set aside"))
    assert path.read_text() == torn
    file.see(started(row(), resumed=True))
    assert [(line["event"], line.get("epoch")) for line in lines_of(tmp_path)] == [
        ("start", None),
        ("epoch", 1),
        ("save", None),
        ("note", None),
        ("resume", 1),
    ]


def test_events_of_a_disk_that_was_full_are_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it is full in the middle of a line."""
    file = EventsFile(config_in(tmp_path))
    file.see(started())
    real, room = os.write, [20]

    def write(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = real(descriptor, data[: room[0]])
        room[0] -= done
        return done

    monkeypatch.setattr(os, "write", write)
    for epoch in (1, 2):
        with pytest.raises(UserError, match=r"cannot write .*events\.jsonl: No space left on device"):
            file.see(EpochDone(row(epoch)))
    assert [line["event"] for line in lines_of(tmp_path)] == ["start"]
    monkeypatch.undo()
    file.see(Saved(8, ("latest.pt",)))
    assert [line["event"] for line in lines_of(tmp_path)] == ["start", "epoch", "epoch", "save"]


def test_a_resumed_run_has_no_epoch_twice(tmp_path: Path) -> None:
    first = MetricsFile(config_in(tmp_path))
    first.see(started())
    assert not (tmp_path / "metrics.csv").exists()
    for epoch in (1, 2):
        first.see(EpochDone(row(epoch)))
    second = MetricsFile(config_in(tmp_path))  # from a checkpoint of epoch 1: the second is trained again
    second.see(started(row(1), resumed=True))
    assert [line["epoch"] for line in csv.DictReader((tmp_path / "metrics.csv").open())] == ["1"]
    second.see(EpochDone(row(2)))
    assert [line["epoch"] for line in csv.DictReader((tmp_path / "metrics.csv").open())] == ["1", "2"]


def test_a_tracker_that_fails_is_dropped_with_one_line_and_the_others_go_on() -> None:
    before, fragile, after = Tracker(), Fragile(), Tracker()
    watchers = Watchers([before, fragile, after])
    told = [started(), Saved(8, ("latest.pt",)), Ended("finished", 1, 8, Path("latest.pt"))]
    for event in told:
        watchers.tell(event)
    line = Said("Fragile is told no more, training goes on: no answer from the server")
    assert before.seen == [*told[:2], line, told[2]]
    assert after.seen == [told[0], line, *told[1:]]
    assert fragile.seen == told[:1]
    watchers.close()
    assert [each.closed for each in (before, fragile, after)] == [1, 1, 1]


def test_a_log_that_fails_is_told_all_that_follows_with_one_line_in_all() -> None:
    log, after = Lasting(), Tracker()
    watchers = Watchers([log, after])
    told = [started(), Saved(8, ("latest.pt",)), Saved(9, ("latest.pt",)), Ended("finished", 1, 8, Path("latest.pt"))]
    for event in told:
        watchers.tell(event)
    line = Said("no answer from the server; training goes on")
    assert log.seen == [told[0], line, told[3]]
    assert after.seen == [told[0], line, *told[1:]]


def test_a_failure_is_told_in_one_line_and_goes_on() -> None:
    seen = Tracker()
    with pytest.raises(ZeroDivisionError), Watchers([seen]).telling_failure():
        _ = 1 / 0
    with pytest.raises(UserError), Watchers([seen]).telling_failure():
        raise UserError("the disk is full")
    assert seen.seen == [Failed("ZeroDivisionError: division by zero"), Failed("the disk is full")]


def test_a_full_disk_behind_the_output_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    terminal = Terminal(1)
    with contextlib.redirect_stdout(Full()):
        terminal.say("a line")
        terminal.say("another")
    assert capsys.readouterr().err == "the output cannot be written: No space left on device; everything else goes on\n"


def test_a_needed_watcher_that_fails_ends_the_run() -> None:
    with pytest.raises(ConnectionError):
        Watchers([Needed()]).tell(Saved(8, ("latest.pt",)))


def test_closing_closes_all_and_says_which_one_could_not_be() -> None:
    first, last = Tracker(), Tracker()
    Watchers([first, Stuck(), last]).close()
    assert (first.closed, last.closed) == (1, 1)
    assert first.seen == [Said("Stuck could not be closed: cannot flush")]


def test_other_ranks_have_no_watcher(tmp_path: Path) -> None:
    watchers = open_watchers(config_in(tmp_path), Place(rank=1, local_rank=1))
    watchers.tell(started())
    watchers.close()
    assert list(tmp_path.iterdir()) == []


def test_a_new_watcher_is_one_entry_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Tracker] = []

    class Noted(Tracker):
        def __init__(self, config: Config, place: Place) -> None:
            super().__init__(config)
            made.append(self)

    monkeypatch.setattr(watchers_module, "WATCHERS", (*watchers_module.WATCHERS, Noted))
    watchers = open_watchers(config_in(tmp_path))
    watchers.tell(started())
    assert made[0].seen == [started()]
    assert set(RUN_FILES) >= {"config.yaml", "metrics.csv", "events.jsonl"}


def test_a_tracker_that_cannot_begin_is_left_out_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(Tracker):
        def __init__(self, config: Config, place: Place) -> None:
            raise ImportError("libsomething.so: cannot open\nshared object file")

    monkeypatch.setattr(watchers_module, "WATCHERS", (Broken, *watchers_module.WATCHERS))
    for rank in (0, 1):
        open_watchers(config_in(tmp_path), Place(rank, rank)).close()
        line = "cannot begin, training goes on: ImportError: libsomething.so: cannot open shared object file\n"
        assert capsys.readouterr().out == (f"Broken {line}" if rank == 0 else "")
    monkeypatch.setattr(Broken, "where", "ranks")
    open_watchers(config_in(tmp_path), Place(1, 1)).close()
    assert capsys.readouterr().out == f"rank 1: Broken {line}"
    monkeypatch.setattr(Broken, "needed", True)
    with pytest.raises(ImportError):
        open_watchers(config_in(tmp_path))


def test_pipes_that_nobody_reads_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events.jsonl")
    for resumed in (False, True):
        with pytest.raises(UserError, match=r"cannot write .*events\.jsonl: "):
            EventsFile(config_in(tmp_path)).see(started(row(), resumed=resumed))


def test_a_run_that_lost_its_folder_writes_no_log_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("dcrnn_fast.records.watchers.time.monotonic", lambda: now[0])
    lock = FolderLock()
    lock.take({"--results": tmp_path}, print)
    watchers = open_watchers(config_in(tmp_path), holds=lock.holds)
    watchers.tell(Starting())
    watchers.tell(started())
    (tmp_path / LOCK).write_bytes(Holder().to_bytes())
    (tmp_path / "status.json").write_text("the other run's")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    now[0] += 100.0
    for event in (Stepped(0, 1, 8, 1.0, 0.1), EpochDone(row()), Failed("taken over"), Said("a line")):
        watchers.tell(event)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert "a line" in capsys.readouterr().out
    lock.close()
