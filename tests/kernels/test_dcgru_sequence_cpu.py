"""Stacked cells over a sequence in the compiled CPU kernels, against the specification and float64."""

import pytest
import torch
from torch import Tensor

from bench.cases import SHAPES, Case, assert_within_budget, make_terms
from dcrnn_fast.kernels import DiffusionTerms, dcgru_cell, dcgru_sequence
from tests.kernels.compiled import UNITS, require_library, use_unit
from tests.kernels.operators import sequence_leaves, sequence_results


@pytest.mark.parametrize("case", SHAPES)
def test_equals_specification_in_float64(case: Case) -> None:
    require_library()
    got, wanted = sequence_results(case, torch.float64, "cpu"), sequence_results(case, torch.float64, "specification")
    for ours, true in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, true, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("case", [shape for shape in SHAPES if shape.id != "smallest"])
def test_low_precision_within_the_error_budget(case: Case, unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_unit(unit, monkeypatch)
    truth = sequence_results(case, torch.float64, "specification")
    assert_within_budget(
        sequence_results(case, torch.float32, "cpu"), sequence_results(case, torch.float32, "specification"), truth
    )
    got = [tensor.bfloat16() for tensor in sequence_results(case, torch.float32, "cpu", autocast=True)]
    assert_within_budget(got, sequence_results(case, torch.float32, "specification", autocast=True), truth)


def test_gradcheck_and_opcheck() -> None:
    require_library()
    case = Case(B=1, P=2, N=3, C=1, H=2, L=2, M=3)
    x_BTNC, initial_LBNH, layers = sequence_leaves(case, torch.float64)
    terms = make_terms(case, torch.float64)
    flat = [tensor for layer in layers for tensor in layer]

    def of(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return dcgru_sequence(x_BTNC, terms, layers, initial_LBNH, backend="cpu")

    assert torch.autograd.gradcheck(of, (x_BTNC, initial_LBNH, *flat), fast_mode=True)
    arguments = (x_BTNC, initial_LBNH, terms.tensors, terms.num_terms, flat, -1, False)
    torch.library.opcheck(torch.ops.dcrnn_fast.dcgru_sequence_cpu.default, arguments)


def test_inference_equals_training_to_the_bit() -> None:
    require_library()
    case = Case(B=3, P=4, N=9, H=20)
    x_BTNC, initial_LBNH, layers = sequence_leaves(case, torch.float32)
    terms = make_terms(case, torch.float32)
    with_gradients = dcgru_sequence(x_BTNC, terms, layers, initial_LBNH, backend="cpu")
    with torch.no_grad():
        without = dcgru_sequence(x_BTNC, terms, layers, initial_LBNH, backend="cpu")
    assert all(torch.equal(a, b) for a, b in zip(with_gradients, without, strict=True))


def test_a_cell_is_a_sequence_of_one_step() -> None:
    require_library()
    case = Case(L=1, P=1)
    x_BTNC, initial_LBNH, layers = sequence_leaves(case, torch.float64)
    terms: DiffusionTerms = make_terms(case, torch.float64)
    got = dcgru_cell(x_BTNC[:, 0], initial_LBNH[0], terms, layers[0], backend="cpu")
    wanted = dcgru_cell(x_BTNC[:, 0], initial_LBNH[0], terms, layers[0], backend="specification")
    torch.testing.assert_close(got, wanted)


def test_the_operator_checks_what_it_is_given() -> None:
    require_library()
    case = Case(L=1)
    x_BTNC, initial_LBNH, layers = sequence_leaves(case, torch.float32)
    terms = make_terms(case, torch.float32)
    with pytest.raises(RuntimeError, match=r"initial must be \(1, 2, 5, 4\), got \(1, 1, 5, 4\)"):
        torch.ops.dcrnn_fast.dcgru_sequence_cpu(
            x_BTNC, initial_LBNH[:, :1], terms.tensors, case.M, list(layers[0]), 0, False
        )
    with pytest.raises(RuntimeError, match="layers must be 4 tensors each, got 3"):
        torch.ops.dcrnn_fast.dcgru_sequence_cpu(
            x_BTNC, initial_LBNH, terms.tensors, case.M, list(layers[0][:3]), 0, False
        )
