"""The diffusion convolution on a GPU: schema and launches, for one table of primitives.

Shape legend: B batch, N nodes, C input channels, O output channels, M diffusion terms, I = C*M weight rows.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from dcrnn_fast.kernels.diffusion_conv.gradients import register_gradients
from dcrnn_fast.kernels.dtypes import accumulator_dtype
from dcrnn_fast.kernels.gpu.launch import on_device
from dcrnn_fast.kernels.gpu.layout import from_tiles, gradient_to_tiles, to_tiles
from dcrnn_fast.kernels.gpu.plan import Table, plan_of_call
from dcrnn_fast.kernels.gpu.table_triton import triton_table
from dcrnn_fast.kernels.gpu.words import override
from dcrnn_fast.kernels.terms import DiffusionTerms

FORWARD = "(Tensor x_BNC, Tensor[] terms, SymInt num_terms, Tensor weight_IO, Tensor bias_O, str plan_words) -> Tensor"
BACKWARD = (
    "(Tensor grad_BNO, Tensor x_BNC, Tensor[] terms, SymInt num_terms, Tensor weight_IO, str plan_words, "
    "bool x_wanted) -> (Tensor, Tensor, Tensor)"
)


def _forward(
    table: Table,
    x_BNC: Tensor,
    terms: list[Tensor],
    num_terms: int,
    weight_IO: Tensor,
    bias_O: Tensor,
    plan_words: str,
) -> Tensor:
    plan = plan_of_call(x_BNC, terms, num_terms, plan_words, channels=x_BNC.shape[2], units=weight_IO.shape[1])
    with on_device(x_BNC):
        x_1NBC = to_tiles(x_BNC[:, None], plan.graph)
        out_1NBO = x_1NBC.new_empty(*x_1NBC.shape[:3], weight_IO.shape[1])
        weight_MCO = weight_IO.view(-1, num_terms, weight_IO.shape[1]).transpose(0, 1).contiguous()
        table(plan).convolve(x_1NBC, plan.graph.forward, weight_MCO, bias_O.contiguous(), out_1NBO, None)
        return from_tiles(out_1NBO, plan.graph)[:, 0].contiguous()


def _backward(
    table: Table,
    grad_BNO: Tensor,
    x_BNC: Tensor,
    terms: list[Tensor],
    num_terms: int,
    weight_IO: Tensor,
    plan_words: str,
    x_wanted: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    plan = plan_of_call(x_BNC, terms, num_terms, plan_words, channels=x_BNC.shape[2], units=weight_IO.shape[1])
    M, C, O = num_terms, x_BNC.shape[2], weight_IO.shape[1]  # noqa: E741
    with on_device(x_BNC):
        grad_1NBO = gradient_to_tiles(grad_BNO[:, None], plan.graph)
        dx_1NBC = grad_1NBO.new_empty(*grad_1NBO.shape[:3], C)
        q_1NBQ = grad_1NBO.new_empty(*grad_1NBO.shape[:3], M * O)
        weight_MOC = weight_IO.view(C, M, O).permute(1, 2, 0).contiguous()
        table(plan).convolve(grad_1NBO, plan.graph.transposed, weight_MOC, None, dx_1NBC, q_1NBQ)
        x_RC = to_tiles(x_BNC[:, None], plan.graph).view(-1, C)
        dweight_IO = (x_RC.t() @ q_1NBQ.view(-1, M * O)).view(C * M, O)
        dbias_O = grad_1NBO.sum((0, 1, 2), dtype=accumulator_dtype(x_BNC.dtype)).to(x_BNC.dtype)
        dx_BNC = from_tiles(dx_1NBC, plan.graph)[:, 0].contiguous() if x_wanted else x_BNC.new_empty(0)
    return dx_BNC, dweight_IO, dbias_O


def define_diffusion_conv(backend: str, table: Table) -> Callable[..., Tensor]:
    """Defines ``dcrnn_fast::diffusion_conv_<backend>`` and returns the function with ``diffusion_conv``'s contract."""
    name = f"diffusion_conv_{backend}"
    op = f"dcrnn_fast::{name}"
    forward = torch.library.custom_op(op, partial(_forward, table), mutates_args=(), schema=FORWARD)
    torch.library.custom_op(f"{op}_backward", partial(_backward, table), mutates_args=(), schema=BACKWARD)
    register_gradients(name)

    def diffusion_conv_on_gpu(x_BNC: Tensor, terms: DiffusionTerms, weight_IO: Tensor, bias_O: Tensor) -> Tensor:
        return forward(x_BNC, terms.tensors_with_recursion, terms.num_terms, weight_IO, bias_O, override())

    return diffusion_conv_on_gpu


diffusion_conv_triton = define_diffusion_conv("triton", triton_table)
# CUDA C++ has nothing better for it.
diffusion_conv_cuda = define_diffusion_conv("cuda", triton_table)
