"""Compiles the Triton kernels for GPUs that are not here, exactly as the drivers would launch them.

A launch is recorded instead of run: kernel, arguments with their dtypes and alignment, constants, warps. The record is
compiled with the compiler and assembler of the triton wheel, and the machine code is looked at (``sass.py``).

Shape legend: N nodes, B batch, C input channels, H units, M diffusion terms, U slots of a union.
"""

import argparse
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dcrnn_fast.kernels.gpu.available import honour_assembler
from dcrnn_fast.kernels.gpu.blocks import assumed_architecture
from dcrnn_fast.kernels.gpu.launch import Launch, observed
from dcrnn_fast.kernels.gpu.launches.cell import fused_primitives
from dcrnn_fast.kernels.gpu.launches.convolution import chained, gather
from dcrnn_fast.kernels.gpu.plan import LARGEST_FUSED_WIDTH
from dcrnn_fast.kernels.gpu.primitives import CellGradient, CellPack, CellStep, Chain, Csr, Direction, Hop, Source
from dcrnn_fast.kernels.gpu.tiles import SIDE, TileGraph
from profiling.records import TRITON, line, report
from profiling.sass import BLOCK_BYTES, Sass, blocks_per_multiprocessor, inspect_cubin

POINTERS = {
    torch.float32: "*fp32", torch.float64: "*fp64", torch.bfloat16: "*bf16", torch.float16: "*fp16",
    torch.int32: "*i32", torch.int64: "*i64", torch.bool: "*i1",
}  # fmt: skip


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
    """The compiled result of one launch."""

    sass: Sass
    shared: int
    warps: int


def compile_launch(launch: Launch, arch: int) -> Compiled:
    """Compiles as Triton would on a GPU of ``arch`` (80, 90, 100): the same specialization on alignment and on 1."""
    # The default will change; kernels were written for fused multiply-adds.
    os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
    honour_assembler()
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


# Registers and blocks on a multiprocessor are planned by the record's own rows, to which the tests hold the compiler.
# The configurations of sm_80 serve sm_86 and sm_89 too, whose blocks have 99 KiB.
MOST_SHARED = BLOCK_BYTES | {80: 99 * 1024}
TENSOR_CORE = {
    (80, "bf16"): "HMMA.16816.F32.BF16", (80, "fp16"): "HMMA.16816.F32", (80, "tf32"): "HMMA.1688.F32.TF32",
    (90, "bf16"): "HGMMA", (90, "fp16"): "HGMMA", (90, "tf32"): "HMMA.1688.F32.TF32",
    (100, "bf16"): "UTCHMMA", (100, "fp16"): "UTCHMMA", (100, "tf32"): "HMMA.1688.F32.TF32",
}  # fmt: skip
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "tf32": torch.float32, "tf32x3": torch.float32}
ARCHITECTURES = (80, 90, 100)


@dataclass(frozen=True)
class Shape:
    """The facts that a kernel's constants depend on, besides architecture and arithmetic."""

    units: int = 64
    channels: int = 64
    terms: int = 5
    slots: int = 128
    chunk: int = 128
    diffusion: str = "tile"


SHAPES = {
    "64 units": Shape(),
    # Unions larger than a chunk, as on PEMS-BAY and large graphs.
    "64 units, union in chunks": Shape(slots=256),
    "64 units, 2 channels": Shape(channels=2),
    "64 units, 1 channel": Shape(channels=1),
    "128 units": Shape(128, 128),
    "32 units": Shape(32, 32, slots=64, chunk=64),
    "64 units, dense": Shape(diffusion="dense"),
    "64 units, 2 channels, union in chunks": Shape(channels=2, slots=256),
    "64 units, 1 channel, union in chunks": Shape(channels=1, slots=256),
    "128 units, union in chunks": Shape(128, 128, slots=256),
    "128 units, 2 channels": Shape(128, 2),
    "128 units, 1 channel": Shape(128, 1),
    "64 units, 2 channels, dense": Shape(channels=2, diffusion="dense"),
    "64 units, 1 channel, dense": Shape(channels=1, diffusion="dense"),
}


