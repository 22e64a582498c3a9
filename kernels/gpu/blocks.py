"""Block sizes of the Triton kernels: static rules by kernel, architecture, arithmetic and width; no autotuning.

Every size was compiled offline for its architecture and held to a budget (``docs/gpu-codegen.md``): no spilled
registers, tensor-core instructions, 16-byte loads. Only those of the rules "timed" were chosen by their time on a GPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class Blocks:
    """Batch rows of a tile, warps of a block, pipeline stages; ``columns``: most output columns of one block,
    ``input_columns``: least columns of an input's gradient."""

    batch_rows: int
    warps: int
    stages: int = 1
    columns: int = 64
    input_columns: int = 16


@dataclass(frozen=True)
class Call:
    """The facts of a launch that a rule may depend on.

    Attributes:
        kernel: its name; "hoisted_gates": the kernel ``gates`` whose input was multiplied before.
        arch: 80, 90 or 100.
        precision: a plan's: low, tf32, tf32x3 or strict.
        width: 64 or 128, the least that holds the channels and the units.
        channels: of the input, or its gradient.
        chunked: a tile's union of neighbours is more than one chunk.
        before: the terms were diffused before.
    """

    kernel: str
    arch: int
    precision: str
    width: int
    channels: int
    chunked: bool
    before: bool


@dataclass(frozen=True)
class Rule:
    """``blocks`` for every call that agrees with the other fields; None agrees with anything."""

    kernel: str | None
    arch: int | None
    precision: str | None
    width: int | None
    blocks: Blocks
    why: str
    most_channels: int | None = None
    chunked: bool | None = None
    before: bool | None = None

    def fits(self, call: Call) -> bool:
        """Whether it is for the call."""
        same = (
            getattr(self, field) in (None, getattr(call, field))
            for field in ("kernel", "arch", "precision", "width", "chunked", "before")
        )
        return all(same) and (self.most_channels is None or call.channels <= self.most_channels)


def _tf32(batch_rows: int, warps: int, stages: int = 1) -> Blocks:
    """Up to 64 units; fewer columns of an input's gradient spill registers."""
    return Blocks(batch_rows, warps, stages, input_columns=32)


def _wide(batch_rows: int, warps: int) -> Blocks:
    """Up to 128 units; fewer columns of an input's gradient spill registers."""
    return Blocks(batch_rows, warps, input_columns=64)


