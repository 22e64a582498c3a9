// The kernels of kernels.h, written once over a vector type V of accumulators and a storage type S. Each unit includes
// this file inside an anonymous namespace (so nothing here has external linkage) after it has defined V:
//   V::Scalar, V::Register, V::kWidth           lanes divide kLanes
//   V::kBlockVectors                            vectors of one gemm block: kRows x kBlockVectors accumulators fit the
//                                               register file with room for a row of B and one broadcast
//   zero, broadcast, load, store, add, sub, mul, fma (a*b+c), sigmoid, tanh; load and store of bf16 too if Scalar is
//   float
// Products of bf16 are made in float32, of operands that are widened block by block in scratch memory.
// No include guard: it is meant to be included once by each unit.

// Rows of one register tile.
constexpr int kRows = 6;
// Depth of one pass over a block of B: 64 rows x 64 float32 columns are 16 KiB, which stay in L1 beside A and C.
constexpr int64_t kDepth = 64;
constexpr int64_t kDepthTransposed = 64;

// The addend of a product's sums, which start from zero: sums over a stretch of depth are rounded among themselves, not
// against a bias or a total that may be much larger.
enum class Onto { kNothing, kBias, kResult };

// c[R x NV] = onto + a * b, sums in registers. A is read as a[i][k], or as a[k][i] when Transposed.
template <class V, int R, int NV, bool Transposed>
DCRNN_INLINE void tile(const typename V::Scalar* a, int64_t a_stride, int64_t depth, const typename V::Scalar* b,
                       int64_t b_stride, typename V::Scalar* c, int64_t c_stride, Onto onto,
                       const typename V::Scalar* bias) {
    typename V::Register sum[R][NV];
    for (int i = 0; i < R; ++i)
        for (int j = 0; j < NV; ++j) sum[i][j] = V::zero();
    for (int64_t k = 0; k < depth; ++k) {
        typename V::Register row[NV];
        for (int j = 0; j < NV; ++j) row[j] = V::load(b + k * b_stride + j * V::kWidth);
        for (int i = 0; i < R; ++i) {
            const auto x = V::broadcast(Transposed ? a[k * a_stride + i] : a[i * a_stride + k]);
            for (int j = 0; j < NV; ++j) sum[i][j] = V::fma(x, row[j], sum[i][j]);
        }
    }
    if (onto == Onto::kResult) {
        for (int i = 0; i < R; ++i)
            for (int j = 0; j < NV; ++j) sum[i][j] = V::add(sum[i][j], V::load(c + i * c_stride + j * V::kWidth));
    } else if (onto == Onto::kBias) {
        for (int i = 0; i < R; ++i)
            for (int j = 0; j < NV; ++j) sum[i][j] = V::add(sum[i][j], V::load(bias + j * V::kWidth));
    }
    for (int i = 0; i < R; ++i)
        for (int j = 0; j < NV; ++j) V::store(c + i * c_stride + j * V::kWidth, sum[i][j]);
}

template <int...>
struct Counts {};

// All rows of one column block and one stretch of depth.
template <class V, int NV, bool Transposed>
void tiles(const typename V::Scalar* a, int64_t a_stride, int64_t depth, const typename V::Scalar* b, int64_t b_stride,
           typename V::Scalar* c, int64_t c_stride, int64_t rows, Onto onto, const typename V::Scalar* bias) {
    const int64_t a_step = Transposed ? 1 : a_stride;
    int64_t i = 0;
    for (; i + kRows <= rows; i += kRows)
        tile<V, kRows, NV, Transposed>(a + i * a_step, a_stride, depth, b, b_stride, c + i * c_stride, c_stride, onto,
                                       bias);
    a += i * a_step;
    c += i * c_stride;
    // The rest, for which there is a tile of as many rows.
    [&]<int... Rest>(Counts<Rest...>) {
        ((rows - i == Rest ? tile<V, Rest, NV, Transposed>(a, a_stride, depth, b, b_stride, c, c_stride, onto, bias)
                           : void()),
         ...);
    }(Counts<1, 2, 3, 4, 5>{});
}

