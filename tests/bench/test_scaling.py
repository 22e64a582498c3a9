"""bench.scaling: which layouts it measures, its model's arithmetic, and a measurement on two ranks."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.scaling import main
from bench.scaling_model import Network, Part, device_counts, predict, sharing_cost, table
from bench.scaling_place import Layout, layouts_of
from bench.scaling_table import advice, slowest
from tests.checkout import ROOT

WHOLE = Part(1, 1.0, 0.0, 0.0)


def test_layouts_are_all_whose_replicas_divide_the_batch() -> None:
    found = layouts_of(4, 1, 2, one_machine=True)
    assert found[:2] == [Layout(1, 1, 1), Layout(1, 1, 4)]
    assert {(one.replicas, one.partners) for one in found} == {(1, 1), (2, 1), (1, 2), (2, 2), (1, 4)}
    assert Layout(4, 1, 1) not in found  # half a window each
    assert len({one.name for one in found}) == len(found)
    assert layouts_of(3, 2, 6, one_machine=False)[-1] == Layout(1, 3, 2)


def _row(layout: Layout, seconds: list[float]) -> dict[str, Any]:
    turn = {"seconds": seconds, "halo_bytes": [float(rank) for rank in range(len(seconds))]}
    layout_dict = {"replicas": layout.replicas, "partners": layout.partners, "threads": layout.threads}
    return {"name": layout.name, "layout": layout_dict, "turns": [turn]}


def test_the_slowest_rank_counts_and_the_fastest_layout_is_advised() -> None:
    row = _row(Layout(2, 1, 1), [1.0, 2.0])
    assert slowest(row["turns"][0]) == {"seconds": 2.0, "halo_bytes": 1.0}
    rows = [_row(Layout(1, 1, 1), [3.0]), _row(Layout(1, 1, 2), [1.5]), row]
    assert advice(rows)[-1] == "with 2 threads in all, use: 1 rank, 2 threads (2 data-parallel 1.33 times as long)"
    assert advice(rows[:1]) == []


def test_the_model_is_its_formula() -> None:
    network = Network(rate=1e9, latency=1e-5)
    one = predict(0.5, 8, 2e6, 1, WHOLE, network)
    assert (one.devices, one.seconds) == (1, 4.0)
    both = predict(0.5, 8, 2e6, 4, Part(2, 1.1, 3e6, 100), network)
    assert both.devices == 8
    assert both.compute == pytest.approx(0.5 * 2 * 1.1 / 2)
    assert both.all_reduce == pytest.approx(2 * 7 / 8 * 2e6 / 1e9 + 14e-5)
    assert both.halo == pytest.approx(2 * 3e6 / 1e9 + 100e-5)
    assert f"| 8 | 4 × 2 | 0.550 | 3.64 | 7.0 | {both.seconds:.3f} | 7.1 | 89% |" in table([one, both])


def test_what_partners_were_seen_to_cost_is_in_the_model() -> None:
    shared = _row(Layout(1, 2, 1), [2.0, 1.5])
    shared["turns"][0] |= {"all_reduce_seconds": [0.1, 0.6], "halo_seconds": [0.1, 0.1]}
    assert sharing_cost([_row(Layout(1, 1, 1), [3.0]), shared]) == pytest.approx(2 * 1.8 / 3)
    assert sharing_cost([_row(Layout(1, 1, 1), [3.0])]) == 1
    assert device_counts(128) == [1, 2, 8, 32, 128]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_ranks_of_a_tiny_city(tmp_path: Path) -> None:
    record, plot = tmp_path / "record.json", tmp_path / "plot.svg"
    words = [
        "--nodes",
        "30",
        "--batch-size",
        "4",
        "--ranks",
        "2",
        "--rounds",
        "2",
        "--steps",
        "2",
        "--backend",
        "manual",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "bench.scaling", *words, "--json", record, "--plot", plot],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(record.read_text())["rows"]}
    assert list(rows) == ["1 rank", "1 rank, 2 threads", "2 data-parallel", "2 node-parallel"]
    assert all(len(row["turns"]) == 2 for row in rows.values())
    alone, shared = rows["1 rank"], rows["2 data-parallel"]
    weights = 4 * shared["parameters"]
    assert alone["turns"][0]["gradient_bytes"] == [0.0]
    assert all(weights <= sent < 1.01 * weights for sent in shared["turns"][0]["gradient_bytes"])
    assert min(rows["2 node-parallel"]["turns"][0]["halo_bytes"]) > 0
    assert "with 2 threads in all, use: " in done.stdout
    assert plot.read_text().count("<svg") == 1
    model = subprocess.run(
        [sys.executable, "-m", "bench.scaling", "--model", record, "--batch-size", "128", "--partners", "1"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert "| 128 | 128 × 1 |" in model.stdout, model.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_three_tasks_of_torchrun_of_which_some_layouts_cannot_run(tmp_path: Path) -> None:
    """Each task has a temporary folder of its own, and layouts of two ranks leave the third without one."""
    record = tmp_path / "record.json"
    words = ["--nodes", "2", "--batch-size", "2", "--rounds", "1", "--steps", "1", "--backend", "manual"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3"]
    done = subprocess.run(
        [sys.executable, *torchrun, "-m", "bench.scaling", *words, "--json", record],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(record.read_text())["rows"]}
    assert list(rows) == ["1 rank", "2 data-parallel", "2 node-parallel", "3 node-parallel"]
    assert [len(row["turns"]) for row in rows.values()] == [1, 1, 1, 0]
    assert "cannot divide a graph of 2 nodes into 3 parts" in rows["3 node-parallel"]["why_not"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nodes", "-3"], "--nodes must be at least 1, got -3"),
        (["--workload", "metr-la", "--nodes", "20"], "--nodes is for the city"),
        (["--layouts", "2 node-paralel", "--ranks", "2"], "'2 node-paralel' is none of '1 rank', '1 rank, 2 threads'"),
        (["--json", "/dev/null/record.json"], "the folder of --json"),
        (["--plot", "plot.docx"], "plots are written as .png, .pdf or .svg"),
        (["--model", "missing.json"], "--model missing.json: No such file"),
        (["--model", "README.md"], "--model README.md: no record that bench.scaling --json wrote"),
        (["--model", "bench/results/gpu_counts.json"], "gpu_counts.json: no record that bench.scaling --json wrote"),
        (["--model", "README.md", "--gbit", "0"], "--gbit must be above 0, got 0.0"),
        (["--model", "README.md", "--window", "nan"], "--window must be above 0, got nan"),
        (["--model", "README.md", "--latency", "-5"], "--latency must not be negative, got -5.0"),
        (["--model", "README.md", "--partners", "0"], "--partners must be at least 1, got 0"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    monkeypatch.chdir(ROOT)
    try:
        code = main(words)
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert message in capsys.readouterr().err