@dataclass(frozen=True)
class Case:
    """One shipped configuration."""

    arch: int
    arithmetic: str
    shape: str
    kernel: str

    def __str__(self) -> str:
        return f"sm_{self.arch}-{self.arithmetic}-{self.shape}-{self.kernel}".replace(", ", "-").replace(" ", "_")


MULTIPLYING = ("gates", "hoisted_gates", "candidate", "candidate_gradient", "gates_gradient", "convolve")
OTHERS = ("begin_gradient", "gather", "hop", "subtracting_hop", "head", "head_gradient")
# The others depend on the width of a state alone, and run at any.
WIDTHS = ("64 units", "128 units", "32 units")


def shipped() -> list[Case]:
    """The table's configurations: kernels that multiply in each fused shape, the others by width and dtype."""
    return [
        Case(arch, arithmetic, shape, kernel)
        for arch, arithmetic, shape in product(ARCHITECTURES, DTYPES, SHAPES)
        for kernel in (*MULTIPLYING, *OTHERS)
        if _runs(arithmetic, shape, kernel)
    ]


def _runs(arithmetic: str, shape: str, kernel: str) -> bool:
    if kernel in OTHERS:
        # tf32 and tf32x3 have the same ones.
        return shape in WIDTHS and arithmetic != "tf32x3"
    # In tf32x3 the gates' input is a launch of its own.
    fits = SHAPES[shape].units <= LARGEST_FUSED_WIDTH[precision_of(arithmetic)]
    return fits and (kernel, arithmetic) != ("gates", "tf32x3")


def precision_of(arithmetic: str) -> str:
    """A plan's word for it."""
    return arithmetic if DTYPES[arithmetic] == torch.float32 else "low"


def launch_of(case: Case) -> Launch:
    """The launch that a driver would make, recorded."""
    with assumed_architecture(case.arch), recorded() as launches:
        _calls(case.arithmetic, SHAPES[case.shape])[case.kernel]()
    return launches[-1]


def _calls(arithmetic: str, shape: Shape) -> dict[str, Callable[[], None]]:
    """Each primitive of the fused table, called on tensors of two tiles."""
    N, B, C, H, M = 2 * SIDE, 64, shape.channels, shape.units, shape.terms
    dtype = DTYPES[arithmetic]
    primitives = fused_primitives(precision_of(arithmetic))

    def make(*size: int, of: torch.dtype = dtype) -> Tensor:
        return torch.zeros(*size, dtype=of)

    def wide(*size: int) -> Tensor:
        return make(*size, of=torch.float32)

    none = torch.zeros(1, dtype=torch.int32)
    csr = Csr(make((M - 1) * N + 1, of=torch.int32), none, wide(1))
    tiles = TileGraph(
        make(2, shape.slots, of=torch.int32),
        make(2, of=torch.int32),
        make(2, M - 1, SIDE, shape.slots),
        shape.chunk,
        0,
    )
    if shape.diffusion == "tile":
        direction = Direction(csr, tiles, None)
        spread: Callable[[int], Source] = lambda K: tiles  # noqa: E731
    else:
        direction = Direction(csr, None, make((M - 1) * N, N))
        spread = lambda K: make(M - 1, N, B, K)  # noqa: E731
    pack = CellPack(make(M, C, 3 * H), make(M, H, 3 * H), make(3 * H), None)
    x, h, pre, q = make(N, B, C), make(N, B, H), wide(N, B, 3 * H), make(N, B, 3 * M * H)
    dh, dx = wide(N, B, H), wide(N, B, C)
    step = CellStep(h, pre, r_NBH=h, u_NBH=h, reset_NBH=h, c_NBH=h, h_after_NBH=h)
    gradient = CellGradient(h, h, h, h, dh, dpre_NBH=h, dr_pre_NBH=h, du_pre_NBH=h, dx_NBC=dx, q_NBJ=q)

    def hops(hop: Hop) -> None:
        chained(h, Chain(Csr(make(N + 1, of=torch.int32), none, wide(1)), (hop,), 0), M - 1)

    y = make(N, B, 1)
    return {
        "gates": lambda: primitives.gates((x, spread(C)), spread(H), step, pack),
        "hoisted_gates": lambda: primitives.gates(None, spread(H), step, pack),
        "candidate": lambda: primitives.candidate(spread(H), step, pack),
        "candidate_gradient": lambda: primitives.candidate_gradient(spread(H), gradient, pack),
        "gates_gradient": lambda: primitives.gates_gradient(spread(H), spread(H), gradient, pack),
        "convolve": lambda: primitives.convolve(
            x[None], direction, pack.input_MCG, pack.bias_G, wide(1, N, B, 3 * H), None
        ),
        "begin_gradient": lambda: primitives.begin_gradient(dh, gradient),
        "gather": lambda: gather(h, csr, make(M - 1, N, B, H), y_row=H, y_term=N * B * H, identity=False),
        "hop": lambda: hops(Hop(0, 0, -1, 1, 1)),
        "subtracting_hop": lambda: hops(Hop(0, 1, 0, 2, 2)),
        "head": lambda: primitives.head(h, make(1, H), make(1), y, none, y, y),
        "head_gradient": lambda: primitives.head_gradient(y, wide(N, B, 1), none, make(1, H), dh, y, y),
    }


