"""Stacked DCGRU cells with the candidate in CUDA C++: Triton's table of primitives, two of them replaced.

Shape legend: N nodes, B batch, H units, C input channels, M diffusion terms.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from dcrnn_fast.kernels.cuda_runtime import CANDIDATE, CANDIDATE_GRADIENT, CudaKernel
from dcrnn_fast.kernels.dcgru_sequence.triton import define_dcgru_sequence
from dcrnn_fast.kernels.diffusion_conv.triton import triton_table
from dcrnn_fast.kernels.primitives import CellGradient, CellPack, CellStep, Primitives, Source
from dcrnn_fast.kernels.tiles import TileGraph
from dcrnn_fast.kernels.triton_plan import Plan
from dcrnn_fast.kernels.triton_runtime import launch

# csrc/cuda/candidate.h and diffuse.cuh: the order of the precisions, rows of 16 bytes, a block's shape.
_FLOAT32 = {"tf32": 2, "tf32x3": 3}
_UNITS_MULTIPLE = 8
_BATCH_ROWS, _WARPS, _STAGES = 4, 8, 2

_candidate_kernel = CudaKernel(CANDIDATE)
_candidate_gradient_kernel = CudaKernel(CANDIDATE_GRADIENT)


def cuda_table(plan: Plan) -> Primitives:
    """The primitives of a call.

    Raises:
        NotImplementedError: the plan is not what the CUDA kernels compute; the message says what it would take.
    """
    if plan.graph.diffusion != "tile" or plan.product != "fused":
        raise NotImplementedError(
            f"backend cuda: its kernels diffuse by tiles and multiply in the kernel (plan: tile, fused), but the plan "
            f"for this graph and these sizes is {plan.graph.diffusion}, {plan.product}; take backend=triton, or "
            f"DCRNN_FAST_TRITON=tile,fused"
        )
    return triton_table(plan)._replace(
        candidate=partial(candidate, precision=plan.precision),
        candidate_gradient=partial(candidate_gradient, precision=plan.precision),
    )


def _code(low: Tensor, precision: str) -> int:
    return {torch.bfloat16: 0, torch.float16: 1}.get(low.dtype, _FLOAT32.get(precision, -1))


def _run(kernel: CudaKernel, like_NBH: Tensor, source: Source, arguments: dict[str, Any], precision: str) -> None:
    _, B, H = like_NBH.shape
    if H % _UNITS_MULTIPLE:
        raise NotImplementedError(f"backend cuda: the units must be a multiple of {_UNITS_MULTIPLE}, got {H}")
    assert isinstance(source, TileGraph)
    graph = {
        "index_TU": source.index_TU,
        "count_T": source.count_T,
        "coefficient_TQSU": source.coefficient_TQSU,
        "precision": _code(like_NBH, precision),
    }
    grid = (source.index_TU.shape[0], -(-B // _BATCH_ROWS))
    launch(kernel, grid, {**arguments, **graph}, {}, warps=_WARPS, stages=_STAGES)


def candidate(source: Source, step: CellStep, pack: CellPack, *, precision: str) -> None:
    """``Primitives.candidate`` in CUDA C++."""
    H = step.h_NBH.shape[2]
    arguments = step._asdict() | {"weight_MHH": pack.state_MHG[..., 2 * H :]}
    del arguments["r_NBH"]
    _run(_candidate_kernel, step.h_NBH, source, arguments, precision)


def candidate_gradient(source: Source, gradient: CellGradient, pack: CellPack, *, precision: str) -> None:
    """``Primitives.candidate_gradient`` in CUDA C++."""
    H = gradient.h_NBH.shape[2]
    arguments = gradient._asdict() | {
        "input_weight_MCH": pack.input_MCG[..., 2 * H :],
        "state_weight_MHH": pack.state_MHG[..., 2 * H :],
    }
    _run(_candidate_gradient_kernel, gradient.h_NBH, source, arguments, precision)


dcgru_sequence_cuda = define_dcgru_sequence("cuda", cuda_table)
