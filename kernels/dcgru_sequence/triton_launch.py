"""Launches of the DCGRU cell's Triton kernels: the table of primitives, with products in the kernels or by GEMM.

Shape legend: T steps, N nodes, B batch, C input channels, H units, M terms, G = 3H, J = 3*M*H; O output channels.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import triton
from torch import Tensor

from dcrnn_fast.kernels.dcgru_sequence.triton_kernels import (
    begin_gradient_kernel,
    candidate_gradient_kernel,
    candidate_kernel,
    gates_gradient_kernel,
    gates_kernel,
)
from dcrnn_fast.kernels.dcrnn_seq2seq.triton_kernels import head_gradient_kernel, head_kernel
from dcrnn_fast.kernels.diffusion_conv.triton_launch import (
    block,
    convolve,
    dot_precision,
    source_arguments,
    spread,
    spread_joined,
    terms_of,
    wide_type,
)
from dcrnn_fast.kernels.primitives import CellPack, Direction, Primitives, Source
from dcrnn_fast.kernels.tiles import SIDE
from dcrnn_fast.kernels.triton_config import config
from dcrnn_fast.kernels.triton_runtime import interpreted, is_wide, launch
from dcrnn_fast.kernels.weights import CellWeights

ELEMENTS = 1024


def fused_primitives(precision: str) -> Primitives:
    """Diffusion (or loading of diffused terms), products and activations in one kernel."""
    return Primitives(
        pack=_pack,
        spread=spread,
        convolve=partial(_convolve, precision=precision),
        gates=partial(_gates, precision=precision),
        candidate=partial(_candidate, precision=precision),
        begin_gradient=_begin_gradient,
        candidate_gradient=partial(_candidate_gradient, precision=precision),
        gates_gradient=partial(_gates_gradient, precision=precision),
        head=_head,
        head_gradient=_head_gradient,
    )


def gemm_primitives() -> Primitives:
    """A gather kernel, the library's GEMM, and an epilogue kernel: float32 without tensor cores, and wide layers."""
    return Primitives(
        pack=_pack_for_gemm,
        spread=spread_joined,
        convolve=_convolve_by_gemm,
        gates=_gates_by_gemm,
        candidate=_candidate_by_gemm,
        begin_gradient=_begin_gradient,
        candidate_gradient=_candidate_gradient_by_gemm,
        gates_gradient=_gates_gradient_by_gemm,
        head=_head,
        head_gradient=_head_gradient,
    )


def _pack(weights: CellWeights, num_terms: int, backward: bool) -> CellPack:
    H = weights.candidate_bias.shape[0]
    both = torch.cat([weights.gate_weight, weights.candidate_weight], dim=1)
    by_term_MIG = both.view(-1, num_terms, 3 * H).transpose(0, 1)
    C = by_term_MIG.shape[1] - H
    bias_G = torch.cat([weights.gate_bias, weights.candidate_bias])
    return CellPack(by_term_MIG[:, :C].contiguous(), by_term_MIG[:, C:].contiguous(), bias_G, None)


def _pack_for_gemm(weights: CellWeights, num_terms: int, backward: bool) -> CellPack:
    pack = _pack(weights, num_terms, backward)
    if not backward:
        return pack
    M, C, G = pack.input_MCG.shape
    H = G // 3
    # (gate, m, column) by (x channels, then units): what turns diffused gradients into those of x and h.
    back = torch.cat([pack.input_MCG, pack.state_MHG], dim=1).view(M, C + H, 3, H).permute(2, 0, 3, 1).contiguous()
    return pack._replace(back=(back[:2].reshape(2 * M * H, C + H), back[2].reshape(M * H, C + H)))


def _grid(N: int, B: int, batch_rows: int) -> tuple[int, int]:
    return triton.cdiv(N, SIDE), triton.cdiv(B, batch_rows)


def _input_block(channels: int, precision: str) -> int:
    """``block`` of the input's gradient: narrower than 32 columns, tf32 products spill their registers."""
    return max(block(channels), 32) if precision in ("tf32", "tf32x3") else block(channels)


def _constants(kernel: str, like: Tensor, C: int, H: int, M: int, precision: str) -> tuple[dict[str, Any], Any]:
    chosen = config(kernel, like, precision, max(C, H))
    return {
        "M": M,
        "H": H,
        "BH": block(H),
        "BB": chosen.batch_rows,
        "ACC": wide_type(like.dtype),
        "PREC": dot_precision(precision),
        "UP": interpreted(),
    }, chosen


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


