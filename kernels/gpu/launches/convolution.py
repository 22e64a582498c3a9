"""Launches of the diffusion convolution's Triton kernels: diffusing beforehand, and the convolution of many steps.

Shape legend: T steps, N nodes, B batch, C input channels, O output columns, K channels, M terms, S = (M-1) N.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from dcrnn_fast.kernels.gpu.available import interpreted
from dcrnn_fast.kernels.gpu.blocks import blocks_for
from dcrnn_fast.kernels.gpu.kernels.convolution import convolve_kernel, gather_kernel, hop_kernel
from dcrnn_fast.kernels.gpu.launch import is_wide, launch
from dcrnn_fast.kernels.gpu.primitives import Chain, Csr, Direction, Source
from dcrnn_fast.kernels.gpu.tiles import SIDE, TileGraph

# Columns of one warp: 16 bytes a thread in bfloat16.
GATHER_BLOCK = 256


def block(size: int) -> int:
    """Power of two that holds ``size``, at least the 16 of a tensor-core tile."""
    return max(16, triton.next_power_of_2(size))


def wide_type(dtype: torch.dtype) -> Any:
    """Triton's name of the dtype that sums are kept in."""
    return tl.float64 if dtype == torch.float64 else tl.float32


def numbers(dtype: torch.dtype, tensors: Sequence[Tensor]) -> dict[str, Any]:
    """Constants that every kernel has: the dtype of sums, whether factors are widened first (the interpreter has no
    products of bfloat16), and whether offsets into one of ``tensors`` need 64 bits.
    """
    return {"ACC": wide_type(dtype), "UP": interpreted(), "WIDE": is_wide(tensors)}


def dot_precision(precision: str) -> str:
    """``input_precision`` of ``tl.dot``; it has no effect in a plan's "low" and "strict"."""
    return precision if precision in ("tf32", "tf32x3") else "ieee"


