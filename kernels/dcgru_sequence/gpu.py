"""Stacked DCGRU cells over a sequence on a GPU: schema and launches, for one table of primitives.

Shape legend: B batch, T steps, N nodes, C input channels, H units, L layers, M diffusion terms.
"""

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from dcrnn_fast.kernels.dcgru_sequence.gradients import register_gradients
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
    "(Tensor x_BTNC, Tensor initial_LBNH, Tensor[] terms, SymInt num_terms, Tensor[] layers, str plan_words, "
    "SymInt save) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)
BACKWARD = (
    "(Tensor grad_BTNH, Tensor grad_LBNH, Tensor x_BTNC, Tensor initial_LBNH, Tensor[] terms, SymInt num_terms, "
    "Tensor[] layers, Tensor[] saved, str plan_words, SymInt save, bool x_wanted) -> (Tensor, Tensor, Tensor[])"
)


def _forward(
    table: Table,
    x_BTNC: Tensor,
    initial_LBNH: Tensor,
    terms: list[Tensor],
    num_terms: int,
    flat: list[Tensor],
    plan_words: str,
    save: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    plan = plan_of_call(x_BTNC, terms, num_terms, plan_words, channels=x_BTNC.shape[3], units=initial_LBNH.shape[3])
    primitives, graph = table(plan), plan.graph
    L, T, H = initial_LBNH.shape[0], x_BTNC.shape[1], initial_LBNH.shape[3]
    with on_device(x_BTNC):
        x_TNBC = to_tiles(x_BTNC, graph)
        state = list(to_tiles(initial_LBNH.transpose(0, 1), graph).unbind(0))
        packs = pack_cells(primitives, cells_of(flat), num_terms, backward=False)
        kept = Saved.kept(x_TNBC, L, save, [T], H)
        room = kept if save == SAVE_ALL else Saved.empty(x_TNBC, L, (segment_steps(save, T), 1), H)
        states_BTNH = x_BTNC.new_empty(x_BTNC.shape[0], T, x_BTNC.shape[2], H)

        def give(t: int, h_NBH: Tensor) -> None:
            first, stop = segment_of(save, T, t)
            if t + 1 == stop:
                from_tiles(room.h[-1, : stop - first], graph, out=states_BTNH[:, first:stop])

        cells = Cells(primitives, graph.forward, packs, plan.hoist)
        run_forward(cells, state, x_TNBC, room, save, kept, give)
        last_LBNH = from_tiles(torch.stack(state), graph).transpose(0, 1).contiguous()
    return states_BTNH, last_LBNH, *kept


def _fake_forward(given: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    x_BTNC, initial_LBNH = given["x_BTNC"], given["initial_LBNH"]
    B, T, N, _ = x_BTNC.shape
    L, H = initial_LBNH.shape[0], initial_LBNH.shape[3]
    kept = Saved.kept(x_BTNC.new_empty(padded_nodes(N), B, 0), L, given["save"], [T], H)
    return x_BTNC.new_empty(B, T, N, H), x_BTNC.new_empty(L, B, N, H), *kept


def _backward(
    table: Table,
    grad_BTNH: Tensor,
    grad_LBNH: Tensor,
    x_BTNC: Tensor,
    initial_LBNH: Tensor,
    terms: list[Tensor],
    num_terms: int,
    flat: list[Tensor],
    saved: list[Tensor],
    plan_words: str,
    save: int,
    x_wanted: bool,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    plan = plan_of_call(x_BTNC, terms, num_terms, plan_words, channels=x_BTNC.shape[3], units=initial_LBNH.shape[3])
    primitives, graph = table(plan), plan.graph
    T, L, H = x_BTNC.shape[1], initial_LBNH.shape[0], initial_LBNH.shape[3]
    kept, wide = Saved(*saved), accumulator_dtype(x_BTNC.dtype)
    with on_device(x_BTNC):
        x_TNBC = to_tiles(x_BTNC, graph)
        start = to_tiles(initial_LBNH.transpose(0, 1), graph)
        dh = list(gradient_to_tiles(grad_LBNH.transpose(0, 1), graph).to(wide).clone().unbind(0))
        packs = pack_cells(primitives, cells_of(flat), num_terms, backward=True)
        longest = segment_steps(save, T)
        room = kept if save == SAVE_ALL else Saved.empty(x_TNBC, L, (longest, longest), H)
        grad_of_segment: list[Tensor] = []

        def of_states(t: int, dx_NBC: Tensor | None) -> Tensor:
            first, stop = segment_of(save, T, t)
            if t + 1 == stop:
                grad_of_segment[:] = gradient_to_tiles(grad_BTNH[:, first:stop], graph).unbind(0)
            return grad_of_segment[t - first]

        dx_TNBC = torch.empty_like(x_TNBC) if x_wanted else None

        def store(t: int, dx_NBC: Tensor) -> None:
            assert dx_TNBC is not None
            dx_TNBC[t] = dx_NBC

        cells = Cells(primitives, graph.forward, packs, plan.hoist)
        gradients = run_backward(
            primitives,
            graph.transposed,
            packs,
            cells.segments_backwards(x_TNBC, start, kept, save, room),
            save,
            x_TNBC,
            dh,
            outside=of_states,
            after_step=store if x_wanted else None,
        )
        dx_BTNC = x_BTNC.new_empty(0) if dx_TNBC is None else from_tiles(dx_TNBC, graph)
        dinitial_LBNH = from_tiles(torch.stack(dh).to(x_BTNC.dtype), graph).transpose(0, 1).contiguous()
    return dx_BTNC, dinitial_LBNH, flatten_cells(gradients)


def define_dcgru_sequence(backend: str, table: Table) -> Callable[..., tuple[Tensor, Tensor]]:
    """Defines ``dcrnn_fast::dcgru_sequence_<backend>`` and returns the function with ``dcgru_sequence``'s contract."""

    name = f"dcgru_sequence_{backend}"
    op = f"dcrnn_fast::{name}"
    forward = torch.library.custom_op(op, partial(_forward, table), mutates_args=(), schema=FORWARD)
    torch.library.custom_op(f"{op}_backward", partial(_backward, table), mutates_args=(), schema=BACKWARD)
    register_fake(name, _fake_forward)
    register_gradients(name, saved=itemgetter(slice(2, None)))

    def dcgru_sequence_on_gpu(
        x_BTNC: Tensor,
        terms: DiffusionTerms,
        layers: Sequence[CellWeights],
        initial_LBNH: Tensor,
        *,
        segment: int = SAVE_ALL,
    ) -> tuple[Tensor, Tensor]:
        flat = flatten_cells(layers)
        save = segment if gradient_wanted(x_BTNC, initial_LBNH, *flat) else SAVE_NOTHING
        states_BTNH, last_LBNH, *_ = forward(
            x_BTNC, initial_LBNH, terms.tensors_with_recursion, terms.num_terms, flat, override(), save
        )
        return states_BTNH, last_LBNH

    return dcgru_sequence_on_gpu


dcgru_sequence_triton = define_dcgru_sequence("triton", triton_table)
dcgru_sequence_cuda = define_dcgru_sequence("cuda", cuda_table)
