"""Which dtype a call computes in, and which its sums are kept in."""

import torch
from torch import Tensor


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype of the autocast region around the call, or None outside one."""
    if x.dtype != torch.float64 and torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return None


def computed_dtype(x: Tensor) -> torch.dtype:
    """The dtype that an operator computes in when ``x`` is its first tensor: that of autocast, else x's own."""
    return autocast_dtype(x) or x.dtype


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of sums over nodes, batch and steps: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32
