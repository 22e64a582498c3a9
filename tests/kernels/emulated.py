"""The CUDA kernels on the CPU: their sources compiled with the emulator of ``tests/emulation``, as library or program.

Builds are kept in ``build/emulation`` under the digest of their sources and flags.
"""

import ctypes
import hashlib
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.checkout import ROOT, missing
from tests.kernels.cuda_calls import Call

SOURCES = ("csrc/cuda/*", "tests/emulation/*")
PRECISIONS = ("bf16", "fp16", "tf32", "tf32x3")
SCHEDULES = 5
FLAGS = [
    "-std=c++20",
    "-I.",
    "-include",
    "tests/emulation/cuda_emulator_ptx.h",
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",
]
KERNELS = "tests/emulation/candidate_emulation.cpp"
LIBRARY = ["-O1", "-fPIC", "-shared", "-fvisibility=hidden"]
PROGRAM = ["-g1", "-DDCRNN_EMULATION_PROGRAM"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


def compile_emulation(flags: list[str], root: Path = ROOT, source: str = KERNELS) -> Path:
    """What g++ makes of a source under ``root`` with the emulator."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        missing("no C++ compiler for the emulator: install g++ or set CXX")
    command = [*FLAGS, *flags, "-x", "c++", source]
    digest = hashlib.sha256(" ".join([compiler, *command]).encode())
    for pattern in SOURCES:
        for path in sorted(root.glob(pattern)):
            digest.update(path.read_bytes())
    built = ROOT / "build" / "emulation" / digest.hexdigest()[:16]
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        unfinished = built.with_suffix(f".{os.getpid()}")
        done = subprocess.run([compiler, *command, "-o", str(unfinished)], cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        unfinished.replace(built)
    return built


class _Sizes(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_int32)
        for name in ("gradient", "precision", "tiles", "slots", "terms", "batch", "units", "channels", "weight_stride")
    )


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(compile_emulation(LIBRARY)))
    library.dcrnn_emulate.restype = ctypes.c_char_p
    return library


def emulate(sizes: dict[str, int], tensors: list[Tensor], schedule: int = 0) -> None:
    """Runs a kernel on contiguous CPU tensors in the order of the operator's schema; outputs are written in place.

    Raises:
        RuntimeError: what the emulator has against it.
    """
    pointers = (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))
    error = _library().dcrnn_emulate(ctypes.byref(_Sizes(**sizes)), pointers, schedule).decode()
    if error:
        raise RuntimeError(error)


def _emulate_operator(gradient: bool, like: Tensor, weight: Tensor, channels: int, precision: int, *t: Tensor) -> None:
    _, B, H = like.shape
    index_TU = t[7 if gradient else 5]
    sizes = {
        "gradient": int(gradient),
        "precision": precision,
        "tiles": index_TU.shape[0],
        "slots": index_TU.shape[1],
        "terms": weight.shape[0],
        "batch": B,
        "units": H,
        "channels": channels,
        "weight_stride": weight.stride(1),
    }
    emulate(sizes, list(t), schedule=_operator_schedule)


def _candidate(*arguments: Any) -> None:
    *tensors, precision = arguments
    _emulate_operator(False, tensors[0], tensors[4], 0, precision, *tensors)


def _candidate_gradient(*arguments: Any) -> None:
    *tensors, dx_NBC, precision = arguments
    channels = 0 if dx_NBC is None else dx_NBC.shape[2]
    given = tensors if dx_NBC is None else [*tensors, dx_NBC]
    _emulate_operator(True, tensors[0], tensors[6], channels, precision, *given)


_operator_schedule = 0


@contextmanager
def emulated_operators(schedule: int = 0) -> Iterator[None]:
    """Gives ``dcrnn_fast::candidate_cuda`` and its gradient implementations for CPU tensors."""
    import dcrnn_fast.kernels  # noqa: F401  # it defines them

    global _operator_schedule
    _operator_schedule = schedule
    with torch.library._scoped_library("dcrnn_fast", "IMPL") as library:
        library.impl("candidate_cuda", _candidate, "CPU")
        library.impl("candidate_gradient_cuda", _candidate_gradient, "CPU")
        yield


def sizes_of(call: Call, precision: str, *, gradient: bool, dx_wanted: bool = True) -> dict[str, int]:
    s = call.sizes
    return {
        "gradient": int(gradient),
        "precision": PRECISIONS.index(precision),
        "tiles": len(s.counts),
        "slots": s.U,
        "terms": s.M,
        "batch": s.B,
        "units": s.H,
        "channels": s.C if gradient and dx_wanted else 0,
        "weight_stride": s.H,
    }


def tensors_of(call: Call, *, gradient: bool) -> list[Tensor]:
    """All arguments in the order of the schema; outputs are NaN at first."""
    graph = [call.index_TU, call.count_T, call.coefficient_TQSU]
    weight_MHH = call.candidate_weight.contiguous()
    if not gradient:
        inputs = [call.x_NBH, call.h_NBH, call.u_NBH, call.pre_NBG, weight_MHH, *graph]
        return [*inputs, *(torch.full_like(call.h_NBH, torch.nan) for _ in range(2))]
    states = [call.x_NBH, call.h_NBH, call.r_NBH, call.u_NBH, call.c_NBH]
    s, low = call.sizes, call.x_NBH
    return [
        *states, call.candidate_input_weight.contiguous(), weight_MHH, *graph,
        low.new_full((s.N, s.B, 3 * s.M * s.H), torch.nan), call.dh_NBH.clone(),
        *(torch.full_like(low, torch.nan) for _ in range(2)), torch.full((s.N, s.B, s.C), torch.nan),
    ]  # fmt: skip


def results(call: Call, tensors: list[Tensor], *, gradient: bool) -> list[Tensor]:
    """What the kernel wrote, in the order of ``cuda_calls.candidate`` and ``candidate_gradient``."""
    if not gradient:
        return tensors[8:]
    return [tensors[10][..., 2 * call.sizes.M * call.sizes.H :], *tensors[11:]]


def run_program(program: Path, call: Call, precision: str, folder: Path, *, gradient: bool) -> tuple[str, list[Tensor]]:
    """All schedules in a process of their own: what it complained of, or "" and what the kernel wrote."""
    tensors = tensors_of(call, gradient=gradient)
    case, result = folder / "case", folder / "result"
    sizes = _Sizes(**sizes_of(call, precision, gradient=gradient))
    raw = [tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"" for tensor in tensors]
    case.write_bytes(bytes(sizes) + b"".join(struct.pack("<q", len(data)) + data for data in raw))
    done = subprocess.run([str(program), str(case), str(result)], capture_output=True, text=True, timeout=240)
    if done.returncode:
        return done.stderr or f"ended with {done.returncode}", []
    data, at, made = bytearray(result.read_bytes()), 0, []
    for tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        made.append(torch.frombuffer(data[at : at + size], dtype=tensor.dtype).view(tensor.shape) if size else tensor)
        at += size
    return "", results(call, made, gradient=gradient)
