"""What tests of a whole model share: its forecast in the reference's order of axes, and how far two tensors are apart.

Shape legend: P past and F future steps, B batch, N nodes, C input and O output channels.
"""

import torch
from torch import Tensor

from dcrnn_fast.model.dcrnn import DCRNN


def predict(model: DCRNN, x_PBNC: Tensor) -> Tensor:
    """The forecast (F, B, N, O) without gradients."""
    with torch.no_grad():
        return model(x_PBNC.transpose(0, 1)).transpose(0, 1)


def relative_error(got: Tensor, wanted: Tensor) -> float:
    """The largest difference over the largest value wanted, in float64."""
    return float((got.double() - wanted.double()).abs().max() / wanted.double().abs().max())
