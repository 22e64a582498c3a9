"""Stacked DCGRU cells over a sequence as one operator with a hand-written backward.

Shape legend: B batch, T steps, N nodes, C input channels, H units, L layers, M diffusion terms.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dcrnn_fast.kernels.checks import refuse_second_derivatives
from dcrnn_fast.kernels.dcgru_sequence.manual_segment import (
    CellGradients,
    Saved,
    State,
    joined_inputs,
    run_backward,
    run_forward,
)
from dcrnn_fast.kernels.diffusion_conv.plain import stack_of
from dcrnn_fast.kernels.dtypes import accumulator_dtype
from dcrnn_fast.kernels.operator import call_backward, keep, kept, only_for_the_backward, register_fake
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights, cells_of, flatten_cells


@torch.library.custom_op("dcrnn_fast::dcgru_sequence_manual", mutates_args=())
def _forward(
    x_TNBC: Tensor, initial_LNBH: Tensor, terms: list[Tensor], num_terms: int, flat: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    layers = cells_of(flat)
    operator = stack_of(terms, num_terms, x_TNBC, transposed=False)
    T = x_TNBC.shape[0]
    saved = Saved.empty(x_TNBC, T, len(layers), initial_LNBH.shape[-1])
    run_forward(
        layers,
        num_terms,
        operator,
        State.begin(initial_LNBH.unbind(0), operator),
        T,
        joined_input=joined_inputs(x_TNBC, operator),
        saved=saved,
        after_step=lambda t, h_NBH: None,
    )
    return saved.h, saved.gates, saved.c


def _fake_forward(given: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    x_TNBC, initial_LNBH = given["x_TNBC"], given["initial_LNBH"]
    saved = Saved.empty(x_TNBC, x_TNBC.shape[0], initial_LNBH.shape[0], initial_LNBH.shape[-1])
    return saved.h, saved.gates, saved.c


@torch.library.custom_op("dcrnn_fast::dcgru_sequence_manual_backward", mutates_args=())
def _backward(
    grad_TLNBH: Tensor,
    x_TNBC: Tensor,
    initial_LNBH: Tensor,
    terms: list[Tensor],
    num_terms: int,
    flat: list[Tensor],
    saved: list[Tensor],
) -> tuple[Tensor, Tensor, list[Tensor]]:
    layers = cells_of(flat)
    transposed = stack_of(terms, num_terms, x_TNBC, transposed=True)
    gradients = [CellGradients.zeros(weights) for weights in layers]
    dx_TNBC = torch.empty_like(x_TNBC, memory_format=torch.contiguous_format)
    wide = accumulator_dtype(x_TNBC.dtype)
    dh = [torch.zeros_like(h_NBH, dtype=wide) for h_NBH in initial_LNBH.unbind(0)]
    run_backward(
        layers,
        num_terms,
        transposed,
        initial_LNBH.unbind(0),
        Saved(*saved),
        input_at=lambda t: x_TNBC[t],
        gradients=gradients,
        dh=dh,
        state_gradient=lambda t, dx: grad_TLNBH[t].unbind(0),
        after_step=lambda t, dx_NBC: _store(dx_TNBC, t, dx_NBC),
    )
    flat_gradients = [total.to(x_TNBC.dtype) for cell in gradients for total in cell]
    return dx_TNBC, torch.stack(dh).to(x_TNBC.dtype), flat_gradients


def _store(where: Tensor, t: int, value: Tensor) -> None:
    where[t] = value


def _fake_backward(given: dict[str, Any]) -> tuple[Tensor, Tensor, list[Tensor]]:
    x_TNBC, initial_LNBH = given["x_TNBC"], given["initial_LNBH"]
    return (
        x_TNBC.new_empty(x_TNBC.shape),
        initial_LNBH.new_empty(initial_LNBH.shape),
        [tensor.new_empty(tensor.shape) for tensor in given["flat"]],
    )


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    keep(ctx, "dcgru_sequence_manual", inputs, saved=output)
    only_for_the_backward(ctx, output[1:])


def _gradient(ctx, grad_TLNBH, *_):  # type: ignore[no-untyped-def]
    found = kept(ctx)
    if grad_TLNBH is None:
        grad_TLNBH = torch.zeros_like(found["saved"][0])
    dx_TNBC, dinitial_LNBH, dflat = call_backward("dcgru_sequence_manual", found, grad_TLNBH=grad_TLNBH.contiguous())
    return dx_TNBC, dinitial_LNBH, [None] * len(found["terms"]), None, dflat


register_fake("dcgru_sequence_manual", _fake_forward)
register_fake("dcgru_sequence_manual_backward", _fake_backward)
_forward.register_autograd(_gradient, setup_context=_setup)
refuse_second_derivatives("dcrnn_fast::dcgru_sequence_manual_backward")


def dcgru_sequence_manual(
    x_BTNC: Tensor, terms: DiffusionTerms, layers: Sequence[CellWeights], initial_LBNH: Tensor
) -> tuple[Tensor, Tensor]:
    """``dcgru_sequence`` with the hand-written backward; same contract."""
    h_TLNBH, _, _ = _forward(
        x_BTNC.permute(1, 2, 0, 3).contiguous(),
        initial_LBNH.transpose(1, 2).contiguous(),
        terms.tensors,
        terms.num_terms,
        flatten_cells(layers),
    )
    return h_TLNBH[:, -1].permute(2, 0, 1, 3), h_TLNBH[-1].transpose(1, 2)
