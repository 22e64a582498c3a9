"""Memory that the compiled kernels keep from call to call: the same bits, no growth, and given back."""

import os
from dataclasses import replace

import pytest
import torch

from bench.cases import Case, make_seq2seq, make_terms
from dcrnn_fast.kernels.native import kept_memory, library
from tests.kernels.compiled import require_library
from tests.kernels.operators import forward_and_gradients, run

LARGE = Case(B=4, P=3, F=3, N=60, C=2, O=1, H=64, L=2, M=3, density=0.03)
SMALL = replace(LARGE, B=1)


def step(case: Case, dtype: torch.dtype = torch.float32, save: str = "all") -> list[torch.Tensor]:
    prediction, gradients = forward_and_gradients(case, dtype, "cpu", True, save=save)
    return [prediction.detach(), *gradients]


def idle() -> int:
    return int(library().module.idle_bytes())  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_bits_do_not_depend_on_memory_that_was_used_before(dtype: torch.dtype) -> None:
    """Blocks come back with the numbers of another step, NaN, where padding must be zero."""
    require_library()
    case = replace(LARGE, B=8, C=3, H=50)
    wanted = step(case, dtype)
    with kept_memory():
        inputs = make_seq2seq(case).to(dtype)
        inputs.x_BPNC.data.fill_(float("nan"))
        run(inputs, make_terms(case, dtype), "cpu").sum().backward()
        for shape in (case, replace(case, B=4), case):
            assert all(tensor.isfinite().all() for tensor in step(shape, dtype))
        assert all(torch.equal(a, b) for a, b in zip(step(case, dtype), wanted, strict=True))


def test_the_same_steps_need_no_more_memory_and_none_is_left() -> None:
    require_library()
    step(LARGE)
    assert idle() == 0  # nothing is kept unless somebody asks
    with kept_memory():
        step(LARGE)
        kept = idle()
        saved_alone = 4 * 6 * LARGE.L * LARGE.B * LARGE.N * LARGE.H * 4
        assert kept > saved_alone
        for _ in range(3):
            step(LARGE)
            assert idle() == kept
        with kept_memory():
            step(LARGE)
        assert idle() == kept  # the outer body's
    assert idle() == 0


def test_a_larger_batch_replaces_a_smaller_one_gives_back() -> None:
    require_library()
    with kept_memory():
        step(SMALL)
        of_small = idle()
    with kept_memory():
        step(LARGE)
        of_large = idle()
    assert of_small < of_large / 2
    with kept_memory():
        step(SMALL)
        step(LARGE)
        assert idle() <= of_large + of_small / 4  # blocks that both can use are as large as the larger one's
        for _ in range(5):
            step(SMALL)
        assert idle() <= of_large / 2


def test_a_backward_after_the_body_reads_what_its_forward_kept() -> None:
    """Its block was taken while memory was kept, and comes back when none is."""
    require_library()
    inputs = make_seq2seq(LARGE).to(torch.float32)
    terms = make_terms(LARGE, torch.float32)
    run(inputs, terms, "cpu").sum().backward()
    wanted = [tensor.grad for tensor in inputs.encoder[0]]
    inputs = make_seq2seq(LARGE).to(torch.float32)
    with kept_memory():
        prediction = run(inputs, terms, "cpu")
    prediction.sum().backward()
    del prediction
    assert idle() == 0
    assert all(torch.equal(cell.grad, want) for cell, want in zip(inputs.encoder[0], wanted, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_goes_on_with_its_copy() -> None:
    require_library()
    with kept_memory():
        wanted = step(SMALL)
        child = os.fork()
        if child == 0:
            os._exit(0 if all(torch.equal(a, b) for a, b in zip(step(SMALL), wanted, strict=True)) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