def _convolve_by_gemm(
    x_TNBC: Tensor,
    direction: Direction,
    weight_MCO: Tensor,
    bias_O: Tensor | None,
    out_TNBO: Tensor,
    q_TNBQ: Tensor | None,
) -> None:
    joined = spread_joined(x_TNBC, direction)
    if q_TNBQ is not None:
        q_TNBQ.copy_(joined)
    weight = weight_MCO.reshape(-1, weight_MCO.shape[2])
    rows = joined.view(-1, joined.shape[-1])
    product = rows @ weight if bias_O is None else torch.addmm(bias_O, rows, weight)
    out_TNBO.copy_(product.view(out_TNBO.shape))


def _gates(
    x_NBC: Tensor | None,
    x_source: Source | None,
    h_NBH: Tensor,
    h_source: Source,
    pack: CellPack,
    pre_NBG: Tensor,
    r_NBH: Tensor,
    u_NBH: Tensor,
    reset_NBH: Tensor,
    *,
    precision: str,
) -> None:
    if x_NBC is not None and x_source is not None and precision == "tf32x3":
        # Three accumulators and three products of each do not fit into the registers of one kernel.
        convolve(x_NBC[None], x_source, pack.input_MCG, pack.bias_G, pre_NBG[None], None, precision, 3)
        x_NBC = x_source = None
    _launch_gates(x_NBC, x_source, h_NBH, h_source, pack, pre_NBG, h_NBH, r_NBH, u_NBH, reset_NBH, precision, True)


def _launch_gates(
    x_NBC: Tensor | None,
    x_source: Source | None,
    h_NBH: Tensor,
    h_source: Source,
    pack: CellPack,
    pre_NBG: Tensor,
    state_pre: Tensor,
    r_NBH: Tensor,
    u_NBH: Tensor,
    reset_NBH: Tensor,
    precision: str,
    state: bool,
) -> None:
    N, B, H = h_NBH.shape
    M, C, _ = pack.input_MCG.shape
    x, x_terms = (h_NBH, h_NBH) if x_NBC is None or x_source is None else (x_NBC, terms_of(x_source, x_NBC))
    h_terms = terms_of(h_source, h_NBH)
    constants, chosen = _constants("gates" if x_NBC is not None else "hoisted_gates", h_NBH, C, H, M, precision)
    arguments, how = source_arguments(h_source, h_NBH)
    launch(
        gates_kernel,
        _grid(N, B, chosen.batch_rows),
        {
            "X": x,
            "Y_X": x_terms,
            "H_BEFORE": h_NBH,
            "Y_H": h_terms,
            **arguments,
            "WX": pack.input_MCG,
            "WH": pack.state_MHG,
            "BIAS": pack.bias_G,
            "PRE": pre_NBG,
            "STATE_PRE": state_pre,
            "R": r_NBH,
            "UPDATE": u_NBH,
            "RESET": reset_NBH,
            "N": N,
            "B": B,
            "terms": pack.state_MHG.shape[0],
        },
        {
            **constants,
            **how,
            "C": C,
            "BC": block(C),
            "WIDE": is_wide([pre_NBG, x, x_terms, h_terms, arguments["COEFFICIENT"]]),
            "INPUT": x_NBC is not None,
            "STATE": state,
        },
        warps=chosen.warps,
        stages=chosen.stages,
    )


def _candidate(
    reset_NBH: Tensor,
    source: Source,
    h_NBH: Tensor,
    u_NBH: Tensor,
    pre_NBG: Tensor,
    pack: CellPack,
    c_NBH: Tensor,
    h_after_NBH: Tensor,
    *,
    precision: str,
) -> None:
    _launch_candidate(reset_NBH, source, h_NBH, u_NBH, pre_NBG, h_NBH, pack, c_NBH, h_after_NBH, precision, True)


