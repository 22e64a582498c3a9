"""The CUDA kernels of the candidate, executed on the CPU from their own sources, against float64.

The emulator takes five schedules of threads; a kernel without races gives the same bits under all of them.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.cases import assert_within_budget
from tests.kernels.cuda_calls import LOW, TRUTH, Call, CallSizes, candidate, candidate_gradient, make_call, plain
from tests.kernels.emulated import (
    PRECISIONS,
    PROGRAM,
    SANITIZERS,
    SCHEDULES,
    compile_emulation,
    emulate,
    results,
    run_program,
    sizes_of,
    tensors_of,
)

pytestmark = pytest.mark.gpu_kernels

SMALL = CallSizes(counts=(16, 0, 37), U=48, B=3, H=24, C=2, M=3)
MORE = [
    CallSizes(counts=(5,), U=16, B=1, H=8, C=1, M=1),  # no diffusion at all
    CallSizes(counts=(0,), U=16, B=2, H=8, C=3, M=2),  # and none for lack of neighbours
    CallSizes(counts=(31,), U=32, B=5, H=16, C=70, M=6),  # two groups of terms, two tiles of input columns
    CallSizes(counts=(17,), U=48, B=2, H=72, C=8, M=3),  # two slabs of units
    CallSizes(counts=(49,), U=64, B=5, H=64, C=64, M=5),  # the sizes of the published model
]


def reference(call: Call, gradient: bool, precision: str | None) -> list[Tensor]:
    how = TRUTH if precision is None else plain(precision)
    return candidate_gradient(call, how) if gradient else candidate(call, how)


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equals_float64_with_the_same_bits_under_every_schedule(precision: str, gradient: bool) -> None:
    call = make_call(SMALL, LOW[precision])
    made = []
    for schedule in range(SCHEDULES):
        tensors = tensors_of(call, gradient=gradient)
        emulate(sizes_of(call, precision, gradient=gradient), tensors, schedule)
        made.append(results(call, tensors, gradient=gradient))
    for others in made[1:]:
        for first, other in zip(made[0], others, strict=True):
            assert torch.equal(first, other)
    assert_within_budget(made[0], reference(call, gradient, precision), reference(call, gradient, None))


def test_split_products_are_closer_than_one_tf32_product() -> None:
    call = make_call(SMALL, torch.float32)
    truth = reference(call, False, None)[0]
    errors = {}
    for precision in ("tf32", "tf32x3"):
        tensors = tensors_of(call, gradient=False)
        emulate(sizes_of(call, precision, gradient=False), tensors)
        errors[precision] = (results(call, tensors, gradient=False)[0].double() - truth).abs().max().item()
    assert errors["tf32x3"] < errors["tf32"] / 100


def test_without_dx_and_with_the_other_gates_of_q_untouched() -> None:
    call = make_call(SMALL, torch.bfloat16)
    with_dx, without = (tensors_of(call, gradient=True) for _ in range(2))
    emulate(sizes_of(call, "bf16", gradient=True), with_dx)
    emulate(sizes_of(call, "bf16", gradient=True, dx_wanted=False), without[:-1])
    for first, second in zip(with_dx[:-1], without[:-1], strict=True):
        assert torch.equal(first.nan_to_num(7), second.nan_to_num(7))
    assert with_dx[10][..., : 2 * SMALL.M * SMALL.H].isnan().all()


def test_a_neighbour_that_is_not_real_is_not_read() -> None:
    """Positions behind ``count`` lie 2**30 rows away; NaN in a row that no slot names must not arrive either."""
    call = make_call(replace(SMALL, counts=(3, 0, 5), M=2), torch.float32)
    named = {int(node) for t, count in enumerate((3, 0, 5)) for node in call.index_TU[t, :count]}
    far = next(node for node in range(SMALL.N) if node not in named)
    call.x_NBH[far] = torch.nan
    tensors = tensors_of(call, gradient=False)
    emulate(sizes_of(call, "tf32x3", gradient=False), tensors)
    bad = results(call, tensors, gradient=False)[0].isnan().any(dim=2).any(dim=1)
    assert bad.nonzero().flatten().tolist() == [far]


@pytest.fixture(scope="module")
def sanitized() -> Path:
    return compile_emulation([*PROGRAM, *SANITIZERS])


@pytest.mark.slow
@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("sizes", [SMALL, *MORE], ids=str)
def test_under_sanitizers(sizes: CallSizes, gradient: bool, sanitized: Path, tmp_path: Path) -> None:
    """Tensors on the heap in their exact sizes, address and undefined-behaviour sanitizers, all schedules."""
    # float16 and tf32 take the same ways through memory as bfloat16 and tf32x3.
    for precision in ("bf16", "tf32x3"):
        call = make_call(sizes, LOW[precision], seed=1)
        complaint, got = run_program(sanitized, call, precision, tmp_path, gradient=gradient)
        assert complaint == ""
        assert_within_budget(got, reference(call, gradient, precision), reference(call, gradient, None))
