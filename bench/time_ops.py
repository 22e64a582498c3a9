"""pytest-benchmark: every public operator, forward and forward with backward, in every backend and CPU unit.

Run with ``pytest bench``; ``-k diffusion_conv`` for one operator. Shapes are those of ``bench.shapes``, inputs those of
the tests (``bench.cases``).

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels, H units, L layers,
M diffusion terms.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.benchmark import UNITS, extra_info, skip_or_cap
from bench.cases import assert_within_budget, make_cell, make_seq2seq, make_terms
from bench.contestants import why_not_compiled
from bench.shapes import TIMED, Case
from dcrnn_fast.kernels import CellWeights, DiffusionTerms, dcgru_cell, dcgru_sequence, dcrnn_seq2seq, diffusion_conv

Call = Callable[[str], Tensor]
WAYS = ["specification", "compile", "manual", *(f"cpu:{unit}" for unit in UNITS)]


def _leaves(case: Case, dtype: torch.dtype, *shapes: Sequence[int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(*s, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def _cell(case: Case, channels: int, dtype: torch.dtype) -> CellWeights:
    cell = make_cell(torch.Generator().manual_seed(5), channels, case)
    return CellWeights(*(tensor.to(dtype).requires_grad_() for tensor in cell))


def _convolution(case: Case, terms: DiffusionTerms, dtype: torch.dtype) -> tuple[Call, list[Tensor], int]:
    rows = case.H * case.M
    leaves = _leaves(case, dtype, (case.B, case.N, case.H), (rows, case.H), (case.H,))
    return lambda backend: diffusion_conv(leaves[0], terms, *leaves[1:], backend=backend), leaves, rows * case.H


def _single_cell(case: Case, terms: DiffusionTerms, dtype: torch.dtype) -> tuple[Call, list[Tensor], int]:
    x_BNC, h_BNH = _leaves(case, dtype, (case.B, case.N, case.C), (case.B, case.N, case.H))
    weights = _cell(case, case.C, dtype)
    products = (case.C + case.H) * case.M * 3 * case.H
    return lambda backend: dcgru_cell(x_BNC, h_BNH, terms, weights, backend=backend), [x_BNC, *weights], products


def _sequence(case: Case, terms: DiffusionTerms, dtype: torch.dtype) -> tuple[Call, list[Tensor], int]:
    (x_BTNC,) = _leaves(case, dtype, (case.B, case.P, case.N, case.C))
    layers = [_cell(case, case.H if layer else case.C, dtype) for layer in range(case.L)]
    leaves = [x_BTNC, *(tensor for layer in layers for tensor in layer)]
    products = case.P * _products_of_a_step(case, case.C)
    return lambda backend: dcgru_sequence(x_BTNC, terms, layers, backend=backend)[0], leaves, products


def _encoder_decoder(case: Case, terms: DiffusionTerms, dtype: torch.dtype) -> tuple[Call, list[Tensor], int]:
    inputs = make_seq2seq(case).to(dtype)

    def call(backend: str) -> Tensor:
        return dcrnn_seq2seq(
            inputs.x_BPNC,
            terms,
            inputs.encoder,
            inputs.decoder,
            inputs.projection_weight_OH,
            inputs.projection_bias_O,
            future_steps=case.F,
            backend=backend,
        )

    products = case.P * _products_of_a_step(case, case.C) + case.F * _products_of_a_step(case, case.O)
    return call, [tensor for tensor in inputs.differentiable if tensor is not inputs.labels_BFNO], products


def _products_of_a_step(case: Case, channels: int) -> int:
    """Multiply-adds of all layers for one (node, window) row."""
    inputs = channels + case.H + (case.L - 1) * 2 * case.H
    return inputs * case.M * 3 * case.H


OPERATORS = {
    "diffusion_conv": _convolution,
    "dcgru_cell": _single_cell,
    "dcgru_sequence": _sequence,
    "dcrnn_seq2seq": _encoder_decoder,
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "forward_backward"])
@pytest.mark.parametrize("shape", TIMED)
@pytest.mark.parametrize("operator", OPERATORS)
def test_bench_operator(
    benchmark: Any, operator: str, shape: str, backward: bool, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, (backend, _, unit) = TIMED[shape], way.partition(":")
    skip_or_cap(
        monkeypatch,
        reason=why_not_compiled(unit) if backend == "cpu" else None,
        compiles_for_minutes=backend == "compile" and operator in ("dcgru_sequence", "dcrnn_seq2seq"),
        unit=unit or None,
    )
    call, leaves, products = OPERATORS[operator](case, make_terms(case, torch.float32), torch.float32)
    run = torch.compile(lambda: call("specification")) if backend == "compile" else lambda: call(backend)

    def once() -> list[Tensor]:
        if not backward:
            with torch.no_grad():
                return [run()]
        result = run()
        return [result.detach(), *torch.autograd.grad(result.sum(), leaves)]

    if backend != "compile":
        _require_right(operator, case, once(), backward)
    benchmark.pedantic(once, rounds=10, warmup_rounds=2)
    gflop = (3 if backward else 1) * 2 * case.B * case.N * products / 1e9
    moved = sum(t.numel() * t.element_size() for t in (*leaves, *once())) / 1e9
    benchmark.extra_info.update(extra_info(benchmark, gflop, "float32", moved), dtype="float32", shape=vars(case))


def _require_right(operator: str, case: Case, got: list[Tensor], backward: bool) -> None:
    """Against float64, before any speed is measured."""

    def results(dtype: torch.dtype) -> list[Tensor]:
        call, leaves, _ = OPERATORS[operator](case, make_terms(case, dtype), dtype)
        result = call("specification")
        return [result.detach(), *(torch.autograd.grad(result.sum(), leaves) if backward else ())]

    assert_within_budget(got, results(torch.float32), results(torch.float64))
