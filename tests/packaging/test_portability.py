"""The compiled kernels build with another compiler, and for another processor."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.checkout import ROOT, build_kernels, copy_checkout, require_tool, run_python

CROSS, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64-static"
WARNINGS = ["-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror"]
X86_ONLY = ("unit_avx", "unit_amx")
"""beginnings of the names of the sources that are compiled for x86 alone"""
UNITS_OF_ARM = """
#include <cstdio>
#include "csrc/cpu/select.h"

int main() {
    for (const auto& unit : dcrnn::unit_states()) std::printf("%s: %s\\n", unit.name.c_str(), unit.why_not.c_str());
    std::printf("chosen: %s, %s\\n", dcrnn::choose_kernels<float>().name, dcrnn::choose_kernels<double>().name);
}
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def portable_sources() -> list[Path]:
    """The torch-free core without the units that are made of x86's intrinsics."""
    found = sorted((ROOT / "csrc" / "cpu").glob("*.cpp"))
    portable = [path for path in found if not path.name.startswith(X86_ONLY)]
    assert ROOT / "csrc" / "cpu" / "unit_generic.cpp" in portable
    assert len(portable) < len(found)
    return portable


def test_builds_and_computes_with_clang(tmp_path: Path) -> None:
    require_tool("clang++")
    copy_checkout(tmp_path)
    build_kernels(tmp_path, CXX="clang++")
    probe = "from dcrnn_fast.kernels.native import library; print(library().reason, library().facts['compiler'])"
    said = run_python(tmp_path, "-c", probe).stdout
    assert said.startswith("None ")
    assert "clang" in said
    tests = [f"tests/kernels/test_{name}_cpu.py" for name in ("dcrnn_seq2seq", "dcgru_sequence", "diffusion_conv")]
    done = run_python(tmp_path, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *tests)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.fixture(scope="module")
def arm_objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every portable source, compiled for aarch64 without a warning."""
    require_tool(CROSS)
    folder, objects = tmp_path_factory.mktemp("aarch64"), []
    for source in portable_sources():
        objects.append(folder / f"{source.stem}.o")
        cross_compile(["-c", str(source), "-o", str(objects[-1])])
    return objects


def cross_compile(words: list[str]) -> None:
    done = subprocess.run([CROSS, *WARNINGS, f"-I{ROOT}", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


def test_the_core_compiles_for_arm(arm_objects: list[Path]) -> None:
    said = (
        subprocess.run(["file", "-b", *arm_objects], capture_output=True, text=True) if shutil.which("file") else None
    )
    assert said is None or said.stdout.count("aarch64") == len(arm_objects)
    assert all(path.stat().st_size > 0 for path in arm_objects)


def test_on_arm_the_generic_unit_runs(arm_objects: list[Path], tmp_path: Path) -> None:
    require_tool(EMULATOR)
    (tmp_path / "main.cpp").write_text(UNITS_OF_ARM)
    cross_compile([str(tmp_path / "main.cpp"), *map(str, arm_objects), "-static", "-o", str(tmp_path / "units")])
    done = subprocess.run([EMULATOR, str(tmp_path / "units")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "generic: \n" in done.stdout
    assert "avx2: not in this build\n" in done.stdout
    assert done.stdout.endswith("chosen: generic, generic\n")
