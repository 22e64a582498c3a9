"""A run of steps through stacked cells on a GPU: the order of launches, for any table of primitives.

Two launches a cell forward, three backward; only h, r, u and c are saved. If only states between segments are kept, the
backward computes each segment's h, r, u and c again, by the forward's launches, into one workspace. Weight
gradients are products over as many steps of a segment at once as fit into a workspace of fixed size, so their sums come
in the same order every time.

Shape legend: B batch, T steps, N nodes (padded to whole tiles), C input channels, H units, L layers, M diffusion terms,
G = 3H columns, J = 3*M*H columns of diffused gradients, R rows of a product.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from dcrnn_fast.kernels.dtypes import accumulator_dtype
from dcrnn_fast.kernels.gpu.primitives import CellGradient, CellPack, CellStep, Direction, Primitives, Source
from dcrnn_fast.kernels.saving import SAVE_ALL, kept_steps, segment_of, segment_steps
from dcrnn_fast.kernels.weights import CellWeights

# Bytes of diffused gradients that wait for their product: all of a METR-LA step, one step of a graph of 10,000 nodes.
WORKSPACE_BYTES = 1 << 30


class Saved(NamedTuple):
    """h, r, u and c of every layer and step, (L, T, N, B, H) each."""

    h: Tensor
    r: Tensor
    u: Tensor
    c: Tensor

    @classmethod
    def empty(cls, like_NB: Tensor, layers: int, steps: tuple[int, int], units: int) -> "Saved":
        """Room for ``steps`` steps of h and of the others beside ``like_NB`` (..., N, B, any)."""
        N, B = like_NB.shape[-3:-1]
        h = like_NB.new_empty(layers, steps[0], N, B, units)
        return cls(h, *(like_NB.new_empty(layers, steps[1], N, B, units) for _ in range(3)))

    @classmethod
    def kept(cls, like_NB: Tensor, layers: int, save: int, runs: Sequence[int], units: int) -> "Saved":
        """Room for the tensors that consecutive ``runs`` of steps keep for the backward: all; some steps' h; none."""
        steps = sum(kept_steps(save, *runs))
        return cls.empty(like_NB, layers, (steps, steps if save == SAVE_ALL else 0), units)

    def of_runs(self, save: int, runs: Sequence[int]) -> list["Saved"]:
        """Each run's part of the tensors that they ``kept``."""
        stops = list(accumulate(kept_steps(save, *runs)))
        return [self.steps(start, stop) for start, stop in pairwise([0, *stops])]

    def steps(self, start: int, stop: int) -> "Saved":
        """A view of some of the steps."""
        return Saved(*(tensor[:, start:stop] for tensor in self))

    def slot(self, layer: int, t: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The place of step t of a layer; steps that are not kept share slots."""
        h, r, u, c = (tensor[layer, t % tensor.shape[1]] for tensor in self)
        return h, r, u, c


class Segment(NamedTuple):
    """Steps of a run with all that their backward needs.

    ``before`` (L, N, B, H) is each layer's state before step ``first``; ``zero``: it is zeros, which add nothing to
    weights' sums.
    """

    first: int
    before: Tensor
    zero: bool
    saved: Saved


class Cells(NamedTuple):
    """A stack of cells as a plan runs it forward; ``hoist``: all inputs are known before the first step."""

    primitives: Primitives
    direction: Direction
    packs: Sequence[CellPack]
    hoist: bool

    def run(
        self,
        state: list[Tensor],
        x_TNBC: Tensor,
        saved: Saved,
        first: int = 0,
        after_step: Callable[[int, Tensor], None] | None = None,
    ) -> None:
        """Runs a segment from step ``first`` on; ``state``, each layer's h (N, B, H), is moved forward.

        ``after_step(t, h)`` sees the last layer's state; without ``hoist``, it may still write the next step's input.
        """
        run = _run_layer_by_layer if self.hoist else _run_step_by_step
        run(self, state, x_TNBC, saved, first, after_step)

    def segments_backwards(
        self, x_TNBC: Tensor, start: Tensor | None, kept: Saved, save: int, room: Saved
    ) -> Iterator[Segment]:
        """From the last segment to the first; with segments, each is computed again into ``room`` when its turn comes.

        ``start`` (L, N, B, H) is each layer's state before the first step, None: zeros.
        """
        T = x_TNBC.shape[0]
        L, _, N, B, H = kept.h.shape
        for first in reversed(range(0, T, segment_steps(save, T))):
            _, stop = segment_of(save, T, first)
            zero, saved = first == 0 and start is None, kept
            if first:
                before = kept.h[:, first // save - 1]
            else:
                before = kept.h.new_zeros(N, B, H).expand(L, N, B, H) if start is None else start
            if save != SAVE_ALL:
                saved = room.steps(0, stop - first)
                self.run(list(before.unbind(0)), x_TNBC[first:stop], saved)
            yield Segment(first, before, zero, saved)


def run_forward(
    cells: Cells,
    state: list[Tensor],
    x_TNBC: Tensor,
    room: Saved,
    save: int,
    kept: Saved,
    after_step: Callable[[int, Tensor], None] | None = None,
) -> None:
    """Runs all steps, segment after segment, with results in ``room``; the states between them go to ``kept``.

    ``state`` and ``after_step`` are those of ``Cells.run``.
    """
    T = x_TNBC.shape[0]
    for index, first in enumerate(range(0, T, segment_steps(save, T))):
        _, stop = segment_of(save, T, first)
        cells.run(state, x_TNBC[first:stop], room, first, after_step)
        if save > 0 and index < kept.h.shape[1]:
            kept.h[:, index].copy_(room.h[:, (stop - first - 1) % room.h.shape[1]])
            state[:] = kept.h[:, index].unbind(0)


def _run_step_by_step(
    cells: Cells,
    state: list[Tensor],
    x_TNBC: Tensor,
    saved: Saved,
    first: int,
    after_step: Callable[[int, Tensor], None] | None,
) -> None:
    """Step t's input is read after step t-1. Two slots of h are enough: a state is read until the next is complete."""
    primitives, direction, packs, _ = cells
    N, B, H = state[0].shape
    pre_NBG = state[0].new_empty(N, B, 3 * H, dtype=accumulator_dtype(state[0].dtype))
    reset = torch.empty_like(state[0])
    sources = [primitives.spread(h, direction) for h in state]
    for t, x in enumerate(x_TNBC.unbind(0)):
        below = x, primitives.spread(x, direction)
        for layer, pack in enumerate(packs):
            h_after, r, u, c = saved.slot(layer, t)
            step = CellStep(state[layer], pre_NBG, r, u, reset, c, h_after)
            primitives.gates(below, sources[layer], step, pack)
            primitives.candidate(primitives.spread(reset, direction), step, pack)
            # The layer above reads the same terms now as this layer does at the next step.
            state[layer], sources[layer] = below = h_after, primitives.spread(h_after, direction)
        if after_step is not None:
            after_step(first + t, state[-1])


def _run_layer_by_layer(
    cells: Cells,
    state: list[Tensor],
    x_TNBC: Tensor,
    saved: Saved,
    first: int,
    after_step: Callable[[int, Tensor], None] | None,
) -> None:
    """The input's part of all steps in one product; ``saved.h`` must have a slot for every step."""
    primitives, direction, packs, _ = cells
    T, N, B, _ = x_TNBC.shape
    H = state[0].shape[2]
    pre_TNBG = x_TNBC.new_empty(T, N, B, 3 * H, dtype=accumulator_dtype(x_TNBC.dtype))
    reset = torch.empty_like(state[0])
    for layer, pack in enumerate(packs):
        primitives.convolve(x_TNBC, direction, pack.input_MCG, pack.bias_G, pre_TNBG, None)
        for t in range(T):
            h_after, r, u, c = saved.slot(layer, t)
            step = CellStep(state[layer], pre_TNBG[t], r, u, reset, c, h_after)
            primitives.gates(None, primitives.spread(step.h_NBH, direction), step, pack)
            primitives.candidate(primitives.spread(reset, direction), step, pack)
            state[layer] = h_after
            if after_step is not None and layer == len(packs) - 1:
                after_step(first + t, h_after)
        x_TNBC = saved.h[layer, :T]


class _Sums:
    """The weight gradients of a stack of cells, summed over chunks of steps.

    I rows: of each layer those of its input's weights, then those of its state's. A chunk's products stand in one
    tensor, so that one addition takes them all.
    """

    def __init__(self, packs: Sequence[CellPack]) -> None:
        self.num_terms, self.units = packs[0].state_MHG.shape[:2]
        self.channels = [pack.input_MCG.shape[1] for pack in packs]
        self.total_IJ: Tensor | None = None
        self.bias_L3H: Tensor | None = None

    def add(self, x_of: Sequence[Tensor], q_LTNBJ: Tensor, of_states: Sequence[tuple[Tensor, Tensor, Tensor]]) -> None:
        """A chunk: each layer's input (T, N, B, C), and all diffused gradients.

        ``of_states``: the states (L, T, N, B, H) before some of the steps, and these steps' r and diffused gradients.
        r*h is computed again.
        """
        wide, split = accumulator_dtype(q_LTNBJ.dtype), 2 * self.num_terms * self.units
        q_LRJ = _rows(q_LTNBJ)
        part_IJ = q_LTNBJ.new_empty(sum(self.channels) + len(self.channels) * self.units, q_LTNBJ.shape[-1])
        for rows, x, q_RJ in zip(self._rows_of(part_IJ), x_of, q_LRJ, strict=True):
            torch.mm(x.reshape(-1, x.shape[-1]).t(), q_RJ, out=rows[: x.shape[-1]])
            if not of_states:
                rows[x.shape[-1] :].zero_()
        for index, (h, r, q) in enumerate(of_states):
            h_LRH, reset_LRH, q_LRJ = _rows(h), _rows(r * h), _rows(q)
            for layer, rows in enumerate(self._rows_of(part_IJ)):
                state_HJ = rows[self.channels[layer] :]
                for state, x_RH, q_RJ in (
                    (state_HJ[:, :split], h_LRH[layer], q_LRJ[layer, :, :split]),
                    (state_HJ[:, split:], reset_LRH[layer], q_LRJ[layer, :, split:]),
                ):
                    torch.addmm(state, x_RH.t(), q_RJ, beta=min(index, 1), out=state)
        self.total_IJ = _sum(self.total_IJ, part_IJ, wide)
        # Term 0 of a diffused gradient is the gradient itself.
        own_LR3H = _rows(q_LTNBJ).view(len(self.channels), -1, 3, self.num_terms, self.units)[:, :, :, 0]
        self.bias_L3H = _sum(self.bias_L3H, own_LR3H.sum(1, dtype=wide), wide)

    def _rows_of(self, all_IJ: Tensor) -> tuple[Tensor, ...]:
        """Each layer's rows."""
        return all_IJ.split([channels + self.units for channels in self.channels])

    def gradients(self, dtype: torch.dtype) -> list[CellWeights]:
        """Of every cell, in the released layout."""
        assert self.total_IJ is not None
        assert self.bias_L3H is not None
        H, M = self.units, self.num_terms

        def own(x: Tensor) -> Tensor:
            # An operator's outputs may not share memory.
            return x.to(dtype, copy=True, memory_format=torch.contiguous_format)

        found = []
        for rows, bias_3H in zip(self._rows_of(self.total_IJ), self.bias_L3H, strict=True):
            by_gate = rows.view(-1, 3, M, H).transpose(1, 2)
            found.append(
                CellWeights(
                    own(by_gate[:, :, :2]).view(-1, 2 * H),
                    own(bias_3H[:2]).view(-1),
                    own(by_gate[:, :, 2]).view(-1, H),
                    own(bias_3H[2]),
                )
            )
        return found


def _rows(x_LTNBC: Tensor) -> Tensor:
    """(L, R, C)."""
    return x_LTNBC.reshape(x_LTNBC.shape[0], -1, x_LTNBC.shape[-1])


def _sum(total: Tensor | None, part: Tensor, wide: torch.dtype) -> Tensor:
    return part.to(wide) if total is None else total.add_(part)


def run_backward(
    primitives: Primitives,
    transposed: Direction,
    packs: Sequence[CellPack],
    segments: Iterable[Segment],
    save: int,
    x_TNBC: Tensor,
    dh: Sequence[Tensor],
    outside: Callable[[int, Tensor | None], Tensor | None],
    after_step: Callable[[int, Tensor], None] | None,
) -> list[CellWeights]:
    """Runs all steps backwards, segment after segment; returns each cell's gradients.

    ``dh``, each layer's (N, B, H), wide, moves in place. ``outside(t, dx)`` returns the gradient to add to the last
    layer's dh at step t (None: nothing, or added already); dx is the gradient of step t+1's input.
    ``after_step(t, dx)`` gets that of step t's input; None: it is not wanted.
    """
    T, (N, B, H), L = x_TNBC.shape[0], dh[0].shape, len(packs)
    M = packs[0].state_MHG.shape[0]
    wide = dh[0].dtype
    bytes_a_step = L * N * B * 3 * M * H * x_TNBC.element_size()
    chunk = max(1, min(segment_steps(save, T), WORKSPACE_BYTES // max(1, bytes_a_step)))
    q_LTNBJ = x_TNBC.new_empty(L, chunk, N, B, 3 * M * H)
    dpre, dr_pre, du_pre = (x_TNBC.new_empty(N, B, H) for _ in range(3))
    dx_of: list[Tensor | None] = [x_TNBC.new_empty(N, B, pack.input_MCG.shape[1], dtype=wide) for pack in packs]
    if after_step is None:
        dx_of[0] = None
    sums = _Sums(packs)

    def spread(x: Tensor) -> Source:
        return primitives.spread(x, transposed)

    for first, before, zero, saved in segments:
        steps = saved.r.shape[1]
        for t in reversed(range(steps)):
            extra = outside(first + t, None if first + t == T - 1 else dx_of[0])
            for layer in reversed(range(L)):
                pack, dx = packs[layer], dx_of[layer]
                _, r, u, c = saved.slot(layer, t)
                h = saved.h[layer, t - 1] if t else before[layer]
                q = q_LTNBJ[layer, t % chunk]
                gradient = CellGradient(h, r, u, c, dh[layer], dpre, dr_pre, du_pre, dx, q)
                primitives.begin_gradient(extra, gradient)
                primitives.candidate_gradient(spread(dpre), gradient, pack)
                primitives.gates_gradient(spread(dr_pre), spread(du_pre), gradient, pack)
                extra = dx
            if after_step is not None:
                assert dx_of[0] is not None
                after_step(first + t, dx_of[0])
            if t % chunk == 0:
                stop, second = min(t + chunk, steps), max(t, 1)
                q = q_LTNBJ[:, : stop - t]
                of_states = []
                if stop > second:
                    of_states.append((saved.h[:, second - 1 : stop - 1], saved.r[:, second:stop], q[:, second - t :]))
                if t == 0 and not zero:
                    of_states.append((before[:, None], saved.r[:, :1], q[:, :1]))
                sums.add([x_TNBC[first + t : first + stop], *saved.h[:-1, t:stop]], q, of_states)
    return sums.gradients(x_TNBC.dtype)


def pack_cells(
    primitives: Primitives, cells: Sequence[CellWeights], num_terms: int, *, backward: bool
) -> list[CellPack]:
    """Every cell's weights as kernels read them."""
    return [primitives.pack(cell, num_terms, backward) for cell in cells]
