"""Runs ``tests/kernels/interpreted`` in a process of its own: Triton reads TRITON_INTERPRET when it is imported."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def interpreted(marker: str) -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-m", marker]
    done = subprocess.run(
        [*command, "--timeout", "1200", "tests/kernels/interpreted"],
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
    interpreted("slow and not prove")


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_those_over_a_minute() -> None:
    interpreted("prove")
