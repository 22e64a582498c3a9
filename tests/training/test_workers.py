"""``--num-workers``: the run is the same, bit for bit, and threads end when they have nothing to do."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.data.ahead import Gatherer
from dcrnn_fast.data.dataset import Batch, ForecastData
from dcrnn_fast.data.device_windows import DeviceWindows
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.errors import UserError
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.ranks.stopping import StopRequest
from dcrnn_fast.training.fit import fit
from dcrnn_fast.training.memory import StepMemory
from dcrnn_fast.training.run import make_run, worker_notes, workers_here
from dcrnn_fast.training.static_step import StaticStep
from dcrnn_fast.training.step import EagerStep
from tests.training.rank_programs import debug_config
from tests.training.same_run import assert_same_run

SMALL = ("--city-nodes", "6", "--max-train-windows", "45", "--max-validation-windows", "20", "--batch-size", "4",
         "--accumulate", "2")  # fmt: skip


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcrnn_fast.training.run.usable_cores", lambda: 8)


def gather_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("gather")]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs that gathers for itself."""
    results = tmp_path_factory.mktemp("alone")
    fit(debug_config("--results", str(results), *SMALL, "--epochs", "2"))
    return results


@pytest.mark.parametrize("workers", ["2", "4"])
def test_runs_are_the_same_with_any_number_of_workers(alone: Path, tmp_path: Path, workers: str) -> None:
    fit(debug_config("--results", str(tmp_path), *SMALL, "--epochs", "2", "--num-workers", workers))
    assert_same_run(alone, tmp_path)
    assert gather_threads() == []


def test_a_stop_in_mid_epoch_ends_the_workers_and_the_run_goes_on_from_what_was_used(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--results", str(tmp_path), *SMALL, "--epochs", "2", "--num-workers", "3")
    take = EagerStep.take

    def stopped(self: EagerStep, batch: Any, step: int, *more: Any) -> Any:
        if step == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
        return take(self, batch, step, *more)

    with monkeypatch.context() as signalled:
        signalled.setattr(EagerStep, "take", stopped)
        assert fit(debug_config(*flags)).reason == "SIGUSR1"
    assert gather_threads() == []
    training = load_checkpoint(tmp_path / "checkpoints" / "latest.pt")["training"]
    assert (training["step"], training["position"]) == (2, 16)  # three more batches of four were gathered
    assert fit(debug_config(*flags, "--resume", "auto")).reason == "finished"
    assert_same_run(alone, tmp_path)


def test_what_goes_wrong_in_a_worker_ends_the_run_as_it_would_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gather, gathered = ForecastData.gather, []

    def unreadable(self: ForecastData, starts: np.ndarray) -> Batch:
        if threading.current_thread().name.startswith("gather"):
            gathered.append(starts)
            if len(gathered) == 7:
                raise UserError("values.npy: the disk does not answer")
        return gather(self, starts)

    monkeypatch.setattr(ForecastData, "gather", unreadable)
    with pytest.raises(UserError, match="the disk does not answer"):
        fit(debug_config("--results", str(tmp_path), *SMALL, "--num-workers", "2"))
    assert gather_threads() == []


def test_a_captured_steps_windows_are_gathered_ahead_too() -> None:
    """Its last micro-batch, which is not full, is filled up."""
    data, outcomes = None, []
    for workers in (0, 2):
        config = debug_config(*SMALL, "--num-workers", str(workers))
        data = data or open_data(config.data, config.graph)
        run = make_run(config, data, Ranks())
        stepper = StaticStep(run, lambda line: None)
        with run.host_windows.following(stepper.gathered(run.batches.epoch(0, 8))):
            assert len(gather_threads()) > 0 or workers == 0
            outcomes.append([
                stepper.take(batch, step, 0.01, StopRequest()) for step, batch in enumerate(run.batches.epoch(0, 8))
            ])  # fmt: skip
        assert run.host_windows.waited_seconds > 0
    assert outcomes[0] == outcomes[1]
    assert all(outcome.finite for outcome in outcomes[0])


def test_no_more_threads_than_cores(capsys: pytest.CaptureFixture[str]) -> None:
    assert [workers_here(wanted, Ranks(local_world=3, world=3)) for wanted in (0, 1, 2, 9)] == [0, 1, 2, 2]
    assert workers_here(4, Ranks(local_world=99, world=99)) == 1
    config = debug_config(*SMALL, "--num-workers", "9")
    run = make_run(config, open_data(config.data, config.graph), Ranks())
    assert worker_notes(run) == ["num_workers 9: 8 thread(s) gather ahead, as this process has no more cores"]
    run.host_windows, run.device_windows = Gatherer(run.data), DeviceWindows(run.data, torch.device("cpu"))
    assert worker_notes(run)[0].startswith("num_workers 9: the series is on the GPU")


def test_room_is_needed_for_batches_ahead() -> None:
    config = debug_config(*SMALL)
    run = make_run(config, open_data(config.data, config.graph), Ranks())

    def batches() -> int:
        memory = StepMemory(run)
        return memory.need(memory.now).stays["batches"]

    assert run.host_windows.ahead == 0
    one = sum(
        tensor.nbytes for tensor in vars_of(run.data.gather(run.data.train.starts_W[: config.training.batch_size]))
    )
    accumulate = config.training.accumulate
    assert batches() == one * accumulate
    run.host_windows = Gatherer(run.data, 4)
    assert batches() == one * (accumulate + 5)


def vars_of(batch: Batch) -> list[torch.Tensor]:
    return [batch.x_BPNC, batch.y_BFNO, batch.observed_BFNO, batch.labels_BFNO]
