"""Calls of the candidate's CUDA kernels for tests: inputs, what float64 makes of them, and what PyTorch makes.

Shape legend: T tiles, N = 16 T nodes, B batch, H units, C input channels, M diffusion terms, Q = M-1, S = 16 nodes of a
tile, U slots of a tile's union of neighbours, J = 3*M*H joined columns.
"""

from collections.abc import Callable
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


def round_tf32(x: Tensor) -> Tensor:
    """float32 with the 10 bits of mantissa that tf32 has, ties away from zero."""
    bits = x.float().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


@dataclass(frozen=True)
class Arithmetic:
    """How a reference computes: sums in ``wide``, what is stored in ``low``, factors through ``operand``."""

    wide: torch.dtype
    low: torch.dtype
    operand: Callable[[Tensor], Tensor]


TRUTH = Arithmetic(torch.float64, torch.float64, lambda x: x)


def plain(precision: str) -> Arithmetic:
    """What PyTorch would do: float32 sums over operands of the precision."""
    return Arithmetic(torch.float32, LOW[precision], round_tf32 if precision == "tf32" else lambda x: x)


def diffuse(call: Call, how: Arithmetic) -> Tensor:
    """(M, N, B, H): all terms of x, rounded to low, the first of them x itself."""
    N, B, H = call.sizes.N, call.sizes.B, call.sizes.H
    dense_QNN = torch.zeros(call.sizes.M - 1, N, N, dtype=how.wide)
    for t, count in enumerate(call.sizes.counts):
        index = call.index_TU[t, :count].long()
        dense_QNN[:, 16 * t : 16 * t + 16].index_add_(2, index, call.coefficient_TQSU[t, :, :, :count].to(how.wide))
    x_NR = call.x_NBH.to(how.wide).reshape(N, B * H)
    terms = [how.operand(matrix_NN) @ how.operand(x_NR) for matrix_NN in dense_QNN]
    return torch.stack([x_NR, *(y_NR.to(how.low).to(how.wide) for y_NR in terms)]).view(-1, N, B, H)


def candidate(call: Call, how: Arithmetic) -> list[Tensor]:
    """c and the next state, by their definition."""
    y_MNBH = how.operand(diffuse(call, how))
    product_NBH = torch.einsum("mnbk,mko->nbo", y_MNBH, how.operand(call.candidate_weight.to(how.wide)))
    c_NBH = torch.tanh(call.pre_NBG[..., 2 * call.sizes.H :].to(how.wide) + product_NBH)
    u_NBH = call.u_NBH.to(how.wide)
    return [c_NBH.to(how.low), (u_NBH * call.h_NBH.to(how.wide) + (1 - u_NBH) * c_NBH).to(how.low)]


def candidate_gradient(call: Call, how: Arithmetic) -> list[Tensor]:
    """The candidate's third of q, dh, dr_pre, du_pre and dx, by their definition."""
    wide = how.wide
    q_MNBH = diffuse(call, how)
    product = how.operand(q_MNBH)
    d_reset = torch.einsum("mnbo,mko->nbk", product, how.operand(call.candidate_weight.to(wide)))
    dx_NBC = torch.einsum("mnbo,mco->nbc", product, how.operand(call.candidate_input_weight.to(wide)))
    h, r, u, c, dh = (tensor.to(wide) for tensor in (call.h_NBH, call.r_NBH, call.u_NBH, call.c_NBH, call.dh_NBH))
    return [
        q_MNBH.permute(1, 2, 0, 3).flatten(2).to(how.low),
        dh * u + d_reset * r,
        (d_reset * h * r * (1 - r)).to(how.low),
        (dh * (h - c) * u * (1 - u)).to(how.low),
        dx_NBC,
    ]
