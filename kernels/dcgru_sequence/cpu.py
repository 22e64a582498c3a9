"""Stacked DCGRU cells over a sequence in the compiled CPU kernels: their schema.

Shape legend: B batch, T steps, N nodes, C input channels, H units, L layers, M diffusion terms.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from dcrnn_fast.kernels.dcgru_sequence.gradients import register_gradients
from dcrnn_fast.kernels.operator import register_fake
from dcrnn_fast.kernels.saving import SAVE_ALL, SAVE_NOTHING, gradient_wanted, saved_numbers
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights, flatten_cells

torch.library.define(
    "dcrnn_fast::dcgru_sequence_cpu",
    "(Tensor x_BTNC, Tensor initial_LBNH, Tensor[] terms, SymInt num_terms, Tensor[] layers, SymInt save, "
    "bool bf16x3) -> (Tensor, Tensor, Tensor)",
)
torch.library.define(
    "dcrnn_fast::dcgru_sequence_cpu_backward",
    "(Tensor grad_BTNH, Tensor grad_LBNH, Tensor x_BTNC, Tensor initial_LBNH, Tensor[] terms, SymInt num_terms, "
    "Tensor[] layers, Tensor saved, SymInt save, bool x_wanted, bool bf16x3) -> (Tensor, Tensor, Tensor[])",
)


def _fake_forward(given: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    x_BTNC, initial_LBNH = given["x_BTNC"], given["initial_LBNH"]
    B, T, N, _ = x_BTNC.shape
    L, _, _, H = initial_LBNH.shape
    saved = x_BTNC.new_empty(saved_numbers(given["save"], T, x_BTNC.dtype, B, N, H, L))
    return x_BTNC.new_empty(B, T, N, H), initial_LBNH.new_empty(initial_LBNH.shape), saved


register_fake("dcgru_sequence_cpu", _fake_forward)
register_gradients("dcgru_sequence_cpu", saved=itemgetter(2))


def dcgru_sequence_cpu(
    x_BTNC: Tensor,
    terms: DiffusionTerms,
    layers: Sequence[CellWeights],
    initial_LBNH: Tensor,
    *,
    segment: int = SAVE_ALL,
    bf16x3: bool = False,
) -> tuple[Tensor, Tensor]:
    """``dcgru_sequence`` in the compiled kernels; same contract.

    Args:
        segment: the numbers kept for the backward, as ``saving.segment_length`` has it.
        bf16x3: float32 products may be made of three to six bfloat16 ones.
    """
    flat = flatten_cells(layers)
    states_BTNH, last_LBNH, _ = torch.ops.dcrnn_fast.dcgru_sequence_cpu(
        x_BTNC,
        initial_LBNH,
        terms.tensors_with_recursion,
        terms.num_terms,
        flat,
        segment if gradient_wanted(x_BTNC, initial_LBNH, *flat) else SAVE_NOTHING,
        bf16x3,
    )
    return states_BTNH, last_LBNH
