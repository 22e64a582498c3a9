"""The specification of stacked DCGRU cells over a sequence.

Shape legend: B batch, T steps, N nodes, C input channels, H units, L layers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dcrnn_fast.kernels.dcgru_cell.specification import dcgru_cell_specification
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights


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
