"""The diffusion convolution in the compiled CPU kernels, against the specification and float64."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor

from bench.cases import SHAPES, Case, assert_within_budget, make_terms
from dcrnn_fast.kernels import DiffusionTerms, diffusion_conv
from tests.kernels.compiled import UNITS, require_library, use_unit
from tests.kernels.operators import convolution_leaves, convolution_results

MORE_SHAPES = [*SHAPES, pytest.param(Case(B=40, N=61, C=21, H=70, M=4, density=0.1), id="tiles")]


@pytest.mark.parametrize("case", MORE_SHAPES)
def test_equals_specification_in_float64(case: Case) -> None:
    require_library()
    for ours, true in zip(
        convolution_results(case, torch.float64, "cpu"),
        convolution_results(case, torch.float64, "specification"),
        strict=True,
    ):
        torch.testing.assert_close(ours, true, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("case", [shape for shape in MORE_SHAPES if shape.id != "smallest"])
def test_low_precision_within_the_error_budget(case: Case, unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_unit(unit, monkeypatch)
    truth = convolution_results(case, torch.float64, "specification")
    assert_within_budget(
        convolution_results(case, torch.float32, "cpu"),
        convolution_results(case, torch.float32, "specification"),
        truth,
    )
    got = [tensor.bfloat16() for tensor in convolution_results(case, torch.float32, "cpu", autocast=True)]
    assert_within_budget(got, convolution_results(case, torch.float32, "specification", autocast=True), truth)


GRAPHS = 6
"""more than what is made of them is kept for"""


def convolved(terms: DiffusionTerms, case: Case) -> list[Tensor]:
    x_BNC, weight_IO, bias_O = tensors = convolution_leaves(case, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y_BNO = diffusion_conv(x_BNC, terms, weight_IO, bias_O, backend="cpu")
    y_BNO.float().square().sum().backward()
    return [y_BNO.detach(), *(tensor.grad for tensor in tensors if tensor.grad is not None)]


@pytest.mark.parametrize("unit", ["avx512_bf16", "amx"])
def test_what_is_kept_of_a_graph_serves_that_graph_alone(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_unit(unit, monkeypatch)
    case = Case(B=2, N=40, C=8, H=8, M=3, density=0.3)
    graphs = [make_terms(case, torch.float32, seed) for seed in range(GRAPHS)]
    first = [convolved(terms, case) for terms in graphs]
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda terms: convolved(terms, case), graphs * 8))
    for got, expected in zip(again, first * 8, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    # The same arrays with another number, forth and back.
    terms = graphs[-1]
    for values in (terms.value, terms.value_t):
        number = values[0].item()
        for change, same in ((1.0, False), (0.0, True)):
            values[0] = number + change
            now = convolved(terms, case)
            assert all(torch.equal(a, b) for a, b in zip(now, first[-1], strict=True)) is same


@pytest.mark.timeout(20)
def test_a_hub_that_all_nodes_read_does_not_take_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    use_unit("avx512_bf16", monkeypatch)
    N = 300_000
    star = sp.csr_array((np.ones(N), (np.arange(N), np.zeros(N, int))), shape=(N, N))
    terms = DiffusionTerms.from_operators([sp.csr_array(sp.eye_array(N)), star])
    x_BNC = torch.arange(N).remainder(100).float()[None, :, None] + 3
    with torch.autocast("cpu", torch.bfloat16):
        y_BNO = diffusion_conv(x_BNC, terms, torch.tensor([[0.0], [1.0]]), torch.zeros(1), backend="cpu")
    assert (y_BNO == 3).all()


def test_gradcheck_and_opcheck() -> None:
    require_library()
    case = Case(B=2, N=4, C=3, H=2, M=3)
    terms = make_terms(case, torch.float64)
    tensors = convolution_leaves(case, torch.float64)
    assert torch.autograd.gradcheck(lambda *t: diffusion_conv(t[0], terms, t[1], t[2], backend="cpu"), tensors)
    arguments = (tensors[0], terms.tensors, terms.num_terms, *tensors[1:], False)
    torch.library.opcheck(torch.ops.dcrnn_fast.diffusion_conv_cpu.default, arguments)


def test_the_operator_checks_what_it_is_given() -> None:
    require_library()
    case = Case()
    x_BNC, weight_IO, bias_O = convolution_leaves(case, torch.float32)
    terms = make_terms(case, torch.float32).tensors
    with pytest.raises(RuntimeError, match=r"weight must be \(10, 4\), got \(9, 4\)"):
        torch.ops.dcrnn_fast.diffusion_conv_cpu(x_BNC, terms, case.M, weight_IO[1:], bias_O, False)
    with pytest.raises(RuntimeError, match=r"bias must be \(4,\), got \(3,\)"):
        torch.ops.dcrnn_fast.diffusion_conv_cpu(x_BNC, terms, case.M, weight_IO, bias_O[1:], False)
