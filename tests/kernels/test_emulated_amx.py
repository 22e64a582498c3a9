"""The AMX units on AMX in plain C++ (tests/emulation/amx.h), for a CPU without it: the tests of the operators must pass
on a build of its own. Where the CPU has AMX the same tests run on it, without this detour."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dcrnn_fast.kernels.native import library
from tests.checkout import ROOT, run_here
from tests.kernels.compiled import require_library


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_operators_pass_on_emulated_amx(tmp_path: Path) -> None:
    require_library()
    module = library().module
    assert module is not None
    if reason := dict(module.cpu_units())["avx512_bf16"]:
        pytest.skip(f"avx512_bf16, which AMX builds upon: {reason}")
    build = ("setup.py", "build_ext", "--build-lib", str(tmp_path / "lib"), "--build-temp", str(tmp_path / "objects"))
    run_here(sys.executable, *build, DCRNN_FAST_BUILD="emulated-amx")
    tests = [str(path.relative_to(ROOT)) for path in sorted(Path(__file__).parent.glob("test_*_cpu.py"))]
    # The new library comes before the one in the source tree.
    words = ("-o", f"pythonpath={tmp_path / 'lib'} .", "-m", "not slow", "-k", "amx or bf16x3")
    said = run_here(sys.executable, "-m", "pytest", *words, *tests, OMP_NUM_THREADS="1")
    assert "skipped" not in said, said
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None, said
    assert int(passed[1]) >= 30, said


def test_the_emulating_build_stays_out_of_the_source_tree() -> None:
    require_library()
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "DCRNN_FAST_BUILD": "emulated-amx"},
    )
    assert done.returncode != 0
    assert "DCRNN_FAST_BUILD=emulated-amx: not into the source tree" in done.stderr
