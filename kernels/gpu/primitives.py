"""The primitives that the GPU drivers of the recurrence call: one table of them, chosen once for a call.

The drivers (``gpu/segment.py``, the operators' ``gpu.py``) hold the order of steps and layers and choose the saved
tensors; a table computes one step. ``triton`` and ``cuda`` are two tables for the same drivers.

Inside, nodes come first, padded to complete tiles; a step's activation is (N, B, K), contiguous, and padded nodes hold
finite values whose gradients are zero. ``low`` is the dtype of activations and weights, ``wide`` float32 (float64 for
float64). Primitives write into the tensors they are given, on the current stream, and never wait for the device.

Shape legend: T steps, N nodes, B batch, C input channels, O output columns, D = O + known columns, H units,
M terms, K = C or H, G = 3H, J = 3*M*H.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from dcrnn_fast.kernels.gpu.tiles import TileGraph
from dcrnn_fast.kernels.weights import CellWeights


class Csr(NamedTuple):
    """The stacked terms of one direction, row by row (``DiffusionTerms``)."""

    row_start: Tensor
    column: Tensor
    value: Tensor


class Hop(NamedTuple):
    """panel[target] = scale * S_support panel[source] - panel[minus]; minus -1: nothing is subtracted."""

    support: int
    source: int
    minus: int
    scale: int
    target: int


class Chain(NamedTuple):
    """Hops over the stacked supports that make all terms: panel 0 is x, m < M term m; ``spare`` others lie between."""

    supports: Csr
    hops: tuple[Hop, ...]
    spare: int


class Direction(NamedTuple):
    """The terms of one direction, as the plan wants them: by tiles, as a dense matrix, by a chain of hops, or none."""

    csr: Csr
    tiles: TileGraph | None
    dense_SN: Tensor | None
    chain: Chain | None = None


# The source of the diffused terms: tiles, from which the kernel makes them itself, or a tensor made before.
Source = TileGraph | Tensor


class CellPack(NamedTuple):
    """Weights of one cell as kernels read them; columns r, u, c, so that state_MHG[..., 2H:] meets r*h.

    ``back`` are the transposed matrices (gates, candidate) for backends that multiply by a library's GEMM.
    """

    input_MCG: Tensor
    state_MHG: Tensor
    bias_G: Tensor
    back: tuple[Tensor, Tensor] | None


class CellStep(NamedTuple):
    """One step of a cell forward: h and ``pre`` (wide, columns r, u, c) are read, the others written."""

    h_NBH: Tensor
    pre_NBG: Tensor
    r_NBH: Tensor
    u_NBH: Tensor
    reset_NBH: Tensor
    c_NBH: Tensor
    h_after_NBH: Tensor


class CellGradient(NamedTuple):
    """One step of a cell backward: the saved tensors, the state's gradient (wide), and the tensors that are written.

    ``dpre`` is the candidate's pre-activation gradient, ``dr_pre`` and ``du_pre`` those of the gates; ``dx`` (wide) is
    None if it is not wanted; ``q`` gets the diffused gradients.
    """

    h_NBH: Tensor
    r_NBH: Tensor
    u_NBH: Tensor
    c_NBH: Tensor
    dh_NBH: Tensor
    dpre_NBH: Tensor
    dr_pre_NBH: Tensor
    du_pre_NBH: Tensor
    dx_NBC: Tensor | None
    q_NBJ: Tensor


class Primitives(NamedTuple):
    """One step, by parts; a ``source`` is that of the tensor which is diffused.

    Attributes:
        pack: (weights, M, for the backward?) -> CellPack.
        spread: (x_NBK, direction) -> Source of x's terms.
        convolve: (x_TNBC, direction, weight_MCO, bias_O or None, out_TNBO, q_TNBMC or None): diffusion and product of
            many steps at once.
        gates: ((x_NBC, source) or None, h's source, CellStep, pack): r, u = sigmoid(...), reset = r*h. With x, its
            product is made here and the c columns of pre written; without, pre holds all of it.
        candidate: (reset's source, CellStep, pack): c = tanh(...), h_after = u h + (1-u) c.
        begin_gradient: (outside or None, CellGradient): dh += outside; dpre = dh (1-u) (1-c²).
        candidate_gradient: (dpre's source, CellGradient, pack): diffused gradients into the last M*H columns of q; dx;
            dr_pre and du_pre; dh <- dh u + d(r*h) r.
        gates_gradient: (dr_pre's source, du_pre's source, CellGradient, pack): diffused gradients into the first 2*M*H
            columns of q; adds to dh and dx.
        head: (h_NBH, weight_OH, bias_O, label_NBO, feed_label, prediction_NBO, next_NBD): the prediction, and what is
            fed back to the decoder's next input, its first O columns.
        head_gradient: (grad_NBO, dx_NBD or None, feed_label, weight_OH, dh, total_NBO, dlabel_NBO or None): the first O
            columns of dx go to the label or to the prediction; dh += total W.
    """

    pack: Callable[[CellWeights, int, bool], CellPack]
    spread: Callable[[Tensor, Direction], Source]
    convolve: Callable[..., None]
    gates: Callable[..., None]
    candidate: Callable[..., None]
    begin_gradient: Callable[..., None]
    candidate_gradient: Callable[..., None]
    gates_gradient: Callable[..., None]
    head: Callable[..., None]
    head_gradient: Callable[..., None]