# The first that fits counts, so the most specific come first. More batch rows read the weights less often; registers
# bound them: 255 a thread, and each row has an accumulator for every column.
_TIMED = "timed: the best of 24 sizes on an H100 (METR-LA's training step, bench/results/gpu_h100.txt), without spills"
RULES = (
    Rule("convolve", 80, "tf32x3", 64, _tf32(2, 8), "the sizes below spill", most_channels=16, chunked=True),
    Rule("gates", 90, "low", 64, Blocks(2, 4), "two stages spill a register with one channel", most_channels=16,
         chunked=False, before=True),
    # Unions in chunks.
    Rule("gates", 80, "tf32", 64, _tf32(1, 4), "two rows need 136 KiB of shared memory, eight warps spill eight "
         "registers", chunked=True),
    Rule("convolve", 80, "tf32", 64, _tf32(1, 4), "the sizes below spill", chunked=True),
    Rule("gates_gradient", 80, "low", 64, Blocks(1, 8), "the sizes below spill", chunked=True),
    Rule("gates_gradient", 80, "tf32x3", 64, _wide(1, 8), "no size holds fewer columns", chunked=True),
    Rule("candidate_gradient", 100, "low", 64, Blocks(4, 4), "the sizes below spill", chunked=True),
    Rule("gates_gradient", 90, "low", 128, _wide(1, 4), "the sizes below spill", chunked=True),
    Rule("gates_gradient", 100, "low", 128, _wide(1, 4), "the sizes below spill", chunked=True),
    # Unions of one chunk; in more, these spill.
    Rule("gates", 90, "low", 64, Blocks(2, 4, 2), _TIMED, chunked=False),
    *(Rule(kernel, 90, "low", 64, Blocks(4, 4), _TIMED, chunked=False)
      for kernel in ("hoisted_gates", "candidate", "candidate_gradient", "gates_gradient", "convolve")),
    Rule("gates_gradient", 90, "tf32x3", 64, _tf32(1, 8, 2), _TIMED, chunked=False),
    *(Rule(kernel, 90, "tf32x3", 64, _tf32(1, 4, 2), _TIMED, chunked=False)
      for kernel in ("gates", "hoisted_gates", "candidate", "candidate_gradient", "convolve")),
    # Kernels that spill in the sizes of the others.
    Rule("gates", 100, "low", 64, Blocks(2, 4), "three accumulators unless x is hoisted; 128 registers in 8 warps"),
    Rule("gates_gradient", 100, "low", 64, Blocks(4, 4), "eight warps spill seven registers"),
    Rule("gates", 80, "tf32", 64, _tf32(2, 8), "one row spills three registers"),
    Rule("candidate", 90, "tf32", 64, _tf32(1, 8), "two rows spill two registers where the union is in chunks"),
    Rule("candidate_gradient", 90, "tf32", 64, _tf32(1, 8), "two rows spill where the layer below has few channels"),
    Rule("gates_gradient", 90, "tf32", 64, _tf32(1, 8), "two rows spill where the layer below has few channels"),
    Rule("candidate_gradient", 100, "tf32", 64, _tf32(1, 8), "two rows spill where the layer below has few channels"),
    Rule("gates_gradient", 100, "tf32", 64, _tf32(1, 8, 2), "as above; in one stage, one row spills ten registers if "
         "the union is in chunks"),
    Rule("convolve", 80, "low", 64, Blocks(2, 4, 2), "one stage spills two registers where the terms were diffused "
         "before"),
    Rule("gates_gradient", 80, "low", 128, _wide(1, 4), "eight warps spill a register with one channel"),
    Rule("hoisted_gates", 100, "low", 128, _wide(1, 4), "eight warps spill three registers"),
    # All others. Strict: epilogues of a GEMM, nothing but loads, activations and stores.
    Rule(None, None, "strict", 128, Blocks(1, 4), "an epilogue"),
    Rule(None, None, "strict", 64, Blocks(2, 4), "an epilogue"),
    Rule(None, None, "low", 128, _wide(1, 8), "128 columns"),
    Rule(None, None, None, 128, Blocks(1, 8), "128 columns"),
    Rule(None, 80, "low", 64, Blocks(2, 4), "as many rows as fit"),
    Rule(None, None, "low", 64, Blocks(4, 8), "as many rows as fit"),
    Rule(None, 80, "tf32", 64, _tf32(1, 8), "two rows need 136 KiB of shared memory in chunks; sm_86 has 99"),
    Rule(None, None, "tf32", 64, _tf32(2, 8), "as many rows as fit"),
    Rule(None, None, "tf32x3", 64, _tf32(1, 8), "three products at once"),
)  # fmt: skip


@cache
def rule_for(
    kernel: str, arch: int, precision: str, channels: int, units: int, *, fused: bool = True, chunked: bool = False
) -> Rule:
    """The first rule that fits; the arguments are those of ``blocks_for``."""
    width = 64 if max(channels, units) <= 64 else 128
    call = Call(kernel, arch, precision, width, channels, chunked, before=not fused)
    return next(rule for rule in RULES if rule.fits(call))


_assumed: list[int] = []


@contextmanager
def assumed_architecture(arch: int) -> Iterator[None]:
    """Block sizes as for ``arch`` on any device: to compile for GPUs that this machine lacks."""
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


def blocks_for(
    kernel: str, x: Tensor, precision: str, channels: int, units: int, *, fused: bool = True, chunked: bool = False
) -> Blocks:
    """Block sizes of ``kernel`` for tensors like ``x``, ``channels`` of input and ``units`` of output; ``fused``: the
    kernel diffuses; ``chunked``: a union of neighbours is more than one chunk."""
    return rule_for(kernel, architecture(x), precision, channels, units, fused=fused, chunked=chunked).blocks