def problems(case: Case, made: Compiled) -> list[str]:
    """The points in which a compiled kernel breaks its budget."""
    sass, found = made.sass, made.sass.problems()
    if made.shared > MOST_SHARED[case.arch]:
        found.append(f"{made.shared} bytes of shared memory")
    if not sass.loads_16_bytes:
        found.append("no 16-byte loads")
    wanted = TENSOR_CORE[case.arch, case.arithmetic.removesuffix("x3")]
    # Narrow or few rows stay below the 64 rows of a warp group's instruction.
    names = (wanted, TENSOR_CORE[80, case.arithmetic.removesuffix("x3")])
    if case.kernel in MULTIPLYING and not any(name.startswith(names) for name in sass.tensor_core):
        found.append(f"no tensor-core instruction {' or '.join(names)}, but {sass.tensor_core}")
    return found


def row(case: Case, launch: Launch, made: Compiled) -> list[str]:
    """One line of the record."""
    blocks = blocks_per_multiprocessor(case.arch, made.sass.registers, made.shared, made.warps)
    names, batch_rows = (case.arithmetic, case.shape, case.kernel), launch.constants.get("BB", "-")
    return line(case.arch, names, batch_rows, made.warps, made.sass, made.shared, blocks)


def listed(rows: Mapping[Case, list[str]]) -> list[list[str]]:
    """All rows, of fp16 those that differ from bf16 in more than the names."""
    return [line for case, line in rows.items() if case.arithmetic != "fp16" or line != _in_fp16(rows, case)]


def _in_fp16(rows: Mapping[Case, list[str]], case: Case) -> list[str]:
    line = rows[replace(case, arithmetic="bf16")]
    return [cell.replace("F32.BF16", "F32").replace("bf16", "fp16") for cell in line]


def planned(rows: Sequence[list[str]], case: Case) -> list[str]:
    """The record's row of ``case``; if fp16 has none, bf16's with fp16's names."""
    by_case = {tuple(line[:4]): line for line in rows}
    key = (f"sm_{case.arch}", case.arithmetic, case.shape, case.kernel)
    if case.arithmetic == "fp16" and key not in by_case:
        low = replace(case, arithmetic="bf16")
        return _in_fp16({low: by_case[key[0], "bf16", *key[2:]]}, case)
    return by_case[key]


def main(argv: Sequence[str] | None = None) -> int:
    """Compiles everything, prints or writes the record; exits with 1 if a budget is broken."""
    parser = argparse.ArgumentParser(prog="python -m profiling.codegen", description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"replace {TRITON.name}; left out: print")
    options = parser.parse_args(argv)
    rows, broken = {}, []
    for case in shipped():
        launch = launch_of(case)
        made = compile_launch(launch, case.arch)
        rows[case] = row(case, launch, made)
        broken += [f"{case}: {problem}" for problem in problems(case, made)]
    kept = listed(rows)
    report(TRITON, kept, write=options.write)
    print(f"triton {triton.__version__}: {len(rows)} configurations, {len(rows) - len(kept)} in fp16 without a row")
    print("\n".join(broken) or "all within their budgets")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
