"""The AMX units' machine code as compiled, on a CPU without AMX: each tile instruction stops there and is done by
tests/emulation/amx.h (amx_traps.cpp). The units compiled against amx.h cannot show what a compiler makes of intrinsics.
"""

import os
import re
import sys
from pathlib import Path

import pytest

from dcrnn_fast.kernels.native import library
from tests.checkout import ROOT, run_here
from tests.kernels.compiled import require_library

FLAGS = ["-std=c++20", "-O1", "-mfma", "-Wall", "-Wextra", "-I."]


@pytest.mark.prove
@pytest.mark.timeout(1200)
def test_the_machine_code_computes_what_the_emulated_units_do(tmp_path: Path) -> None:
    require_library()
    module = library().module
    assert module is not None
    units = dict(module.cpu_units())
    if reason := units["avx512_bf16"]:
        pytest.skip(f"avx512_bf16, which AMX builds upon: {reason}")
    if not units["amx"]:
        pytest.skip("this CPU has AMX: its instructions do not stop, and all tests run on them")
    for kind in ("", "emulated-amx"):
        folders = ("--build-lib", str(tmp_path / "lib" / kind), "--build-temp", str(tmp_path / (kind or "real")))
        run_here(sys.executable, "setup.py", "build_ext", *folders, DCRNN_FAST_BUILD=kind, DCRNN_FAST_CUDA="0")
    real = sorted((tmp_path / "real" / "csrc" / "cpu").glob("*.o"))
    emulated = sorted((tmp_path / "emulated-amx" / "csrc" / "cpu").glob("*.o"))
    # Which of them this CPU runs is not asked.
    trapped = [*(path for path in real if path.name != "select.o"), *(p for p in emulated if p.name == "select.o")]
    said = []
    for name, sources, objects in (
        ("emulated", ["amx_driver.cpp"], emulated),
        ("trapped", ["amx_driver.cpp", "amx_traps.cpp"], trapped),
    ):
        program = tmp_path / name
        paths = [*(f"tests/emulation/{source}" for source in sources), *map(str, objects)]
        run_here(os.environ.get("CXX", "c++"), *FLAGS, *paths, "-o", str(program))
        said.append(run_here(str(program)))
    assert said[0].count(" ok\n") == 8, said[0]
    assert said[1] == said[0]


def test_tiles_are_loaded_only_where_the_compiler_is_told_of_it() -> None:
    bare = re.compile(r"\b_tile_(loadd|stream_loadd|loadconfig)\b")
    found = {path.name for path in (ROOT / "csrc").rglob("*") if path.is_file() and bare.search(path.read_text())}
    assert found == {"unit_amx_tiles.h"}
