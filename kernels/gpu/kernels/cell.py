"""Triton kernels of the DCGRU cell: two launches forward, three backward.

Forward: gates (r, u, r*h, and the candidate's input part, so that x is diffused once), then candidate (c and the new
state). Backward: the candidate's pre-activation gradient, then diffusion by the transposed terms and products with
transposed weights for the candidate, then for the gates. Every program writes its own rows only and reads its
neighbours': no atomics, the same bits every time.

Shape legend: N nodes, B batch, C input channels, H units, M terms, G = 3H columns [r, u, c]; blocks as in
``convolution.py``.
"""

import triton
import triton.language as tl

from dcrnn_fast.kernels.gpu.kernels.convolution import (
    diffused_term,
    dot,
    first_union,
    load_rows,
    load_weight,
    narrow,
    program_rows,
    store_rows,
)


@triton.jit
def tanh(x):
    """libdevice has one, the interpreter does not."""
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit
def add_gates(
    y,
    W,
    m,
    K: tl.constexpr,
    BK: tl.constexpr,
    H: tl.constexpr,
    BH: tl.constexpr,
    acc_r,
    acc_u,
    PREC: tl.constexpr,
    UP: tl.constexpr,
):
    """Adds one term's products to the gates' accumulators."""
    acc_r = dot(y, load_weight(W, m, 0, K, BK, H, BH, 3 * H), acc_r, PREC, UP)
    acc_u = dot(y, load_weight(W, m, H, K, BK, H, BH, 3 * H), acc_u, PREC, UP)
    return acc_r, acc_u


@triton.jit
def add_back(
    q,
    m,
    gate,
    WX,
    WH,
    Q,
    row,
    valid,
    M: tl.constexpr,
    C: tl.constexpr,
    BC: tl.constexpr,
    H: tl.constexpr,
    BH: tl.constexpr,
    dh,
    dx,
    PREC: tl.constexpr,
    UP: tl.constexpr,
    HAS_DX: tl.constexpr,
):
    """Keeps one term's diffused gradient of a gate, and adds its products with transposed weights."""
    store_rows(Q + (gate * M + m) * H, q, row, valid, 3 * M * H, H, BH, UP)
    dh = dot(q, tl.trans(load_weight(WH, m, gate * H, H, BH, H, BH, 3 * H)), dh, PREC, UP)
    if HAS_DX:
        dx = dot(q, tl.trans(load_weight(WX, m, gate * H, C, BC, H, BH, 3 * H)), dx, PREC, UP)
    return dh, dx


