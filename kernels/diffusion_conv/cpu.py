"""The diffusion convolution in the compiled CPU kernels: schema, fakes and autograd.

Shape legend: B batch, N nodes, C input channels, O output channels, M diffusion terms, I = C*M weight rows.
"""

import torch
from torch import Tensor

from dcrnn_fast.kernels.checks import refuse_second_derivatives
from dcrnn_fast.kernels.operator import call_backward, keep, kept
from dcrnn_fast.kernels.terms import DiffusionTerms

OP = "dcrnn_fast::diffusion_conv_cpu"
BACKWARD = "dcrnn_fast::diffusion_conv_cpu_backward"

torch.library.define(
    OP, "(Tensor x_BNC, Tensor[] terms, SymInt num_terms, Tensor weight_IO, Tensor bias_O, bool bf16x3) -> Tensor"
)
torch.library.define(
    BACKWARD,
    "(Tensor grad_BNO, Tensor x_BNC, Tensor[] terms, SymInt num_terms, Tensor weight_IO, bool x_wanted, "
    "bool bf16x3) -> (Tensor, Tensor, Tensor)",
)


@torch.library.register_fake(OP)
def _(x_BNC: Tensor, terms: list[Tensor], num_terms: int, weight_IO: Tensor, bias_O: Tensor, bf16x3: bool) -> Tensor:
    return x_BNC.new_empty(x_BNC.shape[0], x_BNC.shape[1], weight_IO.shape[1])


@torch.library.register_fake(BACKWARD)
def _(
    grad_BNO: Tensor,
    x_BNC: Tensor,
    terms: list[Tensor],
    num_terms: int,
    weight_IO: Tensor,
    x_wanted: bool,
    bf16x3: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    dx_BNC = x_BNC.new_empty(x_BNC.shape if x_wanted else (0,))
    return dx_BNC, weight_IO.new_empty(weight_IO.shape), weight_IO.new_empty(weight_IO.shape[1])


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    keep(ctx, "diffusion_conv_cpu", inputs, without=["bias_O"])


def _gradient(ctx, grad_BNO):  # type: ignore[no-untyped-def]
    found, x_wanted = kept(ctx), ctx.needs_input_grad[0]
    dx_BNC, dweight_IO, dbias_O = call_backward("diffusion_conv_cpu", found, grad_BNO=grad_BNO, x_wanted=x_wanted)
    return dx_BNC if x_wanted else None, [None] * len(found["terms"]), None, dweight_IO, dbias_O, None


torch.library.register_autograd(OP, _gradient, setup_context=_setup)
refuse_second_derivatives(BACKWARD)


def diffusion_conv_cpu(
    x_BNC: Tensor, terms: DiffusionTerms, weight_IO: Tensor, bias_O: Tensor, *, bf16x3: bool = False
) -> Tensor:
    """``diffusion_conv`` in the compiled kernels; same contract.

    Args:
        bf16x3: float32 products may be made of three to six bfloat16 ones.
    """
    y_BNO: Tensor = torch.ops.dcrnn_fast.diffusion_conv_cpu(
        x_BNC, terms.tensors_with_recursion, terms.num_terms, weight_IO, bias_O, bf16x3
    )
    return y_BNO
