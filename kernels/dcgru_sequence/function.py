"""Public function of stacked DCGRU cells over a sequence.

Shape legend: B batch, T steps, N nodes, C input channels, H units, L layers, M diffusion terms.
"""

from collections.abc import Sequence

from torch import Tensor

from dcrnn_fast.kernels.checks import require_layers, require_nodes, require_shape
from dcrnn_fast.kernels.dcgru_sequence.cpu import dcgru_sequence_cpu
from dcrnn_fast.kernels.dcgru_sequence.gpu import dcgru_sequence_cuda, dcgru_sequence_triton
from dcrnn_fast.kernels.dcgru_sequence.manual import dcgru_sequence_manual
from dcrnn_fast.kernels.dcgru_sequence.specification import dcgru_sequence_specification
from dcrnn_fast.kernels.operator import in_order_of_speed, run
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.weights import CellWeights

IMPLEMENTATIONS = in_order_of_speed(
    cpu=dcgru_sequence_cpu,
    triton=dcgru_sequence_triton,
    cuda=dcgru_sequence_cuda,
    manual=dcgru_sequence_manual,
    specification=dcgru_sequence_specification,
)


def dcgru_sequence(
    x_BTNC: Tensor,
    terms: DiffusionTerms,
    layers: Sequence[CellWeights],
    initial_LBNH: Tensor | None = None,
    *,
    backend: str = "auto",
    save: str = "all",
    precision: str = "exact",
) -> tuple[Tensor, Tensor]:
    """L stacked DCGRU cells over T steps (Li et al. 2018, section 2.2 and figure 2).

    Args:
        x_BTNC: the first layer's inputs; any strides.
        terms: the graph's M operators, float32, or float64 when x is.
        layers: each layer's parameters, in x's dtype (``CellWeights`` has their layout); layer l+1 reads
            layer l's state.
        initial_LBNH: the states before the first step, in x's dtype; left out: zeros.
        backend: "auto", or one to insist on.
        save: what the forward keeps for the backward. "all": h, r, u and c of every step; "h": the states alone, a
            quarter of that; "segments:K": the states after every K-th step. The backward computes the rest again, to
            the same bits, unless PyTorch multiplies many steps at once on a GPU; there, weights' gradients are
            summed in another order. ``manual`` and ``specification`` take "all" only.
        precision: "exact", or "bf16x3": float32 products are made of three to six bfloat16 ones if the CPU has AMX
            (max error at most 1e-5 of max value; elsewhere exact, as ``dcrnn_fast.explain`` then prints).

    Returns:
        (states_BTNH of the last layer at every step, states_LBNH of every layer after the last step), in x's dtype
        (under autocast: in autocast's).

    Raises:
        ValueError: shapes disagree, no step, no layer, or an unknown backend, save or precision.
        TypeError: dtypes disagree.
        NotImplementedError: the named backend cannot run here, or not with this ``save``; the message gives the reason.
    """
    require_nodes("dcgru_sequence", "x", x_BTNC, 4, terms)
    if x_BTNC.shape[1] == 0:
        raise ValueError(f"dcgru_sequence: x needs at least one step, got {tuple(x_BTNC.shape)}")
    H = require_layers("dcgru_sequence", "layers", layers, x_BTNC.shape[3], terms)
    B, _, N, _ = x_BTNC.shape
    if initial_LBNH is None:
        initial_LBNH = x_BTNC.new_zeros(len(layers), B, N, H)
    require_shape("dcgru_sequence", "initial", initial_LBNH, (len(layers), B, N, H))
    result: tuple[Tensor, Tensor] = run(
        "dcgru_sequence",
        IMPLEMENTATIONS,
        backend,
        x_BTNC,
        terms,
        {"layer": layers, "initial": initial_LBNH},
        channels=x_BTNC.shape[3],
        units=H,
        precision=precision,
        save=save,
    )
    return result
