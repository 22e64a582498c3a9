"""The DCRNN encoder-decoder as one operator with a hand-written backward: two segments, with feedback in the second.

Shape legend: B batch, P past steps, F future steps, S = P+F, N nodes, C input channels, O output channels, K known
channels, D = O+K, H units, L layers, M diffusion terms.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dcrnn_fast.kernels.dcgru_sequence.manual_segment import (
    CellGradients,
    Saved,
    State,
    joined_inputs,
    run_backward,
    run_forward,
)
from dcrnn_fast.kernels.dcrnn_seq2seq.gradients import register_gradients
from dcrnn_fast.kernels.diffusion_conv.manual import diffuse
from dcrnn_fast.kernels.diffusion_conv.plain import stack_of
from dcrnn_fast.kernels.dtypes import accumulator_dtype
from dcrnn_fast.kernels.operator import register_fake
from dcrnn_fast.kernels.saving import gradient_wanted
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights, cells_of, flatten_cells


@torch.library.custom_op("dcrnn_fast::seq2seq_manual", mutates_args=())
def _forward(
    x_PNBC: Tensor,
    terms: list[Tensor],
    num_terms: int,
    encoder: list[Tensor],
    decoder: list[Tensor],
    projection_weight_OH: Tensor,
    projection_bias_O: Tensor,
    labels_FNBO: Tensor,
    feed_label_F: Tensor,
    save: bool,
    known_FNBK: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    operator = stack_of(terms, num_terms, x_PNBC, transposed=False)
    P, N, B, _ = x_PNBC.shape
    F, O = feed_label_F.shape[0], projection_bias_O.shape[0]  # noqa: E741
    saved = _empty_saved(x_PNBC, encoder, F, save)
    encoder_saved, decoder_saved = (saved.steps(0, P), saved.steps(P, P + F)) if save else (saved, saved)
    L, H = saved.h.shape[1], saved.h.shape[-1]
    state = State.zeros(x_PNBC.new_zeros(N, B, H), L, num_terms)
    run_forward(
        cells_of(encoder),
        num_terms,
        operator,
        state,
        P,
        joined_input=joined_inputs(x_PNBC, operator),
        saved=encoder_saved,
        after_step=lambda t, h_NBH: None,
    )
    prediction_FNBO = x_PNBC.new_empty(F, N, B, O)

    def decoder_input(t: int) -> Tensor:
        if t == 0 and known_FNBK is None:
            return x_PNBC.new_zeros(N, B, num_terms * O)
        return diffuse(_decoder_input(t, prediction_FNBO, labels_FNBO, feed_label_F, known_FNBK), operator)

    def project(t: int, h_NBH: Tensor) -> None:
        prediction_FNBO[t] = h_NBH @ projection_weight_OH.t() + projection_bias_O

    run_forward(
        cells_of(decoder),
        num_terms,
        operator,
        state,
        F,
        joined_input=decoder_input,
        saved=decoder_saved,
        after_step=project,
    )
    return prediction_FNBO, saved.h, saved.gates, saved.c


def _empty_saved(x_PNBC: Tensor, encoder: Sequence[Tensor], future_steps: int, save: bool) -> Saved:
    H = encoder[3].shape[0]
    return Saved.empty(x_PNBC, x_PNBC.shape[0] + future_steps if save else 1, len(cells_of(encoder)), H)


def _decoder_input(
    t: int, prediction_FNBO: Tensor, labels_FNBO: Tensor, feed_label_F: Tensor, known_FNBK: Tensor | None
) -> Tensor:
    """The decoder's input (N, B, D) at step t: zeros, then the label or the prediction of the step before; beside them
    what is known of step t.
    """
    if t == 0:
        fed_NBO = torch.zeros_like(prediction_FNBO[0])
    else:
        fed_NBO = torch.where(feed_label_F[t - 1], labels_FNBO[t - 1], prediction_FNBO[t - 1])
    return fed_NBO if known_FNBK is None else torch.cat([fed_NBO, known_FNBK[t]], dim=-1)


def _fake_forward(given: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    labels_FNBO = given["labels_FNBO"]
    saved = _empty_saved(given["x_PNBC"], given["encoder"], labels_FNBO.shape[0], given["save"])
    return labels_FNBO.new_empty(labels_FNBO.shape), saved.h, saved.gates, saved.c


@torch.library.custom_op("dcrnn_fast::seq2seq_manual_backward", mutates_args=())
def _backward(
    grad_FNBO: Tensor,
    x_PNBC: Tensor,
    terms: list[Tensor],
    num_terms: int,
    encoder: list[Tensor],
    decoder: list[Tensor],
    projection_weight_OH: Tensor,
    labels_FNBO: Tensor,
    feed_label_F: Tensor,
    prediction_FNBO: Tensor,
    saved_tensors: list[Tensor],
    known_FNBK: Tensor | None = None,
    known_wanted: bool = False,
) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor, Tensor, Tensor, Tensor]:
    transposed = stack_of(terms, num_terms, x_PNBC, transposed=True)
    P, F = x_PNBC.shape[0], feed_label_F.shape[0]
    grad_FNBO = grad_FNBO.contiguous()
    saved = Saved(*saved_tensors)
    encoder_saved, decoder_saved = saved.steps(0, P), saved.steps(P, P + F)
    wide = accumulator_dtype(x_PNBC.dtype)
    dprojection_weight_OH = torch.zeros_like(projection_weight_OH, dtype=wide)
    dprojection_bias_O = dprojection_weight_OH.new_zeros(projection_weight_OH.shape[0])
    dlabels_FNBO = torch.zeros_like(prediction_FNBO, dtype=wide)
    L, O = saved.h.shape[1], prediction_FNBO.shape[-1]  # noqa: E741
    dknown_FNBK = x_PNBC.new_empty(0)
    if known_wanted:
        assert known_FNBK is not None
        dknown_FNBK = torch.empty_like(known_FNBK)

    def prediction_gradient(t: int, dx_NBD: Tensor | None) -> list[Tensor | None]:
        total_NBO = grad_FNBO[t].to(wide)
        if dx_NBD is not None:
            dx_NBO = dx_NBD[..., :O]
            zero = torch.zeros_like(dx_NBO)
            dlabels_FNBO[t] = torch.where(feed_label_F[t], dx_NBO, zero)
            total_NBO = total_NBO + torch.where(feed_label_F[t], zero, dx_NBO)
        total_RO = total_NBO.reshape(-1, total_NBO.shape[-1])
        h_RH = decoder_saved.h[t, -1].reshape(total_RO.shape[0], -1)
        dprojection_weight_OH.add_(total_RO.t() @ h_RH.to(wide))
        dprojection_bias_O.add_(total_RO.sum(0))
        return [*[None] * (L - 1), total_NBO @ projection_weight_OH.to(wide)]

    def store_known_gradient(t: int, dx_NBD: Tensor) -> None:
        if known_wanted:
            dknown_FNBK[t] = dx_NBD[..., O:]

    dh = [torch.zeros_like(h_NBH, dtype=wide) for h_NBH in saved.h[0].unbind(0)]
    decoder_cells, encoder_cells = cells_of(decoder), cells_of(encoder)
    decoder_gradients = [CellGradients.zeros(weights) for weights in decoder_cells]
    run_backward(
        decoder_cells,
        num_terms,
        transposed,
        encoder_saved.h[-1].unbind(0),
        decoder_saved,
        input_at=lambda t: _decoder_input(t, prediction_FNBO, labels_FNBO, feed_label_F, known_FNBK),
        gradients=decoder_gradients,
        dh=dh,
        state_gradient=prediction_gradient,
        after_step=store_known_gradient,
    )
    encoder_gradients = [CellGradients.zeros(weights) for weights in encoder_cells]
    dx_PNBC = torch.empty_like(x_PNBC)

    def store_input_gradient(t: int, dx_NBC: Tensor) -> None:
        dx_PNBC[t] = dx_NBC

    run_backward(
        encoder_cells,
        num_terms,
        transposed,
        [torch.zeros_like(h_NBH) for h_NBH in saved.h[0].unbind(0)],
        encoder_saved,
        input_at=lambda t: x_PNBC[t],
        gradients=encoder_gradients,
        dh=dh,
        state_gradient=lambda t, dx: [],
        after_step=store_input_gradient,
    )
    dtype = x_PNBC.dtype
    return (
        dx_PNBC,
        [total.to(dtype) for cell in encoder_gradients for total in cell],
        [total.to(dtype) for cell in decoder_gradients for total in cell],
        dprojection_weight_OH.to(dtype),
        dprojection_bias_O.to(dtype),
        dlabels_FNBO.to(dtype),
        dknown_FNBK,
    )


register_fake("seq2seq_manual", _fake_forward)
register_gradients(
    "seq2seq_manual", "grad_FNBO", lambda output: {"prediction_FNBO": output[0], "saved_tensors": output[1:]}
)


def dcrnn_seq2seq_manual(
    x_BPNC: Tensor,
    terms: DiffusionTerms,
    encoder: Sequence[CellWeights],
    decoder: Sequence[CellWeights],
    projection_weight_OH: Tensor,
    projection_bias_O: Tensor,
    labels_BFNO: Tensor,
    feed_label_F: Tensor,
    known_BFNK: Tensor | None = None,
) -> Tensor:
    """``dcrnn_seq2seq`` with the hand-written backward; same contract, with labels and coins given."""
    encoder_flat, decoder_flat = flatten_cells(encoder), flatten_cells(decoder)
    save = gradient_wanted(
        x_BPNC, labels_BFNO, projection_weight_OH, projection_bias_O, known_BFNK, *encoder_flat, *decoder_flat
    )
    prediction_FNBO, _, _, _ = _forward(
        x_BPNC.permute(1, 2, 0, 3).contiguous(),
        terms.tensors,
        terms.num_terms,
        encoder_flat,
        decoder_flat,
        projection_weight_OH,
        projection_bias_O,
        labels_BFNO.permute(1, 2, 0, 3).contiguous(),
        feed_label_F,
        save,
        None if known_BFNK is None else known_BFNK.permute(1, 2, 0, 3).contiguous(),
    )
    return prediction_FNBO.permute(2, 0, 1, 3)
