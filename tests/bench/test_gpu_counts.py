"""Launches, saved bytes and gathered rows of the fused step, traced without a GPU, stay within their limits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import ROOT

pytestmark = pytest.mark.gpu_kernels


@pytest.mark.slow
def test_counts_are_within_their_limits(tmp_path: Path, real_data: Path) -> None:
    said = subprocess.run(
        [
            sys.executable, "-m", "bench.gpu_counts",
            "--json", str(tmp_path / "c.json"), "--page", str(tmp_path / "c.md"),
        ],
        cwd=ROOT, env={**os.environ, "TRITON_INTERPRET": "1", "DCRNN_FAST_DATA": str(real_data)},
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    record = json.loads((tmp_path / "c.json").read_text())
    assert record["reference"]["launches"] > 4000
    assert record["reference"]["saved_bytes_per_row"] > 200_000
    counts = {one["workload"]: one["counts"] for one in record["fused"]}
    # docs/gpu.md states them. 24 steps x 2 layers x (2 forward + 3 backward) of Triton's own are the least, 240.
    assert {name: count["launches"] - count["casts"] for name, count in counts.items()} == {
        "metr-la": 348,
        "pems-bay": 348,
        "freeways": 386,
        "city": 386,
    }
    page = (tmp_path / "c.md").read_text()
    assert "Nothing here was run on a GPU" in page
    assert "not measured" in page


def test_without_the_interpreter_it_says_what_to_set() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    said = subprocess.run(
        [sys.executable, "-m", "bench.gpu_counts"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 2
    assert "set TRITON_INTERPRET=1" in said.stderr