@triton.jit
def gates_kernel(
    X,
    Y_X,
    H_BEFORE,
    Y_H,
    INDEX,
    COUNT,
    COEFFICIENT,
    WX,
    WH,
    BIAS,
    PRE,
    STATE_PRE,
    R,
    UPDATE,
    RESET,
    N,
    B,
    terms,
    U: tl.constexpr,
    M: tl.constexpr,
    C: tl.constexpr,
    BC: tl.constexpr,
    H: tl.constexpr,
    BH: tl.constexpr,
    BB: tl.constexpr,
    UC: tl.constexpr,
    ACC: tl.constexpr,
    PREC: tl.constexpr,
    UP: tl.constexpr,
    WIDE: tl.constexpr,
    FUSED: tl.constexpr,
    MORE: tl.constexpr,
    INPUT: tl.constexpr,
    STATE: tl.constexpr,
):
    """r and u = sigmoid(pre-activation), and r*h.

    INPUT: the input part (with bias) is computed here, and its c columns are written to PRE; else all of it is read
    from PRE (N, B, 3H). STATE: the state's part is computed here; else it is read from STATE_PRE (N, B, 2H).
    """
    t = tl.program_id(0)
    b0 = tl.program_id(1) * BB
    row, valid = program_rows(t, b0, N, B, BB, WIDE)
    rows: tl.constexpr = 16 * BB
    count = 0
    if FUSED:
        count = tl.load(COUNT + t)
    if INPUT:
        o = tl.arange(0, BH)
        acc_r = tl.zeros((rows, BH), dtype=ACC) + tl.load(BIAS + o, mask=o < H, other=0.0).to(ACC)[None, :]
        acc_u = tl.zeros((rows, BH), dtype=ACC) + tl.load(BIAS + H + o, mask=o < H, other=0.0).to(ACC)[None, :]
        acc_c = tl.zeros((rows, BH), dtype=ACC) + tl.load(BIAS + 2 * H + o, mask=o < H, other=0.0).to(ACC)[None, :]
        first_x = first_union(X, INDEX, t, count, b0, B, U, C, BC, BB, UC, WIDE, FUSED)
        y_x = load_rows(X, row, valid, C, C, BC)
        acc_r, acc_u = add_gates(y_x, WX, 0, C, BC, H, BH, acc_r, acc_u, PREC, UP)
        acc_c = dot(y_x, load_weight(WX, 0, 2 * H, C, BC, H, BH, 3 * H), acc_c, PREC, UP)
        for m in range(1, terms):
            y_x = diffused_term(
                m, first_x, X, Y_X, INDEX, COEFFICIENT, t, count, b0, row, valid, N, B,
                U, M, C, BC, BB, UC, ACC, PREC, UP, WIDE, FUSED, MORE,
            )  # fmt: skip
            acc_r, acc_u = add_gates(y_x, WX, m, C, BC, H, BH, acc_r, acc_u, PREC, UP)
            acc_c = dot(y_x, load_weight(WX, m, 2 * H, C, BC, H, BH, 3 * H), acc_c, PREC, UP)
        store_rows(PRE + 2 * H, acc_c, row, valid, 3 * H, H, BH, UP)
    else:
        acc_r = load_rows(PRE, row, valid, 3 * H, H, BH).to(ACC)
        acc_u = load_rows(PRE + H, row, valid, 3 * H, H, BH).to(ACC)
    h = load_rows(H_BEFORE, row, valid, H, H, BH)
    if STATE:
        first_h = first_union(H_BEFORE, INDEX, t, count, b0, B, U, H, BH, BB, UC, WIDE, FUSED)
        acc_r, acc_u = add_gates(h, WH, 0, H, BH, H, BH, acc_r, acc_u, PREC, UP)
        for m in range(1, terms):
            y_h = diffused_term(
                m, first_h, H_BEFORE, Y_H, INDEX, COEFFICIENT, t, count, b0, row, valid, N, B,
                U, M, H, BH, BB, UC, ACC, PREC, UP, WIDE, FUSED, MORE,
            )  # fmt: skip
            acc_r, acc_u = add_gates(y_h, WH, m, H, BH, H, BH, acc_r, acc_u, PREC, UP)
    else:
        acc_r += load_rows(STATE_PRE, row, valid, 2 * H, H, BH).to(ACC)
        acc_u += load_rows(STATE_PRE + H, row, valid, 2 * H, H, BH).to(ACC)
    # The saved r is the one used here, rounded: the backward pass recomputes r*h from it.
    r = narrow(tl.sigmoid(acc_r), R.dtype.element_ty, UP)
    store_rows(R, r, row, valid, H, H, BH, UP)
    store_rows(UPDATE, tl.sigmoid(acc_u), row, valid, H, H, BH, UP)
    store_rows(RESET, r.to(ACC) * h.to(ACC), row, valid, H, H, BH, UP)


@triton.jit
def candidate_kernel(
    RESET,
    Y,
    H_BEFORE,
    UPDATE,
    INDEX,
    COUNT,
    COEFFICIENT,
    WH,
    PRE,
    STATE_PRE,
    CANDIDATE,
    H_AFTER,
    N,
    B,
    terms,
    U: tl.constexpr,
    M: tl.constexpr,
    H: tl.constexpr,
    BH: tl.constexpr,
    BB: tl.constexpr,
    UC: tl.constexpr,
    ACC: tl.constexpr,
    PREC: tl.constexpr,
    UP: tl.constexpr,
    WIDE: tl.constexpr,
    FUSED: tl.constexpr,
    MORE: tl.constexpr,
    STATE: tl.constexpr,
):
    """c = tanh(PRE's c columns + diffused r*h times its weights), h after = u h + (1-u) c.

    STATE false: the product was computed before and lies in STATE_PRE (N, B, H).
    """
    t = tl.program_id(0)
    b0 = tl.program_id(1) * BB
    row, valid = program_rows(t, b0, N, B, BB, WIDE)
    acc = load_rows(PRE + 2 * H, row, valid, 3 * H, H, BH).to(ACC)
    if STATE:
        count = 0
        if FUSED:
            count = tl.load(COUNT + t)
        first = first_union(RESET, INDEX, t, count, b0, B, U, H, BH, BB, UC, WIDE, FUSED)
        y = load_rows(RESET, row, valid, H, H, BH)
        acc = dot(y, load_weight(WH, 0, 2 * H, H, BH, H, BH, 3 * H), acc, PREC, UP)
        for m in range(1, terms):
            y = diffused_term(
                m, first, RESET, Y, INDEX, COEFFICIENT, t, count, b0, row, valid, N, B,
                U, M, H, BH, BB, UC, ACC, PREC, UP, WIDE, FUSED, MORE,
            )  # fmt: skip
            acc = dot(y, load_weight(WH, m, 2 * H, H, BH, H, BH, 3 * H), acc, PREC, UP)
    else:
        acc += load_rows(STATE_PRE, row, valid, H, H, BH).to(ACC)
    c = tanh(acc)
    u = load_rows(UPDATE, row, valid, H, H, BH).to(ACC)
    h = load_rows(H_BEFORE, row, valid, H, H, BH).to(ACC)
    store_rows(CANDIDATE, c, row, valid, H, H, BH, UP)
    store_rows(H_AFTER, u * h + (1.0 - u) * c, row, valid, H, H, BH, UP)


