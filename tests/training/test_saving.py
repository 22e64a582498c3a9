"""When a run saves and under which names; only rank 0 does."""

import json
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dcrnn_fast.checkpoints.find import newest_good
from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.checkpoints.retention import name_of_epoch
from dcrnn_fast.config.sections import Config, OutputConfig
from dcrnn_fast.errors import UserError
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.records.events import Event, Saved
from dcrnn_fast.records.lock import FolderLock
from dcrnn_fast.records.status import read_status
from dcrnn_fast.records.watcher import Watcher
from dcrnn_fast.records.watchers import Watchers
from dcrnn_fast.training import saving as saving_module
from dcrnn_fast.training.fit import fit
from dcrnn_fast.training.progress import Progress
from dcrnn_fast.training.saving import saving
from dcrnn_fast.training.step import EagerStep
from tests.checkpoints.test_checkpoint import make_state
from tests.records.rows import row
from tests.training.rank_programs import debug_config
from tests.training.rank_server import RankServer
from tests.training.same_run import events_of


class Seen(Watcher):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[Saved] = []

    def see(self, event: Event) -> None:
        assert isinstance(event, Saved)
        assert all(load_checkpoint(self.folder / name)["training"]["step"] == event.step for name in event.files)
        self.events.append(event)


def saves(monkeypatch: pytest.MonkeyPatch, folder: Path, progress: Progress, rank: int = 0) -> list[tuple[str, ...]]:
    """The names of each save, after a step and after an epoch, as they are told: when the files are there."""
    monkeypatch.setattr(saving_module, "state_of", lambda *_: make_state(progress.step))
    output = OutputConfig(results=str(folder), save_every_steps=3, save_every_epochs=2)
    run: Any = SimpleNamespace(config=Config(output=output), ranks=Ranks(rank=rank, world=2))
    (folder / "checkpoints").mkdir()
    seen = Seen(folder / "checkpoints")
    with saving(run, progress, Watchers([seen]), FolderLock()) as saver:
        saver.after_step()
        saver.after_epoch()
    assert all(event.step == progress.step for event in seen.events)
    return [event.files for event in seen.events]


@pytest.mark.parametrize(
    ("step", "history", "written"),
    [
        (4, [row(1)], [("latest.pt", "best.pt")]),
        (6, [row(1)], [("latest.pt",), ("latest.pt", "best.pt")]),
        (4, [row(1), row(2, validation_error=9.0)], [("latest.pt", "epoch_0002.pt")]),
        (4, [row(1), row(2, validation_error=0.1)], [("latest.pt", "best.pt", "epoch_0002.pt")]),
        (4, [row(1), row(2), row(3)], [("latest.pt",)]),
    ],
)
def test_names_follow_step_epoch_and_the_best(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: int, history: list[Any], written: list[tuple[str, ...]]
) -> None:
    assert saves(monkeypatch, tmp_path, Progress(epoch=len(history), step=step, history=history)) == written


def test_other_ranks_write_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    progress = Progress(epoch=2, step=6, history=[row(1), row(2)])
    assert saves(monkeypatch, tmp_path, progress, rank=1) == []
    assert list((tmp_path / "checkpoints").iterdir()) == []


FEW = ("--max-train-windows", "16", "--max-validation-windows", "8", "--city-nodes", "6", "--batch-size", "8")


def epoch_files(results: Path) -> list[str]:
    return sorted(path.name for path in (results / "checkpoints").glob("epoch_*.pt"))


def test_as_many_epochs_stay_as_asked_for_also_after_a_resume(tmp_path: Path) -> None:
    flags = ("--results", str(tmp_path), *FEW, "--save-every-epochs", "1", "--keep-last", "2")
    fit(debug_config(*flags, "--epochs", "5"))
    assert epoch_files(tmp_path) == ["epoch_0004.pt", "epoch_0005.pt"]
    fit(debug_config(*flags, "--epochs", "8", "--resume", "auto"))
    assert epoch_files(tmp_path) == ["epoch_0007.pt", "epoch_0008.pt"]
    # The one that --resume names stays, whatever comes.
    named = tmp_path / "checkpoints" / "epoch_0007.pt"
    fit(debug_config(*flags, "--epochs", "10", "--resume", str(named)))
    assert epoch_files(tmp_path) == ["epoch_0007.pt", "epoch_0009.pt", "epoch_0010.pt"]
    listed = json.loads((tmp_path / "checkpoints" / "manifest.json").read_text())
    assert sorted(listed) == ["best.pt", "epoch_0007.pt", "epoch_0009.pt", "epoch_0010.pt", "latest.pt"]


def test_the_best_epochs_have_files_of_their_own(tmp_path: Path) -> None:
    flags = ("--results", str(tmp_path), *FEW, "--save-every-epochs", "4", "--keep-best", "2", "--keep-last", "1")
    result = fit(debug_config(*flags, "--epochs", "6", "--learning-rate", "0.05"))
    errors = [row["validation_error"] for row in result.history]
    best = sorted(range(6), key=errors.__getitem__)[:2]
    assert epoch_files(tmp_path) == sorted({name_of_epoch(epoch + 1) for epoch in best} | {"epoch_0004.pt"})


def test_an_error_of_the_writer_ends_the_run_at_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the next save, which would be 100 steps later."""
    sync, failed = os.fsync, threading.Event()

    def full(descriptor: int) -> None:
        if threading.current_thread().name.startswith("checkpoints"):
            failed.set()
            raise OSError(28, "No space left on device")
        sync(descriptor)

    take = EagerStep.take

    def after_the_failure(self: EagerStep, batch: Any, step: int, *more: Any) -> Any:
        if step == 2:
            assert failed.wait(60)
            time.sleep(0.2)  # until the error has been put away for the loop
        return take(self, batch, step, *more)

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(EagerStep, "take", after_the_failure)
    with pytest.raises(UserError, match="No space left on device"):
        fit(debug_config("--results", str(tmp_path), "--save-every-steps", "2", "--epochs", "1"))
    status = read_status(tmp_path)
    assert status is not None
    assert (status.state, status.step) == ("failed", 3)
    assert list((tmp_path / "checkpoints").glob("*.pt*")) == []


@pytest.mark.slow
def test_all_ranks_end_with_the_writers_error_and_the_last_good_one_stays(
    tmp_path: Path, rank_server: RankServer
) -> None:
    results = tmp_path / "r"
    flags = ("--results", str(results), "--save-every-steps", "2", "--epochs", "50", "--batch-size", "8")
    job = rank_server.start(tmp_path / "job", 2, "rank_programs:loses_its_disk", *flags)
    assert job.wait() == [2, 2]
    assert job.errors(0).count("\n") == 1
    assert "latest.pt" in job.errors(0) or "manifest.json" in job.errors(0)
    assert "No space left on device" in job.errors(0)
    assert job.errors(1) == ""
    found = newest_good(results / "checkpoints")
    assert (found.state["training"]["step"], found.notes) == (2, ())
    assert [event["step"] for event in events_of(results) if event["event"] == "save"] == [2]
