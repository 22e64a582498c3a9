"""The diffusion convolution: against the written sum, the hand-written path against the specification."""

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.cases import SHAPES, Case, assert_within_budget, make_operators, make_terms
from dcrnn_fast.kernels import diffusion_conv


def make_inputs(case: Case, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    shapes = ((case.B, case.N, case.C), (case.C * case.M, case.H), (case.H,))
    tensors = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
    x_BNC, weight_IO, bias_O = (tensor.to(dtype).requires_grad_() for tensor in tensors)
    return x_BNC, weight_IO, bias_O


@pytest.mark.parametrize("backend", ["specification", "manual"])
@pytest.mark.parametrize("case", SHAPES)
def test_equals_the_written_sum(case: Case, backend: str) -> None:
    x_BNC, weight_IO, bias_O = make_inputs(case)
    y_BNO = diffusion_conv(x_BNC, make_terms(case, torch.float64), weight_IO, bias_O, backend=backend)
    weight_CMO = weight_IO.detach().numpy().reshape(case.C, case.M, case.H)
    wanted = bias_O.detach().numpy() + sum(
        np.einsum("ij,bjc,co->bio", operator.toarray(), x_BNC.detach().numpy(), weight_CMO[:, m])
        for m, operator in enumerate(make_operators(case))
    )
    np.testing.assert_allclose(y_BNO.detach().numpy(), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", SHAPES)
def test_manual_gradients_within_the_error_budget(case: Case, dtype: torch.dtype) -> None:
    def gradients(dtype: torch.dtype, backend: str) -> tuple[Tensor, ...]:
        inputs = make_inputs(case, dtype)
        y_BNO = diffusion_conv(inputs[0], make_terms(case, dtype), *inputs[1:], backend=backend)
        seed = torch.randn(y_BNO.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
        return (y_BNO.detach(), *torch.autograd.grad(y_BNO, inputs, seed.to(dtype)))

    truth = gradients(torch.float64, "specification")
    assert_within_budget(gradients(dtype, "manual"), gradients(dtype, "specification"), truth)


def test_gradcheck_and_opcheck() -> None:
    case = Case(B=2, N=4, C=2, H=3, M=3)
    terms = make_terms(case, torch.float64)
    inputs = make_inputs(case)
    assert torch.autograd.gradcheck(lambda x, w, b: diffusion_conv(x, terms, w, b, backend="manual"), inputs)
    arguments = (inputs[0], terms.tensors, terms.num_terms, *inputs[1:])
    torch.library.opcheck(torch.ops.dcrnn_fast.diffusion_conv_manual.default, arguments)


def test_refuses_what_does_not_fit() -> None:
    case = Case()
    terms = make_terms(case, torch.float64)
    x_BNC, weight_IO, bias_O = make_inputs(case)
    with pytest.raises(ValueError, match=r"weight must be \(10, any\), got \(9, 4\)"):
        diffusion_conv(x_BNC, terms, weight_IO[:9], bias_O)
    with pytest.raises(ValueError, match=r"bias must be \(4\), got \(3,\)"):
        diffusion_conv(x_BNC, terms, weight_IO, bias_O[:3])
    with pytest.raises(TypeError, match=r"bias is torch\.float32, x is torch\.float64"):
        diffusion_conv(x_BNC, terms, weight_IO, bias_O.float())
    with pytest.raises(TypeError, match=r"terms must be torch\.float32 for x in torch\.float32, got torch\.float64"):
        diffusion_conv(x_BNC.float(), terms, weight_IO.float(), bias_O.float())
