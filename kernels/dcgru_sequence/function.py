"""Public function of stacked DCGRU cells over a sequence.

Shape legend: B batch, T steps, N nodes, C input channels, H units, L layers, M diffusion terms.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dcrnn_fast.kernels.checks import (
    require_dtypes,
    require_layers,
    require_nodes,
    require_precision,
    require_saving,
    require_shape,
)
from dcrnn_fast.kernels.cuda_runtime import why_not_cuda
from dcrnn_fast.kernels.dcgru_sequence.cpu import dcgru_sequence_cpu
from dcrnn_fast.kernels.dcgru_sequence.cuda import dcgru_sequence_cuda
from dcrnn_fast.kernels.dcgru_sequence.manual import dcgru_sequence_manual
from dcrnn_fast.kernels.dcgru_sequence.specification import dcgru_sequence_specification
from dcrnn_fast.kernels.dcgru_sequence.triton import dcgru_sequence_triton
from dcrnn_fast.kernels.dispatch import Implementation, always, autocast_dtype, choose
from dcrnn_fast.kernels.native import why_not_cpu
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.triton_plan import plan_name
from dcrnn_fast.kernels.triton_runtime import why_not_triton
from dcrnn_fast.kernels.weights import CellWeights, cells_to

IMPLEMENTATIONS = (
    Implementation("cpu", dcgru_sequence_cpu, why_not_cpu, device="cpu"),
    Implementation("triton", dcgru_sequence_triton, why_not_triton, self_checked=True, device="cuda"),
    Implementation("cuda", dcgru_sequence_cuda, why_not_cuda, self_checked=True, device="cuda", by_name_only=True),
    Implementation("manual", dcgru_sequence_manual, always),
    Implementation("specification", dcgru_sequence_specification, always),
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
            the same bits, but where PyTorch multiplies many steps at once on a GPU; there, weights' gradients are
            summed in another order. ``manual`` and ``specification`` know "all" alone.
        precision: "exact", or "bf16x3": float32 products are made of three to six bfloat16 ones where the CPU has AMX
            (max error at most 1e-5 of max value; elsewhere exact, and ``dcrnn_fast.explain`` says so).

    Returns:
        (states_BTNH of the last layer at every step, states_LBNH of every layer after the last step), in x's dtype
        (under autocast: in autocast's).

    Raises:
        ValueError: shapes disagree, no step, no layer, or an unknown backend, save or precision.
        TypeError: dtypes disagree.
        NotImplementedError: the named backend cannot run here, or not with this ``save``; the message says why.
    """
    require_nodes("dcgru_sequence", "x", x_BTNC, 4, terms)
    if x_BTNC.shape[1] == 0:
        raise ValueError(f"dcgru_sequence: x needs at least one step, got {tuple(x_BTNC.shape)}")
    H = require_layers("dcgru_sequence", "layers", layers, x_BTNC.shape[3], terms)
    B, _, N, _ = x_BTNC.shape
    if initial_LBNH is None:
        initial_LBNH = x_BTNC.new_zeros(len(layers), B, N, H)
    require_shape("dcgru_sequence", "initial", initial_LBNH, (len(layers), B, N, H))
    C = x_BTNC.shape[3]
    chosen = choose("dcgru_sequence", IMPLEMENTATIONS, backend, x_BTNC, lambda dtype: plan_name(terms, dtype, B, C, H))
    low = autocast_dtype(x_BTNC)
    options = require_saving("dcgru_sequence", chosen.name, save)
    bf16x3 = require_precision("dcgru_sequence", precision, low or x_BTNC.dtype)
    if chosen.name == "cpu":
        options["bf16x3"] = bf16x3
    if low is None or chosen.name == "specification":
        named = {
            f"layer {index} {name}": tensor
            for index, layer in enumerate(layers)
            for name, tensor in zip(layer._fields, layer, strict=True)
        }
        require_dtypes("dcgru_sequence", terms, x=x_BTNC, initial=initial_LBNH, **named)
        return chosen.run(x_BTNC, terms, layers, initial_LBNH, **options)  # type: ignore[return-value]
    with torch.autocast(x_BTNC.device.type, enabled=False):
        lower = x_BTNC.to(low), terms, cells_to(layers, low), initial_LBNH.to(low)
        return chosen.run(*lower, **options)  # type: ignore[return-value]
