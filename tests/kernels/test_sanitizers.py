"""The compiled kernels under the address and the undefined-behaviour sanitizer: built so, and the operators' tests run.

A copy of the sources is built with ``DCRNN_FAST_SANITIZE``, so that the module of this checkout stays. Python itself is
not built with the sanitizers: their library is preloaded, and leaks, which Python has plenty of, are not looked for.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SANITIZERS = "address,undefined"
TESTS = [
    "tests/kernels/test_dcrnn_seq2seq_cpu.py",
    "tests/kernels/test_dcgru_sequence_cpu.py",
    "tests/kernels/test_diffusion_conv_cpu.py",
    "tests/kernels/test_random_cases.py",
]
LEFT_OUT = "not compiles_without_graph_breaks"  # compiles C++ of its own, with a compiler that would be preloaded too
REPORTS = ("AddressSanitizer", "runtime error:")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with the kernels built under the sanitizers."""
    if shutil.which("g++") is None or not library("libasan.so"):
        reason = "no g++ with libasan"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("sanitized")
    copy(folder)
    build(folder)
    return folder


def library(name: str) -> str:
    """Where g++ has one of its libraries; empty where it has not."""
    said = subprocess.run(
        ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return said if os.path.isabs(said) else ""


def copy(folder: Path) -> None:
    for name in ("bench", "csrc", "dcrnn_fast", "kernels", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "results", "golden"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)


def build(folder: Path) -> None:
    environment = os.environ | {"CXX": "g++", "DCRNN_FAST_SANITIZE": SANITIZERS}
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python in the copy, with the sanitizers' library, and the C++ library whose exceptions it watches, preloaded."""
    environment = os.environ | {
        "LD_PRELOAD": f"{library('libasan.so')} {library('libstdc++.so')}",
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=99",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(folder),
    }
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)


def test_operators_pass_under_the_sanitizers(sanitized: Path) -> None:
    done = run(sanitized, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", LEFT_OUT, *TESTS)
    said = done.stdout + done.stderr
    assert not any(report in said for report in REPORTS), said[-8000:]
    assert done.returncode == 0, said[-8000:]
    assert " passed" in said
    assert run(sanitized, "-c", WHERE).stdout.startswith(str(sanitized)), "the tests ran with another module"


WHERE = """
from dcrnn_fast.kernels.native import library
assert library().reason is None, library().reason
print(library().module.__file__)
"""
SMALL_STEP = """
from tests.kernels.cases import Case, make_seq2seq, make_terms
from tests.kernels.test_dcrnn_seq2seq import run
import torch
run(make_seq2seq(Case()).to(torch.float32), make_terms(Case(), torch.float32), "cpu").sum().backward()
"""


def test_a_planted_bug_is_reported(sanitized: Path, tmp_path: Path) -> None:
    """One number too far in every unit: the add kernel reads past its rows."""
    copy(tmp_path)
    body = tmp_path / "csrc" / "torch" / "tensors.h"
    text = body.read_text()
    planted = text.replace("for (size_t i = 0; i < copy.size(); ++i) {", "for (size_t i = 0; i <= copy.size(); ++i) {")
    assert planted != text
    body.write_text(planted)
    build(tmp_path)
    bf16 = SMALL_STEP.replace("run(make", "with torch.autocast('cpu', torch.bfloat16): run(make")
    done = run(tmp_path, "-c", bf16)
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
