"""Public function of the diffusion convolution.

Shape legend: B batch, N nodes, C input channels, O output channels, M diffusion terms, I = C*M weight rows.
"""

from torch import Tensor

from dcrnn_fast.kernels.checks import require_nodes, require_shape
from dcrnn_fast.kernels.diffusion_conv.cpu import diffusion_conv_cpu
from dcrnn_fast.kernels.diffusion_conv.gpu import diffusion_conv_cuda, diffusion_conv_triton
from dcrnn_fast.kernels.diffusion_conv.manual import diffusion_conv_manual
from dcrnn_fast.kernels.diffusion_conv.specification import diffusion_conv_specification
from dcrnn_fast.kernels.operator import in_order_of_speed, run
from dcrnn_fast.kernels.terms import DiffusionTerms

IMPLEMENTATIONS = in_order_of_speed(
    cpu=diffusion_conv_cpu,
    triton=diffusion_conv_triton,
    cuda=diffusion_conv_cuda,
    manual=diffusion_conv_manual,
    specification=diffusion_conv_specification,
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
        precision: "exact", or "bf16x3": float32 products are made of three to six bfloat16 ones if the CPU has AMX
            (max error at most 1e-5 of max value; elsewhere exact, as ``dcrnn_fast.explain`` then prints).

    Returns:
        y_BNO in x's dtype (under autocast: in autocast's). Sums run in float32 or wider.

    Raises:
        ValueError: shapes disagree, or an unknown backend or precision.
        TypeError: dtypes disagree.
        NotImplementedError: the named backend cannot run here; the message gives the reason.
    """
    require_nodes("diffusion_conv", "x", x_BNC, 3, terms)
    rows = x_BNC.shape[-1] * terms.num_terms
    require_shape("diffusion_conv", "weight", weight_IO, (rows, None))
    bias_O = weight_IO.new_zeros(weight_IO.shape[1]) if bias_O is None else bias_O
    require_shape("diffusion_conv", "bias", bias_O, (weight_IO.shape[1],))
    y_BNO: Tensor = run(
        "diffusion_conv",
        IMPLEMENTATIONS,
        backend,
        x_BNC,
        terms,
        {"weight": weight_IO, "bias": bias_O},
        channels=x_BNC.shape[2],
        units=weight_IO.shape[1],
        precision=precision,
    )
    return y_BNO
