"""The table of primitives with the candidate in CUDA C++, and whether those kernels can run.

They are compiled with the package if nvcc is found (``csrc/cuda/build.py``). They compute the candidate and its
gradient; everything else of ``backend=cuda`` is Triton's.

Shape legend: N nodes, B batch, H units, C input channels, M diffusion terms.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from dcrnn_fast.kernels.dispatch import constant_when_traced
from dcrnn_fast.kernels.dtypes import computed_dtype
from dcrnn_fast.kernels.gpu.available import on_the_cpu, why_not_triton
from dcrnn_fast.kernels.gpu.launch import launch
from dcrnn_fast.kernels.gpu.plan import Plan
from dcrnn_fast.kernels.gpu.primitives import CellGradient, CellPack, CellStep, Primitives, Source
from dcrnn_fast.kernels.gpu.table_triton import triton_table
from dcrnn_fast.kernels.gpu.tiles import TileGraph
from dcrnn_fast.kernels.native import library

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# The first whose tensor cores know bfloat16 and tf32; compiled for it, for sm_90, and as PTX for newer ones.
OLDEST_CAPABILITY = (8, 0)

# Shared memory of a block; csrc/cuda/candidate.cu asserts the same numbers. sm_86, sm_89 and sm_120 have 99 KiB.
SHARED_BYTES = {torch.float32: 138240, torch.bfloat16: 77824, torch.float16: 77824}

# csrc/cuda/candidate.h and diffuse.cuh: the order of the precisions, rows of 16 bytes, a block's shape.
_FLOAT32 = {"tf32": 2, "tf32x3": 3}
_UNITS_MULTIPLE = 8
_BATCH_ROWS, _WARPS, _STAGES = 4, 8, 2

CANDIDATE = "dcrnn_fast::candidate_cuda"
CANDIDATE_GRADIENT = "dcrnn_fast::candidate_gradient_cuda"

# ``precision``: 0 bfloat16, 1 float16, 2 tf32, 3 tf32x3. Weights are (M, rows, H) and may be columns of wider ones.
torch.library.define(
    CANDIDATE,
    "(Tensor reset_NBH, Tensor h_NBH, Tensor u_NBH, Tensor pre_NBG, Tensor weight_MHH, Tensor index_TU, "
    "Tensor count_T, Tensor coefficient_TQSU, Tensor(a!) c_NBH, Tensor(b!) h_after_NBH, int precision) -> ()",
)
torch.library.define(
    CANDIDATE_GRADIENT,
    "(Tensor dpre_NBH, Tensor h_NBH, Tensor r_NBH, Tensor u_NBH, Tensor c_NBH, Tensor input_weight_MCH, "
    "Tensor state_weight_MHH, Tensor index_TU, Tensor count_T, Tensor coefficient_TQSU, Tensor(a!) q_NBJ, "
    "Tensor(b!) dh_NBH, Tensor(c!) dr_pre_NBH, Tensor(d!) du_pre_NBH, Tensor(e!)? dx_NBC, int precision) -> ()",
)


@torch.library.register_fake(CANDIDATE)
def _(*_: Any) -> None:
    return None


@torch.library.register_fake(CANDIDATE_GRADIENT)
def _(*_: Any) -> None:
    return None


class CudaKernel:
    """An operator of the compiled library, launched as Triton's kernels are: ``kernel[grid](**arguments)``.

    The grid is for counters of launches; the library computes its own.
    """

    def __init__(self, operator: str) -> None:
        self.__name__ = operator.removeprefix("dcrnn_fast::")

    def __getitem__(self, grid: tuple[int, ...]) -> "CudaKernel":
        return self

    def __call__(self, *, num_warps: int, num_stages: int, **arguments: Any) -> None:
        getattr(torch.ops.dcrnn_fast, self.__name__)(**arguments)


_candidate_kernel = CudaKernel(CANDIDATE)
_candidate_gradient_kernel = CudaKernel(CANDIDATE_GRADIENT)


# torch.compile would trace the search for the library and device queries.
@constant_when_traced
def _why_not(device_type: str, index: int, dtype: torch.dtype) -> str | None:
    _, facts, reason = library()
    if not torch._C._dispatch_has_kernel_for_dispatch_key(CANDIDATE, device_type.upper()):
        if device_type == "cpu":
            return on_the_cpu()
        if device_type != "cuda":
            return f"x is on {device_type}"
        return reason or f"the CUDA kernels are not compiled: {facts.get('no_cuda', 'the build did not look for nvcc')}"
    return _why_not_device(index, dtype) if device_type == "cuda" else None


def _why_not_device(index: int, dtype: torch.dtype) -> str | None:
    name = torch.cuda.get_device_name(index)
    if torch.cuda.get_device_capability(index) < OLDEST_CAPABILITY:
        return f"{name} is older than sm_{OLDEST_CAPABILITY[0]}{OLDEST_CAPABILITY[1]}"
    properties: Any = torch.cuda.get_device_properties(index)  # torch's stub lacks the field
    there = properties.shared_memory_per_block_optin
    needed = SHARED_BYTES.get(dtype, 0)
    if there < needed:
        return f"{name} has {there} bytes of shared memory for a block, the kernels need {needed} for {dtype}"
    return None


def why_not_cuda(x: Tensor) -> str | None:
    """The reasons why ``backend=cuda`` cannot take ``x``, or None."""
    dtype = computed_dtype(x)
    reasons = [] if dtype in DTYPES else [f"no CUDA kernels for {dtype}"]
    own, rest = _why_not(x.device.type, x.device.index or 0, dtype), why_not_triton(x)
    if own is not None:
        reasons.append(own)
    if rest is not None and x.is_cuda:
        reasons.append(f"its other kernels are Triton's: {rest}")
    elif rest is not None and own is None:
        reasons.append(rest)
    return "; ".join(reasons) or None


def cuda_table(plan: Plan) -> Primitives:
    """The primitives of a call.

    Raises:
        NotImplementedError: the CUDA kernels do not compute this plan; the message names the change that it needs.
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
