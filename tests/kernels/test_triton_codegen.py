"""Every shipped configuration of the Triton kernels, compiled for GPUs that are not here and held to its budget."""

from collections import Counter
from dataclasses import replace

import pytest
import triton
import triton.language as tl

from dcrnn_fast.kernels.gpu.launch import Launch
from profiling.codegen import Case, Compiled, compile_launch, launch_of, listed, planned, problems, row, shipped
from profiling.records import CUDA, TRITON, read_rows
from profiling.sass import Sass, blocks_per_multiprocessor, parse
from tests.checkout import ROOT

pytestmark = pytest.mark.gpu_kernels

PAGE = ROOT / "docs" / "gpu-codegen.md"
RECORD = read_rows(TRITON)
QUICK = {("candidate", 80), ("hoisted_gates", 90)}


def marked(case: Case) -> object:
    if (case.kernel, case.arch) in QUICK and (case.arithmetic, case.shape) == ("bf16", "64 units"):
        return pytest.param(case, id=str(case))
    told = case.arch != 100 and case.arithmetic != "fp16" and case.shape in ("64 units", "64 units, union in chunks")
    return pytest.param(case, id=str(case), marks=pytest.mark.slow if told else pytest.mark.prove)


@pytest.mark.parametrize("case", [marked(case) for case in shipped()])
def test_within_its_budget(case: Case) -> None:
    launch = launch_of(case)
    made = compile_launch(launch, case.arch)
    assert problems(case, made) == []
    assert row(case, launch, made) == planned(RECORD, case)


def test_the_record_has_a_row_for_each_and_the_page_counts_them() -> None:
    got = Counter(tuple(line[:4]) for line in RECORD)
    every = Counter((f"sm_{case.arch}", case.arithmetic, case.shape, case.kernel) for case in shipped())
    # In fp16 only what differs from bf16.
    assert {row for row in every if row[1] != "fp16"} <= set(got)
    assert got <= every
    same, page = sum((every - got).values()), " ".join(PAGE.read_text().split())
    assert f"{sum(every.values())} configurations were compiled" in page
    assert f"{same} in fp16 have no row" in page
    assert len(PAGE.read_text().splitlines()) <= 60


def test_a_row_that_differs_from_its_plan_is_seen() -> None:
    case = Case(80, "bf16", "64 units", "gates")
    launch = launch_of(case)
    made = Compiled(Sass(255, 0, 0, 0, Counter({"LDG.E.128": 1, "HMMA.16816.F32.BF16": 1})), 99 * 1024, 4)
    assert problems(case, made) == []
    assert row(case, launch, made) != planned(RECORD, case)


def test_the_plan_in_fp16_is_that_of_bf16_where_it_has_no_row() -> None:
    line = [
        "sm_80",
        "bf16",
        "64 units",
        "gates",
        "2",
        "4",
        "206",
        "45056",
        "0/0",
        "2",
        "224 HMMA.16816.F32.BF16",
        "80",
        "0",
    ]
    half = planned([line], Case(80, "fp16", "64 units", "gates"))
    assert (half[1], half[10]) == ("fp16", "224 HMMA.16816.F32")


def test_a_row_in_fp16_is_left_out_only_where_bf16_has_the_same_numbers() -> None:
    low = Case(80, "bf16", "64 units", "gates")
    line = ["sm_80", "bf16", "64 units", "gates", "2", "4", "206", "224 HMMA.16816.F32.BF16"]
    same = ["sm_80", "fp16", "64 units", "gates", "2", "4", "206", "224 HMMA.16816.F32"]
    half = replace(low, arithmetic="fp16")
    assert listed({low: line, half: same}) == [line]
    other = [*same[:6], "208", same[7]]
    assert listed({low: line, half: other}) == [line, other]


