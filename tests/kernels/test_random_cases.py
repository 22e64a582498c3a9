"""Random shapes, graphs and inputs through every public operator: the compiled kernels against the specification.

500 examples in float32, float64 and bfloat16, forward and backward: empty rows and columns, one node, no diffusion, one
step, coins that fall any way, tensors with strides, batches that no tile divides. The seed is drawn and printed; to
repeat a run: ``DCRNN_FAST_SEED=NUMBER``. The same file runs under the sanitizers (``test_sanitizers.py``).

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels, H units, L layers,
M diffusion terms, K known channels.
"""

import os
import random
from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.cases import Case, make_cell, make_seq2seq
from dcrnn_fast.kernels import CellWeights, DiffusionTerms, dcgru_cell, dcgru_sequence, dcrnn_seq2seq, diffusion_conv
from tests.kernels.compiled import UNITS, require_library, use_unit

SEED = int(os.environ.get("DCRNN_FAST_SEED", random.SystemRandom().randrange(2**32)))
EXAMPLES = {"dcrnn_seq2seq": 200, "dcgru_sequence": 120, "dcgru_cell": 60, "diffusion_conv": 120}
DTYPES = ("float64", "float32", "bf16")
SLACK = {"float32": 8 * torch.finfo(torch.float32).eps, "bf16": 2 * torch.finfo(torch.bfloat16).eps}
LARGE_ENOUGH = 0.3
LAST_BIAS = {"dcrnn_seq2seq": 3, "diffusion_conv": 2}
"""which of the gradients is that of the bias that is added to the output last"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

Results = tuple[list[Tensor], list[Tensor]]
"""outputs, and the gradients of a weighted sum of them"""
Operator = Callable[[Case, DiffusionTerms, torch.dtype, str, int], tuple[list[Tensor], list[Tensor]]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Small sizes, with those of tiles and of vector registers, one less and one more, among them."""
    near_a_tile = st.sampled_from([1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33])
    return Case(
        B=draw(st.sampled_from([1, 2, 3, 5, 8, 9, 17])),
        P=draw(st.integers(1, 4)),
        F=draw(st.integers(1, 4)),
        N=draw(st.one_of(near_a_tile, st.integers(1, 40))),
        C=draw(st.one_of(st.integers(1, 4), near_a_tile)),
        O=draw(st.one_of(st.integers(1, 3), near_a_tile)),
        H=draw(st.one_of(near_a_tile, st.integers(1, 70))),
        L=draw(st.integers(1, 3)),
        M=draw(st.integers(1, 5)),
        density=draw(st.sampled_from([0.0, 0.02, 0.2, 1.0])),
        K=draw(st.one_of(st.just(0), st.integers(1, 4), near_a_tile)),
    )


def random_terms(case: Case, number: int, dtype: torch.dtype) -> DiffusionTerms:
    """Operators with empty rows and columns, and entries that cancel."""
    generator = np.random.default_rng(number)
    operators = [sp.csr_array(sp.eye_array(case.N))]
    for _ in range(case.M - 1):
        dense = generator.normal(size=(case.N, case.N)) * (generator.random((case.N, case.N)) < case.density)
        dense *= generator.random((case.N, 1)) < 0.8
        dense *= generator.random((1, case.N)) < 0.8
        operators.append(sp.csr_array(dense / max(1.0, case.density * case.N) ** 0.5))
    return DiffusionTerms.from_operators(operators, torch.float64 if dtype == torch.float64 else torch.float32)


def leaf(generator: torch.Generator, *shape: int, dtype: torch.dtype) -> Tensor:
    """A leaf; every other one with its dimensions stored in reverse."""
    values = torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)
    if torch.randint(2, (), generator=generator).item():
        backwards = tuple(reversed(range(values.dim())))
        values = values.permute(backwards).contiguous().permute(backwards)
    return values.requires_grad_()