@triton.jit
def begin_gradient_kernel(
    DH,
    OUTSIDE,
    UPDATE,
    CANDIDATE,
    DPRE,
    size,
    BLOCK: tl.constexpr,
    ACC: tl.constexpr,
    UP: tl.constexpr,
    WIDE: tl.constexpr,
    HAS_OUTSIDE: tl.constexpr,
):
    """dh += the state's gradient from outside; DPRE = gradient before the candidate's tanh."""
    block = tl.program_id(0)
    if WIDE:
        block = block.to(tl.int64)
    at = block * BLOCK + tl.arange(0, BLOCK)
    valid = at < size
    dh = tl.load(DH + at, mask=valid, other=0.0)
    if HAS_OUTSIDE:
        dh += tl.load(OUTSIDE + at, mask=valid, other=0.0).to(ACC)
        tl.store(DH + at, dh, mask=valid)
    u = tl.load(UPDATE + at, mask=valid, other=0.0).to(ACC)
    c = tl.load(CANDIDATE + at, mask=valid, other=0.0).to(ACC)
    tl.store(DPRE + at, narrow(dh * (1.0 - u) * (1.0 - c * c), DPRE.dtype.element_ty, UP), mask=valid)


@triton.jit
def candidate_gradient_kernel(
    DPRE,
    Y,
    INDEX,
    COUNT,
    COEFFICIENT,
    WX,
    WH,
    THROUGH,
    H_BEFORE,
    R,
    UPDATE,
    CANDIDATE,
    DH,
    DR_PRE,
    DU_PRE,
    DX,
    Q,
    N,
    B,
    terms,
    U: tl.constexpr,
    M: tl.constexpr,
    C: tl.constexpr,
    BC: tl.constexpr,
    H: tl.constexpr,
    BH: tl.constexpr,
    BB: tl.constexpr,
    UC: tl.constexpr,
    ACC: tl.constexpr,
    PREC: tl.constexpr,
    UP: tl.constexpr,
    WIDE: tl.constexpr,
    FUSED: tl.constexpr,
    MORE: tl.constexpr,
    STATE: tl.constexpr,
    HAS_DX: tl.constexpr,
):
    """From the candidate's pre-activation gradient to those of the gates; dh moves past the cell's elementwise part.

    Q (N, B, 3*M*H) gets the diffused gradients in its last M*H columns. STATE false: the products were computed before
    and THROUGH (N, B, C+H) holds them.
    """
    t = tl.program_id(0)
    b0 = tl.program_id(1) * BB
    row, valid = program_rows(t, b0, N, B, BB, WIDE)
    rows: tl.constexpr = 16 * BB
    if STATE:
        count = 0
        if FUSED:
            count = tl.load(COUNT + t)
        d_reset = tl.zeros((rows, BH), dtype=ACC)
        dx = tl.zeros((rows, BC), dtype=ACC)
        first = first_union(DPRE, INDEX, t, count, b0, B, U, H, BH, BB, UC, WIDE, FUSED)
        q = load_rows(DPRE, row, valid, H, H, BH)
        d_reset, dx = add_back(q, 0, 2, WX, WH, Q, row, valid, M, C, BC, H, BH, d_reset, dx, PREC, UP, HAS_DX)
        for m in range(1, terms):
            q = diffused_term(
                m, first, DPRE, Y, INDEX, COEFFICIENT, t, count, b0, row, valid, N, B,
                U, M, H, BH, BB, UC, ACC, PREC, UP, WIDE, FUSED, MORE,
            )  # fmt: skip
            d_reset, dx = add_back(q, m, 2, WX, WH, Q, row, valid, M, C, BC, H, BH, d_reset, dx, PREC, UP, HAS_DX)
    else:
        d_reset = load_rows(THROUGH + C, row, valid, C + H, H, BH).to(ACC)
        if HAS_DX:
            dx = load_rows(THROUGH, row, valid, C + H, C, BC).to(ACC)
    if HAS_DX:
        store_rows(DX, dx, row, valid, C, C, BC, UP)
    h = load_rows(H_BEFORE, row, valid, H, H, BH).to(ACC)
    r = load_rows(R, row, valid, H, H, BH).to(ACC)
    store_rows(DR_PRE, d_reset * h * r * (1.0 - r), row, valid, H, H, BH, UP)
    u = load_rows(UPDATE, row, valid, H, H, BH).to(ACC)
    c = load_rows(CANDIDATE, row, valid, H, H, BH).to(ACC)
    dh = load_rows(DH, row, valid, H, H, BH)
    store_rows(DU_PRE, dh * (h - c) * u * (1.0 - u), row, valid, H, H, BH, UP)
    store_rows(DH, dh * u + d_reset * r, row, valid, H, H, BH, UP)


