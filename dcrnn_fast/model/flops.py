"""How many floating-point operations a window takes, counted from the model's shape.

A number of the model, not of a kernel: what is computed again to save memory, or diffused by another recursion, counts
once, and an addition and a multiplication count two. Activations and other work in proportion to the states alone are
left out.

Shape legend: N nodes, C channels of a cell's input, C_out output channels, K known channels, H units, M diffusion
terms, E stored entries of the diffusion operators (the identity has none).
"""

from typing import NamedTuple

from dcrnn_fast.model.dcrnn import DCRNN


class Flops(NamedTuple):
    """Operations of matrix products and of diffusion."""

    dense: int
    sparse: int

    @property
    def training(self) -> int:
        """Forward and backward: a product has two gradients, diffusion one (the graph learns nothing)."""
        return 3 * self.dense + 2 * self.sparse


def forward_flops(model: DCRNN, past_steps: int) -> Flops:
    """Of the forecast of one window."""
    terms = model.diffusion.terms()
    N, M, E = terms.num_nodes, terms.num_terms, terms.value.shape[0]
    H, C_out = model.hidden_units, model.output_channels
    dense, sparse = model.future_steps * 2 * N * H * C_out, 0
    for C_first, steps in ((model.input_channels, past_steps), (C_out + model.known_channels, model.future_steps)):
        for layer in range(model.num_layers):
            C = H if layer else C_first
            dense += steps * 2 * N * (C + H) * M * 3 * H  # two gates and the candidate
            sparse += steps * 2 * E * (C + 2 * H)  # the input, the state, the state after the reset gate
    return Flops(dense, sparse)
