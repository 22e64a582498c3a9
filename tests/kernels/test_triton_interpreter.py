"""Runs ``tests/kernels/interpreted`` in a process of its own: Triton reads TRITON_INTERPRET when it is imported."""

import os
import re
import subprocess
import sys

import pytest

from tests.checkout import ROOT

pytestmark = pytest.mark.gpu_kernels


def interpreted(marker: str, *, processes: str = "0") -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marker, "-n", processes]
    done = subprocess.run(
        [*command, "--maxprocesses", "8", "--dist", "worksteal", "--timeout", "1200", "tests/kernels/interpreted"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    print(done.stdout[-20_000:], done.stderr[-5_000:])
    assert done.returncode == 0
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= 8


def test_a_part_of_all() -> None:
    interpreted("not slow and not prove")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_slower_ones() -> None:
    interpreted("slow and not prove", processes="logical")


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_those_over_a_minute() -> None:
    interpreted("prove", processes="logical")
