"""A run that is resumed on another number of ranks uses every window exactly once an epoch."""

import json
from pathlib import Path

import pytest

from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.data.opening import open_data
from tests.training.rank_programs import debug_config
from tests.training.rank_server import RankServer

FLAGS = ("--epochs", "2", "--batch-size", "4", "--max-train-windows", "45", "--max-validation-windows", "8")


@pytest.mark.slow
@pytest.mark.parametrize("reading", ["shuffled", "contiguous"])
def test_2_then_1_then_3_ranks_use_each_window_once_an_epoch(
    reading: str, tmp_path: Path, rank_server: RankServer
) -> None:
    results = tmp_path / "r"
    flags = ("--results", str(results), "--resume", "auto", "--reading", reading, *FLAGS)
    # (ranks, the step before which they are asked to stop, more flags): in the middle of both epochs.
    legs = [(2, 3, ()), (1, 12, ("--num-workers", "2")), (3, -1, ())]
    for number, (world, stop_at, more) in enumerate(legs):
        job = rank_server.start(
            tmp_path / f"job{number}", world, "rank_programs:notes_windows", str(tmp_path / f"used{number}"), stop_at,
            *flags, *more,
        )  # fmt: skip
        assert job.wait() == [0 if stop_at < 0 else 85] * world, job.errors(0)
    steps = {}
    for number, (world, *_) in enumerate(legs):
        for rank in range(world):
            for line in (tmp_path / f"used{number}.{rank}").read_text().splitlines():
                step, position, rows = json.loads(line)
                steps.setdefault(step, (number, position, []))
                assert steps[step][:2] == (number, position), "a step was taken twice"
                steps[step][2].extend(rows)
    assert sorted(steps) == list(range(len(steps)))
    config = debug_config(*FLAGS)
    windows = sorted(open_data(config.data, config.graph).train.starts_W.tolist())
    epochs: list[list[int]] = []
    for step in sorted(steps):
        _, position, rows = steps[step]
        if position == 0:
            epochs.append([])
        epochs[-1].extend(rows)
    assert [sorted(epoch) for epoch in epochs] == [windows, windows]
    assert epochs[0] != epochs[1]
    assert load_checkpoint(results / "checkpoints" / "latest.pt")["training"]["epoch"] == 2
