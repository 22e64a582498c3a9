"""Launches of the DCGRU cell's Triton kernels, and the table of primitives in which they diffuse and multiply.

If a product is given (``state_pre``, ``through``), a kernel neither diffuses nor multiplies, and its source may be any
tensor.

Shape legend: T steps, N nodes, B batch, C input channels, H units, M terms, R = N*B, G = 3H, J = 3*M*H.
"""

from functools import partial
from typing import Any

import torch
import triton
from torch import Tensor

from dcrnn_fast.kernels.gpu.blocks import blocks_for
from dcrnn_fast.kernels.gpu.kernels.cell import (
    begin_gradient_kernel,
    candidate_gradient_kernel,
    candidate_kernel,
    gates_gradient_kernel,
    gates_kernel,
)
from dcrnn_fast.kernels.gpu.launch import launch
from dcrnn_fast.kernels.gpu.launches.convolution import (
    block,
    convolve,
    dot_precision,
    numbers,
    source_arguments,
    spread,
    terms_of,
)
from dcrnn_fast.kernels.gpu.launches.head import head, head_gradient
from dcrnn_fast.kernels.gpu.primitives import CellGradient, CellPack, CellStep, Direction, Primitives, Source
from dcrnn_fast.kernels.gpu.tiles import SIDE
from dcrnn_fast.kernels.weights import CellWeights

ELEMENTS = 1024


def fused_primitives(precision: str) -> Primitives:
    """Diffusion (or loading of diffused terms), products and activations in one kernel."""
    return Primitives(
        pack=pack_cell,
        spread=spread,
        convolve=partial(_convolve, precision=precision),
        gates=partial(gates, precision=precision),
        candidate=partial(candidate, precision=precision),
        begin_gradient=_begin_gradient,
        candidate_gradient=partial(candidate_gradient, precision=precision),
        gates_gradient=partial(gates_gradient, precision=precision),
        head=head,
        head_gradient=head_gradient,
    )


def pack_cell(weights: CellWeights, num_terms: int, backward: bool) -> CellPack:
    """``Primitives.pack``, the same for both directions."""
    H = weights.candidate_bias.shape[0]
    by_gate = [
        weight.view(-1, num_terms, weight.shape[1]).transpose(0, 1)
        for weight in (weights.gate_weight, weights.candidate_weight)
    ]
    C = by_gate[0].shape[1] - H
    input_MCG = torch.cat([weight_MIG[:, :C] for weight_MIG in by_gate], dim=2)
    state_MHG = torch.cat([weight_MIG[:, C:] for weight_MIG in by_gate], dim=2)
    return CellPack(input_MCG, state_MHG, torch.cat([weights.gate_bias, weights.candidate_bias]), None)


def _convolve(
    x_TNBC: Tensor,
    direction: Direction,
    weight_MCG: Tensor,
    bias_G: Tensor | None,
    out_TNBG: Tensor,
    q_TNBQ: Tensor | None,
    *,
    precision: str,
) -> None:
    parts = 3 if weight_MCG.shape[2] % 3 == 0 and q_TNBQ is None else 1
    convolve(x_TNBC, spread(x_TNBC, direction), weight_MCG, bias_G, out_TNBG, q_TNBQ, precision, parts)


def gates(
    x: tuple[Tensor, Source] | None,
    source: Source,
    step: CellStep,
    pack: CellPack,
    *,
    precision: str,
    state_pre: Tensor | None = None,
) -> None:
    """``Primitives.gates``; ``state_pre`` (R, 2H): the state's product."""
    if x is not None and precision == "tf32x3":
        # Three accumulators and three products of each do not fit into the registers of one kernel.
        convolve(x[0][None], x[1], pack.input_MCG, pack.bias_G, step.pre_NBG[None], None, precision, 3)
        x = None
    h_NBH = step.h_NBH
    _launch(
        gates_kernel,
        "hoisted_gates" if x is None else "gates",
        h_NBH,
        source,
        {
            "X": h_NBH if x is None else x[0],
            "Y_X": h_NBH if x is None else terms_of(x[1], x[0]),
            "H_BEFORE": h_NBH,
            "Y_H": terms_of(source, h_NBH),
            "WX": pack.input_MCG,
            "WH": pack.state_MHG,
            "BIAS": pack.bias_G,
            "PRE": step.pre_NBG,
            "STATE_PRE": h_NBH if state_pre is None else state_pre,
            "R": step.r_NBH,
            "UPDATE": step.u_NBH,
            "RESET": step.reset_NBH,
        },
        precision,
        INPUT=x is not None,
        STATE=state_pre is None,
    )


def candidate(
    source: Source, step: CellStep, pack: CellPack, *, precision: str, state_pre: Tensor | None = None
) -> None:
    """``Primitives.candidate``; ``state_pre`` (R, H): the product of r*h."""
    _launch(
        candidate_kernel,
        "candidate",
        step.h_NBH,
        source,
        {
            "RESET": step.reset_NBH,
            "Y": terms_of(source, step.h_NBH),
            "H_BEFORE": step.h_NBH,
            "UPDATE": step.u_NBH,
            "WH": pack.state_MHG,
            "PRE": step.pre_NBG,
            "STATE_PRE": step.h_NBH if state_pre is None else state_pre,
            "CANDIDATE": step.c_NBH,
            "H_AFTER": step.h_after_NBH,
        },
        precision,
        STATE=state_pre is None,
    )


