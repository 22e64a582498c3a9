"""Stacked DCGRU cells over a sequence in the compiled CPU kernels: schema, fakes and autograd.

Shape legend: B batch, T steps, N nodes, C input channels, H units, L layers, M diffusion terms.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dcrnn_fast.kernels.checks import refuse_second_derivatives
from dcrnn_fast.kernels.operator import call_backward, keep, kept, only_for_the_backward
from dcrnn_fast.kernels.saving import SAVE_ALL, SAVE_NOTHING, gradient_wanted, saved_numbers
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights, flatten_cells

OP = "dcrnn_fast::dcgru_sequence_cpu"
BACKWARD = "dcrnn_fast::dcgru_sequence_cpu_backward"

torch.library.define(
    OP,
    "(Tensor x_BTNC, Tensor initial_LBNH, Tensor[] terms, SymInt num_terms, Tensor[] layers, SymInt save, "
    "bool bf16x3) -> (Tensor, Tensor, Tensor)",
)
torch.library.define(
    BACKWARD,
    "(Tensor grad_BTNH, Tensor grad_LBNH, Tensor x_BTNC, Tensor initial_LBNH, Tensor[] terms, SymInt num_terms, "
    "Tensor[] layers, Tensor saved, SymInt save, bool x_wanted, bool bf16x3) -> (Tensor, Tensor, Tensor[])",
)


@torch.library.register_fake(OP)
def _(
    x_BTNC: Tensor,
    initial_LBNH: Tensor,
    terms: list[Tensor],
    num_terms: int,
    layers: list[Tensor],
    save: int,
    bf16x3: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    B, T, N, _ = x_BTNC.shape
    L, _, _, H = initial_LBNH.shape
    saved = x_BTNC.new_empty(saved_numbers(save, T, x_BTNC.dtype, B, N, H, L))
    return x_BTNC.new_empty(B, T, N, H), initial_LBNH.new_empty(initial_LBNH.shape), saved


@torch.library.register_fake(BACKWARD)
def _(
    grad_BTNH: Tensor,
    grad_LBNH: Tensor,
    x_BTNC: Tensor,
    initial_LBNH: Tensor,
    terms: list[Tensor],
    num_terms: int,
    layers: list[Tensor],
    saved: Tensor,
    save: int,
    x_wanted: bool,
    bf16x3: bool,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    return (
        x_BTNC.new_empty(x_BTNC.shape if x_wanted else (0,)),
        initial_LBNH.new_empty(initial_LBNH.shape),
        [tensor.new_empty(tensor.shape) for tensor in layers],
    )


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    keep(ctx, "dcgru_sequence_cpu", inputs, saved=output[2])
    only_for_the_backward(ctx, output[2:])


def _gradient(ctx, grad_BTNH, grad_LBNH, _):  # type: ignore[no-untyped-def]
    found, x_wanted = kept(ctx), ctx.needs_input_grad[0]
    x_BTNC, initial_LBNH = found["x_BTNC"], found["initial_LBNH"]
    if grad_BTNH is None:
        grad_BTNH = x_BTNC.new_zeros(*x_BTNC.shape[:3], initial_LBNH.shape[3])
    if grad_LBNH is None:
        grad_LBNH = initial_LBNH.new_zeros(initial_LBNH.shape)
    dx_BTNC, dinitial_LBNH, dlayers = call_backward(
        "dcgru_sequence_cpu", found, grad_BTNH=grad_BTNH, grad_LBNH=grad_LBNH, x_wanted=x_wanted
    )
    return dx_BTNC if x_wanted else None, dinitial_LBNH, [None] * len(found["terms"]), None, dlayers, None, None


torch.library.register_autograd(OP, _gradient, setup_context=_setup)
refuse_second_derivatives(BACKWARD)


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
