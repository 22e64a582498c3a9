"""``dcgru_sequence``, ``dcgru_cell`` and ``diffusion_conv`` through interpreted Triton kernels; the golden vectors."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from bench.cases import Case, assert_within_budget, make_terms
from dcrnn_fast.kernels import DiffusionTerms, dcgru_cell, dcgru_sequence, diffusion_conv
from dcrnn_fast.kernels.saving import SAVE_ALL
from dcrnn_fast.verify import BOUNDS, verify
from tests.conftest import GOLDEN
from tests.kernels.interpreted.red_zones import red_zones
from tests.kernels.operators import convolution_leaves, convolution_results, sequence_leaves, sequence_results

SMALL = Case(B=2, P=2, N=5, C=2, H=4, L=1, M=3)
RAGGED = Case(B=5, P=2, N=19, C=3, H=17, L=2, M=3, density=0.3)


@pytest.mark.parametrize("case", [SMALL, pytest.param(RAGGED, marks=pytest.mark.slow)])
def test_sequence_equals_the_specification(case: Case) -> None:
    with red_zones():
        got = sequence_results(case, torch.float64, "triton")
    for ours, true in zip(got, sequence_results(case, torch.float64, "specification"), strict=True):
        torch.testing.assert_close(ours, true, rtol=1e-10, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["tile,inline", "gemm"])
def test_sequence_within_the_error_budget(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCRNN_FAST_TRITON", words)
    truth = sequence_results(RAGGED, torch.float64, "specification")
    got = sequence_results(RAGGED, torch.float32, "triton")
    assert_within_budget(got, sequence_results(RAGGED, torch.float32, "specification"), truth)
    got = [tensor.bfloat16() for tensor in sequence_results(RAGGED, torch.float32, "triton", autocast=True)]
    assert_within_budget(got, sequence_results(RAGGED, torch.float32, "specification", autocast=True), truth)


@pytest.mark.prove
def test_sequence_gradcheck_opcheck_and_inference() -> None:
    case = Case(B=1, P=2, N=3, C=1, H=2, L=2, M=3)
    x_BTNC, initial_LBNH, layers = sequence_leaves(case, torch.float64)
    terms, flat = make_terms(case, torch.float64), [tensor for layer in layers for tensor in layer]

    def of(*tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return dcgru_sequence(x_BTNC, terms, layers, initial_LBNH, backend="triton")

    assert torch.autograd.gradcheck(of, (x_BTNC, initial_LBNH, *flat), fast_mode=True)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(of(), of(), strict=True))
    torch.use_deterministic_algorithms(False)
    for save in (SAVE_ALL, 1):
        arguments = (x_BTNC, initial_LBNH, terms.tensors, terms.num_terms, flat, "", save)
        torch.library.opcheck(torch.ops.dcrnn_fast.dcgru_sequence_triton.default, arguments)


def test_a_cell_is_a_sequence_of_one_step() -> None:
    case = Case(B=2, P=1, N=4, H=3, L=1, M=3)
    x_BTNC, initial_LBNH, layers = sequence_leaves(case, torch.float64)
    terms = make_terms(case, torch.float64)
    got = dcgru_cell(x_BTNC[:, 0], initial_LBNH[0], terms, layers[0], backend="triton")
    wanted = dcgru_cell(x_BTNC[:, 0], initial_LBNH[0], terms, layers[0], backend="specification")
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("output", [0, 1])
def test_gradients_where_one_output_is_not_used(output: int) -> None:
    case = Case(B=2, P=2, N=4, C=1, H=3, L=1, M=2)
    results = []
    for backend in ("triton", "specification"):
        x_BTNC, initial_LBNH, layers = sequence_leaves(case, torch.float64)
        dcgru_sequence(x_BTNC, make_terms(case, torch.float64), layers, initial_LBNH, backend=backend)[
            output
        ].sum().backward()
        results.append([x_BTNC.grad, initial_LBNH.grad, *(tensor.grad for tensor in layers[0])])
    for ours, true in zip(*results, strict=True):
        torch.testing.assert_close(ours, true)


# 70 columns are two blocks of 64; 66 are three blocks of 22.
@pytest.mark.parametrize(
    "case",
    [
        Case(B=3, N=19, C=5, H=7, M=3),
        Case(B=2, N=5, C=3, H=66, M=2),
        pytest.param(Case(B=5, N=37, C=21, H=70, M=4, density=0.1), marks=pytest.mark.slow),
    ],
)
def test_convolution(case: Case) -> None:
    with red_zones():
        got = convolution_results(case, torch.float64, "triton")
    truth = convolution_results(case, torch.float64, "specification")
    for ours, true in zip(got, truth, strict=True):
        torch.testing.assert_close(ours, true, rtol=1e-11, atol=1e-11)
    got = [tensor.bfloat16() for tensor in convolution_results(case, torch.float32, "triton", autocast=True)]
    assert_within_budget(got, convolution_results(case, torch.float32, "specification", autocast=True), truth)


@pytest.mark.parametrize("ill", [slice(0, 16), slice(16, 32)])
def test_a_nan_stays_in_its_part_of_the_graph(ill: slice) -> None:
    one = sp.csr_array(sp.eye_array(16, k=1) + sp.eye_array(16, k=-1))
    # All of the second part read its first node: the rest of that tile's list is not to be read.
    two = sp.csr_array(np.outer(np.ones(16), np.arange(16) == 0))
    operators = [sp.csr_array(sp.eye_array(32)), sp.csr_array(sp.block_diag([one, two]))]
    terms = DiffusionTerms.from_operators(operators)
    x_BNC = torch.ones(1, 32, 2)
    x_BNC[:, ill] = float("nan")
    y_BNO = diffusion_conv(x_BNC, terms, torch.ones(4, 3), backend="triton")
    ill_N = torch.zeros(32, dtype=torch.bool)
    ill_N[ill] = True
    assert torch.equal(y_BNO.isnan().all(2)[0], ill_N)


@pytest.mark.slow
def test_convolution_gradcheck_and_opcheck() -> None:
    case = Case(B=2, N=4, C=3, H=2, M=3)
    terms, tensors = make_terms(case, torch.float64), convolution_leaves(case, torch.float64)
    assert torch.autograd.gradcheck(
        lambda *t: diffusion_conv(t[0], terms, t[1], t[2], backend="triton"), tensors, fast_mode=True
    )
    torch.use_deterministic_algorithms(False)
    arguments = (tensors[0], terms.tensors, terms.num_terms, *tensors[1:], "")
    torch.library.opcheck(torch.ops.dcrnn_fast.diffusion_conv_triton.default, arguments)


@pytest.mark.prove
@pytest.mark.parametrize("dtype", ["float32", "bf16"])
def test_every_golden_file_passes(dtype: str) -> None:
    cases = verify(GOLDEN, backend="triton", dtype=dtype)  # type: ignore[arg-type]
    assert len(cases) == 9
    for case in cases:
        assert not case.misses(BOUNDS[dtype]), f"{case.name}: {case.errors}"  # type: ignore[index]
