"""What looks into single steps: opened and closed at the steps that were asked for, refused where it cannot be."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from dcrnn_fast import train
from dcrnn_fast.training.fit import fit
from tests.training.rank_programs import debug_config
from tests.training.rank_server import RankServer
from tests.training.test_phases import TINY

FOUR_STEPS = (*TINY, "--batch-size", "10", "--epochs", "1")
PHASES = ("step", "data", "count", "forward", "loss", "backward", "all_reduce", "optimizer")


def ranges_of(trace: Path) -> Counter[str]:
    with gzip.open(trace, "rt") as stream:
        events = json.load(stream)["traceEvents"]
    return Counter(event["name"] for event in events if event.get("cat") == "user_annotation")


def test_each_rank_leaves_a_trace_of_the_steps_with_our_phases(tmp_path: Path, rank_server: RankServer) -> None:
    run = tmp_path / "run"
    flags = ("--results", str(run), "--accumulate", "1", "--profile-steps", "1:3")
    job = rank_server.run(
        tmp_path / "job", 2, "rank_programs:train", *TINY, "--batch-size", "5", "--epochs", "1", *flags
    )
    assert {path.name for path in (run / "profile").iterdir()} == {"rank0.json.gz", "rank1.json.gz"}
    for rank in range(2):
        ranges = ranges_of(run / "profile" / f"rank{rank}.json.gz")
        assert {name: ranges[name] for name in PHASES} == dict.fromkeys(PHASES, 2)
    assert f"--profile-steps 1:3: {run / 'profile' / 'rank0.json.gz'}" in job.output(0)


def test_a_window_that_the_run_does_not_reach_or_finish_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(debug_config(*FOUR_STEPS, "--results", str(tmp_path), "--profile-steps", "7:9"))
    assert "--profile-steps 7:9: this run took none of these steps\n" in capsys.readouterr().out
    assert not (tmp_path / "profile").exists()
    fit(debug_config(*FOUR_STEPS, "--results", str(tmp_path), "--profile-steps", "3:9"))
    assert ranges_of(tmp_path / "profile" / "rank0.json.gz")["step"] == 1
    fit(debug_config(*FOUR_STEPS, "--results", str(tmp_path)))
    assert not (tmp_path / "profile").exists(), "an earlier run's trace was set aside with it"


def test_a_trace_that_cannot_be_written_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "profile").write_text("a file")
    result = fit(debug_config(*FOUR_STEPS, "--results", str(tmp_path), "--profile-steps", "0:1"))
    assert result.steps == 4
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("--profile-steps")]
    assert line.endswith("; training goes on")
    assert (tmp_path / "profile").read_text() == "a file"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_a_capture_range_is_said_to_be_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = fit(debug_config(*FOUR_STEPS, "--results", str(tmp_path), "--nsys-steps", "1:2", "--device", "cpu"))
    assert result.steps == 4
    assert (
        "--nsys-steps: the run is on the cpu, where no range can be opened: take nsys profile without "
        "--capture-range; training goes on\n"
    ) in capsys.readouterr().out


def test_a_memory_snapshot_without_a_gpu_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--config", "debug", "--device", "cpu", "--memory-snapshot", "--results", str(tmp_path / "run")]
    assert train.main(flags) == 2
    assert capsys.readouterr().err == (
        "dcrnn-fast train: error: --memory-snapshot records the allocations of a GPU, and this run is on the cpu: "
        "leave it out\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.gpu
def test_on_a_gpu_phases_are_events_and_a_snapshot_is_written(tmp_path: Path) -> None:
    flags = ("--results", str(tmp_path), "--nsys-steps", "1:2", "--memory-snapshot", "--device", "cuda")
    (row,) = fit(debug_config(*FOUR_STEPS, *flags)).history
    assert (tmp_path / "profile" / "memory_rank0.pickle").stat().st_size > 0
    line = (tmp_path / "timing_rank0.csv").read_text().splitlines()[1].split(",")
    seconds = [float(cell) for cell in line[3:]]
    assert all(part > 0 for part in seconds[:3])
    assert sum(seconds) <= row["train_seconds"] + 0.01
