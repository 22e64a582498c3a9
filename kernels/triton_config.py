"""Block sizes of the Triton kernels: a static table by kernel, architecture, arithmetic and width; no autotuning.

Every entry was compiled offline for its architecture and held to a budget (``docs/gpu-codegen.md``): no spilled
registers, tensor-core instructions, 16-byte loads. Only those of ``_TIMED`` were chosen by their time on a GPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Config:
    """Batch rows of a tile, warps of a block, pipeline stages; ``columns``: most output columns of one block,
    ``input_columns``: least columns of an input's gradient."""

    batch_rows: int
    warps: int
    stages: int = 1
    columns: int = 64
    input_columns: int = 16


_assumed: list[int] = []


@contextmanager
def assumed_architecture(arch: int) -> Iterator[None]:
    """Block sizes as for ``arch``, whatever the device: to compile for GPUs that are not here."""
    _assumed.append(arch)
    try:
        yield
    finally:
        _assumed.pop()


def architecture(x: Tensor) -> int:
    """80, 90 or 100: the newest one in the table that the tensor's device is not older than; 90 on a CPU."""
    if _assumed:
        return _assumed[-1]
    if not x.is_cuda:
        return 90
    major, minor = torch.cuda.get_device_capability(x.device)
    if major == 12:
        return 80  # GPUs for workstations: sm_80's matrix instructions, 99 KiB of shared memory
    return max(arch for arch in (80, 90, 100) if arch <= 10 * major + minor)


def config(
    kernel: str, x: Tensor, precision: str, channels: int, units: int, *, fused: bool = True, chunked: bool = False
) -> Config:
    """Block sizes of ``kernel`` for tensors like ``x``, ``channels`` of input and ``units`` of output; ``fused``: the
    kernel diffuses; ``chunked``: a union of neighbours is more than one chunk."""
    return lookup(kernel, architecture(x), precision, channels, units, fused=fused, chunked=chunked)


# (batch rows, warps) of a block by (architecture, arithmetic), for channels up to 64 and up to 128. More rows read the
# weights less often; what bounds them is registers: 255 a thread, and each row has an accumulator for every column.
_TABLE: dict[tuple[int, str], tuple[tuple[int, int], tuple[int, int]]] = {
    (80, "low"): ((2, 4), (1, 8)),
    (90, "low"): ((4, 8), (1, 8)),
    (100, "low"): ((4, 8), (1, 8)),
    # With two rows, a union in chunks needs 136 KiB of shared memory; sm_86, sm_89 and sm_120 have 99.
    (80, "tf32"): ((1, 8), (1, 8)),
    (90, "tf32"): ((2, 8), (1, 8)),
    (100, "tf32"): ((2, 8), (1, 8)),
    (80, "tf32x3"): ((1, 8), (1, 8)),
    (90, "tf32x3"): ((1, 8), (1, 8)),
    (100, "tf32x3"): ((1, 8), (1, 8)),
    # Epilogues of a GEMM: nothing but loads, activations and stores.
    (80, "strict"): ((2, 4), (1, 4)),
    (90, "strict"): ((2, 4), (1, 4)),
    (100, "strict"): ((2, 4), (1, 4)),
}
# Instead of those, by kernel too; a third number: pipeline stages, where one stage spills.
_EXCEPTIONS: dict[tuple[str, int, str, int], tuple[int, ...]] = {
    # The kernel has three accumulators where x is not hoisted, and on sm_100 only 128 registers for eight warps.
    ("gates", 100, "low", 64): (2, 4),
    # Eight warps spill seven registers.
    ("gates_gradient", 100, "low", 64): (4, 4),
    # One row spills three registers.
    ("gates", 80, "tf32", 64): (2, 8),
    # Two rows spill two registers where the union is in chunks.
    ("candidate", 90, "tf32", 64): (1, 8),
    # Two rows spill where the layer below has few channels.
    ("candidate_gradient", 90, "tf32", 64): (1, 8),
    ("gates_gradient", 90, "tf32", 64): (1, 8),
    ("candidate_gradient", 100, "tf32", 64): (1, 8),
    # As above; and in one stage, one row spills ten registers where the union is in chunks.
    ("gates_gradient", 100, "tf32", 64): (1, 8, 2),
    # One stage spills two registers where the terms were diffused before.
    ("convolve", 80, "low", 64): (2, 4, 2),
    # Eight warps spill a register with one channel.
    ("gates_gradient", 80, "low", 128): (1, 4),
    # Eight warps spill three registers.
    ("hoisted_gates", 100, "low", 128): (1, 4),
}
# Instead of both where a union is in chunks; 16: up to 64 units, and up to 16 channels.
_IN_CHUNKS = {
    # Two rows need 136 KiB of shared memory; one row of eight warps spills eight registers.
    ("gates", 80, "tf32", 64): Config(1, 4),
    # Each of the next ones spills in the sizes above (up to 13 stores), most of them with few channels only.
    ("convolve", 80, "tf32", 64): Config(1, 4),
    ("convolve", 80, "tf32x3", 16): Config(2, 8),
    ("gates_gradient", 80, "low", 64): Config(1, 8),
    # No size holds fewer columns.
    ("gates_gradient", 80, "tf32x3", 64): Config(1, 8, input_columns=64),
    ("candidate_gradient", 100, "low", 64): Config(4, 4),
    ("gates_gradient", 90, "low", 128): Config(1, 4),
    ("gates_gradient", 100, "low", 128): Config(1, 4),
}
# Instead of all others where the terms were diffused before.
_DIFFUSED_BEFORE = {
    # Two stages spill a register with one channel.
    ("gates", 90, "low", 16): Config(2, 4),
}
# Least columns of an input's gradient by (arithmetic, width), else 16: narrower ones spill registers.
_INPUT_COLUMNS = {("low", 128): 64, ("tf32", 64): 32, ("tf32x3", 64): 32}


