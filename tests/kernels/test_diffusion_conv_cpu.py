"""The diffusion convolution in the compiled CPU kernels, against the specification and float64."""

import pytest
import torch
from torch import Tensor

from dcrnn_fast.kernels import diffusion_conv
from tests.kernels.cases import SHAPES, Case, assert_within_budget, make_terms
from tests.kernels.compiled import UNITS, require_library, use_unit

MORE_SHAPES = [*SHAPES, pytest.param(Case(B=40, N=61, C=21, H=70, M=4, density=0.1), id="tiles")]


def leaves(case: Case, dtype: torch.dtype) -> list[Tensor]:
    """x_BNC, weight_IO, bias_O, wanting gradients."""
    generator = torch.Generator().manual_seed(4)
    shapes = ((case.B, case.N, case.C), (case.C * case.M, case.H), (case.H,))
    return [torch.randn(*s, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def results(case: Case, dtype: torch.dtype, backend: str, *, autocast: bool = False) -> list[Tensor]:
    x_BNC, weight_IO, bias_O = tensors = leaves(case, dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y_BNO = diffusion_conv(x_BNC, make_terms(case, dtype), weight_IO, bias_O, backend=backend)
    generator = torch.Generator().manual_seed(5)
    (y_BNO.double() * torch.randn(y_BNO.shape, generator=generator, dtype=torch.float64)).sum().backward()
    return [y_BNO.detach(), *(tensor.grad for tensor in tensors if tensor.grad is not None)]


@pytest.mark.parametrize("case", MORE_SHAPES)
def test_equals_specification_in_float64(case: Case) -> None:
    require_library()
    for ours, true in zip(
        results(case, torch.float64, "cpu"), results(case, torch.float64, "specification"), strict=True
    ):
        torch.testing.assert_close(ours, true, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("case", [shape for shape in MORE_SHAPES if shape.id != "smallest"])
def test_low_precision_within_the_error_budget(case: Case, unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_unit(unit, monkeypatch)
    truth = results(case, torch.float64, "specification")
    assert_within_budget(results(case, torch.float32, "cpu"), results(case, torch.float32, "specification"), truth)
    got = [tensor.bfloat16() for tensor in results(case, torch.float32, "cpu", autocast=True)]
    assert_within_budget(got, results(case, torch.float32, "specification", autocast=True), truth)


def test_gradcheck_and_opcheck() -> None:
    require_library()
    case = Case(B=2, N=4, C=3, H=2, M=3)
    terms = make_terms(case, torch.float64)
    tensors = leaves(case, torch.float64)
    assert torch.autograd.gradcheck(lambda *t: diffusion_conv(t[0], terms, t[1], t[2], backend="cpu"), tensors)
    arguments = (tensors[0], terms.tensors, terms.num_terms, *tensors[1:], False)
    torch.library.opcheck(torch.ops.dcrnn_fast.diffusion_conv_cpu.default, arguments)


def test_the_operator_checks_what_it_is_given() -> None:
    require_library()
    case = Case()
    x_BNC, weight_IO, bias_O = leaves(case, torch.float32)
    terms = make_terms(case, torch.float32).tensors
    with pytest.raises(RuntimeError, match=r"weight must be \(10, 4\), got \(9, 4\)"):
        torch.ops.dcrnn_fast.diffusion_conv_cpu(x_BNC, terms, case.M, weight_IO[1:], bias_O, False)
    with pytest.raises(RuntimeError, match=r"bias must be \(4,\), got \(3,\)"):
        torch.ops.dcrnn_fast.diffusion_conv_cpu(x_BNC, terms, case.M, weight_IO, bias_O[1:], False)