def source_arguments(source: Source, like: Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
    """(INDEX, COUNT, COEFFICIENT), and the constants of the diffusion; arguments that are not read get ``like``."""
    if isinstance(source, TileGraph):
        U = source.index_TU.shape[1]
        return (
            {"INDEX": source.index_TU, "COUNT": source.count_T, "COEFFICIENT": source.coefficient_TQSU},
            {"U": U, "UC": source.chunk, "FUSED": True, "MORE": source.chunk < U},
        )
    return {"INDEX": like, "COUNT": like, "COEFFICIENT": like}, {"U": 16, "UC": 16, "FUSED": False, "MORE": False}


def terms_of(source: Source, like: Tensor) -> Tensor:
    """The terms that were diffused before, or ``like`` if the kernel diffuses."""
    return like if isinstance(source, TileGraph) else source


def spread(x: Tensor, direction: Direction) -> Source:
    """Terms 1 .. M-1 of x (..., N, B, K): the tiles themselves, for kernels that diffuse, or (..., M-1, N, B, K)."""
    if direction.tiles is not None:
        return direction.tiles
    T, (N, B, K) = prod(x.shape[:-3]), x.shape[-3:]
    Q = (direction.csr.row_start.shape[0] - 1) // N
    if direction.chain is not None:
        return chained(x, direction.chain, Q)
    if direction.dense_SN is not None:
        return torch.matmul(direction.dense_SN, x.reshape(*x.shape[:-3], N, B * K)).view(*x.shape[:-3], Q, N, B, K)
    y = x.new_empty(*x.shape[:-3], Q, N, B, K)
    for step, out in zip(x.reshape(T, N, B, K).unbind(0), y.view(T, Q, N, B, K).unbind(0), strict=True):
        gather(step, direction.csr, out, y_row=K, y_term=N * B * K, identity=False)
    return y


def spread_joined(x: Tensor, direction: Direction) -> Tensor:
    """All M terms of x (..., N, B, K) side by side: (..., N, B, M*K), as one GEMM wants them."""
    N, B, K = x.shape[-3:]
    M = (direction.csr.row_start.shape[0] - 1) // N + 1
    if direction.chain is not None:
        terms = chained(x, direction.chain, M - 1)
        return torch.stack([x, *terms.unbind(-4)], dim=-2).view(*x.shape[:-1], M * K)
    y = x.new_empty(*x.shape[:-1], M * K)
    for step, out in zip(x.reshape(-1, N, B, K).unbind(0), y.view(-1, N, B, M * K).unbind(0), strict=True):
        gather(step, direction.csr, out, y_row=M * K, y_term=K, identity=True)
    return y


def chained(x: Tensor, chain: Chain, terms: int) -> Tensor:
    """Terms 1 .. ``terms`` of x (..., N, B, K), hop after hop, each rounded as it is stored: (..., terms, N, B, K)."""
    leading, (N, B, K) = x.shape[:-3], x.shape[-3:]
    x = x.contiguous()
    y = x.new_empty(*leading, terms, N, B, K)
    spare = x.new_empty(*leading, chain.spare, N, B, K)
    width = B * K
    size = min(GATHER_BLOCK, block(width))
    constants = {"BLOCK": size, **numbers(x.dtype, [x, y, spare])}

    def panel(number: int) -> tuple[Tensor, int, int]:
        """Its place: the tensor, its first element there, elements from one step to the next."""
        if number == 0:
            return x, 0, N * width
        if number <= terms:
            return y, (number - 1) * N * width, terms * N * width
        return spare, (number - 1 - terms) * N * width, chain.spare * N * width

    for hop in chain.hops:
        (source, x_at, x_step), (out, y_at, y_step) = panel(hop.source), panel(hop.target)
        minus, z_at, z_step = panel(max(hop.minus, 0))
        launch(
            hop_kernel,
            (N, triton.cdiv(width, size), prod(leading)),
            {
                "X": source,
                "ROW_START": chain.supports.row_start,
                "COLUMN": chain.supports.column,
                "VALUE": chain.supports.value,
                "Z": minus,
                "Y": out,
                "first_row": hop.support * N,
                "width": width,
                "x_at": x_at,
                "x_step": x_step,
                "z_at": z_at,
                "z_step": z_step,
                "y_at": y_at,
                "y_step": y_step,
            },
            {**constants, "SCALE": hop.scale, "HAS_Z": hop.minus >= 0},
            warps=1,
            stages=1,
        )
    return y


def gather(x_NBK: Tensor, csr: Csr, y: Tensor, *, y_row: int, y_term: int, identity: bool) -> None:
    """Terms by CSR into ``y`` at (node*B + b)*y_row + term*y_term + k."""
    N, B, K = x_NBK.shape
    terms = (csr.row_start.shape[0] - 1) // N + identity
    width = B * K
    size = min(GATHER_BLOCK, block(width))
    launch(
        gather_kernel,
        (N, triton.cdiv(width, size), terms),
        {
            "X": x_NBK,
            "ROW_START": csr.row_start,
            "COLUMN": csr.column,
            "VALUE": csr.value,
            "Y": y,
            "N": N,
            "width": width,
            "y_row": y_row,
            "y_term": y_term,
        },
        {
            "K": K,
            "BLOCK": size,
            "ACC": wide_type(x_NBK.dtype),
            "UP": interpreted(),
            "WIDE": is_wide([x_NBK]) or (terms * x_NBK.numel() >= 2**31) or N * B * y_row >= 2**31,
            "IDENTITY": identity,
        },
        warps=1,
        stages=1,
    )


def convolve(
    x_TNBC: Tensor,
    source: Source,
    weight_MCO: Tensor,
    bias_O: Tensor | None,
    out_TNBO: Tensor,
    q_TNBQ: Tensor | None,
    precision: str,
    parts: int,
) -> None:
    """Diffusion and product of T steps; O = ``parts`` (1 or 3) blocks of columns, q (T, N, B, M*C) gets the terms."""
    T, N, B, C = x_TNBC.shape
    M, _, O = weight_MCO.shape  # noqa: E741
    graph, constants = source_arguments(source, x_TNBC)
    arguments = {
        "X": x_TNBC,
        "Y": terms_of(source, x_TNBC),
        **graph,
        "W": weight_MCO,
        "BIAS": x_TNBC if bias_O is None else bias_O,
        "OUT": out_TNBO,
        "Q": x_TNBC if q_TNBQ is None else q_TNBQ,
    }
    chosen = blocks_for(
        "convolve", x_TNBC, precision, C, O // parts, fused=constants["FUSED"], chunked=constants["MORE"]
    )
    part = O // parts if parts == 3 else min(O, chosen.columns)
    groups = 1 if parts == 3 else triton.cdiv(O, part)
    launch(
        convolve_kernel,
        (triton.cdiv(N, SIDE), triton.cdiv(B, chosen.batch_rows), T * groups),
        {**arguments, "N": N, "B": B, "terms": M},
        {
            **constants,
            "M": M,
            "C": C,
            "BC": block(C),
            "O": O,
            "PART": part,
            "BO": block(part),
            "PARTS": parts,
            "BB": chosen.batch_rows,
            "PREC": dot_precision(precision),
            **numbers(x_TNBC.dtype, [arguments[name] for name in ("X", "Y", "COEFFICIENT", "OUT", "Q")]),
            "HAS_BIAS": bias_O is not None,
            "HAS_Q": q_TNBQ is not None,
            "GROUPS": groups,
        },
        warps=chosen.warps,
        stages=chosen.stages,
    )
