"""The global batch: the same training however it is cut, over processes that change, with batches that are uneven."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dcrnn_fast import train
from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.training import TrainingConfig
from dcrnn_fast.config.yaml_file import load_yaml
from dcrnn_fast.errors import UserError
from dcrnn_fast.training.check import check
from dcrnn_fast.training.fit import fit
from dcrnn_fast.training.resolved import resolved
from dcrnn_fast.training.schedule import learning_rate, rate_scale
from tests.training.rank_programs import debug_config
from tests.training.rank_server import RankServer
from tests.training.same_run import differing, metrics

CUTS = ((1, 8), (1, 4), (1, 2), (2, 4), (2, 2))
"""processes, windows of a micro-batch"""


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory, rank_server: RankServer) -> dict[str, dict[str, np.ndarray]]:
    """The same training in float64, by "processes x batch size x accumulate"."""
    folder = tmp_path_factory.mktemp("curves")
    jobs = [
        rank_server.start(folder / f"{world}x{size}", world, "feature_programs:curve", str(folder), size)
        for world, size in CUTS
    ]
    for job in jobs:
        assert job.wait() == [0] * job.world, job.errors(0)
    return {path.stem: dict(np.load(path)) for path in folder.glob("*.npz")}


def test_the_loss_curve_is_the_same_for_all_cuts(curves: dict[str, dict[str, np.ndarray]]) -> None:
    assert sorted(curves) == ["1x2x4", "1x4x2", "1x8x1", "2x2x2", "2x4x1"]
    whole = curves["1x8x1"]
    assert len(whole["losses"]) == 2 * 5
    assert whole["losses"][-1] < whole["losses"][0]
    for cut in curves.values():
        for name in ("losses", "norms", "weights"):
            np.testing.assert_allclose(cut[name], whole[name], rtol=1e-12, atol=1e-13)


def test_gradients_are_added_up_once_a_step(curves: dict[str, dict[str, np.ndarray]]) -> None:
    for name, cut in curves.items():
        assert cut["sums"] == (0 if name.startswith("1x") else len(cut["losses"])), name


@pytest.mark.parametrize(
    ("flags", "processes", "said"),
    [
        (
            ("--global-batch-size", "100", "--batch-size", "16"),
            2,
            r"^--global-batch-size 100 must be a multiple of batch_size 16 x 2 process\(es\) = 32: the nearest are 96 "
            r"or 128; with --batch-size 10 it is one$",
        ),
        (
            ("--global-batch-size", "8", "--batch-size", "16"),
            1,
            r": the nearest are 16; with --batch-size 8 it is one$",
        ),
        (("--global-batch-size", "7", "--batch-size", "1"), 2, r" = 2: the nearest are 6 or 8$"),
        (
            ("--global-batch-size", "7", "--batch-size", "1", "--node-parallel", "3"),
            2,
            r" of batch_size 1 x 2 group\(s\) of 3 processes = 2: the nearest are 6 or 8$",
        ),
        (("--gradient-checkpointing", "--save", "segments:4"), 1, r"means --save h, and --save is segments:4"),
    ],
)
def test_what_does_not_divide_is_refused_with_the_nearest(flags: tuple[str, ...], processes: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        resolved(debug_config(*flags), processes)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--global-batch-size", "32", "--batch-size", "8", "--accumulate", "3"),
         "--accumulate 3 contradicts --global-batch-size 32: 8 windows x 1 process(es) x 3 are 24; leave one"),
        (("--gradient-checkpointing", "--save", "all"), "--save all contradicts --gradient-checkpointing, which means"),
        (("--base-batch-size", "64"), "--base-batch-size needs --lr-scaling linear; leave it out"),
        (("--gradient-checkpointing", "--backend", "manual"), "needs the cpu, triton or cuda backend, and this is m"),
        (("--cuda-graphs", "--compile"), "compile must be off with cuda_graphs"),
        (("--ema-decay", "1"), "ema_decay must be in (0, 1), got 1.0"),
        (("--global-batch-size", "0"), "global_batch_size must be at least 1, got 0"),
        (("--lr-scaling", "sqrt"), "lr-scaling"),
        (("--lr-scaling", "linear", "--learning-rate", "1e308", "--base-batch-size", "1"),
         "--lr-scaling linear multiplies --learning-rate 1e+308 by 32: no finite rate"),
    ],
)  # fmt: skip
def test_contradictions_and_values_out_of_range_are_one_line_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], said: str
) -> None:
    assert train.main(["--config", "debug", "--device", "cpu", "--results", str(tmp_path / "r"), *flags]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_accumulate_follows_and_is_said_and_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--global-batch-size", "32", "--batch-size", "8", "--accumulate", "4", "--lr-scaling", "linear")
    said = check(debug_config("--results", str(tmp_path), *flags))
    assert any("steps an epoch of 32 windows (8 x 1 process(es) x 4), device" in line for line in said)
    assert "learning rate: 0.01 x 32 / 64 = 0.005 (--lr-scaling linear)" in said
    few = ("--city-nodes", "5", "--city-days", "3", "--max-train-windows", "40", "--max-validation-windows", "20")
    fit(debug_config(*few, "--results", str(tmp_path), "--epochs", "1", *flags))
    config = load_checkpoint(tmp_path / "checkpoints" / "latest.pt")["config"]["training"]
    assert (config["accumulate"], config["learning_rate"]) == (4, 0.01)
    assert metrics(tmp_path)[0]["learning_rate"] == "0.005"
    saved = load_yaml(tmp_path / "config.yaml")
    again = replace(saved, output=replace(saved.output, results=str(tmp_path / "again")))
    fit(again)
    assert load_yaml(tmp_path / "again" / "config.yaml") == again
    assert metrics(tmp_path / "again") == metrics(tmp_path)


@pytest.mark.parametrize("schedule", ["constant", "published", "cosine", "plateau"])
def test_the_rate_is_scaled_by_the_windows_of_a_step(schedule: str) -> None:
    """In closed form: the base rate alone is scaled; warm-up and schedule multiply it, the floor stays."""
    training = TrainingConfig(lr_scaling="linear", base_batch_size=32, schedule=schedule, warmup_steps=10)
    assert rate_scale(training, 128) == 4.0
    assert rate_scale(replace(training, lr_scaling="none"), 128) == 1.0
    where = {"total_steps": 100, "validation_errors": [1.0] * 12}
    for step in (0, 4, 9, 10, 55, 99):
        scaled = learning_rate(training, epoch=step // 4, step=step, **where, scale=4.0)
        direct = learning_rate(replace(training, learning_rate=0.04), epoch=step // 4, step=step, **where)
        assert scaled == direct
    assert learning_rate(training, epoch=0, step=4, total_steps=100, validation_errors=[], scale=4.0) == pytest.approx(
        0.04 * 5 / 10
    )


def test_two_then_one_then_three_processes_are_the_same_training(tmp_path: Path, rank_server: RankServer) -> None:
    """Every window exactly once an epoch, and the curve of a run that stayed on one process."""
    flags = (
        *("--global-batch-size", "24", "--batch-size", "4", "--max-train-windows", "100", "--epochs", "3"),
        *("--lr-scaling", "linear", "--sampling-decay", "20", "--warmup-steps", "7", "--schedule", "cosine"),
        *("--city-nodes", "5", "--patience", "0", "--ema-decay", "0.8"),
    )
    whole = rank_server.start(
        tmp_path / "job", 1, "feature_programs:logs_windows", str(tmp_path / "x"), -1,
        "--results", str(tmp_path / "whole"), *flags,
    )  # fmt: skip
    log, results = tmp_path / "windows", tmp_path / "results"
    said = []
    for number, (world, stop_at, ends) in enumerate(((2, 3, 85), (1, 8, 85), (3, -1, 0))):
        job = rank_server.start(
            tmp_path / f"job{number}", world, "feature_programs:logs_windows", str(log), stop_at,
            "--results", str(results), "--resume", "auto", *flags,
        )  # fmt: skip
        assert job.wait() == [ends] * world, job.errors(0)
        said.append(job.output(0))
    assert whole.wait() == [0], whole.errors(0)
    assert "ranks: was 2, now 1; the run continues, but not bit for bit" in said[1]
    assert "accumulate: was 3, now 6" in said[1]
    assert "accumulate: was 6, now 2" in said[2]
    steps: dict[int, list[int]] = {}
    for path in tmp_path.glob("windows.*"):
        for line in path.read_text().splitlines():
            step, windows = json.loads(line)
            steps.setdefault(step, []).extend(windows)
    assert sorted(steps) == list(range(15))
    for epoch in range(3):
        used = [window for step in range(5 * epoch, 5 * epoch + 5) for window in steps[step]]
        assert sorted(used) == list(range(100))
    for ours, theirs in zip(metrics(results), metrics(tmp_path / "whole"), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-4), name
    states = [load_checkpoint(folder / "checkpoints" / "latest.pt") for folder in (results, tmp_path / "whole")]
    assert differing(states[0]["scaler"], states[1]["scaler"]) == [], "of two ranks and of one"
    for name, weight in states[0]["ema"].items():
        np.testing.assert_allclose(weight, states[1]["ema"][name], rtol=1e-3, atol=1e-4)


def test_the_rate_follows_a_global_batch_that_changes(tmp_path: Path, rank_server: RankServer) -> None:
    flags = ("--lr-scaling", "linear", "--city-nodes", "5", "--max-train-windows", "64", "--results", str(tmp_path))
    rank_server.run(tmp_path / "one", 1, "rank_programs:train", *flags, "--epochs", "1")
    job = rank_server.run(tmp_path / "two", 2, "rank_programs:train", *flags, "--epochs", "2", "--resume", "auto")
    said = job.output(0)
    assert "learning rate: was 0.005, now 0.01: it follows the global batch (--lr-scaling linear)" in said
    assert "learning rate: 0.01 x 64 / 64 = 0.01 (--lr-scaling linear)" in said
    assert [row["learning_rate"] for row in metrics(tmp_path)] == ["0.005", "0.01"]


def test_uneven_batches_hang_nobody_and_are_the_same_training(tmp_path: Path, rank_server: RankServer) -> None:
    """Seven windows on two ranks: the last step of an epoch has one, so that a rank has none."""
    flags = ("--max-train-windows", "7", "--max-validation-windows", "3", "--city-nodes", "5", "--epochs", "9")
    flags = (*flags, "--patience", "2", "--schedule", "cosine", "--min-learning-rate", "1e-12")
    for name, world, size in (("two", 2, "1"), ("one", 1, "2")):
        rank_server.run(
            tmp_path / f"job_{name}", world, "rank_programs:train", "--batch-size", size,
            "--results", str(tmp_path / name), *flags,
        )  # fmt: skip
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert [row["step"] for row in two] == [str(4 * epoch) for epoch in range(1, len(one) + 1)]
    for ours, theirs in zip(two, one, strict=True):  # as many epochs: both stalled, or both did not
        for name in ours:
            assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-4), name


def test_a_bad_batch_of_one_rank_is_skipped_by_all(tmp_path: Path, rank_server: RankServer) -> None:
    """Neither weights nor their average move, on any rank; the windows of all ranks are named."""
    flags = ("--max-train-windows", "40", "--batch-size", "4", "--city-nodes", "5", "--epochs", "1")
    results = tmp_path / "results"
    job = rank_server.run(
        tmp_path / "job", 2, "feature_programs:poisoned_on_rank_1", str(tmp_path / "seen"), *flags,
        "--results", str(results), "--max-bad-steps", "1", "--ema-decay", "0.9",
    )  # fmt: skip
    first, second = (json.loads((tmp_path / f"seen.{rank}").read_text()) for rank in range(2))
    assert first == second
    assert len(first) == 5
    assert first[2] == first[3], "nothing of the third step"
    assert first[1][0] != first[2][0]
    assert first[1][1] != first[2][1]
    assert metrics(results)[0]["skipped_steps"] == "1"
    assert "step 3" in job.output(0)


def test_python_configurations_are_resolved_too(tmp_path: Path) -> None:
    config = debug_config("--results", str(tmp_path), "--global-batch-size", "30", "--batch-size", "8")
    with pytest.raises(
        UserError, match=r"must be a multiple of batch_size 8 x 1 process\(es\) = 8: the nearest are 24 or 32"
    ):
        check(config)
    assert resolved(Config(), 7) == Config()
