"""A small trained run, and what forecast and resume do with a changed copy of its checkpoint."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import dcrnn_fast
from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.data.opening import open_data
from dcrnn_fast.ranks.group import Ranks
from dcrnn_fast.training import resume
from dcrnn_fast.training.fit import fit
from dcrnn_fast.training.run import Run, make_run
from tests.training.rank_programs import debug_config


class Trained(NamedTuple):
    """A small run, its checkpoint's state, and the forecast of it; ``file``: where changed ones are put, in turn."""

    run: Run
    state: dict[str, Any]
    file: Path
    forecast: np.ndarray


def train_one(folder: Path) -> Trained:
    """Trains an epoch in ``folder``."""
    results = folder / "results"
    few = ("--max-train-windows", "16", "--max-validation-windows", "8", "--city-nodes", "6", "--epochs", "1")
    few += ("--ema-decay", "0.5")  # so that every part there can be is there
    config = debug_config("--results", str(results), *few)
    fit(config)
    run = make_run(config, open_data(config.data, config.graph), Ranks())
    path = results / "checkpoints" / "latest.pt"
    (folder / "changed").mkdir()
    values = dcrnn_fast.load(path).forecast(run.data.series).values_FNO
    return Trained(run, load_checkpoint(path), folder / "changed" / "x.pt", values)


def forecast(trained: Trained) -> np.ndarray:
    """What ``forecast`` does with a changed checkpoint: (F, N, O)."""
    return dcrnn_fast.load(trained.file).forecast(trained.run.data.series).values_FNO


def resumed(trained: Trained) -> None:
    """What ``train --resume`` does with it."""
    run, state = trained.run, load_checkpoint(trained.file)
    resume.require_resumable(state, "x.pt")
    config = resume.saved_choices(run.config, state)
    resume.in_saved_order(run.data, config.data, state)
    resume.require_fitting(run, state, "x.pt")
    resume.differences(run, state)
    resume.restore(run, state)
