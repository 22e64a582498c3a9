"""The specification of the DCGRU cell (Li et al. 2018, section 2.2, in the released code's order of terms).

Shape legend: B batch, N nodes, C input channels, H units.
"""

import torch
from torch import Tensor

from dcrnn_fast.kernels.diffusion_conv.specification import diffusion_conv_specification
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights


def dcgru_cell_specification(x_BNC: Tensor, h_BNH: Tensor, terms: DiffusionTerms, weights: CellWeights) -> Tensor:
    """``dcgru_cell`` in plain PyTorch; same contract."""
    both = torch.cat([x_BNC, h_BNH.to(x_BNC.dtype)], dim=-1)
    gates = torch.sigmoid(diffusion_conv_specification(both, terms, weights.gate_weight, weights.gate_bias))
    r_BNH, u_BNH = gates.chunk(2, dim=-1)
    reset = torch.cat([x_BNC, (r_BNH * h_BNH).to(x_BNC.dtype)], dim=-1)
    c_BNH = torch.tanh(diffusion_conv_specification(reset, terms, weights.candidate_weight, weights.candidate_bias))
    return u_BNH * h_BNH + (1 - u_BNH) * c_BNH
