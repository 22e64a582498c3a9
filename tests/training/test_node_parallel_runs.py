"""Runs on a shared graph from start to end: resumed on other layouts, evaluated, forecast with, and refused."""

import csv
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from dcrnn_fast.checkpoints.read import load_checkpoint
from tests.training.rank_server import RankServer
from tests.training.same_run import metrics

RUN = (
    *("--city-nodes", "16", "--city-days", "4", "--max-train-windows", "45", "--max-validation-windows", "9"),
    *("--global-batch-size", "8", "--batch-size", "2", "--sampling-decay", "5", "--patience", "0"),
    *("--scaler", "sensor", "--threads", "1", "--known-ahead", "calendar"),
)


def latest(results: Path) -> dict:
    return load_checkpoint(results / "checkpoints" / "latest.pt")


def assert_near(state: dict, whole: dict, tolerance: float = 1e-4) -> None:
    """Weights: the maximal error over the maximal value of each."""
    for name, weight in whole["model"].items():
        assert float((state["model"][name] - weight).abs().max()) <= tolerance * float(weight.abs().max()), name


@pytest.mark.slow
def test_any_layout_goes_on_where_another_one_stopped(tmp_path: Path, rank_server: RankServer) -> None:
    """In the middle of epochs: the same windows and steps, and the training of a run that stayed on one process."""
    flags = ("--config", "debug", "--epochs", "3", *RUN, "--ema-decay", "0.8")
    whole = rank_server.start(
        tmp_path / "job", 1, "rank_programs:notes_windows", str(tmp_path / "whole"), -1, "--results",
        str(tmp_path / "one"), *flags[2:],
    )  # fmt: skip
    results = tmp_path / "results"
    # (processes, sharing a graph, the step before which they are asked to stop)
    legs = [(2, 2, 3), (2, 1, 8), (4, 2, 10), (1, 1, 14), (3, 3, -1)]
    said = []
    for number, (world, parts, stop_at) in enumerate(legs):
        job = rank_server.start(
            tmp_path / f"job{number}", world, "rank_programs:notes_windows", str(tmp_path / f"leg{number}"), stop_at,
            "--results", str(results), "--resume", "auto", "--node-parallel", str(parts), *flags[2:],
        )  # fmt: skip
        assert job.wait() == [0 if stop_at < 0 else 85] * world, job.errors(0)
        said.append(job.output(0))
    assert whole.wait() == [0], whole.errors(0)
    assert "node_parallel: was 2, now 1" in said[1]
    assert "node-parallel: 2 group(s) of 2 processes share the graph (metis): 8 nodes each" in said[2]
    steps: dict[int, list[int]] = {}
    for number, (world, parts, _) in enumerate(legs):
        seen = [(tmp_path / f"leg{number}.{rank}").read_text().splitlines() for rank in range(world)]
        for first in range(0, world, parts):  # partners have the same windows
            assert seen[first : first + parts] == [seen[first]] * parts
            for line in seen[first]:
                step, _, rows = json.loads(line)
                steps.setdefault(step, []).extend(rows)
    alone = {step: rows for step, _, rows in map(json.loads, (tmp_path / "whole.0").read_text().splitlines())}
    assert sorted(steps) == sorted(alone)
    assert all(sorted(steps[step]) == sorted(alone[step]) for step in steps)
    assert_near(latest(results), latest(tmp_path / "one"))
    for ours, theirs in zip(metrics(results), metrics(tmp_path / "one"), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-4), name


def figures(folder: Path) -> list[list[float]]:
    """The numbers of horizons.csv."""
    with open(folder / "horizons.csv") as file:
        rows = list(csv.DictReader(file))
    return [[float(row[name]) for name in ("mae", "rmse", "mape")] for row in rows]


def forecasts(path: Path) -> np.ndarray:
    with open(path) as file:
        return np.array([float(row["value"]) for row in csv.DictReader(file)])


