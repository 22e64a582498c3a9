"""The recurrent core with a hand-written backward: a run of steps through stacked cells, state in, state out.

The encoder, the decoder and ``dcgru_sequence`` are drivers of the two loops here. In all of them:
- the terms of a layer's new state serve the layer above at this step and the layer itself at the next one;
- only h, the gates r and u, and the candidate c are saved;
- backward diffuses the gradients before the activations and multiplies from there (``diffusion_conv/manual.py``).

Inside, nodes come first; "joined" tensors hold their M terms side by side in the last dimension.

Shape legend: B batch, T steps, N nodes, C input channels, H units, L layers, M diffusion terms, G = 2H gates,
J = M*C or M*H joined columns, I = (C+H)*M weight rows.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dcrnn_fast.kernels.diffusion_conv.manual import backward_weight, diffuse, forward_weight, weight_gradient
from dcrnn_fast.kernels.diffusion_conv.plain import Operator, StackedOperator
from dcrnn_fast.kernels.dtypes import accumulator_dtype
from dcrnn_fast.kernels.weights import CellWeights


class Saved(NamedTuple):
    """A segment's tensors for its backward: h (T, L, N, B, H), gates [r, u] (T, L, N, B, 2H), c (T, L, N, B, H).

    A segment that needs no backward has one slot for all its steps (T = 1).
    """

    h: Tensor
    gates: Tensor
    c: Tensor

    @classmethod
    def empty(cls, like: Tensor, steps: int, layers: int, units: int) -> "Saved":
        """Room for ``steps`` steps beside ``like``, which is (..., N, B, anything)."""
        N, B = like.shape[-3], like.shape[-2]
        return cls(
            like.new_empty(steps, layers, N, B, units),
            like.new_empty(steps, layers, N, B, 2 * units),
            like.new_empty(steps, layers, N, B, units),
        )

    def steps(self, start: int, stop: int) -> "Saved":
        """A view of some of the steps."""
        return Saved(self.h[start:stop], self.gates[start:stop], self.c[start:stop])


class State(NamedTuple):
    """A segment's start, and its end for the next one: each layer's state (N, B, H) and the state's joined terms."""

    h: list[Tensor]
    joined: list[Tensor]

    @classmethod
    def begin(cls, h: Sequence[Tensor], operator: Operator) -> "State":
        """Diffuses the first states."""
        return cls(list(h), [diffuse(h_NBH, operator) for h_NBH in h])

    @classmethod
    def zeros(cls, h_NBH: Tensor, layers: int, num_terms: int) -> "State":
        """Zeros like ``h_NBH`` in every layer, whose terms are zeros too."""
        N, B, H = h_NBH.shape
        return cls([h_NBH.new_zeros(N, B, H)] * layers, [h_NBH.new_zeros(N, B, num_terms * H)] * layers)


def joined_inputs(x_TNBC: Tensor, operator: Operator) -> Callable[[int], Tensor]:
    """``run_forward``'s ``joined_input`` for known inputs. On a divided graph the rows of all steps travel at once."""
    if isinstance(operator, StackedOperator):
        return lambda t: diffuse(x_TNBC[t], operator)
    T, N, B, C = x_TNBC.shape
    joined = diffuse(x_TNBC.transpose(0, 1).reshape(N, T * B, C), operator).view(N, T, B, -1)
    return lambda t: joined[:, t]


class _ForwardCell(NamedTuple):
    """Weights by their other factor, rows ordered as joined terms: input to [r, u, c], state to [r, u], r*h to c."""

    input_J3H: Tensor
    state_JG: Tensor
    reset_JH: Tensor
    bias_3H: Tensor


def _prepare_forward(weights: CellWeights, num_terms: int) -> _ForwardCell:
    H = weights.candidate_bias.shape[0]
    rows = weights.candidate_weight.shape[0] - H * num_terms
    gate_x, gate_h = weights.gate_weight[:rows], weights.gate_weight[rows:]
    candidate_x, candidate_h = weights.candidate_weight[:rows], weights.candidate_weight[rows:]
    return _ForwardCell(
        forward_weight(torch.cat([gate_x, candidate_x], dim=1), num_terms),
        forward_weight(gate_h, num_terms),
        forward_weight(candidate_h, num_terms),
        torch.cat([weights.gate_bias, weights.candidate_bias]),
    )