// The same for a block of `vectors` vectors.
template <class V, bool Transposed>
void block(int64_t vectors, const typename V::Scalar* a, int64_t a_stride, int64_t depth, const typename V::Scalar* b,
           int64_t b_stride, typename V::Scalar* c, int64_t c_stride, int64_t rows, Onto onto,
           const typename V::Scalar* bias) {
    if (vectors == V::kBlockVectors)
        return tiles<V, V::kBlockVectors, Transposed>(a, a_stride, depth, b, b_stride, c, c_stride, rows, onto, bias);
    if constexpr (V::kBlockVectors > 2) {
        if (vectors == 3)
            return tiles<V, 3, Transposed>(a, a_stride, depth, b, b_stride, c, c_stride, rows, onto, bias);
        if (vectors == 2)
            return tiles<V, 2, Transposed>(a, a_stride, depth, b, b_stride, c, c_stride, rows, onto, bias);
    }
    tiles<V, 1, Transposed>(a, a_stride, depth, b, b_stride, c, c_stride, rows, onto, bias);
}

DCRNN_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Whether a stored number is widened before it is computed with.
template <class S>
constexpr bool kWidens = false;
template <>
constexpr bool kWidens<bf16> = true;

// Rows of A and columns of either operand that are widened at once; rows of one pass of weight_gradients.
constexpr int64_t kWidenedRows = 48;
constexpr int64_t kWidenedColumns = 64;
constexpr int64_t kChunkRows = 256;
constexpr int64_t kChunkRowsWidened = 128;
constexpr int64_t kWidenedBytes = 2 * kChunkRowsWidened * kWidenedColumns * sizeof(float);

// Dense float32 rows from (rows x width) bf16 numbers.
template <class V>
void widen_block(const bf16* from, int64_t stride, int64_t rows, int64_t width, float* to) {
    for (int64_t i = 0; i < rows; ++i, from += stride, to += width)
        for (int64_t j = 0; j < width; j += V::kWidth) V::store(to + j, V::load(from + j));
}

// Asks for rows that are read next.
template <class S>
DCRNN_INLINE void prefetch_block(const S* from, int64_t stride, int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < rows; ++i, from += stride)
        for (int64_t j = 0; j < columns; j += 64 / static_cast<int64_t>(sizeof(S))) __builtin_prefetch(from + j);
}

// c = bias + sum of panels * packed for all rows that are given.
template <class V, class S>
void gemm(const Panel<S>* panels, int64_t count, const S* packed, int64_t packed_depth, const typename V::Scalar* bias,
          typename V::Scalar* c, int64_t c_stride, int64_t rows, int64_t columns, [[maybe_unused]] bool far,
          [[maybe_unused]] void* scratch) {
    constexpr int64_t kBlock = V::kBlockVectors * V::kWidth;
    const int64_t rows_at_once = kWidens<S> ? kWidenedRows : rows;
    for (int64_t i = 0; i < rows; i += rows_at_once, c += rows_at_once * c_stride) {
        const int64_t height = smaller(rows_at_once, rows - i);
        for (int64_t j = 0; j < columns; j += kBlock) {
            const int64_t width = smaller(kBlock, columns - j), vectors = width / V::kWidth;
            const auto* bias_here = bias ? bias + j : nullptr;
            const S* b = packed + j * packed_depth;
            Onto onto = bias ? Onto::kBias : Onto::kNothing;
            for (int64_t p = 0; p < count; ++p)
                for (int64_t k = 0; k < panels[p].depth; k += kDepth) {
                    const int64_t depth = smaller(kDepth, panels[p].depth - k);
                    const S* a = panels[p].data + i * panels[p].stride + k;
                    if constexpr (kWidens<S>) {
                        float* wide_a = static_cast<float*>(scratch);
                        float* wide_b = wide_a + kWidenedRows * kDepth;
                        widen_block<V>(a, panels[p].stride, height, depth, wide_a);
                        widen_block<V>(b, width, depth, width, wide_b);
                        block<V, false>(vectors, wide_a, depth, depth, wide_b, width, c + j, c_stride, height, onto,
                                        bias_here);
                    } else {
                        if (far && j == 0) {
                            // The first block of columns brings the rows into L2 for the others.
                            if (k + kDepth < panels[p].depth)
                                prefetch_block(a + kDepth, panels[p].stride, height, kDepth);
                            else if (p + 1 < count)
                                prefetch_block(panels[p + 1].data + i * panels[p + 1].stride, panels[p + 1].stride,
                                               height, kDepth);
                        }
                        block<V, false>(vectors, a, panels[p].stride, depth, b, width, c + j, c_stride, height, onto,
                                        bias_here);
                    }
                    b += depth * width;
                    onto = Onto::kResult;
                }
            if (onto != Onto::kResult)
                block<V, false>(vectors, nullptr, 0, 0, nullptr, width, c + j, c_stride, height, onto, bias_here);
        }
    }
}

