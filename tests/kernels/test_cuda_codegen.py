"""The CUDA kernels compiled for GPUs that are not here: no spills, budgets, tensor cores, 16-byte loads, no atomics."""

import shutil
import subprocess
from pathlib import Path

import pytest

from profiling.codegen_cuda import ARCHITECTURES, BUDGETS, TASKS, compile_kernels, compiled
from profiling.records import CUDA, read_rows
from profiling.sass import tool
from tests.checkout import ROOT

PROBE = """
#include <cstdio>
#include "csrc/cuda/candidate.h"
int main() {
    static int32_t index[16], count[1];
    dcrnn::cuda::Candidate call{};
    call.precision = dcrnn::cuda::Precision::bf16;
    call.graph = {index, count, nullptr, 1, 16, 1};
    call.batch = 1, call.units = 8, call.weight_stride = 8;
    const int error = launch(call, nullptr);
    std::printf("%d %s", error, dcrnn::cuda::error_text(error));
}
"""

pytestmark = [
    pytest.mark.gpu_kernels,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc here: nothing to compile the kernels with"),
]


@pytest.fixture(scope="module")
def made() -> Path:
    return compile_kernels()


def _require_tools() -> None:
    try:
        tool("cuobjdump")
    except RuntimeError as error:
        pytest.skip(str(error))


def test_every_kernel_is_within_its_budget(made: Path) -> None:
    _require_tools()
    kernels = list(compiled(made))
    wanted = {(arch, name, task) for arch in ARCHITECTURES for name in BUDGETS for task in TASKS.values()}
    assert {(one.arch, one.precision, one.kernel) for one in kernels} == wanted
    assert {str(one.row()): one.problems() for one in kernels if one.problems()} == {}


def test_the_record_has_these_rows(made: Path) -> None:
    _require_tools()
    assert sorted(read_rows(CUDA)) == sorted(one.row() for one in compiled(made))


def test_a_kernel_that_spills_is_found(tmp_path: Path) -> None:
    _require_tools()
    shutil.copytree(ROOT / "csrc" / "cuda", tmp_path / "csrc" / "cuda")
    path = tmp_path / "csrc" / "cuda" / "candidate.cuh"
    text = path.read_text()
    assert text.count("__launch_bounds__(kThreads, Math::kBlocks)") == 1
    path.write_text(text.replace("Math::kBlocks)", "3)"))
    kernels = list(compiled(compile_kernels(root=tmp_path)))
    assert all(any(problem.startswith("spills") for problem in one.problems()) for one in kernels)


def test_a_launch_without_a_driver_is_an_error_and_no_crash(made: Path, tmp_path: Path) -> None:
    """The launch that backend=cuda turns into an exception, from a program that links what the package links."""
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU here")
    import runpy

    build = runpy.run_path(str(ROOT / "csrc" / "cuda" / "build.py"))
    folders = [f"-L{folder}" for folder in build["library_dirs"](build["find_nvcc"]())]
    (tmp_path / "probe.cpp").write_text(PROBE)
    program = tmp_path / "probe"
    libraries = [f"-l{name}" for name in build["LIBRARIES"]]
    command = ["g++", "-std=c++20", f"-I{ROOT}", str(tmp_path / "probe.cpp"), str(made), *folders, *libraries]
    subprocess.run([*command, "-o", str(program)], check=True, capture_output=True, text=True)
    said = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    assert said.startswith(("35 CUDA driver version is insufficient", "100 no CUDA-capable device"))
