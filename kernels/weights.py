"""The parameters of one DCGRU cell, in the layout that published checkpoints have."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class CellWeights(NamedTuple):
    """Parameters of one cell with C input channels, H units and M diffusion terms.

    Attributes:
        gate_weight: ((C+H)*M, 2H); row = feature*M + m with features [input, state]; columns r, then u.
        gate_bias: (2H).
        candidate_weight: ((C+H)*M, H); the state rows meet r*h.
        candidate_bias: (H).
    """

    gate_weight: Tensor
    gate_bias: Tensor
    candidate_weight: Tensor
    candidate_bias: Tensor


def flatten_cells(cells: Iterable[CellWeights]) -> list[Tensor]:
    """The flat list of tensors that an operator's schema carries."""
    return [tensor for cell in cells for tensor in cell]


def group_cells(flat: Sequence[Tensor]) -> list[CellWeights]:
    """Cells from ``flatten_cells``."""
    return [CellWeights(*flat[start : start + 4]) for start in range(0, len(flat), 4)]


def cells_to(cells: Iterable[CellWeights], dtype: torch.dtype) -> list[CellWeights]:
    """The cells in another dtype."""
    return [CellWeights(*(tensor.to(dtype) for tensor in cell)) for cell in cells]


def cell_shape(weights: CellWeights, num_terms: int, op: str) -> tuple[int, int]:
    """(C, H) of a cell; checks that its four tensors agree.

    Raises:
        ValueError: names the tensor, what it is and what it must be.
    """
    hidden = weights.candidate_weight.shape[-1]
    rows = weights.candidate_weight.shape[0]
    if weights.candidate_weight.dim() != 2 or rows % num_terms or rows // num_terms <= hidden:
        raise ValueError(
            f"{op}: candidate_weight must be ((C+H)*M, H) with M={num_terms} and C at least 1, "
            f"got {tuple(weights.candidate_weight.shape)}"
        )
    for name, got, wanted in (
        ("gate_weight", weights.gate_weight, (rows, 2 * hidden)),
        ("gate_bias", weights.gate_bias, (2 * hidden,)),
        ("candidate_bias", weights.candidate_bias, (hidden,)),
    ):
        if tuple(got.shape) != wanted:
            raise ValueError(f"{op}: {name} must be {wanted} to fit candidate_weight, got {tuple(got.shape)}")
    return rows // num_terms - hidden, hidden
