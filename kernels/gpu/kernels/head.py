"""Triton kernels of the decoder's ends: the projection with its feedback, and the gradient of both.

Whether a step reads the label or the prediction lies in a tensor on the device: nothing waits for the host.

Shape legend: O output channels, D columns of the decoder's input (O, then what is known), H units, BH its block, ROWS
(node, batch) rows of a program.
"""

import triton
import triton.language as tl

from dcrnn_fast.kernels.gpu.kernels.convolution import narrow


@triton.jit
def head_kernel(
    H_NOW,
    W,
    BIAS,
    LABEL,
    FEED_LABEL,
    PREDICTION,
    NEXT,
    rows,
    O: tl.constexpr,  # noqa: E741
    D: tl.constexpr,
    H: tl.constexpr,
    BH: tl.constexpr,
    ROWS: tl.constexpr,
    ACC: tl.constexpr,
    UP: tl.constexpr,
    WIDE: tl.constexpr,
):
    """PREDICTION = H_NOW Wᵀ + BIAS; the first O columns of NEXT are LABEL if FEED_LABEL, else PREDICTION."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    valid = row < rows
    k = tl.arange(0, BH)
    if WIDE:
        row = row.to(tl.int64)
    h = tl.load(H_NOW + row[:, None] * H + k[None, :], mask=valid[:, None] & (k < H)[None, :], other=0.0).to(ACC)
    feed = tl.load(FEED_LABEL).to(tl.int1)
    for o in range(O):
        w = tl.load(W + o * H + k, mask=k < H, other=0.0).to(ACC)
        y = tl.sum(h * w[None, :], axis=1) + tl.load(BIAS + o).to(ACC)
        # The caller gets the rounded prediction, so the next step reads the rounded one too.
        y = narrow(y, PREDICTION.dtype.element_ty, UP)
        tl.store(PREDICTION + row * O + o, y, mask=valid)
        label = tl.load(LABEL + row * O + o, mask=valid, other=0.0)
        tl.store(NEXT + row * D + o, tl.where(feed, label, y), mask=valid)


@triton.jit
def head_gradient_kernel(
    GRAD,
    DX,
    FEED_LABEL,
    W,
    DH,
    TOTAL,
    DLABEL,
    rows,
    O: tl.constexpr,  # noqa: E741
    D: tl.constexpr,
    H: tl.constexpr,
    BH: tl.constexpr,
    ROWS: tl.constexpr,
    ACC: tl.constexpr,
    UP: tl.constexpr,
    WIDE: tl.constexpr,
    HAS_DX: tl.constexpr,
    HAS_DLABEL: tl.constexpr,
):
    """If the label was read, DLABEL = DX and TOTAL = GRAD, else TOTAL = GRAD + DX; DH += TOTAL W. Of DX, the first O
    columns.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    valid = row < rows
    k = tl.arange(0, BH)
    if WIDE:
        row = row.to(tl.int64)
    at = DH + row[:, None] * H + k[None, :]
    mask = valid[:, None] & (k < H)[None, :]
    dh = tl.load(at, mask=mask, other=0.0)
    feed = tl.load(FEED_LABEL).to(tl.int1)
    for o in range(O):
        total = tl.load(GRAD + row * O + o, mask=valid, other=0.0).to(ACC)
        if HAS_DX:
            dx = tl.load(DX + row * D + o, mask=valid, other=0.0).to(ACC)
            total += tl.where(feed, 0.0, dx)
            if HAS_DLABEL:
                dlabel = narrow(tl.where(feed, dx, 0.0), DLABEL.dtype.element_ty, UP)
                tl.store(DLABEL + row * O + o, dlabel, mask=valid)
        w = tl.load(W + o * H + k, mask=k < H, other=0.0).to(ACC)
        dh += total[:, None] * w[None, :]
        tl.store(TOTAL + row * O + o, narrow(total, TOTAL.dtype.element_ty, UP), mask=valid)
    tl.store(at, dh, mask=mask)
