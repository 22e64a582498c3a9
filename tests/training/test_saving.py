"""When a run saves and under which names; only rank 0 does."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dcrnn_fast.config.sections import Config, OutputConfig
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.records.events import Event, Saved
from dcrnn_fast.records.lock import FolderLock
from dcrnn_fast.records.watcher import Watcher
from dcrnn_fast.records.watchers import Watchers
from dcrnn_fast.training import saving
from dcrnn_fast.training.progress import Progress
from dcrnn_fast.training.saving import Saver
from tests.records.rows import row


class Seen(Watcher):
    def __init__(self) -> None:
        self.events: list[Event] = []

    def see(self, event: Event) -> None:
        self.events.append(event)


def saves(monkeypatch: pytest.MonkeyPatch, progress: Progress, rank: int = 0) -> list[tuple[str, ...]]:
    """The names of each save, after a step and after an epoch; what is told must be the same."""
    written: list[tuple[str, ...]] = []

    def save(folder: Path, state: object, *names: str) -> None:
        assert (folder, state) == (Path("r/checkpoints"), "state")
        written.append(names)

    monkeypatch.setattr(saving, "save_checkpoint", save)
    monkeypatch.setattr(saving, "state_of", lambda *_: "state")
    output = OutputConfig(results="r", save_every_steps=3, save_every_epochs=2)
    run: Any = SimpleNamespace(config=Config(output=output), ranks=Ranks(rank=rank, world=2))
    seen = Seen()
    saver = Saver(run, progress, Watchers([seen]), FolderLock())
    saver.after_step()
    saver.after_epoch()
    assert seen.events == [Saved(progress.step, names) for names in written]
    return written


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
    monkeypatch: pytest.MonkeyPatch, step: int, history: list[Any], written: list[tuple[str, ...]]
) -> None:
    assert saves(monkeypatch, Progress(epoch=len(history), step=step, history=history)) == written


def test_other_ranks_write_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert saves(monkeypatch, Progress(epoch=2, step=6, history=[row(1), row(2)]), rank=1) == []
