"""The table of primitives in which everything is Triton's."""

from dcrnn_fast.kernels.gpu.plan import Plan
from dcrnn_fast.kernels.gpu.primitives import Primitives


def triton_table(plan: Plan) -> Primitives:
    """The primitives of a call. Both modules import triton, which is slow, and which a CPU need not have."""
    if plan.product == "gemm":
        from dcrnn_fast.kernels.gpu.launches.gemm import gemm_primitives

        return gemm_primitives()
    from dcrnn_fast.kernels.gpu.launches.cell import fused_primitives

    return fused_primitives(plan.precision)