@triton.jit
def gates_gradient_kernel(
    DR_PRE,
    DU_PRE,
    Y_R,
    Y_U,
    INDEX,
    COUNT,
    COEFFICIENT,
    WX,
    WH,
    THROUGH,
    DH,
    DX,
    Q,
    N,
    B,
    terms,
    U: tl.constexpr,
    M: tl.constexpr,
    C: tl.constexpr,
    BC: tl.constexpr,
    H: tl.constexpr,
    BH: tl.constexpr,
    BB: tl.constexpr,
    UC: tl.constexpr,
    ACC: tl.constexpr,
    PREC: tl.constexpr,
    UP: tl.constexpr,
    WIDE: tl.constexpr,
    FUSED: tl.constexpr,
    MORE: tl.constexpr,
    STATE: tl.constexpr,
    HAS_DX: tl.constexpr,
):
    """Adds the gates' gradients to dh and dx; Q's first 2*M*H columns get the diffused gradients."""
    t = tl.program_id(0)
    b0 = tl.program_id(1) * BB
    row, valid = program_rows(t, b0, N, B, BB, WIDE)
    rows: tl.constexpr = 16 * BB
    if STATE:
        count = 0
        if FUSED:
            count = tl.load(COUNT + t)
        dh = tl.zeros((rows, BH), dtype=ACC)
        dx = tl.zeros((rows, BC), dtype=ACC)
        first_r = first_union(DR_PRE, INDEX, t, count, b0, B, U, H, BH, BB, UC, WIDE, FUSED)
        q_r = load_rows(DR_PRE, row, valid, H, H, BH)
        dh, dx = add_back(q_r, 0, 0, WX, WH, Q, row, valid, M, C, BC, H, BH, dh, dx, PREC, UP, HAS_DX)
        for m in range(1, terms):
            q_r = diffused_term(
                m, first_r, DR_PRE, Y_R, INDEX, COEFFICIENT, t, count, b0, row, valid, N, B,
                U, M, H, BH, BB, UC, ACC, PREC, UP, WIDE, FUSED, MORE,
            )  # fmt: skip
            dh, dx = add_back(q_r, m, 0, WX, WH, Q, row, valid, M, C, BC, H, BH, dh, dx, PREC, UP, HAS_DX)
        first_u = first_union(DU_PRE, INDEX, t, count, b0, B, U, H, BH, BB, UC, WIDE, FUSED)
        q_u = load_rows(DU_PRE, row, valid, H, H, BH)
        dh, dx = add_back(q_u, 0, 1, WX, WH, Q, row, valid, M, C, BC, H, BH, dh, dx, PREC, UP, HAS_DX)
        for m in range(1, terms):
            q_u = diffused_term(
                m, first_u, DU_PRE, Y_U, INDEX, COEFFICIENT, t, count, b0, row, valid, N, B,
                U, M, H, BH, BB, UC, ACC, PREC, UP, WIDE, FUSED, MORE,
            )  # fmt: skip
            dh, dx = add_back(q_u, m, 1, WX, WH, Q, row, valid, M, C, BC, H, BH, dh, dx, PREC, UP, HAS_DX)
    else:
        dh = load_rows(THROUGH + C, row, valid, C + H, H, BH).to(ACC)
        if HAS_DX:
            dx = load_rows(THROUGH, row, valid, C + H, C, BC).to(ACC)
    store_rows(DH, dh + load_rows(DH, row, valid, H, H, BH), row, valid, H, H, BH, UP)
    if HAS_DX:
        store_rows(DX, dx + load_rows(DX, row, valid, C, C, BC), row, valid, C, C, BC, UP)
