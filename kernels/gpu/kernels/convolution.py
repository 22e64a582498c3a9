"""Triton kernels of the diffusion convolution, and the pieces that the recurrent cells' kernels are made of.

A program owns SIDE nodes (one tile of the clustering) and BB batch rows of each. The union of the tile's neighbours
over all terms is loaded once; each term is then a small dense matrix times that panel, on the tensor cores. Terms that
were diffused before (``FUSED`` false) are loaded instead. Rows of unions beyond one chunk are loaded again for each
term: few tiles have them.

``UP`` is true in the interpreter, whose arithmetic on bfloat16 works on bit patterns and whose casts to it truncate:
there every operand is widened before it is computed with, and rounded to nearest before it is narrowed. Nothing here
computes on low-precision values outside of ``dot``.

Shape legend: N nodes, B batch, C input channels, K channels of a source, H units, O output channels, M terms, U slots
of a union, UC slots of a chunk, BB, BK, BO: blocks of batch rows, channels, output columns (powers of two).
"""

import triton
import triton.language as tl

SIDE = tl.constexpr(16)


@triton.jit
def dot(a, b, acc, PREC: tl.constexpr, UP: tl.constexpr):
    """acc + a b, summed in acc's dtype."""
    if UP:
        return tl.dot(a.to(acc.dtype), b.to(acc.dtype), acc, input_precision="ieee", out_dtype=acc.dtype)
    else:
        return tl.dot(a, b, acc, input_precision=PREC)


@triton.jit
def narrow(value, DTYPE: tl.constexpr, UP: tl.constexpr):
    """``value`` (float32 or wider) rounded to nearest even in another dtype, as GPUs cast."""
    if UP and tl.bfloat16 == DTYPE:
        bits = value.to(tl.uint32, bitcast=True)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        value = tl.where(value != value, value, rounded.to(tl.float32, bitcast=True))
    return value.to(DTYPE)


@triton.jit
def program_rows(t, b0, N, B, BB: tl.constexpr, WIDE: tl.constexpr):
    """(row = node*B + b, whether it exists) of a program's SIDE*BB rows."""
    local = tl.arange(0, SIDE * BB)
    node = t * SIDE + local // BB
    b = b0 + local % BB
    valid = (node < N) & (b < B)
    if WIDE:
        node = node.to(tl.int64)
    return node * B + b, valid


@triton.jit
def load_rows(S, row, valid, stride: tl.constexpr, K: tl.constexpr, BK: tl.constexpr):
    """(rows, BK) of a tensor whose rows are ``stride`` apart; zeros beyond K."""
    k = tl.arange(0, BK)
    if BK == K:
        return tl.load(S + row[:, None] * stride + k[None, :], mask=valid[:, None], other=0.0)
    else:
        return tl.load(S + row[:, None] * stride + k[None, :], mask=valid[:, None] & (k < K)[None, :], other=0.0)


@triton.jit
def store_rows(S, value, row, valid, stride: tl.constexpr, K: tl.constexpr, BK: tl.constexpr, UP: tl.constexpr):
    """The counterpart of ``load_rows``; rounds values of another dtype to the tensor's."""
    k = tl.arange(0, BK)
    if BK == K:
        mask = valid[:, None]
    else:
        mask = valid[:, None] & (k < K)[None, :]
    if value.dtype != S.dtype.element_ty:
        value = narrow(value, S.dtype.element_ty, UP)
    tl.store(S + row[:, None] * stride + k[None, :], value, mask=mask)


@triton.jit
def load_weight(
    W, m, column, K: tl.constexpr, BK: tl.constexpr, PART: tl.constexpr, BO: tl.constexpr, STRIDE: tl.constexpr
):
    """(BK, BO) of term m: rows m*K.., columns column..; zeros beyond K and PART."""
    k = tl.arange(0, BK)
    o = tl.arange(0, BO)
    at = W + (m * K + k)[:, None] * STRIDE + column + o[None, :]
    if BK == K and BO == PART:
        return tl.load(at)
    else:
        return tl.load(at, mask=(k < K)[:, None] & (o < PART)[None, :], other=0.0)


