"""The DCRNN encoder-decoder on a GPU: schema and launches, for one table of primitives.

Shape legend: B batch, P past steps, F future steps, N nodes, C input channels, O output channels,
K known channels, D = O+K, H units, L layers, M diffusion terms.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dcrnn_fast.kernels.dcrnn_seq2seq.gradients import known_channels, register_gradients
from dcrnn_fast.kernels.dtypes import accumulator_dtype
from dcrnn_fast.kernels.gpu.launch import on_device
from dcrnn_fast.kernels.gpu.layout import from_tiles, gradient_to_tiles, to_tiles
from dcrnn_fast.kernels.gpu.plan import Table, padded_nodes, plan_of_call
from dcrnn_fast.kernels.gpu.segment import Cells, Saved, pack_cells, run_backward, run_forward
from dcrnn_fast.kernels.gpu.table_cuda import cuda_table
from dcrnn_fast.kernels.gpu.table_triton import triton_table
from dcrnn_fast.kernels.gpu.words import override
from dcrnn_fast.kernels.operator import register_fake
from dcrnn_fast.kernels.saving import SAVE_ALL, SAVE_NOTHING, gradient_wanted, segment_of, segment_steps
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights, cells_of, flatten_cells

FORWARD = (
    "(Tensor x_BPNC, Tensor[] terms, SymInt num_terms, Tensor[] encoder, Tensor[] decoder, "
    "Tensor projection_weight_OH, Tensor projection_bias_O, Tensor labels_BFNO, Tensor feed_label_F, str plan_words, "
    "SymInt save, Tensor? known_BFNK=None) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)
BACKWARD = (
    "(Tensor grad_BFNO, Tensor x_BPNC, Tensor[] terms, SymInt num_terms, Tensor[] encoder, Tensor[] decoder, "
    "Tensor projection_weight_OH, Tensor feed_label_F, Tensor[] kept, str plan_words, SymInt save, bool x_wanted, "
    "bool labels_wanted, bool known_wanted=False) -> (Tensor, Tensor[], Tensor[], Tensor, Tensor, Tensor, Tensor)"
)


def _forward(
    table: Table,
    x_BPNC: Tensor,
    terms: list[Tensor],
    num_terms: int,
    encoder: list[Tensor],
    decoder: list[Tensor],
    projection_weight_OH: Tensor,
    projection_bias_O: Tensor,
    labels_BFNO: Tensor,
    feed_label_F: Tensor,
    plan_words: str,
    save: int,
    known_BFNK: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    O, H = projection_weight_OH.shape  # noqa: E741
    D = O if known_BFNK is None else O + known_BFNK.shape[3]
    plan = plan_of_call(x_BPNC, terms, num_terms, plan_words, channels=max(x_BPNC.shape[3], D), units=H)
    primitives, graph = table(plan), plan.graph
    P, F, L = x_BPNC.shape[1], feed_label_F.shape[0], len(cells_of(encoder))
    # The heads' kernels look at no strides.
    projection_weight_OH, projection_bias_O = projection_weight_OH.contiguous(), projection_bias_O.contiguous()
    with on_device(x_BPNC):
        x_PNBC, labels_FNBO = to_tiles(x_BPNC, graph), to_tiles(labels_BFNO, graph)
        N, B = x_PNBC.shape[1:3]
        coins = _coins(feed_label_F)
        kept = Saved.kept(x_PNBC, L, save, [P, F], H)
        encoder_kept, decoder_kept = kept.of_runs(save, [P, F])
        encoder_room, decoder_room = encoder_kept, decoder_kept
        if save != SAVE_ALL:
            # Two slots: a state is read until its successor is complete.
            encoder_room = Saved.empty(x_PNBC, L, (segment_steps(save, P) if plan.hoist else 2, 1), H)
            decoder_room = Saved.empty(x_PNBC, L, (2, 1), H)
        state = [x_PNBC.new_zeros(N, B, H)] * L
        packs = pack_cells(primitives, cells_of(encoder), num_terms, backward=False)
        cells = Cells(primitives, graph.forward, packs, plan.hoist)
        run_forward(cells, state, x_PNBC, encoder_room, save, encoder_kept)
        # The decoder's input at each step; the last slot is the one that it would read next.
        read_FNBD = x_PNBC.new_empty(F + 1, N, B, D)
        read_FNBD[0, ..., :O].zero_()
        if known_BFNK is not None:
            read_FNBD[:F, ..., O:] = to_tiles(known_BFNK, graph)
            read_FNBD[F, ..., O:].zero_()
        prediction_FNBO = x_PNBC.new_empty(F, N, B, O)

        def project(t: int, h_NBH: Tensor) -> None:
            primitives.head(
                h_NBH,
                projection_weight_OH,
                projection_bias_O,
                labels_FNBO[t],
                coins[t],
                prediction_FNBO[t],
                read_FNBD[t + 1],
            )

        packs = pack_cells(primitives, cells_of(decoder), num_terms, backward=False)
        cells = Cells(primitives, graph.forward, packs, hoist=False)
        run_forward(cells, state, read_FNBD[:F], decoder_room, save, decoder_kept, project)
        prediction_BFNO = from_tiles(prediction_FNBO, graph)
    return prediction_BFNO, *kept, x_BPNC.new_empty(0) if save == SAVE_NOTHING else read_FNBD


def _fake_forward(given: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    x_BPNC, save = given["x_BPNC"], given["save"]
    B, P, N, _ = x_BPNC.shape
    F, (O, H) = given["feed_label_F"].shape[0], given["projection_weight_OH"].shape  # noqa: E741
    kept = Saved.kept(x_BPNC.new_empty(padded_nodes(N), B, 0), len(cells_of(given["encoder"])), save, [P, F], H)
    D = O if given["known_BFNK"] is None else O + given["known_BFNK"].shape[3]
    read = x_BPNC.new_empty((0,) if save == SAVE_NOTHING else (F + 1, padded_nodes(N), B, D))
    return x_BPNC.new_empty(B, F, N, O), *kept, read


def _backward(
    table: Table,
    grad_BFNO: Tensor,
    x_BPNC: Tensor,
    terms: list[Tensor],
    num_terms: int,
    encoder: list[Tensor],
    decoder: list[Tensor],
    projection_weight_OH: Tensor,
    feed_label_F: Tensor,
    kept: list[Tensor],
    plan_words: str,
    save: int,
    x_wanted: bool,
    labels_wanted: bool,
    known_wanted: bool = False,
) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor, Tensor, Tensor, Tensor]:
    O, H = projection_weight_OH.shape  # noqa: E741
    K = known_channels(decoder, num_terms, projection_weight_OH)
    plan = plan_of_call(x_BPNC, terms, num_terms, plan_words, channels=max(x_BPNC.shape[3], O + K), units=H)
    primitives, graph = table(plan), plan.graph
    P, F, dtype = x_BPNC.shape[1], feed_label_F.shape[0], x_BPNC.dtype
    encoder_kept, decoder_kept = Saved(*kept[:4]).of_runs(save, [P, F])
    L, _, N, B, _ = kept[0].shape
    wide = accumulator_dtype(dtype)
    projection_weight_OH = projection_weight_OH.contiguous()
    with on_device(x_BPNC):
        x_PNBC, grad_FNBO = to_tiles(x_BPNC, graph), gradient_to_tiles(grad_BFNO, graph)
        coins = _coins(feed_label_F)
        total_FNBO = torch.empty_like(grad_FNBO)
        # The last label is read by no step.
        dlabels_FNBO = torch.zeros_like(grad_FNBO) if labels_wanted else None
        dknown_FNBK = x_PNBC.new_empty(F, N, B, K) if known_wanted else None
        dh = list(x_PNBC.new_zeros(L, N, B, H, dtype=wide).unbind(0))
        # Both runs' segments are computed again into this.
        longest = segment_steps(save, max(P, F))
        room = decoder_kept if save == SAVE_ALL else Saved.empty(x_PNBC, L, (longest, longest), H)
        dweights_OH: list[Tensor] = []

        def of_prediction(t: int, dx_NBD: Tensor | None) -> None:
            primitives.head_gradient(
                grad_FNBO[t],
                dx_NBD,
                coins[t],
                projection_weight_OH,
                dh[-1],
                total_FNBO[t],
                None if dlabels_FNBO is None else dlabels_FNBO[t],
            )

        def of_input(t: int, dx_NBD: Tensor) -> None:
            if dknown_FNBK is not None:
                dknown_FNBK[t] = dx_NBD[..., O:]
            first, stop = segment_of(save, F, t)
            if t == first:
                total_RO = total_FNBO[first:stop].view(-1, total_FNBO.shape[3])
                dweights_OH.append(total_RO.t() @ room.h[-1, : stop - first].reshape(-1, H))

        packs = pack_cells(primitives, cells_of(decoder), num_terms, backward=True)
        cells, read_FNBD = Cells(primitives, graph.forward, packs, hoist=False), kept[4][:F]
        decoder_gradients = run_backward(
            primitives,
            graph.transposed,
            packs,
            cells.segments_backwards(read_FNBD, encoder_kept.h[:, -1], decoder_kept, save, room),
            save,
            read_FNBD,
            dh,
            outside=of_prediction,
            after_step=of_input,
        )
        dweight_OH = dweights_OH[0]
        if len(dweights_OH) > 1:
            dweight_OH = torch.stack(dweights_OH).sum(0, dtype=wide).to(dtype)
        dbias_O = total_FNBO.view(-1, total_FNBO.shape[3]).sum(0, dtype=wide).to(dtype)
        dx_PNBC = torch.empty_like(x_PNBC) if x_wanted else None

        def store(t: int, dx_NBC: Tensor) -> None:
            assert dx_PNBC is not None
            dx_PNBC[t] = dx_NBC

        packs = pack_cells(primitives, cells_of(encoder), num_terms, backward=True)
        cells = Cells(primitives, graph.forward, packs, plan.hoist)
        encoder_gradients = run_backward(
            primitives,
            graph.transposed,
            packs,
            cells.segments_backwards(x_PNBC, None, encoder_kept, save, room),
            save,
            x_PNBC,
            dh,
            outside=lambda t, dx: None,
            after_step=store if x_wanted else None,
        )
        dx_BPNC = x_BPNC.new_empty(0) if dx_PNBC is None else from_tiles(dx_PNBC, graph)
        dlabels_BFNO = x_BPNC.new_empty(0) if dlabels_FNBO is None else from_tiles(dlabels_FNBO, graph)
        dknown_BFNK = x_BPNC.new_empty(0) if dknown_FNBK is None else from_tiles(dknown_FNBK, graph)
    return (
        dx_BPNC,
        flatten_cells(encoder_gradients),
        flatten_cells(decoder_gradients),
        dweight_OH,
        dbias_O,
        dlabels_BFNO,
        dknown_BFNK,
    )


def _coins(feed_label_F: Tensor) -> Tensor:
    """(F, 4) int32: one coin in 16 bytes, so that kernels see the same alignment at every step."""
    return feed_label_F[:, None].expand(-1, 4).to(torch.int32)


def define_dcrnn_seq2seq(backend: str, table: Table) -> Callable[..., Tensor]:
    """Defines ``dcrnn_fast::seq2seq_<backend>`` and returns the function with ``dcrnn_seq2seq``'s contract."""

    name = f"seq2seq_{backend}"
    op = f"dcrnn_fast::{name}"
    forward = torch.library.custom_op(op, partial(_forward, table), mutates_args=(), schema=FORWARD)
    torch.library.custom_op(f"{op}_backward", partial(_backward, table), mutates_args=(), schema=BACKWARD)
    register_fake(name, _fake_forward)
    # What is known lies in the decoder's inputs, which are kept.
    without = ("projection_bias_O", "labels_BFNO", "known_BFNK")
    register_gradients(name, "grad_BFNO", lambda output: {"kept": output[1:]}, without=without)

    def dcrnn_seq2seq_on_gpu(
        x_BPNC: Tensor,
        terms: DiffusionTerms,
        encoder: Sequence[CellWeights],
        decoder: Sequence[CellWeights],
        projection_weight_OH: Tensor,
        projection_bias_O: Tensor,
        labels_BFNO: Tensor,
        feed_label_F: Tensor,
        known_BFNK: Tensor | None = None,
        *,
        segment: int = SAVE_ALL,
    ) -> Tensor:
        encoder_flat, decoder_flat = flatten_cells(encoder), flatten_cells(decoder)
        wanted = gradient_wanted(
            x_BPNC, labels_BFNO, projection_weight_OH, projection_bias_O, known_BFNK, *encoder_flat, *decoder_flat
        )
        prediction_BFNO, *_ = forward(
            x_BPNC,
            terms.tensors_with_recursion,
            terms.num_terms,
            encoder_flat,
            decoder_flat,
            projection_weight_OH,
            projection_bias_O,
            labels_BFNO,
            feed_label_F,
            override(),
            segment if wanted else SAVE_NOTHING,
            known_BFNK,
        )
        return prediction_BFNO

    return dcrnn_seq2seq_on_gpu


dcrnn_seq2seq_triton = define_dcrnn_seq2seq("triton", triton_table)
dcrnn_seq2seq_cuda = define_dcrnn_seq2seq("cuda", cuda_table)