def _launch_candidate(
    reset_NBH: Tensor,
    source: Source,
    h_NBH: Tensor,
    u_NBH: Tensor,
    pre_NBG: Tensor,
    state_pre: Tensor,
    pack: CellPack,
    c_NBH: Tensor,
    h_after_NBH: Tensor,
    precision: str,
    state: bool,
) -> None:
    N, B, H = h_NBH.shape
    constants, chosen = _constants("candidate", h_NBH, 1, H, pack.state_MHG.shape[0], precision)
    arguments, how = source_arguments(source, h_NBH)
    terms = terms_of(source, h_NBH)
    launch(
        candidate_kernel,
        _grid(N, B, chosen.batch_rows),
        {
            "RESET": reset_NBH,
            "Y": terms,
            "H_BEFORE": h_NBH,
            "UPDATE": u_NBH,
            **arguments,
            "WH": pack.state_MHG,
            "PRE": pre_NBG,
            "STATE_PRE": state_pre,
            "CANDIDATE": c_NBH,
            "H_AFTER": h_after_NBH,
            "N": N,
            "B": B,
            "terms": pack.state_MHG.shape[0],
        },
        {**constants, **how, "WIDE": is_wide([pre_NBG, terms, arguments["COEFFICIENT"]]), "STATE": state},
        warps=chosen.warps,
        stages=chosen.stages,
    )


def _begin_gradient(dh_NBH: Tensor, outside_NBH: Tensor | None, u_NBH: Tensor, c_NBH: Tensor, dpre_NBH: Tensor) -> None:
    launch(
        begin_gradient_kernel,
        (triton.cdiv(dh_NBH.numel(), ELEMENTS),),
        {
            "DH": dh_NBH,
            "OUTSIDE": dh_NBH if outside_NBH is None else outside_NBH,
            "UPDATE": u_NBH,
            "CANDIDATE": c_NBH,
            "DPRE": dpre_NBH,
            "size": dh_NBH.numel(),
        },
        {
            "BLOCK": ELEMENTS,
            "ACC": wide_type(dpre_NBH.dtype),
            "UP": interpreted(),
            "WIDE": is_wide([dh_NBH]),
            "HAS_OUTSIDE": outside_NBH is not None,
        },
        warps=4,
        stages=1,
    )


def _candidate_gradient(
    dpre_NBH: Tensor,
    source: Source,
    h_NBH: Tensor,
    r_NBH: Tensor,
    u_NBH: Tensor,
    c_NBH: Tensor,
    dh_NBH: Tensor,
    pack: CellPack,
    dr_pre_NBH: Tensor,
    du_pre_NBH: Tensor,
    dx_NBC: Tensor | None,
    q_NBJ: Tensor,
    *,
    precision: str,
) -> None:
    _launch_candidate_gradient(
        dpre_NBH, source, [h_NBH, r_NBH, u_NBH, c_NBH], dh_NBH, pack, h_NBH, dr_pre_NBH, du_pre_NBH, dx_NBC, q_NBJ,
        precision, True,
    )  # fmt: skip


def _launch_candidate_gradient(
    dpre_NBH: Tensor,
    source: Source,
    saved: Sequence[Tensor],
    dh_NBH: Tensor,
    pack: CellPack,
    through: Tensor,
    dr_pre_NBH: Tensor,
    du_pre_NBH: Tensor,
    dx_NBC: Tensor | None,
    q_NBJ: Tensor,
    precision: str,
    state: bool,
) -> None:
    N, B, H = dpre_NBH.shape
    M, C, _ = pack.input_MCG.shape
    constants, chosen = _constants("candidate_gradient", dpre_NBH, C, H, M, precision)
    arguments, how = source_arguments(source, dpre_NBH)
    terms = terms_of(source, dpre_NBH)
    h_NBH, r_NBH, u_NBH, c_NBH = saved
    launch(
        candidate_gradient_kernel,
        _grid(N, B, chosen.batch_rows),
        {
            "DPRE": dpre_NBH,
            "Y": terms,
            **arguments,
            "WX": pack.input_MCG,
            "WH": pack.state_MHG,
            "THROUGH": through,
            "H_BEFORE": h_NBH,
            "R": r_NBH,
            "UPDATE": u_NBH,
            "CANDIDATE": c_NBH,
            "DH": dh_NBH,
            "DR_PRE": dr_pre_NBH,
            "DU_PRE": du_pre_NBH,
            "DX": dh_NBH if dx_NBC is None else dx_NBC,
            "Q": q_NBJ,
            "N": N,
            "B": B,
            "terms": pack.state_MHG.shape[0],
        },
        {
            **constants,
            **how,
            "C": C,
            "BC": _input_block(C, precision),
            "WIDE": is_wide([q_NBJ, terms, arguments["COEFFICIENT"]]),
            "STATE": state,
            "HAS_DX": dx_NBC is not None,
        },
        warps=chosen.warps,
        stages=chosen.stages,
    )


