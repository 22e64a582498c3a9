"""Slow ranks are named, shares are over all ranks, and speeds are counted from the model."""

import csv
import json
import socket
from pathlib import Path

import pytest

from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.checkpoints.save import save_checkpoint
from dcrnn_fast.records.events import MEASURED
from dcrnn_fast.training.fit import fit
from dcrnn_fast.training.measured import RankTimes, stragglers
from dcrnn_fast.training.peaks import known_peak
from tests.training.rank_programs import debug_config
from tests.training.rank_server import RankServer
from tests.training.test_phases import TINY, timing


@pytest.mark.parametrize(
    ("computing", "named"),
    [
        ((10.0,), []),
        ((10.0, 11.9), []),
        ((10.0, 12.1), [(1, 10.0)]),
        ((12.1, 10.0, 10.0), [(0, 10.0)]),
        ((10.0, 10.0, 20.0, 20.0), [(2, 10.0), (3, 10.0)]),
        ((0.1, 0.9), []),
        ((0.1, 1.2), [(1, 0.1)]),
    ],
)
def test_a_rank_far_above_the_median_is_a_straggler(
    computing: tuple[float, ...], named: list[tuple[int, float]]
) -> None:
    """More than a fifth and a second; waiting for the others is no computing."""
    slowest = max(computing)
    assert stragglers([RankTimes(slowest, 0.0, slowest - seconds, "h") for seconds in computing]) == [
        (rank, pytest.approx(median)) for rank, median in named
    ]


def test_a_rank_that_sleeps_is_named_with_its_host(tmp_path: Path, rank_server: RankServer) -> None:
    job = rank_server.run(
        tmp_path / "job",
        2,
        "rank_programs:sleeps_on_rank_1",
        *TINY,
        *("--epochs", "1", "--batch-size", "10", "--results", str(tmp_path / "run")),
    )
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    (found,) = [event for event in events if event["event"] == "straggler"]
    assert (found["epoch"], found["rank"], found["host"]) == (1, 1, socket.gethostname())
    assert found["seconds"] > found["median"] + 1
    assert f"look: rank 1 on {socket.gethostname()} computes " in job.output(0)
    (epoch,) = [event for event in events if event["event"] == "epoch"]
    (first,), (second,) = timing(tmp_path / "run"), timing(tmp_path / "run", rank=1)
    assert float(second["data_seconds"]) >= 1.2
    assert float(first["communication_seconds"]) >= 1.0, "rank 0 waited for it"
    total = {name: float(first[name]) + float(second[name]) for name in first if name.endswith("_seconds")}
    for share, name in (("data_wait_share", "data_seconds"), ("communication_share", "communication_seconds")):
        assert epoch[share] == pytest.approx(total[name] / sum(total.values()), abs=2e-3)


def test_the_share_of_the_peak_is_of_all_ranks_devices(tmp_path: Path) -> None:
    flags = (*TINY, "--epochs", "1", "--results", str(tmp_path), "--peak-tflops", "0.5")
    (row,) = fit(debug_config(*flags)).history
    assert row["peak_share"] == pytest.approx(row["flops_per_second"] / 0.5e12, rel=1e-3)


@pytest.mark.parametrize(
    ("device", "precision", "tflops"),
    [
        ("NVIDIA A100-SXM4-80GB", "bf16", 312.0),
        ("NVIDIA H100 80GB HBM3", "fp32", 66.9),
        ("NVIDIA H100 PCIe", "bf16", 756.0),
        ("NVIDIA L4", "fp32", 30.3),
        ("NVIDIA L40S", "fp32", 91.6),
        ("Tesla V100-SXM2-16GB", "bf16", None),
        ("NVIDIA GeForce GTX 1080", "fp32", None),
    ],
)
def test_peaks_are_known_by_the_devices_name(device: str, precision: str, tflops: float | None) -> None:
    assert known_peak(device, precision) == (None if tflops is None else 1e12 * tflops)


def test_a_checkpoint_of_before_is_gone_on_with_and_its_epochs_have_empty_cells(tmp_path: Path) -> None:
    """Its configuration has no such section, its epochs have no such columns."""
    flags = (*TINY, "--results", str(tmp_path))
    fit(debug_config(*flags, "--epochs", "1"))
    folder = tmp_path / "checkpoints"
    state = load_checkpoint(folder / "latest.pt")
    del state["config"]["watch"]
    for name in MEASURED:
        state["training"]["history"][0].pop(name, None)
    save_checkpoint(folder, state, "latest.pt", "best.pt")
    result = fit(debug_config(*flags, "--epochs", "2", "--resume", "auto", "--profile-steps", "0:1"))
    assert [MEASURED[0] in row for row in result.history] == [False, True]
    with open(tmp_path / "metrics.csv", newline="") as stream:
        old, new = csv.DictReader(stream)
    assert {old[name] for name in MEASURED} == {""}
    assert float(new["flops_per_second"]) > 0
    assert [row["epoch"] for row in timing(tmp_path)] == ["1", "2"]
    assert len((tmp_path / "config.yaml").read_text().split("\nwatch:\n")) == 2
