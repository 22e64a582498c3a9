"""The specification of the DCGRU cell, and of stacked cells over a sequence.

Li et al. 2018, section 2.2, in the released code's order of terms.

Shape legend: B batch, T steps, N nodes, C input channels, H units, L layers.
"""

from collections.abc import Sequence

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


def step_specification(
    x_BNC: Tensor, states: Sequence[Tensor], terms: DiffusionTerms, layers: Sequence[CellWeights]
) -> list[Tensor]:
    """All layers at one step: each layer's new state (B, N, H) is the next layer's input."""
    after = []
    for h_BNH, weights in zip(states, layers, strict=True):
        x_BNC = dcgru_cell_specification(x_BNC, h_BNH, terms, weights)
        after.append(x_BNC)
    return after


def dcgru_sequence_specification(
    x_BTNC: Tensor, terms: DiffusionTerms, layers: Sequence[CellWeights], initial_LBNH: Tensor
) -> tuple[Tensor, Tensor]:
    """``dcgru_sequence`` in plain PyTorch; same contract."""
    states = list(initial_LBNH.unbind(0))
    outputs = []
    for x_BNC in x_BTNC.unbind(1):
        states = step_specification(x_BNC, states, terms, layers)
        outputs.append(states[-1])
    return torch.stack(outputs, dim=1), torch.stack(states)