// c (a_columns x columns) += transpose of a * b over `rows` rows, a stretch of rows at a time.
template <class V>
void add_transposed(const typename V::Scalar* a, int64_t a_stride, int64_t a_columns, const typename V::Scalar* b,
                    int64_t b_stride, typename V::Scalar* c, int64_t c_stride, int64_t rows, int64_t columns) {
    constexpr int64_t kBlock = V::kBlockVectors * V::kWidth;
    for (int64_t k = 0; k < rows; k += kDepthTransposed) {
        const int64_t depth = smaller(kDepthTransposed, rows - k);
        for (int64_t j = 0; j < columns; j += kBlock)
            block<V, true>(smaller(kBlock, columns - j) / V::kWidth, a + k * a_stride, a_stride, depth,
                           b + k * b_stride + j, b_stride, c + j, c_stride, a_columns, Onto::kResult, nullptr);
    }
}

template <class V, class S>
void weight_gradients(const Panel<S>* left, int64_t lefts, const Panel<S>* right, int64_t rights, int64_t rows,
                      typename V::Scalar* const* c, [[maybe_unused]] void* scratch) {
    constexpr int64_t kChunk = kWidens<S> ? kChunkRowsWidened : kChunkRows;
    for (int64_t i = 0; i < rows; i += kChunk) {
        const int64_t height = smaller(kChunk, rows - i);
        for (int64_t l = 0; l < lefts; ++l) {
            const int64_t a_stride = left[l].stride;
            const S* a = left[l].data + i * a_stride;
            if constexpr (kWidens<S>) {
                float* wide_a = static_cast<float*>(scratch);
                float* wide_b = wide_a + kChunkRowsWidened * kWidenedColumns;
                for (int64_t k = 0; k < left[l].depth; k += kWidenedColumns) {
                    const int64_t part = smaller(kWidenedColumns, left[l].depth - k);
                    widen_block<V>(a + k, a_stride, height, part, wide_a);
                    for (int64_t r = 0; r < rights; ++r)
                        for (int64_t j = 0; j < right[r].depth; j += kWidenedColumns) {
                            const int64_t width = smaller(kWidenedColumns, right[r].depth - j);
                            widen_block<V>(right[r].data + i * right[r].stride + j, right[r].stride, height, width,
                                           wide_b);
                            add_transposed<V>(wide_a, part, part, wide_b, width,
                                              c[l * rights + r] + k * right[r].depth + j, right[r].depth, height,
                                              width);
                        }
                }
            } else {
                for (int64_t r = 0; r < rights; ++r)
                    add_transposed<V>(a, a_stride, left[l].depth, right[r].data + i * right[r].stride, right[r].stride,
                                      c[l * rights + r], right[r].depth, height, right[r].depth);
            }
        }
    }
}

// NV vectors of one output row: two sets of sums, because one would wait for the latency of its own additions.
template <class V, int NV, class X>
DCRNN_INLINE void sum_entries(const int32_t* column, const typename V::Scalar* value, int64_t entries, const X* x,
                              int64_t width, typename V::Register (&sum)[NV]) {
    typename V::Register odd[NV];
    for (int j = 0; j < NV; ++j) sum[j] = odd[j] = V::zero();
    int64_t e = 0;
    for (; e + 2 <= entries; e += 2) {
        const X* x0 = x + column[e] * width;
        const X* x1 = x + column[e + 1] * width;
        const auto v0 = V::broadcast(value[e]), v1 = V::broadcast(value[e + 1]);
        for (int j = 0; j < NV; ++j) sum[j] = V::fma(v0, V::load(x0 + j * V::kWidth), sum[j]);
        for (int j = 0; j < NV; ++j) odd[j] = V::fma(v1, V::load(x1 + j * V::kWidth), odd[j]);
    }
    if (e < entries) {
        const auto v0 = V::broadcast(value[e]);
        for (int j = 0; j < NV; ++j) sum[j] = V::fma(v0, V::load(x + column[e] * width + j * V::kWidth), sum[j]);
    }
    for (int j = 0; j < NV; ++j) sum[j] = V::add(sum[j], odd[j]);
}

template <class V, int NV, class S>
DCRNN_INLINE void diffuse_row(const int32_t* column, const typename V::Scalar* value, int64_t entries, const S* x,
                              int64_t width, S* out) {
    typename V::Register sum[NV];
    sum_entries<V, NV>(column, value, entries, x, width, sum);
    for (int j = 0; j < NV; ++j) V::store(out + j * V::kWidth, sum[j]);
}