@triton.jit
def load_union(
    S,
    INDEX,
    t,
    start,
    count,
    b0,
    B,
    U: tl.constexpr,
    K: tl.constexpr,
    BK: tl.constexpr,
    BB: tl.constexpr,
    UC: tl.constexpr,
    WIDE: tl.constexpr,
):
    """(UC, BB*BK): slots start.. of the tile's union, BB batch rows of each side by side. Nothing beyond ``count``."""
    slot = start + tl.arange(0, UC)
    node = tl.load(INDEX + t * U + slot, mask=slot < count, other=0)
    if WIDE:
        node = node.to(tl.int64)
    column = tl.arange(0, BB * BK)
    if BK == K:
        within = b0 * K + column
        mask = column < (B - b0) * K
    else:
        within = (b0 + column // BK) * K + column % BK
        mask = (b0 + column // BK < B) & (column % BK < K)
    return tl.load(
        S + node[:, None] * (B * K) + within[None, :], mask=(slot < count)[:, None] & mask[None, :], other=0.0
    )


@triton.jit
def first_union(
    S,
    INDEX,
    t,
    count,
    b0,
    B,
    U: tl.constexpr,
    K: tl.constexpr,
    BK: tl.constexpr,
    BB: tl.constexpr,
    UC: tl.constexpr,
    WIDE: tl.constexpr,
    FUSED: tl.constexpr,
):
    """The chunk that all terms share; nothing if the terms were diffused before."""
    if FUSED:
        return load_union(S, INDEX, t, 0, count, b0, B, U, K, BK, BB, UC, WIDE)
    else:
        return 0


@triton.jit
def diffused_term(
    m,
    first,
    S,
    Y,
    INDEX,
    COEFFICIENT,
    t,
    count,
    b0,
    row,
    valid,
    N,
    B,
    U: tl.constexpr,
    M: tl.constexpr,
    K: tl.constexpr,
    BK: tl.constexpr,
    BB: tl.constexpr,
    UC: tl.constexpr,
    ACC: tl.constexpr,
    PREC: tl.constexpr,
    UP: tl.constexpr,
    WIDE: tl.constexpr,
    FUSED: tl.constexpr,
    MORE: tl.constexpr,
):
    """(SIDE*BB, BK): term m (1 .. M-1) of the program's rows, rounded to the source's dtype."""
    if FUSED:
        tile = t
        if WIDE:
            tile = tile.to(tl.int64)
        side = (tile * (M - 1) + m - 1) * SIDE + tl.arange(0, SIDE)
        slot = tl.arange(0, UC)
        at = COEFFICIENT + side[:, None] * U + slot[None, :]
        y = dot(tl.load(at), first, tl.zeros((SIDE, BB * BK), dtype=ACC), PREC, UP)
        if MORE:
            for start in range(UC, count, UC):
                panel = load_union(S, INDEX, t, start, count, b0, B, U, K, BK, BB, UC, WIDE)
                y = dot(tl.load(at + start), panel, y, PREC, UP)
        return tl.reshape(narrow(y, S.dtype.element_ty, UP), (SIDE * BB, BK))
    else:
        rows = N * B
        if WIDE:
            rows = rows.to(tl.int64)
        return load_rows(Y + (m - 1) * rows * K, row, valid, K, K, BK)


@triton.jit
def add_columns(
    y,
    m,
    W,
    Q,
    column,
    row,
    valid,
    width,
    M: tl.constexpr,
    C: tl.constexpr,
    BC: tl.constexpr,
    O: tl.constexpr,  # noqa: E741
    PART: tl.constexpr,
    BO: tl.constexpr,
    PARTS: tl.constexpr,
    acc0,
    acc1,
    acc2,
    PREC: tl.constexpr,
    UP: tl.constexpr,
    HAS_Q: tl.constexpr,
):
    """Keeps one term if wanted, and adds its products to one or three blocks of columns."""
    if HAS_Q:
        # Every group of columns diffuses; the first one keeps the terms.
        store_rows(Q + m * C, y, row, valid & (column + tl.zeros_like(row) == 0), M * C, C, BC, UP)
    if PARTS == 3:
        acc0 = dot(y, load_weight(W, m, column, C, BC, PART, BO, O), acc0, PREC, UP)
        acc1 = dot(y, load_weight(W, m, column + PART, C, BC, PART, BO, O), acc1, PREC, UP)
        acc2 = dot(y, load_weight(W, m, column + 2 * PART, C, BC, PART, BO, O), acc2, PREC, UP)
    else:
        k = tl.arange(0, BC)
        o = tl.arange(0, BO)
        at = W + (m * C + k)[:, None] * O + column + o[None, :]
        acc0 = dot(y, tl.load(at, mask=(k < C)[:, None] & (o < width)[None, :], other=0.0), acc0, PREC, UP)
    return acc0, acc1, acc2


@triton.jit
def convolve_kernel(
    X,
    Y,
    INDEX,
    COUNT,
    COEFFICIENT,
    W,
    BIAS,
    OUT,
    Q,
    N,
    B,
    terms,
    U: tl.constexpr,
    M: tl.constexpr,
    C: tl.constexpr,
    BC: tl.constexpr,
    O: tl.constexpr,  # noqa: E741
    PART: tl.constexpr,
    BO: tl.constexpr,
    PARTS: tl.constexpr,
    BB: tl.constexpr,
    UC: tl.constexpr,
    ACC: tl.constexpr,
    PREC: tl.constexpr,
    UP: tl.constexpr,
    WIDE: tl.constexpr,
    FUSED: tl.constexpr,
    MORE: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_Q: tl.constexpr,
    GROUPS: tl.constexpr,
):
    """OUT = sum over m of P_m X W_m, plus BIAS, for each of several steps; Q, if wanted, gets the M terms joined.

    A program makes PARTS (1 or 3) blocks of PART columns; GROUPS programs make all O columns. X (T, N, B, C),
    W (M*C, O), OUT (T, N, B, O), Q (T, N, B, M*C).
    """
    t = tl.program_id(0)
    b0 = tl.program_id(1) * BB
    step = tl.program_id(2) // GROUPS
    column = (tl.program_id(2) % GROUPS) * PARTS * PART
    rows = N * B
    if WIDE:
        rows = rows.to(tl.int64)
    X += step * rows * C
    Y += step * rows * C * (M - 1)
    OUT += step * rows * O
    Q += step * rows * C * M
    row, valid = program_rows(t, b0, N, B, BB, WIDE)
    width = tl.minimum(O - column, PART)
    o = tl.arange(0, BO)
    acc0 = tl.zeros((SIDE * BB, BO), dtype=ACC)
    acc1 = acc0
    acc2 = acc0
    if HAS_BIAS:
        acc0 += tl.load(BIAS + column + o, mask=o < width, other=0.0).to(ACC)[None, :]
        if PARTS == 3:
            acc1 += tl.load(BIAS + column + PART + o, mask=o < PART, other=0.0).to(ACC)[None, :]
            acc2 += tl.load(BIAS + column + 2 * PART + o, mask=o < PART, other=0.0).to(ACC)[None, :]
    count = 0
    if FUSED:
        count = tl.load(COUNT + t)
    first = first_union(X, INDEX, t, count, b0, B, U, C, BC, BB, UC, WIDE, FUSED)
    y = load_rows(X, row, valid, C, C, BC)
    acc0, acc1, acc2 = add_columns(
        y, 0, W, Q, column, row, valid, width, M, C, BC, O, PART, BO, PARTS, acc0, acc1, acc2, PREC, UP, HAS_Q
    )
    for m in range(1, terms):
        y = diffused_term(
            m, first, X, Y, INDEX, COEFFICIENT, t, count, b0, row, valid, N, B,
            U, M, C, BC, BB, UC, ACC, PREC, UP, WIDE, FUSED, MORE,
        )  # fmt: skip
        acc0, acc1, acc2 = add_columns(
            y, m, W, Q, column, row, valid, width, M, C, BC, O, PART, BO, PARTS, acc0, acc1, acc2, PREC, UP, HAS_Q
        )
    if PARTS == 3:
        store_rows(OUT + column, acc0, row, valid, O, PART, BO, UP)
        store_rows(OUT + column + PART, acc1, row, valid, O, PART, BO, UP)
        store_rows(OUT + column + 2 * PART, acc2, row, valid, O, PART, BO, UP)
    else:
        at = OUT + row[:, None] * O + column + o[None, :]
        tl.store(at, narrow(acc0, OUT.dtype.element_ty, UP), mask=valid[:, None] & (o < width)[None, :])


@triton.jit
def gather_kernel(
    X,
    ROW_START,
    COLUMN,
    VALUE,
    Y,
    N,
    width,
    y_row,
    y_term,
    K: tl.constexpr,
    BLOCK: tl.constexpr,
    ACC: tl.constexpr,
    UP: tl.constexpr,
    WIDE: tl.constexpr,
    IDENTITY: tl.constexpr,
):
    """Terms by CSR: Y[term, node, column] at (node*B + b)*y_row + term*y_term + k, for X (N, B, K), width = B*K.

    With IDENTITY, term 0 is X itself and the stored terms follow.
    """
    node = tl.program_id(0)
    term = tl.program_id(2)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    valid = column < width
    stored = term - 1 if IDENTITY else term
    wide_node = node
    wide_term = term
    if WIDE:
        wide_node = node.to(tl.int64)
        wide_term = term.to(tl.int64)
    total = tl.zeros((BLOCK,), dtype=ACC)
    if stored < 0:
        total += tl.load(X + wide_node * width + column, mask=valid, other=0.0).to(ACC)
    else:
        begin = tl.load(ROW_START + stored * N + node)
        end = tl.load(ROW_START + stored * N + node + 1)
        for j in range(begin, end):
            source = tl.load(COLUMN + j)
            if WIDE:
                source = source.to(tl.int64)
            value = tl.load(VALUE + j).to(ACC)
            total += value * tl.load(X + source * width + column, mask=valid, other=0.0).to(ACC)
    at = (wide_node * (width // K) + column // K) * y_row + wide_term * y_term + column % K
    tl.store(Y + at, narrow(total, Y.dtype.element_ty, UP), mask=valid)


@triton.jit
def hop_kernel(
    X,
    ROW_START,
    COLUMN,
    VALUE,
    Z,
    Y,
    first_row,
    width,
    x_at,
    x_step,
    z_at,
    z_step,
    y_at,
    y_step,
    SCALE: tl.constexpr,
    BLOCK: tl.constexpr,
    ACC: tl.constexpr,
    UP: tl.constexpr,
    WIDE: tl.constexpr,
    HAS_Z: tl.constexpr,
):
    """One hop: Y = SCALE * S X - Z by the CSR of one support, whose rows begin at ``first_row`` of the stack.

    Each of the three is a panel (N, B*K = width) per step, from element ``*_at`` on, ``*_step`` from step to step.
    """
    node = tl.program_id(0)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    step = tl.program_id(2)
    valid = column < width
    begin = tl.load(ROW_START + first_row + node)
    end = tl.load(ROW_START + first_row + node + 1)
    if WIDE:
        node = node.to(tl.int64)
        step = step.to(tl.int64)
    X += x_at + step * x_step
    total = tl.zeros((BLOCK,), dtype=ACC)
    for j in range(begin, end):
        source = tl.load(COLUMN + j)
        if WIDE:
            source = source.to(tl.int64)
        value = tl.load(VALUE + j).to(ACC)
        total += value * tl.load(X + source * width + column, mask=valid, other=0.0).to(ACC)
    total *= SCALE
    if HAS_Z:
        total -= tl.load(Z + z_at + step * z_step + node * width + column, mask=valid, other=0.0).to(ACC)
    tl.store(Y + y_at + step * y_step + node * width + column, narrow(total, Y.dtype.element_ty, UP), mask=valid)
