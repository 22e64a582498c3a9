"""The compiled kernels under the address and the undefined-behaviour sanitizer: built so, and the operators' tests run.

A copy of the sources is built with ``DCRNN_FAST_SANITIZE``, so that the module of this checkout stays. Python itself is
not built with the sanitizers: their library is preloaded, and leaks, which Python has plenty of, are not looked for.
"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.checkout import build_kernels, copy_checkout, require_tool, run_python

SANITIZERS = "address,undefined"
TESTS = [
    "tests/kernels/test_dcrnn_seq2seq_cpu.py",
    "tests/kernels/test_dcgru_sequence_cpu.py",
    "tests/kernels/test_diffusion_conv_cpu.py",
    "tests/kernels/test_station_rows.py",
]
RANDOM_CASES = "tests/kernels/test_random_cases.py"
LEFT_OUT = "not compiles_without_graph_breaks"  # compiles C++ of its own, with a compiler that would be preloaded too
REPORTS = ("AddressSanitizer", "runtime error:")

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with the kernels built under the sanitizers."""
    require_tool("g++")
    folder = tmp_path_factory.mktemp("sanitized")
    copy_checkout(folder)
    build_kernels(folder, CXX="g++", DCRNN_FAST_SANITIZE=SANITIZERS)
    return folder


def library(name: str) -> str:
    """Where g++ has one of its libraries."""
    said = subprocess.run(
        ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert os.path.isabs(said), f"g++ has no {name}"
    return said


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python with the sanitizers' library, and the C++ library whose exceptions it watches, preloaded."""
    return run_python(
        folder,
        *words,
        LD_PRELOAD=f"{library('libasan.so')} {library('libstdc++.so')}",
        ASAN_OPTIONS="detect_leaks=0:abort_on_error=0:exitcode=99",
        UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1",
    )


def require_clean(folder: Path, *tests: str) -> None:
    """Runs tests in the copy; fails on a report of a sanitizer, on a failed test, and where no test ran."""
    done = run(folder, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", LEFT_OUT, *tests)
    said = done.stdout + done.stderr
    assert not any(report in said for report in REPORTS), said[-8000:]
    assert done.returncode == 0, said[-8000:]
    assert " passed" in said


@pytest.mark.slow
def test_operators_pass_under_the_sanitizers(sanitized: Path) -> None:
    module = Path(run(sanitized, "-c", WHERE).stdout.strip())
    assert module.parent == sanitized, "another module would run"
    content = module.read_bytes()
    assert b"__asan_report_load" in content
    assert b"__ubsan_handle" in content
    require_clean(sanitized, *TESTS)


@pytest.mark.prove
def test_random_cases_pass_under_the_sanitizers(sanitized: Path) -> None:
    require_clean(sanitized, RANDOM_CASES)


WHERE = """
from dcrnn_fast.kernels.native import library
assert library().reason is None, library().reason
print(library().module.__file__)
"""
BF16_STEP = """
from bench.cases import Case, make_seq2seq, make_terms
from tests.kernels.operators import run
import torch
with torch.autocast("cpu", torch.bfloat16):
    run(make_seq2seq(Case()).to(torch.float32), make_terms(Case(), torch.float32), "cpu").sum().backward()
"""


@pytest.mark.prove
def test_a_planted_bug_is_reported(tmp_path: Path) -> None:
    """A kernel that writes one number further than it should."""
    require_tool("g++")
    copy_checkout(tmp_path)
    source = tmp_path / "csrc" / "torch" / "tensors.h"
    text = source.read_text()
    planted = text.replace("for (size_t i = 0; i < values.size(); ++i)", "for (size_t i = 0; i <= values.size(); ++i)")
    assert planted != text
    source.write_text(planted)
    build_kernels(tmp_path, CXX="g++", DCRNN_FAST_SANITIZE=SANITIZERS)
    done = run(tmp_path, "-c", BF16_STEP)
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
