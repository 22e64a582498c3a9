"""The specification of the diffusion convolution: every backend must equal it computed in float64.

Shape legend: B batch, N nodes, C input channels, O output channels, M diffusion terms, I = C*M weight rows.
"""

import torch
from torch import Tensor

from dcrnn_fast.kernels.diffusion_conv.plain import stacked_operator
from dcrnn_fast.kernels.terms import DiffusionTerms


def diffuse_specification(x_BNC: Tensor, terms: DiffusionTerms) -> Tensor:
    """All M diffusion terms of x: (M, B, N, C), the first of which is x itself."""
    B, N, C = x_BNC.shape
    x_NR = x_BNC.permute(1, 0, 2).reshape(N, B * C)
    diffused_SR = stacked_operator(terms, x_BNC.dtype, transposed=False).apply(x_NR)
    diffused_MBNC = diffused_SR.view(terms.num_terms - 1, N, B, C).permute(0, 2, 1, 3)
    return torch.cat([x_BNC[None].to(diffused_MBNC.dtype), diffused_MBNC])


def diffusion_conv_specification(x_BNC: Tensor, terms: DiffusionTerms, weight_IO: Tensor, bias_O: Tensor) -> Tensor:
    """``diffusion_conv`` in plain PyTorch; same contract."""
    M, C = terms.num_terms, x_BNC.shape[2]
    diffused_MBNC = diffuse_specification(x_BNC, terms)
    features_BNI = diffused_MBNC.permute(1, 2, 3, 0).reshape(*x_BNC.shape[:2], C * M)
    return features_BNI @ weight_IO + bias_O
