"""float32 products made of bfloat16 ones: as good as promised, and only where they are asked for.

The promise: max error over max value of the output, and of each gradient, is at most 1e-5 (``PROMISE``). Where plain
PyTorch in float32 is half as far from float64 already, twice its distance counts: a gradient whose own sum nearly
cancels is relative to next to nothing (plain PyTorch: up to 6e-6 in the random cases below).

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels, H units, L layers,
M diffusion terms, K known channels.
"""

import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.cases import Case, make_seq2seq, make_terms, worst_error
from dcrnn_fast.kernels import dcrnn_seq2seq, diffusion_conv
from dcrnn_fast.kernels.explain import facts, why_exact
from dcrnn_fast.kernels.native import library
from tests.kernels.compiled import require_library, use_unit

PROMISE = 1e-5
EPSILON = torch.finfo(torch.float32).eps
CASES = {
    "nothing_divides_a_tile": Case(B=3, P=4, F=3, N=33, C=3, O=2, H=17, L=3, M=3),
    "published_width": Case(B=2, P=3, F=2, N=71, C=2, O=1, H=64, L=2, M=5, density=0.05),
    "wide": Case(B=1, P=2, F=2, N=53, C=2, O=1, H=83, L=1, M=3),
    "deeper_than_is_split_at_once": Case(B=1, P=1, F=1, N=5, C=2, O=1, H=240, L=2, M=5),
    "known_channels": Case(B=2, P=2, F=3, N=33, C=2, O=2, H=17, L=2, M=3, K=9),
    "one_row": Case(B=1, P=1, F=1, N=1, C=1, O=1, H=1, L=1, M=1),
}
# More rows than csrc/cpu/select.h calls few.
MANY_ROWS = Case(B=5, P=6, F=6, N=71, C=2, O=1, H=64, L=2, M=5, density=0.05)
NEAR_A_TILE = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33)


def random_case(number: int) -> Case:
    """Few rows, mostly: the fewer there are, the less errors average."""
    draw = random.Random(number)
    return Case(
        B=draw.choice((1, 1, 2, 3, 5)),
        P=draw.randint(1, 4),
        F=draw.randint(1, 4),
        N=draw.choice((*NEAR_A_TILE, draw.randint(1, 60), 71)),
        C=draw.randint(1, 4),
        O=draw.randint(1, 3),
        H=draw.choice((*NEAR_A_TILE, draw.randint(1, 70), 64)),
        L=draw.randint(1, 3),
        M=draw.randint(1, 5),
        density=draw.choice((0.02, 0.2, 1.0)),
        K=draw.choice((0, 0, 1, 3, 9)),
    )


def results(
    case: Case, dtype: torch.dtype, seed: int = 0, backend: str = "cpu", precision: str = "exact"
) -> list[Tensor]:
    """The forecast, then the gradients of all parameters and inputs, of a loss that weights at random: sums cancel."""
    inputs, terms = make_seq2seq(case, seed).to(dtype), make_terms(case, dtype, seed)
    prediction = dcrnn_seq2seq(
        inputs.x_BPNC,
        terms,
        inputs.encoder,
        inputs.decoder,
        inputs.projection_weight_OH,
        inputs.projection_bias_O,
        future_steps=case.F,
        labels_BFNO=inputs.labels_BFNO,
        feed_label_F=inputs.feed_label_F,
        known_BFNK=inputs.known_BFNK,
        backend=backend,
        precision=precision,
    )
    weight = torch.randn(prediction.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (prediction.double() * weight).sum().backward()
    gradients = [torch.zeros_like(t) if t.grad is None else t.grad for t in inputs.differentiable]
    return [prediction.detach(), *gradients]


def assert_promise(case: Case, seed: int) -> None:
    truth = results(case, torch.float64, seed)
    plain = results(case, torch.float32, seed, backend="specification")
    got = results(case, torch.float32, seed, precision="bf16x3")
    for index, (ours, theirs, true) in enumerate(zip(got, plain, truth, strict=True)):
        error, allowed = worst_error([ours], [true]), 2 * worst_error([theirs], [true]) + EPSILON
        assert error <= max(PROMISE, allowed), f"{case}, seed {seed}, tensor {index}: error {error:.2e}"


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_keeps_the_promise(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    use_unit("amx", monkeypatch)
    for seed in range(3):
        assert_promise(case, seed)


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_keeps_the_promise_in_random_cases(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    use_unit("amx", monkeypatch)
    for number in range(first, first + 20):
        assert_promise(random_case(number), number)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_keeps_the_promise_where_weights_take_three_products(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    use_unit("amx", monkeypatch)
    assert_promise(MANY_ROWS, seed)


def test_products_are_split_only_where_they_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    use_unit("amx", monkeypatch)
    case = CASES["published_width"]
    assert why_exact() is None
    split, exact = (results(case, torch.float32, precision=precision) for precision in ("bf16x3", "exact"))
    assert not torch.equal(split[0], exact[0]), "the products were not split"


def test_a_convolution_keeps_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    use_unit("amx", monkeypatch)
    case = replace(CASES["published_width"], C=40, O=33)
    generator = torch.Generator().manual_seed(0)
    shapes = ((case.B, case.N, case.C), (case.C * case.M, case.O), (case.O,), (case.B, case.N, case.O))
    *given, grad = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)

    def run(dtype: torch.dtype, precision: str) -> list[Tensor]:
        leaves = [tensor.to(dtype).requires_grad_() for tensor in given]
        y = diffusion_conv(leaves[0], make_terms(case, dtype), *leaves[1:], backend="cpu", precision=precision)
        return [y.detach(), *torch.autograd.grad(y, leaves, grad.to(dtype))]

    for ours, true in zip(run(torch.float32, "bf16x3"), run(torch.float64, "exact"), strict=True):
        assert worst_error([ours], [true]) <= PROMISE


def test_without_amx_the_products_are_exact_and_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    require_library()
    monkeypatch.setenv("DCRNN_FAST_CPU", "generic")
    split, exact = (results(Case(), torch.float32, precision=precision) for precision in ("bf16x3", "exact"))
    assert all(torch.equal(one, other) for one, other in zip(split, exact, strict=True))
    module = library().module
    assert module is not None
    reason = dict(module.cpu_units())["amx"]
    assert reason
    assert why_exact() == why_exact("cpu") == reason
    assert facts()["units"]["bf16x3"]["chosen"] == "generic, exact"
    assert facts()["units"]["bf16x3"]["not"]["amx"] == reason
    assert why_exact("manual") == "backend manual has no split products"