def run_seq2seq(case: Case, terms: DiffusionTerms, dtype: torch.dtype, backend: str, number: int) -> Results:
    inputs = make_seq2seq(case, number).to(dtype)
    coins_F = torch.rand(case.F, generator=torch.Generator().manual_seed(number)) < 0.5
    fed = {"labels_BFNO": inputs.labels_BFNO, "feed_label_F": coins_F} if number % 3 else {}
    known = inputs.known_BFNK
    if known is not None and number % 2:
        # Stored in another order.
        known = known.transpose(1, 2).contiguous().transpose(1, 2)
    prediction = dcrnn_seq2seq(
        inputs.x_BPNC,
        terms,
        inputs.encoder,
        inputs.decoder,
        inputs.projection_weight_OH,
        inputs.projection_bias_O,
        future_steps=case.F,
        known_BFNK=known,
        backend=backend,
        **fed,
    )
    return [prediction], inputs.differentiable


def run_sequence(case: Case, terms: DiffusionTerms, dtype: torch.dtype, backend: str, number: int) -> Results:
    generator = torch.Generator().manual_seed(number)
    x_BTNC = leaf(generator, case.B, case.P, case.N, case.C, dtype=dtype)
    initial_LBNH = leaf(generator, case.L, case.B, case.N, case.H, dtype=dtype)
    layers = [
        CellWeights(*(t.to(dtype).requires_grad_() for t in make_cell(generator, case.H if layer else case.C, case)))
        for layer in range(case.L)
    ]
    states, last = dcgru_sequence(x_BTNC, terms, layers, initial_LBNH if number % 4 else None, backend=backend)
    outputs = ([states, last], [states], [last])[number % 3]
    return outputs, [x_BTNC, initial_LBNH, *(tensor for layer in layers for tensor in layer)]


def run_cell(case: Case, terms: DiffusionTerms, dtype: torch.dtype, backend: str, number: int) -> Results:
    generator = torch.Generator().manual_seed(number)
    x_BNC = leaf(generator, case.B, case.N, case.C, dtype=dtype)
    h_BNH = leaf(generator, case.B, case.N, case.H, dtype=dtype)
    weights = CellWeights(*(t.to(dtype).requires_grad_() for t in make_cell(generator, case.C, case)))
    return [dcgru_cell(x_BNC, h_BNH, terms, weights, backend=backend)], [x_BNC, h_BNH, *weights]


def run_convolution(case: Case, terms: DiffusionTerms, dtype: torch.dtype, backend: str, number: int) -> Results:
    generator = torch.Generator().manual_seed(number)
    x_BNC = leaf(generator, case.B, case.N, case.C, dtype=dtype)
    weight_IO = leaf(generator, case.C * case.M, case.H, dtype=dtype)
    bias_O = leaf(generator, case.H, dtype=dtype) if number % 2 else None
    y_BNO = diffusion_conv(x_BNC, terms, weight_IO, bias_O, backend=backend)
    return [y_BNO], [x_BNC, weight_IO, *([] if bias_O is None else [bias_O])]


OPERATORS: dict[str, Operator] = {
    "dcrnn_seq2seq": run_seq2seq,
    "dcgru_sequence": run_sequence,
    "dcgru_cell": run_cell,
    "diffusion_conv": run_convolution,
}


def results(operator: Operator, case: Case, precision: str, backend: str, number: int) -> Results:
    """The outputs, and the gradients of a weighted sum of them; bf16 is float32 under autocast."""
    dtype = torch.float64 if precision == "float64" else torch.float32
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        outputs, leaves = operator(case, random_terms(case, number, dtype), dtype, backend, number)
    weights = loss_weights(outputs, number)
    total = sum(((out.double() * weight).sum() for out, weight in zip(outputs, weights, strict=True)), torch.zeros(()))
    total.backward()
    gradients = [torch.zeros_like(tensor) if tensor.grad is None else tensor.grad for tensor in leaves]
    return [out.detach() for out in outputs], gradients


