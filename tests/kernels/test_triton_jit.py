"""Runs ``tests/kernels/triton_jit.py`` in processes of its own.

The JIT makes a 1 among a kernel's arguments a constant, and specialises by alignment and 64 bits: what
``profiling/codegen.py`` compiles by signatures of its own does not show.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.shapes import CORNERS
from tests.checkout import ROOT
from tests.kernels.triton_jit import DTYPES, Job

pytestmark = pytest.mark.gpu_kernels

FUSED = {
    "gates_kernel", "candidate_kernel", "head_kernel", "head_gradient_kernel", "begin_gradient_kernel",
    "candidate_gradient_kernel", "gates_gradient_kernel", "convolve_kernel",
}  # fmt: skip


def launched(arch: int, jobs: list[Job], cache: Path) -> set[str]:
    """Names of the kernels that were launched; all had binaries."""
    environment = os.environ | {"TRITON_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    for name in ("TRITON_INTERPRET", "DCRNN_FAST_TRITON"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "tests.kernels.triton_jit", str(arch), *(":".join(job) for job in jobs)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-10_000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert sum(said["launches"].values()) > said["binaries"] >= len(said["launches"])
    return set(said["launches"])


def test_a_step_is_specialised_compiled_and_launched(tmp_path: Path) -> None:
    assert launched(90, [Job("step", "bf16", "")], tmp_path) == FUSED


@pytest.mark.slow
def test_steps_that_are_computed_again(tmp_path: Path) -> None:
    assert launched(90, [Job("step", "bf16", "", "h")], tmp_path) == FUSED


# "tile,fused" is what the rules take for all but the sparse one.
@pytest.mark.slow
def test_every_shape_by_several_plans(tmp_path: Path) -> None:
    jobs = [
        Job(case, list(DTYPES)[(row + column) % len(DTYPES)], words)
        for row, case in enumerate(CORNERS)
        for column, words in enumerate(["", "gather", "inline"])
        if words != "inline" or case in ("small_dense", "smallest")
    ]
    assert launched(90, jobs, tmp_path) == FUSED | {"gather_kernel"}


@pytest.mark.slow
def test_the_other_plans_on_an_older_gpu(tmp_path: Path) -> None:
    jobs = [
        Job("smallest", "bf16", ""),
        Job("sparse_product", "tf32", "tile,fused"),
        Job("small_dense", "fp32", "gemm"),
        Job("selfcheck", "bf16", "chain"),
    ]
    assert launched(80, jobs, tmp_path) == FUSED | {"gather_kernel", "hop_kernel"}
