"""Diffusion by recursion over the supports in the compiled kernels, against the operators multiplied out."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor

from bench.cases import Case, assert_within_budget, make_seq2seq
from dcrnn_fast.graph import diffusion_operators
from dcrnn_fast.graph.recursion import diffusion_recursion
from dcrnn_fast.kernels import DiffusionTerms, diffusion_conv
from tests.kernels.compiled import UNITS, require_library, use_unit
from tests.kernels.operators import run

CASES = [
    pytest.param(Case(B=3, P=3, F=3, N=93, C=2, O=1, H=17, L=2, M=5), 2, "released", id="released"),
    pytest.param(Case(B=1, P=2, F=2, N=131, C=3, O=2, H=33, L=1, M=7), 3, "released", id="two_temporaries_deep"),
    pytest.param(Case(B=2, P=2, F=2, N=67, C=1, O=1, H=64, L=2, M=5), 2, "chebyshev", id="chebyshev"),
]


def make_terms(case: Case, hops: int, kind: str, dtype: torch.dtype, *, recursion: bool = True) -> DiffusionTerms:
    """Two sparse random walks, some of whose rows are empty."""
    generator = np.random.default_rng(case.N)
    supports = []
    for _ in range(2):
        support = sp.random_array((case.N, case.N), density=4 / case.N, rng=generator, format="csr")
        out_N = np.asarray(support.sum(axis=1)).ravel()
        supports.append(sp.csr_array(sp.diags_array(1 / np.where(out_N > 0, out_N, 1)) @ support))
    operators = diffusion_operators(supports, hops=hops, recursion=kind)  # type: ignore[arg-type]
    plan = diffusion_recursion(supports, hops=hops, recursion=kind) if recursion else None  # type: ignore[arg-type]
    return DiffusionTerms.from_operators(operators, dtype, recursion=plan)


def results(
    case: Case, terms: DiffusionTerms, dtype: torch.dtype, backend: str, *, autocast: bool = False
) -> list[Tensor]:
    """The prediction and all gradients; with autocast as bfloat16."""
    inputs = make_seq2seq(case).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        prediction = run(inputs, terms, backend)
    weight = torch.randn(prediction.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (prediction.double() * weight).sum().backward()
    found = [prediction.detach(), *(t.grad for t in inputs.differentiable if t.grad is not None)]
    return [t.bfloat16() for t in found] if autocast else found


@pytest.mark.parametrize(("case", "hops", "kind"), CASES)
def test_equals_specification_in_float64(case: Case, hops: int, kind: str) -> None:
    require_library()
    terms = make_terms(case, hops, kind, torch.float64)
    steps, steps_t = terms.recursion[0], terms.recursion[4]
    assert steps.shape[0] == 2 * hops
    assert steps_t.shape[0] >= 2 * hops
    got, wanted = (results(case, terms, torch.float64, backend) for backend in ("cpu", "specification"))
    for ours, true in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, true, rtol=1e-10, atol=1e-11)
    multiplied = results(case, make_terms(case, hops, kind, torch.float64, recursion=False), torch.float64, "cpu")
    # Another order of additions: that the recursion ran at all.
    assert not all(torch.equal(a, b) for a, b in zip(got, multiplied, strict=True))


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("case", "hops", "kind"), CASES)
def test_float32_within_the_error_budget(
    case: Case, hops: int, kind: str, unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_unit(unit, monkeypatch)
    truth = results(case, make_terms(case, hops, kind, torch.float64), torch.float64, "specification")
    terms = make_terms(case, hops, kind, torch.float32)
    plain = results(case, terms, torch.float32, "specification")
    assert_within_budget(results(case, terms, torch.float32, "cpu"), plain, truth)


# The unit with dot products multiplies a small graph's operators instead.
LARGE = Case(B=1, P=2, F=2, N=2083, C=2, O=1, H=17, L=1, M=5)
LARGE_BF16 = pytest.param(LARGE, 2, "released", "avx512_bf16", id="large")


@pytest.mark.parametrize(
    ("case", "hops", "kind", "unit"),
    [*(pytest.param(*c.values, unit, id=f"{c.id}-{unit}") for c in CASES for unit in UNITS), LARGE_BF16],
)
def test_bfloat16_within_the_error_budget(
    case: Case, hops: int, kind: str, unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_unit(unit, monkeypatch)
    truth = results(case, make_terms(case, hops, kind, torch.float64), torch.float64, "specification")
    terms = make_terms(case, hops, kind, torch.float32)
    plain = results(case, terms, torch.float32, "specification", autocast=True)
    got = results(case, terms, torch.float32, "cpu", autocast=True)
    # The projection's bias is one number, a sum of thousands that cancel: how far plain PyTorch is off is luck.
    kept = [i for i, true in enumerate(truth) if case != LARGE or true.numel() > 1]
    assert_within_budget([got[i] for i in kept], [plain[i] for i in kept], [truth[i] for i in kept])
    by_operators = results(case, terms._replace(recursion=()), torch.float32, "cpu", autocast=True)
    ran = not all(torch.equal(a, b) for a, b in zip(got, by_operators, strict=True))
    assert ran == (unit in ("generic", "avx2", "avx512") or (unit == "avx512_bf16" and case == LARGE))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("N", [331, pytest.param(2083, marks=pytest.mark.slow)])
def test_bits_do_not_depend_on_threads(N: int, autocast: bool) -> None:
    require_library()
    case = Case(B=1, P=2, F=2, N=N, C=2, O=1, H=20, L=2, M=5)
    terms = make_terms(case, 2, "released", torch.float32)
    before = torch.get_num_threads()
    try:
        got = []
        for threads in (1, 2, 3, 5, 7):
            torch.set_num_threads(threads)
            got.append(results(case, terms, torch.float32, "cpu", autocast=autocast))
    finally:
        torch.set_num_threads(before)
    for other in got[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, got[0], strict=True))


def test_the_convolution_takes_it_too() -> None:
    require_library()
    case = Case(B=2, N=71, C=6, H=9, M=5)
    terms = make_terms(case, 2, "released", torch.float64)
    generator = torch.Generator().manual_seed(4)
    shapes = ((case.B, case.N, case.C), (case.C * case.M, case.H), (case.H,))
    leaves = [torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
    for backend in ("cpu", "specification"):
        diffusion_conv(leaves[0], terms, leaves[1], leaves[2], backend=backend).square().sum().backward()
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    for leaf in leaves:
        leaf.grad = None
    diffusion_conv(leaves[0], terms, leaves[1], leaves[2], backend="specification").square().sum().backward()
    for both, leaf in zip(gradients, leaves, strict=True):
        assert leaf.grad is not None
        torch.testing.assert_close(both, 2 * leaf.grad, rtol=1e-10, atol=1e-10)


def test_supports_that_are_as_dense_as_their_products_are_left() -> None:
    dense = [sp.csr_array(np.full((6, 6), 0.1)) for _ in range(2)]
    operators = diffusion_operators(dense, hops=2, recursion="chebyshev")
    plan = diffusion_recursion(dense, hops=2, recursion="chebyshev")
    assert DiffusionTerms.from_operators(operators, recursion=plan).recursion == ()


def test_wrong_steps_are_refused() -> None:
    require_library()
    case = Case(B=1, N=41, C=2, H=3, M=5)
    terms = make_terms(case, 2, "released", torch.float32)
    x_BNC, weight_IO, bias_O = torch.zeros(1, 41, 2), torch.zeros(10, 3), torch.zeros(3)

    def refused(match: str, steps: Tensor, position: int = 6) -> None:
        tensors = terms.tensors_with_recursion
        tensors[position] = steps
        with pytest.raises(RuntimeError, match=match):
            torch.ops.dcrnn_fast.diffusion_conv_cpu(x_BNC, tensors, case.M, weight_IO, bias_O, False)

    steps = terms.recursion[0]
    refused(r"recursion: step 0 names a support or a panel", steps.index_fill(1, torch.tensor([0]), 2))
    refused(r"recursion: step 0 names a support or a panel", steps.index_fill(1, torch.tensor([1]), 3))
    refused(r"recursion: step 1 names a support or a panel", steps.index_fill(1, torch.tensor([4]), 1))
    refused(
        r"recursion: step 3 names a support or a panel",
        torch.cat([steps[:3], torch.tensor([[1, 3, -1, 1, 9]], dtype=torch.int32)]),
    )
    refused(r"recursion: no step makes term 4", steps[:3])
    refused(r"steps must be \(4, 5\), got \(5, 4\)", steps.t().contiguous())
    refused(r"transposed recursion: no step makes term", terms.recursion[4][:3], 10)