def loss_weights(outputs: list[Tensor], number: int) -> list[Tensor]:
    """Of the weighted sum whose gradients are compared: random signs, one for each number of the outputs."""
    generator = torch.Generator().manual_seed(number + 1)
    return [torch.randn(out.shape, generator=generator, dtype=torch.float64) for out in outputs]


@pytest.fixture(scope="module", autouse=True)
def _print_the_seed(pytestconfig: pytest.Config) -> None:
    # Also where the output of tests that pass is swallowed.
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(f"random cases: DCRNN_FAST_SEED={SEED}")


@pytest.mark.parametrize("name", OPERATORS)
def test_equals_the_specification(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    require_library()
    operator, units = OPERATORS[name], usable_units(monkeypatch)
    met: set[str] = set()

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES[name],
        derandomize=False,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases(), precision=st.sampled_from(DTYPES), number=st.integers(0, 2**20), unit=st.sampled_from(units))
    def check(case: Case, precision: str, number: int, unit: str) -> None:
        met.add(precision)
        monkeypatch.setenv("DCRNN_FAST_CPU", unit)
        got = results(operator, case, precision, "cpu", number)
        truth = results(operator, case, "float64", "specification", number)
        if precision == "float64":
            for ours, true in zip(got[0] + got[1], truth[0] + truth[1], strict=True):
                torch.testing.assert_close(ours, true, rtol=1e-9, atol=1e-10)
            return
        plain = [results(operator, case, precision, backend, number) for backend in ("specification", "manual")]
        weights = loss_weights(truth[0], number)
        for ours, theirs, hand_written, true, sizes in zip(
            got, *plain, truth, ([0.0] * len(truth[0]), terms_sizes(name, truth[1], weights)), strict=True
        ):
            assert_near(ours, [theirs, hand_written], true, precision, sizes)

    check()
    assert met == set(DTYPES)


def usable_units(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those that this CPU has."""
    usable = []
    for unit in UNITS:
        try:
            use_unit(unit, monkeypatch)
            usable.append(unit)
        except pytest.skip.Exception:
            continue
    return usable


def terms_sizes(name: str, gradients: list[Tensor], weights: list[Tensor]) -> list[float]:
    """For each gradient the root of the sum of squares of what is added up to it, where that is known, else 0.

    The bias that is added to the output last has the sum of the loss's weights for its gradient, and little else:
    hundreds of random signs, which come near to 0 by chance. Any order of that sum passes through partial sums of
    about this size and is rounded at them.
    """
    sizes = [0.0] * len(gradients)
    last = LAST_BIAS.get(name, len(gradients))
    if last < len(gradients):
        sizes[last] = weights[0].flatten(0, -2).norm(dim=0).max().item()
    return sizes


def assert_near(
    got: list[Tensor], plain: list[list[Tensor]], truth: list[Tensor], precision: str, sizes: list[float]
) -> None:
    """At most twice as far from float64 as plain PyTorch, either way to write it, plus a few roundings (``SLACK``).

    Autocast keeps in float32 what a bfloat16 operator must round, such as the prediction's gradient: the hand-written
    PyTorch rounds it too. A few roundings, because units add in other orders; and relative to the largest number of all
    tensors where a tensor's own is smaller, because sums of random signs cancel, in a bias of one unit for example; and
    relative to ``sizes`` (``terms_sizes``) where what cancelled is known. Float64 has none of this leniency, nor have
    the fixed shapes of the other tests.
    """
    largest = max(true.abs().max().item() for true in truth if true.numel())

    def distance(tensors: list[Tensor]) -> float:
        return max(
            (ours.double() - true).abs().max().item()
            / max(true.abs().max().item(), LARGE_ENOUGH * largest, LARGE_ENOUGH * size, 1e-30)
            for ours, true, size in zip(tensors, truth, sizes, strict=True)
            if true.numel()
        )

    ours, theirs = distance(got), max(map(distance, plain))
    assert ours <= 2 * theirs + SLACK[precision], f"error {ours:.3e}, plain PyTorch {theirs:.3e}"
