"""Whether Triton kernels can run here, and the one place where they are launched.

``TRITON_INTERPRET=1``, set before Python starts, executes the kernels on CPU tensors by Triton's interpreter: slow,
and the proof of their arithmetic on machines without a GPU.
"""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dcrnn_fast.kernels.dispatch import autocast_dtype
from dcrnn_fast.kernels.gpu import why_no_gpu

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
# Tensor cores for bfloat16 and tf32 begin here; nothing older was ever compiled for.
OLDEST_CAPABILITY = (8, 0)


class Launch(NamedTuple):
    """One launch, as it goes to Triton."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    constants: dict[str, Any]
    warps: int
    stages: int


_observers: list[Callable[[Launch], bool]] = []


@contextmanager
def observed(observer: Callable[[Launch], bool]) -> Iterator[None]:
    """Shows every launch to ``observer`` first; it is run only if all observers return true."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


def launch(
    kernel: Any,
    grid: tuple[int, ...],
    arguments: dict[str, Any],
    constants: dict[str, Any],
    *,
    warps: int,
    stages: int,
) -> None:
    """Launches on the current stream of the current device; nothing for an empty grid.

    Raises:
        ValueError: more blocks than CUDA allows in a dimension.
    """
    if 0 in grid:
        return
    if max(grid[1:], default=0) > 65535:
        raise ValueError(f"a grid of {grid} blocks is more than the 65535 that CUDA allows; use a smaller batch")
    one = Launch(kernel, grid, arguments, constants, warps, stages)
    if sum(not observer(one) for observer in _observers) == 0:
        kernel[grid](**arguments, **constants, num_warps=warps, num_stages=stages)


def is_wide(tensors: Sequence[Tensor]) -> bool:
    """Whether offsets into one of the tensors need 64 bits."""
    return any(tensor.numel() >= 2**31 for tensor in tensors)


def on_device(x: Tensor) -> AbstractContextManager[object]:
    """The device guard around launches: Triton takes the current device's current stream."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


@cache
def interpreted() -> bool:
    """Whether kernels are interpreted; Triton fixes that when it is first imported."""
    import triton

    return bool(triton.knobs.runtime.interpret)


@cache
def why_not_triton_at_all() -> str | None:
    """The reason why no Triton kernel can be made here, or None."""
    if find_spec("triton") is None:
        return "triton is not installed (pip install triton)"
    try:
        import triton

        if not hasattr(triton, "knobs"):
            return f"triton {triton.__version__} is too old; 3.4 or newer is needed"
    except (ImportError, OSError, RuntimeError) as error:
        return f"triton cannot be imported ({str(error).splitlines()[0]})"
    return None


@cache
def _why_not_device(index: int) -> str | None:
    if torch.version.hip is not None:
        return "the kernels were made for NVIDIA GPUs, this torch is for ROCm"
    capability = torch.cuda.get_device_capability(index)
    if capability < OLDEST_CAPABILITY:
        return f"{torch.cuda.get_device_name(index)} is sm_{capability[0]}{capability[1]}; sm_80 or newer is needed"
    if wrong_assembler := why_not_assembler():
        return wrong_assembler
    from triton.runtime import driver

    honour_assembler()
    try:
        driver.active.get_current_target()
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        # It compiles a small C library for the driver: no driver, no C compiler, or no Python.h.
        return f"triton finds no usable driver ({str(error).splitlines()[0]})"
    return None


def on_the_cpu() -> str:
    """The reason why a GPU backend cannot take a CPU tensor, with the one why there is no GPU to put it on."""
    why = why_no_gpu()
    return "x is on the CPU" + ("" if why is None else f", and {why}")


def honour_assembler() -> None:
    """Lets ``TRITON_PTXAS_PATH`` name the assembler for every GPU.

    Triton has a second one for newer GPUs (from 3.9 on for sm_90 too), which another variable names.
    """
    path = os.environ.get("TRITON_PTXAS_PATH")
    if path:
        os.environ.setdefault("TRITON_PTXAS_BLACKWELL_PATH", path)


def why_not_assembler() -> str | None:
    """Why ``TRITON_PTXAS_PATH`` names no assembler that runs, or None. Triton would take its own without a word."""
    path = os.environ.get("TRITON_PTXAS_PATH")
    if not path or why_not_triton_at_all() is not None:
        return None
    import triton

    try:
        if triton.knobs.nvidia.ptxas.path == path:
            return None
        reason = "ptxas --version says nothing there"
    except OSError as error:
        reason = error.strerror or str(error)
    return f"TRITON_PTXAS_PATH={path} is no assembler that runs ({reason}); correct it, or unset it for Triton's own"


# torch.compile would trace imports and device queries.
@torch.compiler.assume_constant_result
def _why_not(device_type: str, index: int) -> str | None:
    reason = why_not_triton_at_all()
    if reason is not None:
        return reason
    if device_type == "cpu":
        return None if interpreted() else f"{on_the_cpu()} (TRITON_INTERPRET=1 interprets the kernels there)"
    if device_type != "cuda":
        return f"x is on {device_type}"
    if interpreted():
        return "TRITON_INTERPRET=1 interprets kernels on CPU tensors; unset it for the GPU"
    return _why_not_device(index)


def why_not_triton(x: Tensor) -> str | None:
    """The reason why the Triton kernels cannot take ``x``, or None."""
    dtype = autocast_dtype(x) or x.dtype
    if dtype not in DTYPES:
        return f"no kernels for {dtype}"
    return _why_not(x.device.type, x.device.index or 0)


class _Overruling(threading.local):
    """``words`` of this thread; None: those of the environment."""

    words: str | None = None


_overruling = _Overruling()


@contextmanager
def overruled(words: str) -> Iterator[None]:
    """Within, and in this thread, ``words`` stand for those of the environment."""
    before, _overruling.words = _overruling.words, words
    try:
        yield
    finally:
        _overruling.words = before


@torch.compiler.assume_constant_result
def override() -> str:
    """The words of ``DCRNN_FAST_TRITON``, which overrule the rules of ``triton_plan``."""
    return os.environ.get("DCRNN_FAST_TRITON", "") if _overruling.words is None else _overruling.words
