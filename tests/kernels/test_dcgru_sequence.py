"""Stacked cells over a sequence, and the single cell: hand-written path against the specification."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from bench.cases import SHAPES, Case, make_cell, make_operators, make_terms
from dcrnn_fast.kernels import CellWeights, dcgru_cell, dcgru_sequence


def make_inputs(case: Case) -> tuple[Tensor, Tensor, list[CellWeights]]:
    generator = torch.Generator().manual_seed(5)
    x_BTNC = torch.randn(case.B, case.P, case.N, case.C, generator=generator, dtype=torch.float64).requires_grad_()
    initial_LBNH = torch.randn(case.L, case.B, case.N, case.H, generator=generator, dtype=torch.float64)
    layers = [make_cell(generator, case.C if layer == 0 else case.H, case) for layer in range(case.L)]
    layers = [CellWeights(*(tensor.requires_grad_() for tensor in layer)) for layer in layers]
    return x_BTNC, initial_LBNH.requires_grad_(), layers


def outputs_and_gradients(case: Case, backend: str) -> list[Tensor]:
    x_BTNC, initial_LBNH, layers = make_inputs(case)
    states, last = dcgru_sequence(x_BTNC, make_terms(case, torch.float64), layers, initial_LBNH, backend=backend)
    generator = torch.Generator().manual_seed(6)
    weights = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in (states, last)]
    total = (states * weights[0]).sum() + (last * weights[1]).sum()
    flat = [tensor for layer in layers for tensor in layer]
    return [states.detach(), last.detach(), *torch.autograd.grad(total, [x_BTNC, initial_LBNH, *flat])]


@pytest.mark.parametrize("case", SHAPES)
def test_manual_equals_specification_in_float64(case: Case) -> None:
    for got, wanted in zip(
        outputs_and_gradients(case, "manual"), outputs_and_gradients(case, "specification"), strict=True
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("backend", ["specification", "manual"])
def test_cell_is_the_written_gru(backend: str) -> None:
    case = Case(L=1, P=1)
    x_BTNC, initial_LBNH, (weights,) = make_inputs(case)
    terms = make_terms(case, torch.float64)
    x_BNC, h_BNH = x_BTNC[:, 0], initial_LBNH[0]

    def convolution(parts: Sequence[Tensor], weight_IO: Tensor, bias_O: Tensor) -> Tensor:
        both_BNC = torch.cat(list(parts), dim=-1)
        total = bias_O.expand(case.B, case.N, -1)
        for m, operator in enumerate(make_operators(case)):
            total = total + torch.from_numpy(operator.toarray()) @ both_BNC @ weight_IO[m :: case.M]
        return total

    r, u = torch.sigmoid(convolution((x_BNC, h_BNH), weights.gate_weight, weights.gate_bias)).split(case.H, dim=-1)
    c = torch.tanh(convolution((x_BNC, r * h_BNH), weights.candidate_weight, weights.candidate_bias))
    torch.testing.assert_close(dcgru_cell(x_BNC, h_BNH, terms, weights, backend=backend), u * h_BNH + (1 - u) * c)


def test_starts_from_zeros_when_no_state_is_given() -> None:
    case = Case()
    x_BTNC, initial_LBNH, layers = make_inputs(case)
    terms = make_terms(case, torch.float64)
    given = dcgru_sequence(x_BTNC, terms, layers, torch.zeros_like(initial_LBNH))
    left_out = dcgru_sequence(x_BTNC, terms, layers)
    assert torch.equal(given[0], left_out[0])


def test_opcheck_and_gradcheck() -> None:
    case = Case(B=1, P=2, N=3, C=1, H=2, L=2, M=3)
    x_BTNC, initial_LBNH, layers = make_inputs(case)
    terms = make_terms(case, torch.float64)
    flat = [tensor for layer in layers for tensor in layer]

    def of(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return dcgru_sequence(x_BTNC, terms, layers, initial_LBNH, backend="manual")

    assert torch.autograd.gradcheck(of, (x_BTNC, initial_LBNH, *flat), fast_mode=True)
    arguments = (
        x_BTNC.detach().permute(1, 2, 0, 3).contiguous().requires_grad_(),
        initial_LBNH.detach().transpose(1, 2).contiguous().requires_grad_(),
        terms.tensors,
        terms.num_terms,
        flat,
    )
    torch.library.opcheck(torch.ops.dcrnn_fast.dcgru_sequence_manual.default, arguments)


def test_refuses_what_does_not_fit() -> None:
    case = Case()
    x_BTNC, initial_LBNH, layers = make_inputs(case)
    terms = make_terms(case, torch.float64)
    with pytest.raises(ValueError, match=r"layers\[1\]: gate_bias must be \(8,\)"):
        dcgru_sequence(x_BTNC, terms, [layers[0], layers[1]._replace(gate_bias=layers[1].gate_bias[1:])])
    with pytest.raises(ValueError, match=r"initial must be \(2, 2, 5, 4\), got \(1, 2, 5, 4\)"):
        dcgru_sequence(x_BTNC, terms, layers, initial_LBNH[:1])
    with pytest.raises(ValueError, match="x needs at least one step"):
        dcgru_sequence(x_BTNC[:, :0], terms, layers)
    with pytest.raises(ValueError, match=r"candidate_weight must be \(\(C\+H\)\*M, H\)"):
        dcgru_sequence(x_BTNC, terms, [layers[0]._replace(candidate_weight=layers[0].candidate_weight[1:])])
