"""DCRNN_FAST_CUDA and what the build does without nvcc or with a broken one; what the built library asks for."""

import os
import re
import runpy
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dcrnn_fast.kernels.dcgru_sequence.function import IMPLEMENTATIONS as DCGRU_SEQUENCE
from dcrnn_fast.kernels.dcrnn_seq2seq.function import IMPLEMENTATIONS as DCRNN_SEQ2SEQ
from dcrnn_fast.kernels.diffusion_conv.function import IMPLEMENTATIONS as DIFFUSION_CONV
from dcrnn_fast.kernels.dispatch import Implementation, always, choose
from dcrnn_fast.kernels.gpu import table_cuda
from dcrnn_fast.kernels.native import Library, library
from tests.checkout import ROOT
from tests.kernels.compiled import require_library

pytestmark = pytest.mark.gpu_kernels


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The functions of csrc/cuda/build.py, where setup.py would run it and nvcc is not found."""
    for name in ("DCRNN_FAST_CUDA", "CUDACXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_HOME", "/nowhere")
    monkeypatch.chdir(ROOT)
    return runpy.run_path("csrc/cuda/build.py")


def test_without_nvcc_auto_says_why_and_goes_on(build: dict[str, Any], tmp_path: Path) -> None:
    built = build["build"]("c++", tmp_path)
    assert built.facts["no_cuda"].startswith("there is no nvcc (/nowhere/bin/nvcc; set CUDA_HOME")
    assert built[:4] == ([], [], [], [])


def test_0_does_not_look_for_it(build: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCRNN_FAST_CUDA", "0")
    assert build["build"]("c++", tmp_path).facts == {"no_cuda": "DCRNN_FAST_CUDA=0"}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("1", "DCRNN_FAST_CUDA=1, but the CUDA kernels cannot be built: there is no nvcc"),
        ("yes", "DCRNN_FAST_CUDA is 'yes'; it may be auto, 0 or 1"),
    ],
)
def test_what_cannot_be_had_ends_the_build(
    value: str, wanted: str, build: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DCRNN_FAST_CUDA", value)
    with pytest.raises(SystemExit, match=wanted):
        build["build"]("c++", tmp_path)


@pytest.mark.parametrize("value", ["auto", "1"])
def test_a_failing_nvcc_is_a_reason(
    value: str, build: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "nvcc"
    broken.write_text("#!/bin/sh\ncase $1 in --version) echo release 9.9;; *) echo 'x.cu: error: no'; exit 1;; esac\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CUDACXX", str(broken))
    monkeypatch.setenv("DCRNN_FAST_CUDA", value)
    reason = "nvcc failed: x.cu: error: no"
    if value == "auto":
        assert build["build"]("c++", tmp_path).facts == {"no_cuda": reason}
    else:
        with pytest.raises(SystemExit, match=reason):
            build["build"]("c++", tmp_path)
    assert not list(tmp_path.glob("*.o"))


def test_the_library_asks_for_no_cuda_library() -> None:
    """One build opens in CPU and CUDA builds of torch, with and without a driver."""
    require_library()
    if "cuda" not in library().facts:
        pytest.skip(f"built without CUDA kernels: {library().facts.get('no_cuda')}")
    module = library().module
    assert module is not None
    said = subprocess.run(["readelf", "-d", str(module.__file__)], capture_output=True, text=True, check=True).stdout
    needed = [line.split("[")[1].rstrip("]") for line in said.splitlines() if "NEEDED" in line]
    assert [name for name in needed if "cuda" in name or "nv" in name] == []
    assert "libtorch_cpu.so" in needed
    assert torch._C._dispatch_has_kernel_for_dispatch_key(table_cuda.CANDIDATE, "CUDA")


@pytest.mark.parametrize(
    ("opened", "wanted"),
    [
        (Library(None, {}, "the kernels are not compiled"), "the kernels are not compiled"),
        (Library(None, {"no_cuda": "there is no nvcc"}, None), "the CUDA kernels are not compiled: there is no nvcc"),
    ],
)
def test_every_reason_is_said(opened: Library, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_cuda, "library", lambda: opened)
    monkeypatch.setattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", lambda *_: False)
    assert table_cuda._why_not("cuda", 0, torch.float32) == wanted


def test_a_gpu_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", lambda *_: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    assert table_cuda._why_not("cuda", 0, torch.float32) == "Tesla T4 is older than sm_80"


def test_a_gpu_whose_blocks_have_too_little_shared_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """sm_86 and sm_89: room for the 16-bit kernels, not for float32's."""
    monkeypatch.setattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", lambda *_: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 6))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "RTX 3090")
    properties = SimpleNamespace(shared_memory_per_block_optin=101376)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    assert table_cuda._why_not("cuda", 0, torch.bfloat16) is None
    assert table_cuda._why_not("cuda", 0, torch.float32) == (
        "RTX 3090 has 101376 bytes of shared memory for a block, the kernels need 138240 for torch.float32"
    )


def test_the_shared_memory_is_what_the_sources_assert() -> None:
    source = (ROOT / "csrc" / "cuda" / "candidate.cu").read_text()
    for name, dtype in (("Half", torch.bfloat16), ("Half", torch.float16), ("Single", torch.float32)):
        asserted = re.search(rf"static_assert\(Layout<{name}<true>>::kBytes == (\d+)", source)
        assert asserted
        assert int(asserted[1]) == table_cuda.SHARED_BYTES[dtype]


def test_auto_never_takes_what_is_taken_by_name_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for operator in (DCRNN_SEQ2SEQ, DCGRU_SEQUENCE, DIFFUSION_CONV):
        made = [replace(one, why_not=always, self_checked=False) for one in operator if one.name == "cuda"]
        assert choose("op", [*made, Implementation("manual", len, always)], "auto", torch.zeros(1)).name == "manual"
        assert choose("op", made, "cuda", torch.zeros(1)).name == "cuda"


def test_on_the_cpu_it_is_refused_with_the_reason() -> None:
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("the interpreter would take it")
    assert str(table_cuda.why_not_cuda(torch.zeros(1))).startswith("x is on the CPU")
    said = table_cuda.why_not_cuda(torch.zeros(1, dtype=torch.float64))
    assert str(said).startswith("no CUDA kernels for torch.float64; x is on the CPU")
