"""Calls of the candidate's CUDA kernels for tests: inputs, what float64 makes of them, and what PyTorch makes.

Shape legend: T tiles, N = 16 T nodes, B batch, H units, C input channels, M diffusion terms, Q = M-1, S = 16 nodes of a
tile, U slots of a tile's union of neighbours, J = 3*M*H joined columns.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

LOW = {"bf16": torch.bfloat16, "fp16": torch.float16, "tf32": torch.float32, "tf32x3": torch.float32}


@dataclass(frozen=True)
class CallSizes:
    """Sizes of one call; ``counts`` are the real slots of each tile."""

    counts: tuple[int, ...] = (16, 0, 37)
    U: int = 48
    B: int = 3
    H: int = 16
    C: int = 2
    M: int = 3

    @property
    def N(self) -> int:  # noqa: N802
        return 16 * len(self.counts)

    def __str__(self) -> str:
        return f"T{len(self.counts)}-U{self.U}-B{self.B}-H{self.H}-C{self.C}-M{self.M}"


@dataclass(frozen=True)
class Call:
    """One direction's graph and all tensors, rounded to ``low`` where the kernel reads that dtype."""

    sizes: CallSizes
    index_TU: Tensor
    count_T: Tensor
    coefficient_TQSU: Tensor
    x_NBH: Tensor  # reset, or the gradient before the tanh
    h_NBH: Tensor
    r_NBH: Tensor
    u_NBH: Tensor
    c_NBH: Tensor
    pre_NBG: Tensor
    dh_NBH: Tensor
    input_weight_MCG: Tensor
    state_weight_MHG: Tensor

    @property
    def candidate_weight(self) -> Tensor:
        return self.state_weight_MHG[..., 2 * self.sizes.H :]

    @property
    def candidate_input_weight(self) -> Tensor:
        return self.input_weight_MCG[..., 2 * self.sizes.H :]


def make_call(sizes: CallSizes, low: torch.dtype, seed: int = 0) -> Call:
    """Random inputs. Slots that are not real hold positions far outside, so that reading one would be seen."""
    generator = torch.Generator().manual_seed(seed)
    tiles, N, B, H, M = len(sizes.counts), sizes.N, sizes.B, sizes.H, sizes.M

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)

    def gate(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    count_T = torch.tensor(sizes.counts, dtype=torch.int32)
    real_TU = torch.arange(sizes.U) < count_T[:, None]
    index_TU = torch.randint(0, N, (tiles, sizes.U), generator=generator, dtype=torch.int32)
    index_TU = torch.where(real_TU, index_TU, torch.full_like(index_TU, 2**30))
    coefficient = normal(tiles, M - 1, 16, sizes.U, scale=max(1, sizes.U) ** -0.5)
    coefficient = coefficient * (torch.rand(coefficient.shape, generator=generator) < 0.6) * real_TU[:, None, None]
    coefficient[:, :, 3] = 0  # a node without neighbours
    scale = (M * H) ** -0.5
    return Call(
        sizes,
        index_TU,
        count_T,
        coefficient.to(low),
        *(normal(N, B, H).to(low) for _ in range(2)),
        *(gate(N, B, H).to(low) for _ in range(2)),
        torch.tanh(normal(N, B, H)).to(low),
        normal(N, B, 3 * H).float(),
        normal(N, B, H).float(),
        normal(M, sizes.C, 3 * H, scale=scale).to(low),
        normal(M, H, 3 * H, scale=scale).to(low),
    )


def diffuse(call: Call, wide: torch.dtype, low: torch.dtype) -> Tensor:
    """(M, N, B, H): all terms of x, sums in ``wide``, rounded to ``low``, the first of them x itself."""
    tiles, B, H = len(call.sizes.counts), call.sizes.B, call.sizes.H
    terms = [call.x_NBH.to(wide)]
    dense_QNN = torch.zeros(call.sizes.M - 1, call.sizes.N, call.sizes.N, dtype=wide)
    for t in range(tiles):
        index = call.index_TU[t, : call.count_T[t]].long()
        part_QSU = call.coefficient_TQSU[t, :, :, : call.count_T[t]].to(wide)
        dense_QNN[:, 16 * t : 16 * t + 16].index_add_(2, index, part_QSU)
    for matrix_NN in dense_QNN:
        terms.append((matrix_NN @ terms[0].reshape(call.sizes.N, B * H)).view_as(terms[0]).to(low).to(wide))
    return torch.stack(terms)


def candidate(call: Call, wide: torch.dtype, low: torch.dtype) -> list[Tensor]:
    """c and the next state, by their definition."""
    y_MNBH = diffuse(call, wide, low)
    product_NBH = torch.einsum("mnbk,mko->nbo", y_MNBH, call.candidate_weight.to(wide))
    c_NBH = torch.tanh(call.pre_NBG[..., 2 * call.sizes.H :].to(wide) + product_NBH)
    u_NBH = call.u_NBH.to(wide)
    return [c_NBH.to(low), (u_NBH * call.h_NBH.to(wide) + (1 - u_NBH) * c_NBH).to(low)]


def candidate_gradient(call: Call, wide: torch.dtype, low: torch.dtype) -> list[Tensor]:
    """The candidate's third of q, dh, dr_pre, du_pre and dx, by their definition."""
    q_MNBH = diffuse(call, wide, low)
    d_reset = torch.einsum("mnbo,mko->nbk", q_MNBH, call.candidate_weight.to(wide))
    dx_NBC = torch.einsum("mnbo,mco->nbc", q_MNBH, call.candidate_input_weight.to(wide))
    h, r, u, c, dh = (tensor.to(wide) for tensor in (call.h_NBH, call.r_NBH, call.u_NBH, call.c_NBH, call.dh_NBH))
    keep = torch.float64 if wide == torch.float64 else torch.float32
    return [
        q_MNBH.permute(1, 2, 0, 3).flatten(2).to(low),
        (dh * u + d_reset * r).to(keep),
        (d_reset * h * r * (1 - r)).to(low),
        (dh * (h - c) * u * (1 - u)).to(low),
        dx_NBC.to(keep),
    ]
