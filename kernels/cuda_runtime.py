"""Whether the CUDA C++ kernels can run, and how they are launched.

They are compiled with the package where nvcc is found (``csrc/cuda/build.py``). They compute the candidate and its
gradient; everything else of ``backend=cuda`` is Triton's.
"""

from typing import Any

import torch
from torch import Tensor

from dcrnn_fast.kernels.dispatch import autocast_dtype
from dcrnn_fast.kernels.native import library
from dcrnn_fast.kernels.triton_runtime import on_the_cpu, why_not_triton

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# The first whose tensor cores know bfloat16 and tf32; compiled for it, for sm_90, and as PTX for newer ones.
OLDEST_CAPABILITY = (8, 0)

# Shared memory of a block; csrc/cuda/candidate.cu asserts the same numbers. sm_86, sm_89 and sm_120 have 99 KiB.
SHARED_BYTES = {torch.float32: 138240, torch.bfloat16: 77824, torch.float16: 77824}

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

    The grid is for whoever watches launches; the library computes its own.
    """

    def __init__(self, operator: str) -> None:
        self.__name__ = operator.removeprefix("dcrnn_fast::")

    def __getitem__(self, grid: tuple[int, ...]) -> "CudaKernel":
        return self

    def __call__(self, *, num_warps: int, num_stages: int, **arguments: Any) -> None:
        getattr(torch.ops.dcrnn_fast, self.__name__)(**arguments)


# torch.compile would trace the search for the library and device queries.
@torch.compiler.assume_constant_result
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
    dtype = autocast_dtype(x) or x.dtype
    reasons = [] if dtype in DTYPES else [f"no CUDA kernels for {dtype}"]
    own, rest = _why_not(x.device.type, x.device.index or 0, dtype), why_not_triton(x)
    if own is not None:
        reasons.append(own)
    if rest is not None and x.is_cuda:
        reasons.append(f"its other kernels are Triton's: {rest}")
    elif rest is not None and own is None:
        reasons.append(rest)
    return "; ".join(reasons) or None