def _begin_gradient(outside_NBH: Tensor | None, gradient: CellGradient) -> None:
    dh_NBH = gradient.dh_NBH
    launch(
        begin_gradient_kernel,
        (triton.cdiv(dh_NBH.numel(), ELEMENTS),),
        {
            "DH": dh_NBH,
            "OUTSIDE": dh_NBH if outside_NBH is None else outside_NBH,
            "UPDATE": gradient.u_NBH,
            "CANDIDATE": gradient.c_NBH,
            "DPRE": gradient.dpre_NBH,
            "size": dh_NBH.numel(),
        },
        {
            "BLOCK": ELEMENTS,
            **numbers(gradient.dpre_NBH.dtype, [dh_NBH]),
            "HAS_OUTSIDE": outside_NBH is not None,
        },
        warps=4,
        stages=1,
    )


def candidate_gradient(
    source: Source, gradient: CellGradient, pack: CellPack, *, precision: str, through: Tensor | None = None
) -> None:
    """``Primitives.candidate_gradient``; ``through`` (R, C+H): the products with transposed weights."""
    _launch(
        candidate_gradient_kernel,
        "candidate_gradient",
        gradient.dpre_NBH,
        source,
        {
            "DPRE": gradient.dpre_NBH,
            "Y": terms_of(source, gradient.dpre_NBH),
            "H_BEFORE": gradient.h_NBH,
            "R": gradient.r_NBH,
            "UPDATE": gradient.u_NBH,
            "CANDIDATE": gradient.c_NBH,
            "DR_PRE": gradient.dr_pre_NBH,
            "DU_PRE": gradient.du_pre_NBH,
            **_backward_arguments(gradient, pack, gradient.h_NBH if through is None else through),
        },
        precision,
        STATE=through is None,
        HAS_DX=gradient.dx_NBC is not None,
    )


def gates_gradient(
    r_source: Source,
    u_source: Source,
    gradient: CellGradient,
    pack: CellPack,
    *,
    precision: str,
    through: Tensor | None = None,
) -> None:
    """``Primitives.gates_gradient``; ``through`` (R, C+H): the products with transposed weights."""
    _launch(
        gates_gradient_kernel,
        "gates_gradient",
        gradient.dr_pre_NBH,
        r_source,
        {
            "DR_PRE": gradient.dr_pre_NBH,
            "DU_PRE": gradient.du_pre_NBH,
            "Y_R": terms_of(r_source, gradient.dr_pre_NBH),
            "Y_U": terms_of(u_source, gradient.du_pre_NBH),
            **_backward_arguments(gradient, pack, gradient.dh_NBH if through is None else through),
        },
        precision,
        STATE=through is None,
        HAS_DX=gradient.dx_NBC is not None,
    )


def _backward_arguments(gradient: CellGradient, pack: CellPack, through: Tensor) -> dict[str, Tensor]:
    return {
        "WX": pack.input_MCG,
        "WH": pack.state_MHG,
        "THROUGH": through,
        "DH": gradient.dh_NBH,
        "DX": gradient.dh_NBH if gradient.dx_NBC is None else gradient.dx_NBC,
        "Q": gradient.q_NBJ,
    }


def _launch(
    kernel: Any,
    rule: str,
    like_NBH: Tensor,
    source: Source,
    arguments: dict[str, Tensor],
    precision: str,
    **constants: bool,
) -> None:
    """A program for each tile and block of batch rows; ``rule`` names the kernel in the table of block sizes."""
    N, B, H = like_NBH.shape
    M = arguments["WH"].shape[0]
    input_MCG = arguments.get("WX")
    C = H if input_MCG is None else input_MCG.shape[1]
    graph, how = source_arguments(source, like_NBH)
    chosen = blocks_for(rule, like_NBH, precision, C, H, fused=how["FUSED"], chunked=how["MORE"])
    of_input = {}
    if input_MCG is not None:
        of_input = {"C": C, "BC": block(C)}
        if rule.endswith("gradient"):
            of_input["BC"] = max(of_input["BC"], chosen.input_columns)
    launch(
        kernel,
        (triton.cdiv(N, SIDE), triton.cdiv(B, chosen.batch_rows)),
        {**arguments, **graph, "N": N, "B": B, "terms": M},
        {
            **constants,
            **of_input,
            **how,
            "M": M,
            "H": H,
            "BH": block(H),
            "BB": chosen.batch_rows,
            "PREC": dot_precision(precision),
            **numbers(like_NBH.dtype, [*arguments.values(), graph["COEFFICIENT"]]),
        },
        warps=chosen.warps,
        stages=chosen.stages,
    )
