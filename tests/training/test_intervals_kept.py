"""Intervals at the end of a training: of the best epoch, on any ranks, kept in the checkpoint, and nothing broken."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.evaluation.calibration import AbsoluteErrors
from dcrnn_fast.loading import load
from dcrnn_fast.training.fit import fit
from tests.training.rank_programs import debug_config
from tests.training.rank_server import RankServer

TINY = ("--city-nodes", "5", "--max-train-windows", "40", "--max-validation-windows", "20", "--batch-size", "8")


def test_they_are_those_of_the_best_epochs_average_and_its_checkpoint_has_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*TINY, "--results", str(tmp_path), "--ema-decay", "0.9", "--at-least", "40", "--save-every-epochs", "1"]
    result = fit(debug_config(*flags, "--epochs", "2"))
    assert result.intervals is not None
    assert result.intervals.windows == 20
    folder = tmp_path / "checkpoints"
    best = load_checkpoint(folder / "best.pt")
    assert "intervals: 50, 80 and 90 %, from 20 validation windows\n" in capsys.readouterr().out
    kept, of_epoch = best.pop("intervals"), load_checkpoint(folder / f"epoch_{result.best_epoch:04}.pt")
    assert kept["half_width"].numpy().tobytes() == result.intervals.half_width_LFNO.tobytes()
    assert best.keys() == of_epoch.keys()
    assert all(torch.equal(best["ema"][name], weight) for name, weight in of_epoch["ema"].items())
    again, _ = load(folder / "best.pt").calibrate(result.data)
    assert again.intervals is not None
    np.testing.assert_allclose(again.intervals.half_width_LFNO, result.intervals.half_width_LFNO, rtol=1e-4, atol=1e-4)
    assert again.intervals.times == result.intervals.times
    assert ("intervals" in load_checkpoint(folder / "latest.pt")) == (result.best_epoch == 2)
    # A training that goes on has none before its end.
    result = fit(debug_config(*flags, "--epochs", "3", "--resume", "auto"))
    assert "intervals" not in load_checkpoint(folder / "epoch_0003.pt")
    assert "intervals" in load_checkpoint(folder / "best.pt")
    assert load(folder / "best.pt").notes == ("weights: their moving average over the training (ema_decay 0.9)",)


def test_too_few_windows_cost_the_training_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*TINY, "--results", str(tmp_path), "--epochs", "1", "--max-validation-windows", "3"]
    result = fit(debug_config(*flags))
    assert result.reason == "finished"
    assert result.intervals is not None
    assert result.intervals.levels == (0.5,)
    said = capsys.readouterr().out
    assert "intervals: 50 %, from 3 validation windows\n" in said
    assert "no 80 % interval: it takes 4 windows with an observed target of a sensor at a step, and of 3 " in said


def test_a_checkpoint_that_cannot_be_written_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add = AbsoluteErrors.add

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    def adding(self: AbsoluteErrors, *args: Any) -> None:
        add(self, *args)
        monkeypatch.setattr(os, "fsync", full)  # all that was trained is on the disk

    monkeypatch.setattr(AbsoluteErrors, "add", adding)
    result = fit(debug_config(*TINY, "--results", str(tmp_path), "--epochs", "1"))
    assert result.reason == "finished"
    said = capsys.readouterr().out
    assert "No space left on device; nothing there was changed; the training stands, `dcrnn-fast evaluate" in said
    assert "intervals" not in load_checkpoint(tmp_path / "checkpoints" / "best.pt")
    assert not list(tmp_path.rglob("*.tmp-*"))


@pytest.mark.slow
def test_a_run_that_is_stopped_or_killed_meanwhile_gets_them_when_it_is_resumed(
    tmp_path: Path, rank_server: RankServer
) -> None:
    flags = ("--epochs", "1", *TINY, "--results")
    jobs = {
        name: rank_server.start(
            tmp_path / f"job {name}", 1, "interval_programs:gets_a_signal", name, *flags, str(tmp_path / name)
        )
        for name in ("SIGTERM", "SIGKILL")
    }
    for (name, job), code in zip(jobs.items(), (85, -9), strict=True):
        results = tmp_path / name
        assert job.wait() == [code], job.errors(0)
        if code == 85:
            assert json.loads((results / "status.json").read_text())["state"] == "stopped"
        assert "intervals" not in load_checkpoint(results / "checkpoints" / "best.pt")
        rank_server.run(tmp_path / f"again {name}", 1, "rank_programs:train", *flags, str(results), "--resume", "auto")
        assert json.loads((results / "status.json").read_text())["state"] == "finished"
        assert load(results / "checkpoints" / "best.pt").intervals is not None


@pytest.mark.slow
def test_ranks_share_the_windows_or_the_graph_to_the_same_intervals(tmp_path: Path, rank_server: RankServer) -> None:
    """To the same bits if each has whole windows, at every rank."""
    flags = ("--city-nodes", "16", "--city-days", "4", "--max-train-windows", "40", "--max-validation-windows", "29")
    found = {}
    for world, parts in ((1, 1), (2, 1), (2, 2)):
        name = f"{world}-{parts}"
        job = rank_server.start(
            tmp_path / f"job{name}", world, "interval_programs:calibrates", str(tmp_path / name), *flags,
            "--node-parallel", str(parts), "--batch-size", "4",
        )  # fmt: skip
        assert job.wait() == [0] * world, job.errors(0)
        each = [(tmp_path / f"{name}.{rank}").read_bytes() for rank in range(world)]
        assert each == [each[0]] * world
        found[world, parts] = each[0]
    assert found[2, 1] == found[1, 1]
    alone, shared = (np.frombuffer(found[key], dtype=np.float32) for key in ((1, 1), (2, 2)))
    np.testing.assert_allclose(shared, alone, rtol=1e-4, atol=1e-5 * float(alone.max()))
