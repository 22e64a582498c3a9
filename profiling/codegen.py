"""Compiles the Triton kernels for GPUs that are not here, exactly as the drivers would launch them.

A launch is recorded instead of run: kernel, arguments with their dtypes and alignment, constants, warps. The record is
compiled with the compiler and assembler of the triton wheel, and the machine code is looked at (``sass.py``).

Shape legend: N nodes, B batch, C input channels, H units, M diffusion terms, U slots of a union.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dcrnn_fast.kernels.triton_runtime import Launch, observed
from profiling.sass import Sass, inspect_cubin

POINTERS = {
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.bool: "*i1",
}


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """Collects launches; none is run."""
    launches: list[Launch] = []

    def keep(one: Launch) -> bool:
        launches.append(one)
        return False

    with observed(keep):
        yield launches


@dataclass(frozen=True)
class Compiled:
    """What became of one launch."""

    sass: Sass
    shared: int
    warps: int


def compile_launch(launch: Launch, arch: int) -> Compiled:
    """Compiles as Triton would on a GPU of ``arch`` (80, 90, 100): the same specialization on alignment and on 1."""
    # The default will change; kernels were written for fused multiply-adds.
    os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
    signature: dict[str, str] = {}
    constants: dict[tuple[int, ...], Any] = {}
    attributes: dict[tuple[int, ...], list[list[Any]]] = {}
    for index, name in enumerate(launch.kernel.arg_names):
        if name in launch.constants:
            signature[name], constants[(index,)] = "constexpr", launch.constants[name]
            continue
        value = launch.arguments[name]
        if isinstance(value, Tensor):
            signature[name] = POINTERS[value.dtype]
            aligned = value.data_ptr() % 16 == 0
        elif value == 1:
            signature[name], constants[(index,)] = "constexpr", 1
            continue
        else:
            signature[name] = "i32" if -(2**31) <= value < 2**31 else "i64"
            aligned = value % 16 == 0
        if aligned:
            attributes[(index,)] = [["tt.divisibility", 16]]
    source = ASTSource(launch.kernel, signature=signature, constexprs=constants, attrs=attributes)
    options = {"num_warps": launch.warps, "num_stages": launch.stages}
    made = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    return Compiled(inspect_cubin(made.asm["cubin"]), made.metadata.shared, launch.warps)
