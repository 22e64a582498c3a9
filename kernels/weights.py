"""The parameters of one DCGRU cell, in the layout that published checkpoints have."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

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


TENSORS_PER_CELL = len(CellWeights._fields)
"""``csrc/torch/tensors.h`` has the same number as kCellTensors"""


def flatten_cells(cells: Iterable[CellWeights]) -> list[Tensor]:
    """The flat list of tensors that an operator's schema carries."""
    return [tensor for cell in cells for tensor in cell]


def cells_of(flat: Sequence[Tensor]) -> list[CellWeights]:
    """The cells again, from ``flatten_cells``."""
    starts = range(0, len(flat), TENSORS_PER_CELL)
    return [CellWeights(*flat[start : start + TENSORS_PER_CELL]) for start in starts]


def cell_shape(weights: CellWeights, num_terms: int, op: str) -> tuple[int, int]:
    """(C, H) of a cell; checks that its four tensors agree.

    Raises:
        ValueError: a shape is wrong; the message names the tensor, its shape and the one it must have.
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
