"""The diffusion convolution in the compiled CPU kernels: their schema.

Shape legend: B batch, N nodes, C input channels, O output channels, M diffusion terms, I = C*M weight rows.
"""

import torch
from torch import Tensor

from dcrnn_fast.kernels.diffusion_conv.gradients import register_gradients
from dcrnn_fast.kernels.terms import DiffusionTerms

torch.library.define(
    "dcrnn_fast::diffusion_conv_cpu",
    "(Tensor x_BNC, Tensor[] terms, SymInt num_terms, Tensor weight_IO, Tensor bias_O, bool bf16x3) -> Tensor",
)
torch.library.define(
    "dcrnn_fast::diffusion_conv_cpu_backward",
    "(Tensor grad_BNO, Tensor x_BNC, Tensor[] terms, SymInt num_terms, Tensor weight_IO, bool x_wanted, "
    "bool bf16x3) -> (Tensor, Tensor, Tensor)",
)
register_gradients("diffusion_conv_cpu")


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
