"""The tensors that a recurrent operator's forward keeps for its backward: all h, r, u, c, or states to restart from.

``save`` is SAVE_NOTHING, SAVE_ALL, or K: the steps of a segment.

Shape legend: B batch, N nodes, H units, L layers, W = H padded to a multiple of 16 (of 32 in bfloat16).
"""

import torch
from torch import Tensor

SAVE_NOTHING, SAVE_ALL = 0, -1


def gradient_wanted(*differentiable: Tensor | None) -> bool:
    """Whether a backward can follow, so that the forward must keep something for it. None: an argument left out."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in differentiable)


def segment_length(op: str, save: str) -> int:
    """The kernels' number for ``save``: SAVE_ALL, or the steps after which states are kept.

    Raises:
        ValueError: neither "all", "h" nor "segments:K" with K of at least 1.
    """
    if save in ("all", "h"):
        return SAVE_ALL if save == "all" else 1
    length = save.removeprefix("segments:")
    if length == save or not (length.isascii() and length.isdecimal()) or int(length) < 1:
        raise ValueError(f'{op}: save must be "all", "h" or "segments:K" with K of at least 1, got {save!r}')
    return int(length)


def segment_steps(save: int, steps: int) -> int:
    """Steps of a segment: all of them if none is computed again."""
    return min(save, steps) if save > 0 else steps


def segment_of(save: int, steps: int, t: int) -> tuple[int, int]:
    """The segment that step t is in: its first step, and the one after its last."""
    length = segment_steps(save, steps)
    first = t // length * length
    return first, min(first + length, steps)


def kept_steps(save: int, *runs: int) -> list[int]:
    """For each of the consecutive ``runs``, the number of its steps whose h is kept for the GPU backends.

    If segments are computed again, these are the last steps of all segments but the very last.
    """
    if save <= 0:
        return [steps if save == SAVE_ALL else 0 for steps in runs]
    return [(steps - 1) // save + (run < len(runs) - 1) for run, steps in enumerate(runs)]


def saved_numbers(segment: int, steps: int, dtype: torch.dtype, batch: int, nodes: int, units: int, layers: int) -> int:
    """Length of the tensor that the compiled kernels save: h, r, u, c of all steps, or h between segments."""
    lanes = 32 if dtype == torch.bfloat16 else 16
    if segment == SAVE_NOTHING:
        return 0
    panels = 4 * steps if segment == SAVE_ALL else (steps - 1) // segment
    return panels * layers * batch * nodes * ((units + lanes - 1) // lanes * lanes)
