"""A run that needs more memory than there is ends in one line with values that fit, and those do."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dcrnn_fast.data.dataset import open_data
from dcrnn_fast.training.distributed import Ranks
from dcrnn_fast.training.memory import bytes_per_window, fitting_batch_size
from dcrnn_fast.training.run import make_run
from tests.training.rank_programs import debug_config

ROOT = Path(__file__).resolve().parents[2]
LIMITED = """
import resource, sys, torch
import torch._dynamo  # the first custom operator that runs would import it: 140 MB of what a step may take
from dcrnn_fast import train
torch.set_num_threads(1)
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[1]) * 2**20, -1))
sys.exit(train.main(sys.argv[2:]))
"""


def run(megabytes: int, results: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    words = ("--config", "debug", "--backend", "manual", "--threads", "1", "--epochs", "1", "--hidden-units", "64",
             "--city-nodes", "40", "--past-steps", "12", "--future-steps", "12",
             "--max-train-windows", "128", "--max-validation-windows", "2", "--device", "cpu")  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(megabytes), *words, "--results", str(results), *flags],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_too_large_a_batch_is_answered_with_one_that_fits(tmp_path: Path) -> None:
    failed = run(150, tmp_path / "r", "--batch-size", "128")
    assert failed.returncode == 2, failed.stderr
    assert "Traceback" not in failed.stderr
    found = re.search(r"out of memory \(.*GiB available\): .*--batch-size (\d+) --accumulate (\d+)", failed.stderr)
    assert found, failed.stderr
    size, accumulate = map(int, found.groups())
    assert size * accumulate == 128
    while (again := run(150, tmp_path / "r", "--batch-size", str(size), "--accumulate", str(accumulate))).returncode:
        found = re.search(r"--batch-size (\d+) --accumulate (\d+)", again.stderr)
        assert found, again.stderr
        assert int(found[1]) < size
        size, accumulate = map(int, found.groups())
    assert size < 128


@pytest.mark.parametrize(
    ("save", "on_cpu", "on_gpu"), [("all", 4 * 20, 4 * 20), ("h", 19, 19 + 4), ("segments:5", 3, 4 + 4 * 5)]
)
def test_bytes_of_a_window(save: str, on_cpu: int, on_gpu: int) -> None:
    """On a GPU a segment of all windows is computed again at once."""
    config = debug_config("--city-nodes", "10", "--past-steps", "12", "--future-steps", "8", "--save", save)
    run = make_run(config, open_data(config.data, config.graph), Ranks())
    panel = run.config.model.num_layers * run.data.graph.num_nodes * run.config.model.hidden_units * 4
    assert bytes_per_window(run) == on_cpu * panel
    run.ranks = Ranks(device=torch.device("cuda"))
    assert bytes_per_window(run) == on_gpu * panel


def test_fitting_batch_sizes() -> None:
    assert fitting_batch_size(10, 1000, 64) == 32
    assert fitting_batch_size(10, 250, 64) == 16
    assert fitting_batch_size(10, 100, 60) == 6
    assert fitting_batch_size(10, 100, 7) == 1
    assert fitting_batch_size(10, 5, 64) == 1
    assert fitting_batch_size(10, 5, 1) == 1
