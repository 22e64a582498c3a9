"""Public function of the diffusion convolution.

Shape legend: B batch, N nodes, C input channels, O output channels, M diffusion terms, I = C*M weight rows.
"""

import torch
from torch import Tensor

from dcrnn_fast.kernels.checks import require_dtypes, require_nodes, require_precision, require_shape
from dcrnn_fast.kernels.cuda_runtime import why_not_cuda
from dcrnn_fast.kernels.diffusion_conv.cpu import diffusion_conv_cpu
from dcrnn_fast.kernels.diffusion_conv.cuda import diffusion_conv_cuda
from dcrnn_fast.kernels.diffusion_conv.manual import diffusion_conv_manual
from dcrnn_fast.kernels.diffusion_conv.specification import diffusion_conv_specification
from dcrnn_fast.kernels.diffusion_conv.triton import diffusion_conv_triton
from dcrnn_fast.kernels.dispatch import Implementation, always, autocast_dtype, choose
from dcrnn_fast.kernels.native import why_not_cpu
from dcrnn_fast.kernels.terms import DiffusionTerms
from dcrnn_fast.kernels.triton_plan import plan_name
from dcrnn_fast.kernels.triton_runtime import why_not_triton

IMPLEMENTATIONS = (
    Implementation("cpu", diffusion_conv_cpu, why_not_cpu, device="cpu"),
    Implementation("triton", diffusion_conv_triton, why_not_triton, self_checked=True, device="cuda"),
    Implementation("cuda", diffusion_conv_cuda, why_not_cuda, self_checked=True, device="cuda", by_name_only=True),
    Implementation("manual", diffusion_conv_manual, always),
    Implementation("specification", diffusion_conv_specification, always),
)


def diffusion_conv(
    x_BNC: Tensor,
    terms: DiffusionTerms,
    weight_IO: Tensor,
    bias_O: Tensor | None = None,
    *,
    backend: str = "auto",
    precision: str = "exact",
) -> Tensor:
    """Sum over diffusion terms m of P_m x W_m, plus bias (Li et al. 2018, equation 2, for any recursion).

    Args:
        x_BNC: activations; float32, float64, bfloat16 or float16, any strides.
        terms: the graph's M operators, float32, or float64 when x is.
        weight_IO: (C*M, O) in x's dtype; row = channel*M + m.
        bias_O: in x's dtype; left out: none.
        backend: "auto", or one to insist on.
        precision: "exact", or "bf16x3": float32 products are made of three to six bfloat16 ones where the CPU has AMX
            (max error at most 1e-5 of max value; elsewhere exact, and ``dcrnn_fast.explain`` says so).

    Returns:
        y_BNO in x's dtype (under autocast: in autocast's). Sums run in float32 or wider.

    Raises:
        ValueError: shapes disagree, or an unknown backend or precision.
        TypeError: dtypes disagree.
        NotImplementedError: the named backend cannot run here; the message says why.
    """
    require_nodes("diffusion_conv", "x", x_BNC, 3, terms)
    rows = x_BNC.shape[-1] * terms.num_terms
    require_shape("diffusion_conv", "weight", weight_IO, (rows, None))
    bias_O = weight_IO.new_zeros(weight_IO.shape[1]) if bias_O is None else bias_O
    require_shape("diffusion_conv", "bias", bias_O, (weight_IO.shape[1],))
    B, _, C = x_BNC.shape
    chosen = choose(
        "diffusion_conv",
        IMPLEMENTATIONS,
        backend,
        x_BNC,
        lambda dtype: plan_name(terms, dtype, B, C, weight_IO.shape[1]),
    )
    low = autocast_dtype(x_BNC)
    bf16x3 = require_precision("diffusion_conv", precision, low or x_BNC.dtype)
    options = {"bf16x3": bf16x3} if chosen.name == "cpu" else {}
    if low is None or chosen.name == "specification":
        require_dtypes("diffusion_conv", terms, x=x_BNC, weight=weight_IO, bias=bias_O)
        return chosen.run(x_BNC, terms, weight_IO, bias_O, **options)  # type: ignore[return-value]
    with torch.autocast(x_BNC.device.type, enabled=False):
        return chosen.run(x_BNC.to(low), terms, weight_IO.to(low), bias_O.to(low), **options)  # type: ignore[return-value]
