"""Launches of the decoder's ends: the projection with its feedback, and the gradient of both.

Shape legend: N nodes, B batch, O output channels, D columns of the decoder's input, H units.
"""

from typing import Any

import triton
from torch import Tensor

from dcrnn_fast.kernels.gpu.kernels.head import head_gradient_kernel, head_kernel
from dcrnn_fast.kernels.gpu.launch import launch
from dcrnn_fast.kernels.gpu.launches.convolution import block, numbers

# Elements of one program's block of states.
ELEMENTS = 4096


def head(
    h_NBH: Tensor,
    weight_OH: Tensor,
    bias_O: Tensor,
    label_NBO: Tensor,
    feed_label: Tensor,
    prediction_NBO: Tensor,
    next_NBD: Tensor,
) -> None:
    """``Primitives.head``."""
    arguments = {
        "H_NOW": h_NBH,
        "W": weight_OH,
        "BIAS": bias_O,
        "LABEL": label_NBO,
        "FEED_LABEL": feed_label,
        "PREDICTION": prediction_NBO,
        "NEXT": next_NBD,
    }
    _launch(head_kernel, h_NBH, weight_OH, arguments, next_NBD.shape[2])


def head_gradient(
    grad_NBO: Tensor,
    dx_NBD: Tensor | None,
    feed_label: Tensor,
    weight_OH: Tensor,
    dh_NBH: Tensor,
    total_NBO: Tensor,
    dlabel_NBO: Tensor | None,
) -> None:
    """``Primitives.head_gradient``."""
    arguments = {
        "GRAD": grad_NBO,
        "DX": grad_NBO if dx_NBD is None else dx_NBD,
        "FEED_LABEL": feed_label,
        "W": weight_OH,
        "DH": dh_NBH,
        "TOTAL": total_NBO,
        "DLABEL": total_NBO if dlabel_NBO is None else dlabel_NBO,
    }
    _launch(
        head_gradient_kernel,
        dh_NBH,
        weight_OH,
        arguments,
        grad_NBO.shape[2] if dx_NBD is None else dx_NBD.shape[2],
        HAS_DX=dx_NBD is not None,
        HAS_DLABEL=dlabel_NBO is not None,
    )


def _launch(
    kernel: Any, like_NBH: Tensor, weight_OH: Tensor, arguments: dict[str, Tensor], columns: int, **constants: bool
) -> None:
    """A program for each block of (node, batch) rows."""
    N, B, H = like_NBH.shape
    size = max(1, ELEMENTS // block(H))
    launch(
        kernel,
        (triton.cdiv(N * B, size),),
        {**arguments, "rows": N * B},
        {
            **constants,
            "O": weight_OH.shape[0],
            "D": columns,
            "H": H,
            "BH": block(H),
            "ROWS": size,
            **numbers(weight_OH.dtype, list(arguments.values())),
        },
        warps=4,
        stages=1,
    )