# Up to 64 channels where a union is one chunk: chosen by the times of 24 sizes on an H100 (METR-LA's training step,
# bench/results/gpu_h100.txt), without spills. In chunks these spill.
_TIMED = {
    ("gates", 90, "low"): Config(2, 4, 2),
    ("hoisted_gates", 90, "low"): Config(4, 4),
    ("candidate", 90, "low"): Config(4, 4),
    ("candidate_gradient", 90, "low"): Config(4, 4),
    ("gates_gradient", 90, "low"): Config(4, 4),
    ("convolve", 90, "low"): Config(4, 4),
    ("gates", 90, "tf32x3"): Config(1, 4, 2),
    ("hoisted_gates", 90, "tf32x3"): Config(1, 4, 2),
    ("candidate", 90, "tf32x3"): Config(1, 4, 2),
    ("candidate_gradient", 90, "tf32x3"): Config(1, 4, 2),
    ("gates_gradient", 90, "tf32x3"): Config(1, 8, 2),
    ("convolve", 90, "tf32x3"): Config(1, 4, 2),
}


def lookup(
    kernel: str, arch: int, precision: str, channels: int, units: int, *, fused: bool = True, chunked: bool = False
) -> Config:
    """The table's entry; ``precision`` is a plan's: low, tf32, tf32x3 or strict."""
    width = 64 if max(channels, units) <= 64 else 128
    key = (kernel, arch, precision)
    special = _IN_CHUNKS if chunked else {} if fused else _DIFFUSED_BEFORE
    few = special.get((*key, 16)) if width == 64 and channels <= 16 else None
    timed = _TIMED.get(key) if width == 64 and not chunked else None
    sizes = _EXCEPTIONS.get((*key, width)) or _TABLE[arch, precision][width > 64]
    found = few or special.get((*key, width)) or timed or Config(*sizes)
    return replace(found, input_columns=max(found.input_columns, _INPUT_COLUMNS.get((precision, width), 16)))
