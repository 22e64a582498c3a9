"""A copy of the sources, to build and run in without touching this checkout's compiled kernels."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"


def copy_checkout(folder: Path) -> None:
    """What the operators' tests need, without build outputs."""
    for name in ("bench", "csrc", "dcrnn_fast", "kernels", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "results", "golden"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)


def build_kernels(folder: Path, **variables: str) -> None:
    """Compiles the kernels of a copy, in its place."""
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=folder, env=os.environ | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


def run_python(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Python in a copy, which finds the copy's modules first."""
    environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"} | variables
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)


def run_here(*command: str, **variables: str) -> str:
    """What a program prints, run in this checkout; fails with both of its outputs where it does."""
    done = subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def require_tool(name: str) -> None:
    """Skips where the program is not installed; fails there when CI=true."""
    if shutil.which(name) is None:
        missing(f"{name} is not installed; .ci/run installs it where it may")


def missing(reason: str) -> NoReturn:
    """Skips the test for a file or tool that this machine lacks; with CI=true, which has them all, fails it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
