"""Diffusion hop after hop through interpreted Triton kernels, against the ready-made terms in float64."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor

from bench.cases import Case, assert_within_budget, make_seq2seq
from dcrnn_fast.graph import diffusion_operators
from dcrnn_fast.graph.recursion import diffusion_recursion
from dcrnn_fast.kernels import DiffusionTerms, diffusion_conv
from dcrnn_fast.kernels.gpu.launches import convolution as launches
from tests.kernels.interpreted.red_zones import red_zones
from tests.kernels.operators import run

KINDS = ("released", "chebyshev", "powers")
# Nodes that fill no tile, in two of them.
N = 19


def cases(*quick: tuple[str, int]) -> list[object]:
    """Every recursion with one to three hops; slow but for some."""
    every = [(kind, hops) for kind in KINDS for hops in (1, 2, 3)]
    return [pytest.param(*one, marks=[] if one in quick else pytest.mark.slow) for one in every]


def make_chained(nodes: int, hops: int, kind: str, dtype: torch.dtype, supports: int = 2) -> DiffusionTerms:
    """Random walks with an empty row and a node that nobody reads; all hops, also where they gain nothing."""
    generator = np.random.default_rng(nodes + hops)
    walks = []
    for _ in range(supports):
        dense = generator.random((nodes, nodes)) * (generator.random((nodes, nodes)) < 3 / nodes)
        dense[2], dense[:, nodes - 1] = 0, 0
        walks.append(sp.csr_array(dense / np.maximum(dense.sum(axis=1, keepdims=True), 1e-9)))
    plan = diffusion_recursion(walks, hops=hops, recursion=kind)  # type: ignore[arg-type]
    value_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    operators = diffusion_operators(walks, hops=hops, recursion=kind)  # type: ignore[arg-type]
    terms = DiffusionTerms.from_operators(operators, value_dtype)
    tensors: list[Tensor] = []
    for steps, matrices in ((plan.steps, walks), (plan.transposed_steps, [walk.T for walk in walks])):
        stack = sp.csr_array(sp.vstack(matrices))
        tensors += [torch.tensor(steps, dtype=torch.int32)]
        tensors += [torch.from_numpy(part).int() for part in (stack.indptr, stack.indices)]
        tensors += [torch.from_numpy(stack.data).to(value_dtype)]
    return terms._replace(recursion=tuple(tensors))


@pytest.fixture(autouse=True)
def _chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCRNN_FAST_TRITON", "chain")


def seq2seq(
    case: Case, hops: int, kind: str, dtype: torch.dtype, backend: str, *, autocast: bool = False
) -> list[Tensor]:
    """The prediction and all gradients."""
    inputs = make_seq2seq(case).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        prediction = run(inputs, make_chained(case.N, hops, kind, dtype, (case.M - 1) // hops), backend)
    weight = torch.randn(prediction.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (prediction.double() * weight).sum().backward()
    return [prediction.detach(), *(torch.zeros_like(t) if t.grad is None else t.grad for t in inputs.differentiable)]


def convolution(
    case: Case, hops: int, kind: str, dtype: torch.dtype, backend: str, *, autocast: bool = False
) -> list[Tensor]:
    """The output and all gradients."""
    generator = torch.Generator().manual_seed(4)
    shapes = ((case.B, case.N, case.C), (case.C * case.M, case.H), (case.H,))
    leaves = [torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    terms = make_chained(case.N, hops, kind, dtype, (case.M - 1) // hops)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y_BNO = diffusion_conv(leaves[0], terms, leaves[1], leaves[2], backend=backend)
    weight = torch.randn(y_BNO.shape, generator=generator, dtype=torch.float64)
    (y_BNO.double() * weight).sum().backward()
    return [y_BNO.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def assert_equal(got: list[Tensor], wanted: list[Tensor]) -> None:
    for ours, true in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, true, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("kind", "hops"), cases(("chebyshev", 2), ("powers", 1)))
def test_convolution(kind: str, hops: int) -> None:
    case = Case(B=3, N=N, C=5, H=7, M=2 * hops + 1)
    with red_zones() as ran:
        got = convolution(case, hops, kind, torch.float64, "triton")
    temporaries = {("released", 2): 2, ("released", 3): 6}.get((kind, hops), 0)
    assert ran.count("hop_kernel") == 4 * hops + temporaries
    assert "gather_kernel" not in ran
    truth = convolution(case, hops, kind, torch.float64, "specification")
    assert_equal(got, truth)
    for autocast in (False, True):
        got, plain = (
            convolution(case, hops, kind, torch.float32, backend, autocast=autocast)
            for backend in ("triton", "specification")
        )
        if autocast:
            got = [tensor.bfloat16() for tensor in got]
        assert_within_budget(got, plain, truth)


def test_one_support_and_several_blocks_of_columns() -> None:
    case = Case(B=30, N=17, C=9, H=4, M=4)
    got, wanted = (convolution(case, 3, "chebyshev", torch.float64, backend) for backend in ("triton", "specification"))
    assert_equal(got, wanted)


@pytest.mark.parametrize(
    ("kind", "hops"),
    [
        pytest.param(kind, hops, marks=pytest.mark.slow if (kind, hops) == ("released", 2) else pytest.mark.prove)
        for kind in KINDS
        for hops in (1, 2, 3)
    ],
)
def test_the_encoder_decoder_equals_the_specification(kind: str, hops: int) -> None:
    case = Case(B=1, P=2, F=1, N=N, C=2, O=1, H=5, L=1, M=2 * hops + 1)
    with red_zones() as ran:
        got = seq2seq(case, hops, kind, torch.float64, "triton")
    assert "hop_kernel" in ran
    assert "gather_kernel" not in ran
    assert_equal(got, seq2seq(case, hops, kind, torch.float64, "specification"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", ["chain,inline", "chain,gemm", pytest.param("chain,gemm,inline", marks=pytest.mark.prove), "chain,strict"]
)
def test_every_plan_with_it_equals_the_specification(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCRNN_FAST_TRITON", words)
    case = Case(B=3, P=2, F=1, N=N, C=3, O=2, H=17, L=2, M=5)
    with red_zones() as ran:
        got = seq2seq(case, 2, "released", torch.float64, "triton")
    assert "hop_kernel" in ran
    assert "gather_kernel" not in ran
    assert_equal(got, seq2seq(case, 2, "released", torch.float64, "specification"))


@pytest.mark.prove
@pytest.mark.parametrize("kind", KINDS)
def test_the_encoder_decoder_within_the_error_budget(kind: str) -> None:
    case = Case(B=4, P=1, F=2, N=N, C=2, O=1, H=17, L=1, M=5)
    truth = seq2seq(case, 2, kind, torch.float64, "specification")
    for autocast in (False, True):
        got, plain = (
            seq2seq(case, 2, kind, torch.float32, backend, autocast=autocast) for backend in ("triton", "specification")
        )
        if autocast:
            got = [tensor.bfloat16() for tensor in got]
        assert_within_budget(got, plain, truth)


def test_64_bit_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "is_wide", lambda tensors: True)
    case = Case(B=2, N=N, C=3, H=4, M=5)
    got, wanted = (convolution(case, 2, "released", torch.float64, backend) for backend in ("triton", "specification"))
    assert_equal(got, wanted)


@pytest.mark.usefixtures("no_bfloat16_arithmetic")
def test_nothing_computes_on_bfloat16() -> None:
    case = Case(B=2, N=5, C=1, H=3, M=5)
    got = convolution(case, 2, "released", torch.float32, "triton", autocast=True)
    assert got[0].dtype == torch.bfloat16
    assert all(tensor.isfinite().all() for tensor in got)


@pytest.mark.slow
def test_the_same_bits_every_time_and_an_empty_batch() -> None:
    case = Case(B=3, N=N, C=5, H=7, M=7)
    one, two = (convolution(case, 3, "released", torch.float32, "triton") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    empty = Case(B=0, N=N, C=5, H=7, M=7)
    assert convolution(empty, 3, "released", torch.float32, "triton")[0].shape == (0, N, 7)


@pytest.mark.slow
def test_opcheck_and_gradcheck_with_the_tensors_of_a_recursion() -> None:
    case = Case(B=1, P=1, F=1, N=4, C=1, O=1, H=2, L=1, M=5)
    inputs, terms = make_seq2seq(case).to(torch.float64), make_chained(case.N, 2, "released", torch.float64)
    generator = torch.Generator().manual_seed(0)
    leaves = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((2, 4, 3), (15, 2), (2,))]
    assert torch.autograd.gradcheck(
        lambda *t: diffusion_conv(t[0], terms, t[1], t[2], backend="triton"),
        [leaf.requires_grad_() for leaf in leaves],
        fast_mode=True,
    )
    torch.use_deterministic_algorithms(False)  # opcheck compares memory that nobody wrote
    arguments = (
        inputs.x_BPNC, terms.tensors_with_recursion, case.M, list(inputs.encoder[0]), list(inputs.decoder[0]),
        inputs.projection_weight_OH, inputs.projection_bias_O, inputs.labels_BFNO, inputs.feed_label_F, "chain", True,
    )  # fmt: skip
    torch.library.opcheck(torch.ops.dcrnn_fast.seq2seq_triton.default, arguments)


def test_a_graph_without_a_recursion_is_refused_with_the_reason() -> None:
    case = Case(B=1, N=N, C=2, H=3, M=5)
    terms = make_chained(N, 2, "released", torch.float32)._replace(recursion=())
    with pytest.raises(ValueError, match="chain diffuses by the recursion over the supports, and this graph brings"):
        diffusion_conv(torch.zeros(1, N, 2), terms, torch.zeros(2 * case.M, 3), backend="triton")
