"""The DCGRU cell by a gather kernel, the library's GEMM, and an epilogue kernel (``cell.py``).

For float32 without tensor cores, and for wide layers. A source holds all M terms of a tensor side by side.

Shape legend: T steps, N nodes, B batch, C input channels, H units, M terms, G = 3H, J = 3*M*H; O output channels.
"""

import torch
from torch import Tensor

from dcrnn_fast.kernels.gpu.launches import cell
from dcrnn_fast.kernels.gpu.launches.convolution import spread_joined
from dcrnn_fast.kernels.gpu.primitives import CellGradient, CellPack, CellStep, Direction, Primitives
from dcrnn_fast.kernels.weights import CellWeights


def gemm_primitives() -> Primitives:
    """A gather kernel, the library's GEMM, and an epilogue kernel."""
    return cell.fused_primitives("strict")._replace(
        pack=_pack,
        spread=spread_joined,
        convolve=_convolve,
        gates=_gates,
        candidate=_candidate,
        candidate_gradient=_candidate_gradient,
        gates_gradient=_gates_gradient,
    )


def _pack(weights: CellWeights, num_terms: int, backward: bool) -> CellPack:
    pack = cell.pack_cell(weights, num_terms, backward)
    if not backward:
        return pack
    M, C, G = pack.input_MCG.shape
    H = G // 3
    # (gate, m, column) by (x channels, then units): turns diffused gradients into those of x and h.
    back = torch.cat([pack.input_MCG, pack.state_MHG], dim=1).view(M, C + H, 3, H).permute(2, 0, 3, 1).contiguous()
    return pack._replace(back=(back[:2].reshape(2 * M * H, C + H), back[2].reshape(M * H, C + H)))


def _convolve(
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


def _gates(x: tuple[Tensor, Tensor] | None, source: Tensor, step: CellStep, pack: CellPack) -> None:
    H = step.h_NBH.shape[2]
    if x is not None:
        weight = pack.input_MCG.view(-1, 3 * H)
        pre_RG = torch.addmm(pack.bias_G, x[1].view(-1, weight.shape[0]), weight)
        step.pre_NBG.copy_(pre_RG.view(step.pre_NBG.shape))
    weight = pack.state_MHG.view(-1, 3 * H)[:, : 2 * H]
    state_pre = source.view(-1, weight.shape[0]) @ weight
    cell.gates(None, step.h_NBH, step, pack, precision="strict", state_pre=state_pre)


def _candidate(source: Tensor, step: CellStep, pack: CellPack) -> None:
    H = step.h_NBH.shape[2]
    weight = pack.state_MHG.view(-1, 3 * H)[:, 2 * H :]
    state_pre = source.view(-1, weight.shape[0]) @ weight
    cell.candidate(step.h_NBH, step, pack, precision="strict", state_pre=state_pre)


def _candidate_gradient(source: Tensor, gradient: CellGradient, pack: CellPack) -> None:
    assert pack.back is not None
    width = source.shape[-1]
    gradient.q_NBJ[..., -width:].copy_(source)
    through = source.view(-1, width) @ pack.back[1]
    cell.candidate_gradient(gradient.dpre_NBH, gradient, pack, precision="strict", through=through)


def _gates_gradient(r_source: Tensor, u_source: Tensor, gradient: CellGradient, pack: CellPack) -> None:
    assert pack.back is not None
    width, q_NBJ = r_source.shape[-1], gradient.q_NBJ
    q_NBJ[..., :width].copy_(r_source)
    q_NBJ[..., width : 2 * width].copy_(u_source)
    through = q_NBJ.view(-1, 3 * width)[:, : 2 * width] @ pack.back[0]
    cell.gates_gradient(gradient.dr_pre_NBH, gradient.du_pre_NBH, gradient, pack, precision="strict", through=through)
