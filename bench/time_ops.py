"""pytest-benchmark: every public operator, forward and forward with backward, in every backend and CPU unit.

Run with ``pytest bench``; ``-k diffusion_conv`` for one operator. Shapes are those of ``bench.shapes``, inputs those of
the tests (``bench.cases``). Beside the times a record has rates, the fraction of the roofline, memory, and the
circumstances (``bench.machine``).

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels, H units, L layers,
M diffusion terms.
"""

import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.cases import assert_within_budget, make_cell, make_seq2seq, make_terms
from bench.contestants import why_not_compiled
from bench.gemm import GFLOP, PRODUCTS_OF, Product, roofline
from bench.machine import circumstances, peak_resident_mib
from bench.shapes import TIMED, Case
from dcrnn_fast.kernels import CellWeights, DiffusionTerms, dcgru_cell, dcgru_sequence, dcrnn_seq2seq, diffusion_conv

Call = Callable[[str], Tensor]
WAYS = ["specification", "compile", "manual", *(f"cpu:{unit}" for unit in ("generic", "avx2", "avx512", "amx"))]


def _leaves(dtype: torch.dtype, *shapes: Sequence[int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(*s, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def _cell(case: Case, channels: int, dtype: torch.dtype) -> CellWeights:
    cell = make_cell(torch.Generator().manual_seed(5), channels, case)
    return CellWeights(*(tensor.to(dtype).requires_grad_() for tensor in cell))


def _convolution(case: Case, terms: DiffusionTerms, dtype: torch.dtype) -> tuple[Call, list[Tensor], int]:
    rows = case.H * case.M
    leaves = _leaves(dtype, (case.B, case.N, case.H), (rows, case.H), (case.H,))
    return lambda backend: diffusion_conv(leaves[0], terms, *leaves[1:], backend=backend), leaves, rows * case.H


def _single_cell(case: Case, terms: DiffusionTerms, dtype: torch.dtype) -> tuple[Call, list[Tensor], int]:
    x_BNC, h_BNH = _leaves(dtype, (case.B, case.N, case.C), (case.B, case.N, case.H))
    weights = _cell(case, case.C, dtype)
    products = (case.C + case.H) * case.M * 3 * case.H
    return lambda backend: dcgru_cell(x_BNC, h_BNH, terms, weights, backend=backend), [x_BNC, *weights], products


def _sequence(case: Case, terms: DiffusionTerms, dtype: torch.dtype) -> tuple[Call, list[Tensor], int]:
    (x_BTNC,) = _leaves(dtype, (case.B, case.P, case.N, case.C))
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
    if backend == "compile" and operator in ("dcgru_sequence", "dcrnn_seq2seq"):
        pytest.skip("compiles for minutes: python -m bench.compare --contestants compile")
    if backend == "cpu":
        if reason := why_not_compiled(unit):
            pytest.skip(reason)
        monkeypatch.setenv("DCRNN_FAST_CPU", unit)  # every call reads it
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
    benchmark.extra_info.update(_extra_info(benchmark, gflop, moved), dtype="float32", shape=vars(case))


def _require_right(operator: str, case: Case, got: list[Tensor], backward: bool) -> None:
    """Against float64, before any speed is measured."""

    def results(dtype: torch.dtype) -> list[Tensor]:
        call, leaves, _ = OPERATORS[operator](case, make_terms(case, dtype), dtype)
        result = call("specification")
        return [result.detach(), *(torch.autograd.grad(result.sum(), leaves) if backward else ())]

    assert_within_budget(got, results(torch.float32), results(torch.float64))


@cache
def _gemm_rates() -> dict[str, float]:
    """GFLOP/s of each kind of product in this process, best of a few; measured once."""
    rates = {}
    for kind in sorted({kind for kinds in PRODUCTS_OF.values() for kind in kinds}):
        try:
            product = Product(kind)
        except NotImplementedError:  # PyTorch without oneDNN: the record's gemm_gflops lacks that kind
            continue
        product.run()
        seconds = []
        for _ in range(10):
            start = time.perf_counter()
            product.run()
            seconds.append(time.perf_counter() - start)
        rates[kind] = GFLOP / min(seconds)
    return rates


def _extra_info(benchmark: Any, gflop: float, gigabytes: float) -> dict[str, Any]:
    """For ``benchmark.extra_info``, after it has run.

    Args:
        gflop: of the matrix products in one round.
        gigabytes: the least that a round must move: each input read once, each output written once.
    """
    best = benchmark.stats.stats.min
    rates = _gemm_rates()
    return {
        **circumstances(),
        "gflop": gflop,
        "gflop_per_s": gflop / best,
        "gemm_gflops": rates,
        "roofline_fraction": gflop / best / roofline("float32", rates),
        "least_gigabytes": gigabytes,
        "gigabytes_per_s": gigabytes / best,
        # The most that this process, with the library, ever had; a number of the op alone is in bench.compare's rows.
        "process_peak_mib": peak_resident_mib(),
    }