template <class V, class S>
void diffuse(const SparseStack<S>& stack, const S* x, int64_t width, S* out, int64_t out_panel, int64_t first_row,
             int64_t last_row, void*) {
    constexpr int kVectors = 4;
    constexpr int kLast = kLanes<S> / V::kWidth < kVectors ? kLanes<S> / V::kWidth : kVectors;
    // Term after term of one node: their neighbours are much the same, and still in L1.
    for (int64_t n = first_row; n < last_row; ++n)
        for (int64_t m = 0; m < stack.operators; ++m) {
            const int32_t* row_start = stack.row_start + m * stack.nodes;
            const int64_t first = row_start[n], entries = row_start[n + 1] - first;
            S* to = out + m * out_panel + n * width;
            int64_t j = 0;
            for (; j + kVectors * V::kWidth <= width; j += kVectors * V::kWidth)
                diffuse_row<V, kVectors>(stack.column + first, stack.value + first, entries, x + j, width, to + j);
            for (; j < width; j += kLast * V::kWidth)
                diffuse_row<V, kLast>(stack.column + first, stack.value + first, entries, x + j, width, to + j);
        }
}

// Rows of one operator, with the scale and the subtraction of a recursion; X is what x is stored in.
template <class V, class S, class X>
void step_rows(const SparseStack<S>& stack, int64_t which, typename V::Scalar scale, const X* x, const RowsOf<S>& minus,
               int64_t width, S* out, typename V::Scalar* sums, int64_t first_row, int64_t last_row) {
    constexpr int kVectors = 4;
    constexpr int kLast = kLanes<S> / V::kWidth < kVectors ? kLanes<S> / V::kWidth : kVectors;
    const int32_t* row_start = stack.row_start + which * stack.nodes;
    const auto by = V::broadcast(scale);
    const auto part = [&]<int NV>(Counts<NV>, int64_t n, int64_t j) __attribute__((always_inline)) {
        const int64_t first = row_start[n], at = n * width + j;
        typename V::Register sum[NV];
        sum_entries<V, NV>(stack.column + first, stack.value + first, row_start[n + 1] - first, x + j, width, sum);
        for (int v = 0; v < NV; ++v) {
            sum[v] = V::mul(by, sum[v]);
            if (minus.sums)
                sum[v] = V::sub(sum[v], V::load(minus.sums + at + v * V::kWidth));
            else if (minus.stored)
                sum[v] = V::sub(sum[v], V::load(minus.stored + at + v * V::kWidth));
            if (out) V::store(out + at + v * V::kWidth, sum[v]);
            if (sums) V::store(sums + at + v * V::kWidth, sum[v]);
        }
    };
    for (int64_t n = first_row; n < last_row; ++n) {
        int64_t j = 0;
        for (; j + kVectors * V::kWidth <= width; j += kVectors * V::kWidth) part(Counts<kVectors>{}, n, j);
        for (; j < width; j += kLast * V::kWidth) part(Counts<kLast>{}, n, j);
    }
}

template <class V, class S>
void diffuse_step(const SparseStack<S>& stack, int64_t which, typename V::Scalar scale, const RowsOf<S>& x,
                  const RowsOf<S>& minus, int64_t width, S* out, typename V::Scalar* sums, int64_t first_row,
                  int64_t last_row) {
    if (x.sums)
        step_rows<V, S>(stack, which, scale, x.sums, minus, width, out, sums, first_row, last_row);
    else
        step_rows<V, S>(stack, which, scale, x.stored, minus, width, out, sums, first_row, last_row);
}

template <class V, class S>
void gates(const typename V::Scalar* c, int64_t c_stride, int64_t rows, int64_t width, const S* h, S* r, S* u,
           S* reset) {
    for (int64_t i = 0; i < rows; ++i, c += c_stride, h += width, r += width, u += width, reset += width)
        for (int64_t j = 0; j < width; j += V::kWidth) {
            const auto r_here = V::sigmoid(V::load(c + j));
            V::store(r + j, r_here);
            V::store(u + j, V::sigmoid(V::load(c + width + j)));
            V::store(reset + j, V::mul(r_here, V::load(h + j)));
        }
}

