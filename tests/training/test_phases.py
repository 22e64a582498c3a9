"""Where the time of a step goes: each part's own, no other's, in every file that says so."""

import csv
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from dcrnn_fast.records.timing import COLUMNS
from dcrnn_fast.training.fit import fit
from dcrnn_fast.training.phases import PARTS, Phases
from dcrnn_fast.training.run import Run
from dcrnn_fast.training.step import accumulate_gradients
from tests.training.rank_programs import debug_config

TINY = ("--city-nodes", "5", "--city-days", "3", "--max-train-windows", "40", "--max-validation-windows", "20")


@pytest.fixture
def phases() -> Phases:
    return Phases(torch.device("cpu"))


def timing(results: Path, rank: int = 0) -> list[dict[str, str]]:
    with open(results / f"timing_rank{rank}.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def test_each_part_has_the_time_of_its_phases_and_the_rest_is_other(phases: Phases) -> None:
    for number in range(2):
        with phases.step(number):
            for name in ("data", "count", "forward", "loss", "backward", "all_reduce", "optimizer"):
                with phases(name):
                    time.sleep(0.01)
            time.sleep(0.02)
    spent = phases.take()
    assert spent.steps == 2
    for part, least in zip(PARTS, (0.02, 0.04, 0.02, 0.04, 0.02), strict=True):
        assert spent.parts[part] is not None
        assert spent.parts[part] >= least
    assert spent.other >= 0.04
    assert sum(filter(None, spent.parts.values())) + spent.other == pytest.approx(spent.total)
    again = phases.take()
    assert (again.steps, again.total, set(again.parts.values())) == (0, 0.0, {0.0})


def test_a_wait_for_partners_inside_of_a_part_is_communication() -> None:
    waited = iter((1.0, 1.25, 2.0, 2.5))
    phases = Phases(torch.device("cpu"), lambda: next(waited))
    began = time.perf_counter()
    for name in ("forward", "backward"):
        with phases(name):
            time.sleep(0.01)
    whole, parts = time.perf_counter() - began, phases.take().parts
    assert parts["communication"] == 0.75
    for name, wait in (("forward", 0.25), ("backward", 0.5)):
        assert parts[name] is not None
        assert 0.01 <= parts[name] + wait <= whole


def test_what_is_no_step_is_not_counted(phases: Phases) -> None:
    with phases.uncounted(), phases("forward"):
        time.sleep(0.01)
    assert phases.take().parts["forward"] == 0.0
    with phases("forward"):
        time.sleep(0.01)
    forward = phases.take().parts["forward"]
    assert forward is not None
    assert forward >= 0.01


def test_a_replayed_step_is_one_range_and_its_parts_are_unknown(phases: Phases) -> None:
    begun: list[str] = []

    def noted(name: str) -> "Noted":
        begun.append(name)
        return Noted()

    class Noted:
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    phases.ranges[:] = [noted]
    with phases.step(0), phases("data"):
        pass
    phases.are_one()
    with phases.step(1), phases("data"):
        pass
    assert begun == ["step", "data", "step"]
    assert {part for part, seconds in phases.take().parts.items() if seconds is None} == {
        "forward",
        "backward",
        "optimizer",
    }


def test_a_run_writes_where_its_time_went_once_an_epoch_also_after_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = [*TINY, "--results", str(tmp_path), "--batch-size", "20"]
    monkeypatch.setattr("dcrnn_fast.training.step.accumulate_gradients", _slow_forward)
    first = fit(debug_config(*flags, "--epochs", "2", "--save-every-epochs", "1"))
    (tmp_path / "timing_rank0.csv").open("ab").write(b"3,2,1,0.")  # a row that a kill has torn
    resumed = fit(debug_config(*flags, "--epochs", "3", "--resume", str(tmp_path / "checkpoints" / "epoch_0001.pt")))
    rows = timing(tmp_path)
    assert tuple(rows[0]) == COLUMNS
    assert [(row["epoch"], row["step"], row["steps"]) for row in rows] == [
        ("1", "2", "2"),
        ("2", "4", "2"),
        ("3", "6", "2"),
    ]
    for row, epoch in zip(rows, resumed.history, strict=True):
        seconds = {name: float(value) for name, value in row.items() if name.endswith("_seconds")}
        assert seconds["forward_seconds"] >= 0.02, "the slow part is the forward's"
        assert sum(seconds.values()) <= epoch["train_seconds"] + 0.002
        assert sum(seconds.values()) >= 0.5 * epoch["train_seconds"]
        assert epoch["data_wait_share"] == pytest.approx(seconds["data_seconds"] / sum(seconds.values()), abs=1e-3)
        assert 0 <= epoch["communication_share"] < 0.5
        assert epoch["flops_per_second"] > 0
        assert "peak_share" not in epoch, "nobody knows what this CPU can do"
    assert first.history[0] == resumed.history[0]


def _slow_forward(run: Run, *args: Any) -> None:
    with run.phases("forward"):
        time.sleep(0.01)
    accumulate_gradients(run, *args)


def test_on_a_gpu_events_are_read_a_step_later_and_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's events on a clock of the test's own: each phase takes as long as its place in the step."""
    made: list[Any] = []
    clock = [0.0]

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            self.at, self.waited = -1.0, False
            made.append(self)

        def record(self) -> None:
            self.at, self.waited = clock[0], False

        def synchronize(self) -> None:
            self.waited = True

        def elapsed_time(self, other: "Event") -> float:
            assert other.waited
            return 1000 * (other.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    phases = Phases(torch.device("cuda"))
    for number in range(4):
        with phases.step(number):
            with phases("data"):
                clock[0] += 100  # the device's clock is nothing to the host's phases
            for seconds, name in enumerate(("forward", "backward", "all_reduce", "optimizer"), start=1):
                with phases(name):
                    clock[0] += seconds
        assert sum(event.waited for event in made) <= 4 * min(number, 1), "the step waited for its own events"
    assert len(made) == 2 * 8, "two steps' events are enough"
    spent = phases.take()
    data = spent.parts.pop("data")
    assert data is not None
    assert data < 1
    assert spent.parts == {"forward": 4.0, "backward": 8.0, "communication": 12.0, "optimizer": 16.0}
    assert phases.take().parts["forward"] == 0.0
