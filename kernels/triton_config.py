"""Block sizes of the Triton kernels: a static table by kernel, architecture, arithmetic and width; no autotuning.

Every entry was compiled offline for its architecture and held to a budget (``docs/gpu-codegen.md``): no spilled
registers, tensor-core instructions, 16-byte loads. Only those of ``_TIMED`` were chosen by their time on a GPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Config:
    """Batch rows of a tile, warps of a block, pipeline stages; ``columns``: most output columns of one block."""

    batch_rows: int
    warps: int
    stages: int = 1
    columns: int = 64


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


def config(kernel: str, x: Tensor, precision: str, width: int, chunked: bool = False) -> Config:
    """Block sizes of ``kernel`` for tensors like ``x`` whose widest row has ``width`` channels; ``chunked``: a union of
    neighbours is more than one chunk."""
    return lookup(kernel, architecture(x), precision, width, chunked)


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
    # Eight warps spill three registers.
    ("hoisted_gates", 100, "low", 128): (1, 4),
}
# Instead of both where a union is in chunks.
_IN_CHUNKS: dict[tuple[str, int, str, int], tuple[int, ...]] = {
    # Two rows need 136 KiB of shared memory; one row of eight warps spills eight registers.
    ("gates", 80, "tf32", 64): (1, 4),
}


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


def lookup(kernel: str, arch: int, precision: str, width: int, chunked: bool = False) -> Config:
    """The table's entry; ``precision`` is a plan's: low, tf32, tf32x3 or strict."""
    column = 64 if width <= 64 else 128
    timed = _TIMED.get((kernel, arch, precision))
    if timed is not None and column == 64 and not chunked:
        return timed
    key = (kernel, arch, precision, column)
    sizes = (_IN_CHUNKS if chunked else {}).get(key) or _EXCEPTIONS.get(key) or _TABLE[arch, precision][column > 64]
    return Config(*sizes)