def _gates_gradient(
    dr_pre_NBH: Tensor,
    r_source: Source,
    du_pre_NBH: Tensor,
    u_source: Source,
    dh_NBH: Tensor,
    pack: CellPack,
    dx_NBC: Tensor | None,
    q_NBJ: Tensor,
    *,
    precision: str,
) -> None:
    _launch_gates_gradient(
        dr_pre_NBH, r_source, du_pre_NBH, u_source, dh_NBH, pack, dh_NBH, dx_NBC, q_NBJ, precision, True
    )


def _launch_gates_gradient(
    dr_pre_NBH: Tensor,
    r_source: Source,
    du_pre_NBH: Tensor,
    u_source: Source,
    dh_NBH: Tensor,
    pack: CellPack,
    through: Tensor,
    dx_NBC: Tensor | None,
    q_NBJ: Tensor,
    precision: str,
    state: bool,
) -> None:
    N, B, H = dr_pre_NBH.shape
    M, C, _ = pack.input_MCG.shape
    constants, chosen = _constants("gates_gradient", dr_pre_NBH, C, H, M, precision)
    arguments, how = source_arguments(r_source, dr_pre_NBH)
    terms = [terms_of(r_source, dr_pre_NBH), terms_of(u_source, du_pre_NBH)]
    launch(
        gates_gradient_kernel,
        _grid(N, B, chosen.batch_rows),
        {
            "DR_PRE": dr_pre_NBH,
            "DU_PRE": du_pre_NBH,
            "Y_R": terms[0],
            "Y_U": terms[1],
            **arguments,
            "WX": pack.input_MCG,
            "WH": pack.state_MHG,
            "THROUGH": through,
            "DH": dh_NBH,
            "DX": dh_NBH if dx_NBC is None else dx_NBC,
            "Q": q_NBJ,
            "N": N,
            "B": B,
            "terms": pack.state_MHG.shape[0],
        },
        {
            **constants,
            **how,
            "C": C,
            "BC": _input_block(C, precision),
            "WIDE": is_wide([q_NBJ, *terms, arguments["COEFFICIENT"]]),
            "STATE": state,
            "HAS_DX": dx_NBC is not None,
        },
        warps=chosen.warps,
        stages=chosen.stages,
    )


def _gates_by_gemm(
    x_NBC: Tensor | None,
    x_source: Tensor | None,
    h_NBH: Tensor,
    h_source: Tensor,
    pack: CellPack,
    pre_NBG: Tensor,
    r_NBH: Tensor,
    u_NBH: Tensor,
    reset_NBH: Tensor,
) -> None:
    H = h_NBH.shape[2]
    if x_source is not None:
        weight = pack.input_MCG.view(-1, 3 * H)
        pre_NBG.copy_(torch.addmm(pack.bias_G, x_source.view(-1, weight.shape[0]), weight).view(pre_NBG.shape))
    weight = pack.state_MHG.view(-1, 3 * H)[:, : 2 * H]
    state_pre = h_source.view(-1, weight.shape[0]) @ weight
    # The kernel neither diffuses nor multiplies: it wants a source that it will not read.
    _launch_gates(None, None, h_NBH, h_NBH, pack, pre_NBG, state_pre, r_NBH, u_NBH, reset_NBH, "strict", False)


def _candidate_by_gemm(
    reset_NBH: Tensor,
    source: Tensor,
    h_NBH: Tensor,
    u_NBH: Tensor,
    pre_NBG: Tensor,
    pack: CellPack,
    c_NBH: Tensor,
    h_after_NBH: Tensor,
) -> None:
    H = h_NBH.shape[2]
    weight = pack.state_MHG.view(-1, 3 * H)[:, 2 * H :]
    state_pre = source.view(-1, weight.shape[0]) @ weight
    _launch_candidate(reset_NBH, h_NBH, h_NBH, u_NBH, pre_NBG, state_pre, pack, c_NBH, h_after_NBH, "strict", False)


