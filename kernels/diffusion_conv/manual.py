"""The diffusion convolution with a hand-written backward that diffuses the gradient.

With Q_m = P_mᵀ dY both gradients follow: dX = sum over m of Q_m W_mᵀ and dW_m = Xᵀ Q_m. So nothing but x is saved, and
there is no scatter. The recurrent cells (``dcgru_sequence/manual.py``) are made of the same functions.

Inside, nodes come first (NBC), so that one matrix product diffuses the complete batch. The M terms of a tensor stand
side by side in its last dimension ("joined", column m*C + c), so that one GEMM sums over terms and channels and low
precision rounds once.

Shape legend: B batch, N nodes, C input channels, O output channels, M diffusion terms, I = C*M weight rows.
"""

import torch
from torch import Tensor

from dcrnn_fast.kernels.diffusion_conv.gradients import register_gradients
from dcrnn_fast.kernels.diffusion_conv.plain import Operator, stack_of
from dcrnn_fast.kernels.dtypes import accumulator_dtype
from dcrnn_fast.kernels.terms import DiffusionTerms


def diffuse(x_NBC: Tensor, operator: Operator) -> Tensor:
    """The M terms of x, joined: (N, B, M*C); the first is x itself."""
    N, B, C = x_NBC.shape
    stacked_SR = operator.apply(x_NBC.reshape(N, B * C))
    return torch.cat([x_NBC, *stacked_SR.view(-1, N, B, C).unbind(0)], dim=-1)


def forward_weight(weight_IO: Tensor, num_terms: int) -> Tensor:
    """Released layout (row = channel*M + m) to the order of joined terms (row = m*C + channel)."""
    return weight_IO.view(-1, num_terms, weight_IO.shape[1]).transpose(0, 1).reshape(weight_IO.shape)


def backward_weight(weight_IO: Tensor, num_terms: int) -> Tensor:
    """(M*O, C): the matrix that turns the joined diffused gradient (column m*O + o) into the input's gradient."""
    weight_CMO = weight_IO.view(-1, num_terms, weight_IO.shape[1])
    return weight_CMO.permute(1, 2, 0).reshape(-1, weight_CMO.shape[0])


def weight_gradient(x_NBC: Tensor, joined_gradient_NBQ: Tensor, num_terms: int) -> Tensor:
    """dW in the released layout (C*M, O), from x and the joined diffused gradient (Q = M*O)."""
    x_RC = x_NBC.reshape(-1, x_NBC.shape[2])
    gradient_RQ = joined_gradient_NBQ.reshape(x_RC.shape[0], -1)
    return (x_RC.t() @ gradient_RQ).view(x_RC.shape[1] * num_terms, -1)


@torch.library.custom_op("dcrnn_fast::diffusion_conv_manual", mutates_args=())
def _forward(x_BNC: Tensor, terms: list[Tensor], num_terms: int, weight_IO: Tensor, bias_O: Tensor) -> Tensor:
    operator = stack_of(terms, num_terms, x_BNC, transposed=False)
    y_NBO = diffuse(x_BNC.transpose(0, 1), operator) @ forward_weight(weight_IO, num_terms) + bias_O
    return y_NBO.transpose(0, 1).contiguous()


@torch.library.custom_op("dcrnn_fast::diffusion_conv_manual_backward", mutates_args=())
def _backward(
    grad_BNO: Tensor, x_BNC: Tensor, terms: list[Tensor], num_terms: int, weight_IO: Tensor, x_wanted: bool
) -> tuple[Tensor, Tensor, Tensor]:
    grad_BNO = grad_BNO.contiguous()
    operator = stack_of(terms, num_terms, x_BNC, transposed=True)
    diffused_NBQ = diffuse(grad_BNO.transpose(0, 1), operator)
    dweight_IO = weight_gradient(x_BNC.transpose(0, 1), diffused_NBQ, num_terms)
    dbias_O = grad_BNO.sum((0, 1), dtype=accumulator_dtype(grad_BNO.dtype)).to(grad_BNO.dtype)
    if not x_wanted:
        return x_BNC.new_empty(0), dweight_IO, dbias_O
    dx_NBC = diffused_NBQ @ backward_weight(weight_IO, num_terms)
    return dx_NBC.transpose(0, 1).contiguous(), dweight_IO, dbias_O


register_gradients("diffusion_conv_manual")


def diffusion_conv_manual(x_BNC: Tensor, terms: DiffusionTerms, weight_IO: Tensor, bias_O: Tensor) -> Tensor:
    """``diffusion_conv`` with the hand-written backward; same contract."""
    return _forward(x_BNC, terms.tensors, terms.num_terms, weight_IO, bias_O)