def run_forward(
    layers: Sequence[CellWeights],
    num_terms: int,
    operator: Operator,
    state: State,
    steps: int,
    joined_input: Callable[[int], Tensor],
    saved: Saved,
    after_step: Callable[[int, Tensor], None],
) -> None:
    """Runs ``steps`` steps; ``state`` is moved forward in place.

    ``joined_input(t)`` gives the first layer's joined input terms (N, B, M*C) at step t and is called after step t-1;
    ``after_step(t, h_NBH)`` sees the last layer's state.
    """
    cells = [_prepare_forward(weights, num_terms) for weights in layers]
    one_slot = saved.h.shape[0] == 1
    wide = accumulator_dtype(saved.h.dtype)
    for t in range(steps):
        slot = 0 if one_slot else t
        below = joined_input(t)
        for l, cell in enumerate(cells):  # noqa: E741
            H = cell.reset_JH.shape[1]
            h_before, joined_before = state.h[l], state.joined[l]
            from_input = (below @ cell.input_J3H).to(wide) + cell.bias_3H
            gates = torch.sigmoid(from_input[..., : 2 * H] + joined_before @ cell.state_JG)
            r, u = gates[..., :H], gates[..., H:]
            reset = (r * h_before).to(h_before.dtype)
            c = torch.tanh(from_input[..., 2 * H :] + diffuse(reset, operator) @ cell.reset_JH)
            saved.gates[slot, l] = gates
            saved.c[slot, l] = c
            h = saved.h[slot, l]
            h.copy_(u * h_before + (1 - u) * c)
            state.h[l] = h
            below = state.joined[l] = diffuse(h, operator)
        after_step(t, state.h[-1])


class CellGradients(NamedTuple):
    """Sums over steps, float32 or wider, in the released layout."""

    gate_weight: Tensor
    gate_bias: Tensor
    candidate_weight: Tensor
    candidate_bias: Tensor

    @classmethod
    def zeros(cls, weights: CellWeights) -> "CellGradients":
        """One zero for each parameter."""
        return cls(*(torch.zeros_like(tensor, dtype=accumulator_dtype(tensor.dtype)) for tensor in weights))

    def add(self, inputs: tuple[Tensor, Tensor], pre: tuple[Tensor, Tensor], q: tuple[Tensor, Tensor], M: int) -> None:
        """Adds one step: (gates, candidate) inputs [x, h] and [x, r*h], pre-activation gradients, diffused ones."""
        self.gate_weight.add_(weight_gradient(inputs[0], q[0], M))
        self.candidate_weight.add_(weight_gradient(inputs[1], q[1], M))
        self.gate_bias.add_(pre[0].sum((0, 1)))
        self.candidate_bias.add_(pre[1].sum((0, 1)))


def run_backward(
    layers: Sequence[CellWeights],
    num_terms: int,
    transposed: Operator,
    h_start: Sequence[Tensor],
    saved: Saved,
    input_at: Callable[[int], Tensor],
    gradients: Sequence[CellGradients],
    dh: list[Tensor],
    state_gradient: Callable[[int, Tensor | None], Sequence[Tensor | None]],
    after_step: Callable[[int, Tensor], None],
) -> None:
    """Runs all saved steps backwards; ``gradients`` are added to, ``dh`` (each layer's (N, B, H)) moves in place.

    Only factors of matrix products are in low precision: ``dh`` and the sums are float32 or wider.

    ``input_at(t)`` is the first layer's input (N, B, C) at step t. ``state_gradient(t, dx)`` returns, for each layer,
    the gradient that its state at step t gets from outside (None: zero); dx is the gradient of step t+1's input (None
    at the last step). ``after_step(t, dx_NBC)`` gets the gradient of step t's input.
    """
    weights_back = [
        (backward_weight(weights.gate_weight, num_terms), backward_weight(weights.candidate_weight, num_terms))
        for weights in layers
    ]
    dx: Tensor | None = None
    for t in reversed(range(saved.h.shape[0])):
        for l, outside in enumerate(state_gradient(t, dx)):  # noqa: E741
            if outside is not None:
                dh[l] = dh[l] + outside
        for l in reversed(range(len(layers))):  # noqa: E741
            gate_back, candidate_back = weights_back[l]
            x = input_at(t) if l == 0 else saved.h[t, l - 1]
            h_before = h_start[l] if t == 0 else saved.h[t - 1, l]
            gates, c = saved.gates[t, l], saved.c[t, l]
            H, C = c.shape[-1], x.shape[-1]
            reset = gates[..., :H] * h_before
            low, wide = c.dtype, dh[l].dtype
            gates, c = gates.to(wide), c.to(wide)
            r, u = gates[..., :H], gates[..., H:]

            dc_pre = dh[l] * (1 - u) * (1 - c * c)
            q_candidate = diffuse(dc_pre.to(low), transposed)
            through_candidate = (q_candidate @ candidate_back).to(wide)
            d_reset = through_candidate[..., C:]
            dgates_pre = torch.cat([d_reset * h_before, dh[l] * (h_before - c)], dim=-1) * gates * (1 - gates)
            q_gates = diffuse(dgates_pre.to(low), transposed)
            through_gates = (q_gates @ gate_back).to(wide)

            gradients[l].add(
                (torch.cat([x, h_before], dim=-1), torch.cat([x, reset], dim=-1)),
                (dgates_pre, dc_pre),
                (q_gates, q_candidate),
                num_terms,
            )
            dh[l] = dh[l] * u + d_reset * r + through_gates[..., C:]
            dx = through_candidate[..., :C] + through_gates[..., :C]
            if l > 0:
                dh[l - 1] = dh[l - 1] + dx
        assert dx is not None
        after_step(t, dx)