def _candidate_gradient_by_gemm(
    dpre_NBH: Tensor,
    source: Tensor,
    h_NBH: Tensor,
    r_NBH: Tensor,
    u_NBH: Tensor,
    c_NBH: Tensor,
    dh_NBH: Tensor,
    pack: CellPack,
    dr_pre_NBH: Tensor,
    du_pre_NBH: Tensor,
    dx_NBC: Tensor | None,
    q_NBJ: Tensor,
) -> None:
    assert pack.back is not None
    width = source.shape[-1]
    q_NBJ[..., -width:].copy_(source)
    through = source.view(-1, width) @ pack.back[1]
    _launch_candidate_gradient(
        dpre_NBH, dpre_NBH, [h_NBH, r_NBH, u_NBH, c_NBH], dh_NBH, pack, through, dr_pre_NBH, du_pre_NBH, dx_NBC,
        q_NBJ, "strict", False,
    )  # fmt: skip


def _gates_gradient_by_gemm(
    dr_pre_NBH: Tensor,
    r_source: Tensor,
    du_pre_NBH: Tensor,
    u_source: Tensor,
    dh_NBH: Tensor,
    pack: CellPack,
    dx_NBC: Tensor | None,
    q_NBJ: Tensor,
) -> None:
    assert pack.back is not None
    width = r_source.shape[-1]
    q_NBJ[..., :width].copy_(r_source)
    q_NBJ[..., width : 2 * width].copy_(u_source)
    through = q_NBJ.view(-1, 3 * width)[:, : 2 * width] @ pack.back[0]
    _launch_gates_gradient(
        dr_pre_NBH, dr_pre_NBH, du_pre_NBH, du_pre_NBH, dh_NBH, pack, through, dx_NBC, q_NBJ, "strict", False
    )


def _head(
    h_NBH: Tensor,
    weight_OH: Tensor,
    bias_O: Tensor,
    label_NBO: Tensor,
    feed_label: Tensor,
    prediction_NBO: Tensor,
    next_NBO: Tensor,
) -> None:
    rows, H, O = h_NBH.shape[0] * h_NBH.shape[1], h_NBH.shape[2], weight_OH.shape[0]  # noqa: E741
    size = _head_rows(H)
    launch(
        head_kernel,
        (triton.cdiv(rows, size),),
        {
            "H_NOW": h_NBH,
            "W": weight_OH,
            "BIAS": bias_O,
            "LABEL": label_NBO,
            "FEED_LABEL": feed_label,
            "PREDICTION": prediction_NBO,
            "NEXT": next_NBO,
            "rows": rows,
        },
        {
            "O": O,
            "H": H,
            "BH": block(H),
            "ROWS": size,
            "ACC": wide_type(h_NBH.dtype),
            "UP": interpreted(),
            "WIDE": is_wide([h_NBH, label_NBO]),
        },
        warps=4,
        stages=1,
    )


def _head_gradient(
    grad_NBO: Tensor,
    dx_NBO: Tensor | None,
    feed_label: Tensor,
    weight_OH: Tensor,
    dh_NBH: Tensor,
    total_NBO: Tensor,
    dlabel_NBO: Tensor | None,
) -> None:
    rows, H, O = dh_NBH.shape[0] * dh_NBH.shape[1], dh_NBH.shape[2], weight_OH.shape[0]  # noqa: E741
    size = _head_rows(H)
    launch(
        head_gradient_kernel,
        (triton.cdiv(rows, size),),
        {
            "GRAD": grad_NBO,
            "DX": grad_NBO if dx_NBO is None else dx_NBO,
            "FEED_LABEL": feed_label,
            "W": weight_OH,
            "DH": dh_NBH,
            "TOTAL": total_NBO,
            "DLABEL": total_NBO if dlabel_NBO is None else dlabel_NBO,
            "rows": rows,
        },
        {
            "O": O,
            "H": H,
            "BH": block(H),
            "ROWS": size,
            "ACC": wide_type(weight_OH.dtype),
            "UP": interpreted(),
            "WIDE": is_wide([dh_NBH, grad_NBO]),
            "HAS_DX": dx_NBO is not None,
            "HAS_DLABEL": dlabel_NBO is not None,
        },
        warps=4,
        stages=1,
    )


def _head_rows(units: int) -> int:
    return max(1, 4096 // block(units))
