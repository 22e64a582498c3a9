"""Stacked DCGRU cells over a sequence in the compiled CPU kernels: schema, fakes and autograd.

Shape legend: B batch, T steps, N nodes, C input channels, H units, L layers, M diffusion terms.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights, padded_units

OP = "dcrnn_fast::dcgru_sequence_cpu"
BACKWARD = "dcrnn_fast::dcgru_sequence_cpu_backward"

torch.library.define(
    OP,
    "(Tensor x_BTNC, Tensor initial_LBNH, Tensor[] terms, SymInt num_terms, Tensor[] layers, bool save)"
    " -> (Tensor, Tensor, Tensor)",
)
torch.library.define(
    BACKWARD,
    "(Tensor grad_BTNH, Tensor grad_LBNH, Tensor x_BTNC, Tensor initial_LBNH, Tensor[] terms, SymInt num_terms, "
    "Tensor[] layers, Tensor saved, bool x_wanted) -> (Tensor, Tensor, Tensor[])",
)


@torch.library.register_fake(OP)
def _(
    x_BTNC: Tensor, initial_LBNH: Tensor, terms: list[Tensor], num_terms: int, layers: list[Tensor], save: bool
) -> tuple[Tensor, Tensor, Tensor]:
    B, T, N, _ = x_BTNC.shape
    L, _, _, H = initial_LBNH.shape
    # h, r, u and c of every step.
    saved = x_BTNC.new_empty((4, T, L, B, N, padded_units(H)) if save else (0,))
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
    x_wanted: bool,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    return (
        x_BTNC.new_empty(x_BTNC.shape if x_wanted else (0,)),
        initial_LBNH.new_empty(initial_LBNH.shape),
        [tensor.new_empty(tensor.shape) for tensor in layers],
    )


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    x_BTNC, initial_LBNH, terms, ctx.num_terms, layers, save = inputs
    if not save:
        raise RuntimeError(f"{OP}: a backward needs save=True")
    ctx.mark_non_differentiable(output[2])
    ctx.save_for_backward(x_BTNC, initial_LBNH, output[2], *terms, *layers)


def _gradient(ctx, grad_BTNH, grad_LBNH, _):  # type: ignore[no-untyped-def]
    x_BTNC, initial_LBNH, saved, *rest = ctx.saved_tensors
    terms, layers = rest[:6], rest[6:]
    x_wanted = ctx.needs_input_grad[0]
    dx_BTNC, dinitial_LBNH, dlayers = torch.ops.dcrnn_fast.dcgru_sequence_cpu_backward(
        grad_BTNH, grad_LBNH, x_BTNC, initial_LBNH, terms, ctx.num_terms, layers, saved, x_wanted
    )
    return dx_BTNC if x_wanted else None, dinitial_LBNH, [None] * len(terms), None, dlayers, None


torch.library.register_autograd(OP, _gradient, setup_context=_setup)


def dcgru_sequence_cpu(
    x_BTNC: Tensor, terms: DiffusionTerms, layers: Sequence[CellWeights], initial_LBNH: Tensor
) -> tuple[Tensor, Tensor]:
    """``dcgru_sequence`` in the compiled kernels; same contract."""
    flat = [tensor for weights in layers for tensor in weights]
    save = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x_BTNC, initial_LBNH, *flat))
    states_BTNH, last_LBNH, _ = torch.ops.dcrnn_fast.dcgru_sequence_cpu(
        x_BTNC, initial_LBNH, terms.tensors, terms.num_terms, flat, save
    )
    return states_BTNH, last_LBNH