@pytest.mark.slow
def test_training_evaluates_and_others_evaluate_and_forecast_with_it(tmp_path: Path, rank_server: RankServer) -> None:
    results = tmp_path / "r"
    flags = ("--config", "debug", "--epochs", "1", *RUN, "--at-least", "0")
    job = rank_server.run(
        tmp_path / "job", 4, "node_programs:main", "dcrnn_fast.train", *flags, "--results", str(results),
        "--node-parallel", "2",
    )  # fmt: skip
    assert [job.output(rank) for rank in (1, 2, 3)] == ["", "", ""]
    for world in (1, 3):
        more = ("--node-parallel", str(world)) if world > 1 else ()
        done = rank_server.run(
            tmp_path / f"evaluate{world}", world, "node_programs:main", "dcrnn_fast.evaluate", str(results),
            "-o", str(tmp_path / f"report{world}"), *more,
        )  # fmt: skip
        assert [done.output(rank) for rank in range(1, world)] == [""] * (world - 1)
        done = rank_server.run(
            tmp_path / f"forecast{world}", world, "node_programs:main", "dcrnn_fast.forecast", str(results),
            "-o", str(tmp_path / f"forecast{world}.csv"), *more,
        )  # fmt: skip
        assert [done.output(rank) for rank in range(1, world)] == [""] * (world - 1)
    one = figures(tmp_path / "report1")
    np.testing.assert_allclose(figures(tmp_path / "report3"), one, rtol=1e-5)
    np.testing.assert_allclose(figures(results), one, rtol=1e-5)
    values = forecasts(tmp_path / "forecast1.csv")
    assert np.abs(forecasts(tmp_path / "forecast3.csv") - values).max() <= 1e-5 * np.abs(values).max()


def refused(job: object, world: int) -> str:
    """The one line with which all ranks stop."""
    assert job.wait() == [2] * world, job.errors(0)
    assert [job.errors(rank) for rank in range(1, world)] == [""] * (world - 1)
    (line,) = job.errors(0).splitlines()
    return line.removeprefix("dcrnn-fast train: error: ")


@pytest.mark.parametrize(
    ("program", "flags", "said"),
    [
        (
            ("node_programs:main", "dcrnn_fast.train"), ("--node-parallel", "3"),
            "--node-parallel 3 must divide the run's 2 process(es): start a multiple of 3, or give 1, 2",
        ),
        pytest.param(
            ("node_programs:main", "dcrnn_fast.train"), ("--city-nodes", "2", "--world"),
            "cannot divide a graph of 2 nodes into 3 parts: give 1 to 2 of them",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("node_programs:other_partition", "seed"), ("--city-nodes", "60"), "has other partition (",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("node_programs:other_partition", "version"), (), "has other pymetis (1.0, not ", marks=pytest.mark.slow
        ),
    ],
)  # fmt: skip
def test_bad_layouts_are_one_line_before_anything_is_written(
    tmp_path: Path, rank_server: RankServer, program: tuple[str, str], flags: tuple[str, ...], said: str
) -> None:
    world = 3 if "--world" in flags else 2
    flags = (*(flag for flag in flags if flag != "--world"), "--threads", "1", "--results", str(tmp_path / "r"))
    if "--node-parallel" not in flags:
        flags = (*flags, "--node-parallel", str(world))
    job = rank_server.start(tmp_path / "job", world, *program, "--config", "debug", *flags)
    assert said in refused(job, world)
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_a_partner_that_is_killed_is_noticed(tmp_path: Path, rank_server: RankServer) -> None:
    results = tmp_path / "r"
    job = rank_server.start(
        tmp_path / "job", 2, "node_programs:main", "dcrnn_fast.train", "--config", "debug", *RUN, "--epochs", "500",
        "--results", str(results), "--node-parallel", "2",
    )  # fmt: skip
    events = results / "events.jsonl"
    job.until(lambda: events.exists() and '"event": "epoch"' in events.read_text())
    os.kill(job.pid(1), signal.SIGKILL)
    assert job.wait() == [1, -9]
    (line,) = job.errors(0).splitlines()
    assert line.startswith("dcrnn-fast train: error: rank 0 lost the other ranks while ")
