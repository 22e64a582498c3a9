"""Whether Triton kernels can run here, or why not.

``TRITON_INTERPRET=1``, set before Python starts, executes the kernels on CPU tensors by Triton's interpreter: slow,
and the proof of their arithmetic on machines without a GPU.
"""

import os
import subprocess
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from dcrnn_fast.kernels.dispatch import constant_when_traced
from dcrnn_fast.kernels.dtypes import computed_dtype
from dcrnn_fast.kernels.gpu.devices import why_no_gpu

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
# Tensor cores for bfloat16 and tf32 begin here; nothing older was ever compiled for.
OLDEST_CAPABILITY = (8, 0)


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
@constant_when_traced
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
    dtype = computed_dtype(x)
    if dtype not in DTYPES:
        return f"no kernels for {dtype}"
    return _why_not(x.device.type, x.device.index or 0)