@pytest.mark.parametrize(
    ("registers", "shared", "warps", "blocks"), [(46, 0, 1, 32), (128, 0, 4, 4), (32, 90_000, 4, 1), (16, 0, 8, 8)]
)
def test_registers_shared_memory_warps_and_their_own_number_bound_blocks(
    registers: int, shared: int, warps: int, blocks: int
) -> None:
    assert blocks_per_multiprocessor(80, registers, shared, warps) == blocks


def test_the_table_has_as_many_blocks_as_fit() -> None:
    rows = [*RECORD, *read_rows(CUDA)]
    for arch, _, shape, kernel, _, warps, registers, shared, _, blocks, *_ in rows:
        fit = blocks_per_multiprocessor(int(arch.removeprefix("sm_")), int(registers), int(shared), int(warps))
        assert int(blocks) == fit, (arch, shape, kernel)


def compiled(spilling: str = "", shared: int = 1000, registers: int = 100, **opcodes: int) -> Compiled:
    counts = Counter({"LDG.E.128": 4, "HMMA.16816.F32.BF16": 8} | opcodes)
    if spilling:
        counts[spilling] += 1
    return Compiled(Sass(registers, 0, 0, 0, counts), shared, 8)


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (compiled(spilling="LDL.LU"), "spills"),
        (compiled(spilling="STL.64"), "spills"),
        (compiled(shared=110_000), "shared memory"),
        (compiled(spilling="RED.E.ADD.F32.FTZ.RN.STRONG.GPU"), "atomic"),
        (compiled(spilling="ATOMG.E.ADD"), "atomic"),
        (compiled(**{"LDG.E.128": 0}), "16-byte"),
        (compiled(**{"HMMA.16816.F32.BF16": 0, "FFMA": 100}), "tensor-core"),
    ],
)
def test_a_broken_budget_is_named(made: Compiled, problem: str) -> None:
    case = Case(80, "bf16", "64 units", "candidate")
    assert problems(case, compiled()) == []
    (found,) = problems(case, made)
    assert problem in found


@triton.jit
def spilling_kernel(X, W, Y, ROWS: tl.constexpr, K: tl.constexpr):
    row, k = tl.arange(0, ROWS)[:, None], tl.arange(0, K)
    x = tl.load(X + row * K + k[None, :])
    w = tl.load(W + k[:, None] * K + k[None, :])
    tl.store(Y + row * K + k[None, :], tl.dot(x, w, input_precision="ieee"))


def test_a_float32_product_without_tensor_cores_spills_and_is_seen() -> None:
    from torch import zeros

    arguments = {"X": zeros(32, 64), "W": zeros(64, 64), "Y": zeros(32, 64)}
    launch = Launch(spilling_kernel, (1,), arguments, {"ROWS": 32, "K": 64}, warps=1, stages=1)
    sass = compile_launch(launch, 80).sass
    assert min(sass.spills) > 0
    assert sass.tensor_core == {}


def test_reads_the_texts_of_the_tools() -> None:
    resources = " Function kernel_a:\n  REG:40 STACK:16 SHARED:1024 LOCAL:8 CONSTANT[0]:528 TEXTURE:0"
    listing = """
		Function : kernel_a
        /*0000*/                   LDC R1, c[0x0][0x28] ;    /* 0x00000a00ff017b82 */
        /*0010*/              @!P0 LDG.E.128 R4, desc[UR4][R2.64] ;
        /*0020*/                   LDGSTS.E.BYPASS.128 [R5], [R2.64] ;
        /*0030*/                   HGMMA.64x64x16.F32.BF16 R24, R24, gdesc[UR8], R24 ;
        /*0040*/             @UP0  ATOMS.OR R1, [R2], R3 ;
        /*0050*/                   RED.E.ADD.F32.FTZ.RN.STRONG.GPU [R2.64], R5 ;
"""
    (sass,) = parse(resources, listing).values()
    assert (sass.registers, sass.stack, sass.static_shared, sass.local) == (40, 16, 1024, 8)
    assert (sass.loads_16_bytes, sass.atomics) == (2, 1)
    assert sass.tensor_core == {"HGMMA.64": 1}