template <class V, class S>
void candidate(const typename V::Scalar* c, int64_t c_stride, int64_t rows, int64_t width, const S* u, const S* h,
               S* candidate_out, S* h_after) {
    const auto one = V::broadcast(1);
    for (int64_t i = 0; i < rows; ++i, c += c_stride, u += width, h += width, candidate_out += width, h_after += width)
        for (int64_t j = 0; j < width; j += V::kWidth) {
            const auto c_here = V::tanh(V::load(c + j)), u_here = V::load(u + j);
            V::store(candidate_out + j, c_here);
            V::store(h_after + j, V::fma(u_here, V::load(h + j), V::mul(V::sub(one, u_here), c_here)));
        }
}

template <class V, class S>
void backward_blend(int64_t count, const S* r, const S* u, const S* candidate_in, const S* h, typename V::Scalar* dh,
                    S* d_candidate, S* d_u, S* reset) {
    const auto one = V::broadcast(1);
    for (int64_t i = 0; i < count; i += V::kWidth) {
        const auto u_here = V::load(u + i), c_here = V::load(candidate_in + i), h_here = V::load(h + i);
        const auto d = V::load(dh + i);
        const auto to_candidate = V::mul(d, V::sub(one, u_here));
        V::store(d_candidate + i, V::mul(to_candidate, V::sub(one, V::mul(c_here, c_here))));
        V::store(d_u + i, V::mul(V::mul(to_candidate, u_here), V::sub(h_here, c_here)));
        V::store(dh + i, V::mul(d, u_here));
        V::store(reset + i, V::mul(V::load(r + i), h_here));
    }
}

template <class V, class S>
void backward_reset(const typename V::Scalar* c, int64_t c_stride, int64_t rows, int64_t width, const S* r, const S* h,
                    S* d_r, typename V::Scalar* dh) {
    const auto one = V::broadcast(1);
    for (int64_t i = 0; i < rows; ++i, c += c_stride, r += width, h += width, d_r += width, dh += width)
        for (int64_t j = 0; j < width; j += V::kWidth) {
            const auto r_here = V::load(r + j), d = V::mul(V::load(c + j), r_here);
            V::store(d_r + j, V::mul(V::mul(d, V::load(h + j)), V::sub(one, r_here)));
            V::store(dh + j, V::add(V::load(dh + j), d));
        }
}

template <class V>
void add(const typename V::Scalar* from, int64_t from_stride, int64_t rows, int64_t width, typename V::Scalar* to,
         int64_t to_stride) {
    for (int64_t i = 0; i < rows; ++i, from += from_stride, to += to_stride)
        for (int64_t j = 0; j < width; j += V::kWidth) V::store(to + j, V::add(V::load(to + j), V::load(from + j)));
}

template <class V, class S>
void add_column_sums(const S* from, int64_t stride, int64_t rows, int64_t width, typename V::Scalar* sum) {
    for (int64_t j = 0; j < width; j += V::kWidth) {
        auto total = V::zero();
        for (int64_t start = 0; start < rows; start += kSumRows) {
            const int64_t end = rows - start < kSumRows ? rows : start + kSumRows;
            auto part = V::zero();
            for (int64_t i = start; i < end; ++i) part = V::add(part, V::load(from + i * stride + j));
            total = V::add(total, part);
        }
        V::store(sum + j, V::add(V::load(sum + j), total));
    }
}

template <class V>
void narrow(const float* from, int64_t count, bf16* to) {
    for (int64_t i = 0; i < count; i += V::kWidth) V::store(to + i, V::load(from + i));
}

template <class V>
void widen(const bf16* from, int64_t count, float* to) {
    widen_block<V>(from, 0, 1, count, to);
}

template <class V, class S = typename V::Scalar>
constexpr Kernels<S> table(const char* name) {
    Kernels<S> kernels{};
    kernels.name = name;
    kernels.block_columns = V::kBlockVectors * V::kWidth;
    kernels.depth_group = 1;
    kernels.scratch_bytes = kWidens<S> ? kWidenedBytes : 0;
    kernels.gemm = gemm<V, S>;
    kernels.weight_gradients = weight_gradients<V, S>;
    kernels.diffuse = diffuse<V, S>;
    kernels.gates = gates<V, S>;
    kernels.candidate = candidate<V, S>;
    kernels.backward_blend = backward_blend<V, S>;
    kernels.backward_reset = backward_reset<V, S>;
    kernels.add = add<V>;
    kernels.add_column_sums = add_column_sums<V, S>;
    kernels.diffuse_step = diffuse_step<V, S>;
    if constexpr (kWidens<S>) {
        kernels.narrow = narrow<V>;
        kernels.widen = widen<V>;
    }
    return kernels;
}
