// The kernels of kernels.h, written once over a vector type V. Each unit includes this file inside an anonymous
// namespace (so nothing here has external linkage) after it has defined V:
//   V::Scalar, V::Register, V::kWidth          lanes divide kLanes
//   V::kBlockVectors                            vectors of one gemm block: kRows x kBlockVectors accumulators fit the
//                                               register file with room for a row of B and one broadcast
//   zero, broadcast, load, store, add, sub, mul, fma (a*b+c), sigmoid, tanh, load_bf16, store_bf16
// No include guard: it is meant to be included once by each unit.

// Rows of one register tile.
constexpr int kRows = 6;
// Depth of one pass over a block of B: 64 rows x 64 float32 columns are 16 KiB, which stay in L1 beside A and C.
constexpr int64_t kDepth = 64;
constexpr int64_t kDepthTransposed = 64;

// What is added to a product's sums, which start from zero: sums over a stretch of depth are rounded among themselves,
// not against a bias or a total that may be much larger.
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
    switch (rows - i) {
        case 5:
            tile<V, 5, NV, Transposed>(a, a_stride, depth, b, b_stride, c, c_stride, onto, bias);
            break;
        case 4:
            tile<V, 4, NV, Transposed>(a, a_stride, depth, b, b_stride, c, c_stride, onto, bias);
            break;
        case 3:
            tile<V, 3, NV, Transposed>(a, a_stride, depth, b, b_stride, c, c_stride, onto, bias);
            break;
        case 2:
            tile<V, 2, NV, Transposed>(a, a_stride, depth, b, b_stride, c, c_stride, onto, bias);
            break;
        case 1:
            tile<V, 1, NV, Transposed>(a, a_stride, depth, b, b_stride, c, c_stride, onto, bias);
            break;
        default:
            break;
    }
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

template <class V>
void gemm(const Panel<typename V::Scalar>* panels, int64_t count, const typename V::Scalar* packed,
          int64_t packed_depth, const typename V::Scalar* bias, typename V::Scalar* c, int64_t c_stride, int64_t rows,
          int64_t columns) {
    constexpr int64_t kBlock = V::kBlockVectors * V::kWidth;
    for (int64_t j = 0; j < columns; j += kBlock) {
        const int64_t width = smaller(kBlock, columns - j);
        const auto* b = packed + j * packed_depth;
        Onto onto = bias ? Onto::kBias : Onto::kNothing;
        for (int64_t p = 0; p < count; ++p)
            for (int64_t k = 0; k < panels[p].depth; k += kDepth) {
                const int64_t depth = smaller(kDepth, panels[p].depth - k);
                block<V, false>(width / V::kWidth, panels[p].data + k, panels[p].stride, depth, b, width, c + j,
                                c_stride, rows, onto, bias + (bias ? j : 0));
                b += depth * width;
                onto = Onto::kResult;
            }
        if (onto != Onto::kResult)
            block<V, false>(width / V::kWidth, nullptr, 0, 0, b, width, c + j, c_stride, rows, onto,
                            bias + (bias ? j : 0));
    }
}

template <class V>
void gemm_transposed(const typename V::Scalar* a, int64_t a_stride, int64_t a_columns, const typename V::Scalar* b,
                     int64_t b_stride, typename V::Scalar* c, int64_t c_stride, int64_t rows, int64_t columns) {
    constexpr int64_t kBlock = V::kBlockVectors * V::kWidth;
    for (int64_t k = 0; k < rows; k += kDepthTransposed) {
        const int64_t depth = smaller(kDepthTransposed, rows - k);
        for (int64_t j = 0; j < columns; j += kBlock)
            block<V, true>(smaller(kBlock, columns - j) / V::kWidth, a + k * a_stride, a_stride, depth,
                           b + k * b_stride + j, b_stride, c + j, c_stride, a_columns, Onto::kResult, nullptr);
    }
}

// One output row, NV vectors of it: two sets of sums, because one would wait for the latency of its own additions.
template <class V, int NV>
DCRNN_INLINE void diffuse_row(const int32_t* column, const typename V::Scalar* value, int64_t entries,
                              const typename V::Scalar* x, int64_t width, typename V::Scalar* out) {
    typename V::Register even[NV], odd[NV];
    for (int j = 0; j < NV; ++j) even[j] = odd[j] = V::zero();
    int64_t e = 0;
    for (; e + 2 <= entries; e += 2) {
        const auto* x0 = x + column[e] * width;
        const auto* x1 = x + column[e + 1] * width;
        const auto v0 = V::broadcast(value[e]), v1 = V::broadcast(value[e + 1]);
        for (int j = 0; j < NV; ++j) even[j] = V::fma(v0, V::load(x0 + j * V::kWidth), even[j]);
        for (int j = 0; j < NV; ++j) odd[j] = V::fma(v1, V::load(x1 + j * V::kWidth), odd[j]);
    }
    if (e < entries) {
        const auto v0 = V::broadcast(value[e]);
        for (int j = 0; j < NV; ++j) even[j] = V::fma(v0, V::load(x + column[e] * width + j * V::kWidth), even[j]);
    }
    for (int j = 0; j < NV; ++j) V::store(out + j * V::kWidth, V::add(even[j], odd[j]));
}

template <class V>
void diffuse(const SparseStack<typename V::Scalar>& stack, const typename V::Scalar* x, int64_t width,
             typename V::Scalar* out, int64_t out_panel) {
    constexpr int kVectors = 4;
    constexpr int kLast = kLanes / V::kWidth < kVectors ? kLanes / V::kWidth : kVectors;
    // Term after term of one node: their neighbours are much the same, and still in L1.
    for (int64_t n = 0; n < stack.nodes; ++n)
        for (int64_t m = 0; m < stack.operators; ++m) {
            const int32_t* row_start = stack.row_start + m * stack.nodes;
            const int64_t first = row_start[n], entries = row_start[n + 1] - first;
            auto* to = out + m * out_panel + n * width;
            int64_t j = 0;
            for (; j + kVectors * V::kWidth <= width; j += kVectors * V::kWidth)
                diffuse_row<V, kVectors>(stack.column + first, stack.value + first, entries, x + j, width, to + j);
            for (; j < width; j += kLast * V::kWidth)
                diffuse_row<V, kLast>(stack.column + first, stack.value + first, entries, x + j, width, to + j);
        }
}

template <class V>
void gates(const typename V::Scalar* c, int64_t c_stride, int64_t rows, int64_t width, const typename V::Scalar* h,
           typename V::Scalar* r, typename V::Scalar* u, typename V::Scalar* reset) {
    for (int64_t i = 0; i < rows; ++i, c += c_stride, h += width, r += width, u += width, reset += width)
        for (int64_t j = 0; j < width; j += V::kWidth) {
            const auto r_here = V::sigmoid(V::load(c + j));
            V::store(r + j, r_here);
            V::store(u + j, V::sigmoid(V::load(c + width + j)));
            V::store(reset + j, V::mul(r_here, V::load(h + j)));
        }
}

template <class V>
void candidate(const typename V::Scalar* c, int64_t c_stride, int64_t rows, int64_t width, const typename V::Scalar* u,
               const typename V::Scalar* h, typename V::Scalar* candidate_out, typename V::Scalar* h_after) {
    const auto one = V::broadcast(1);
    for (int64_t i = 0; i < rows; ++i, c += c_stride, u += width, h += width, candidate_out += width, h_after += width)
        for (int64_t j = 0; j < width; j += V::kWidth) {
            const auto c_here = V::tanh(V::load(c + j)), u_here = V::load(u + j);
            V::store(candidate_out + j, c_here);
            V::store(h_after + j, V::fma(u_here, V::load(h + j), V::mul(V::sub(one, u_here), c_here)));
        }
}

template <class V>
void backward_blend(int64_t count, const typename V::Scalar* r, const typename V::Scalar* u,
                    const typename V::Scalar* candidate_in, const typename V::Scalar* h, typename V::Scalar* dh,
                    typename V::Scalar* d_candidate, typename V::Scalar* d_u, typename V::Scalar* reset) {
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

template <class V>
void backward_reset(const typename V::Scalar* c, int64_t c_stride, int64_t rows, int64_t width,
                    const typename V::Scalar* r, const typename V::Scalar* h, typename V::Scalar* d_r,
                    typename V::Scalar* dh) {
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

template <class V>
void add_column_sums(const typename V::Scalar* from, int64_t rows, int64_t width, typename V::Scalar* sum) {
    for (int64_t j = 0; j < width; j += V::kWidth) {
        auto total = V::zero();
        for (int64_t i = 0; i < rows; ++i) total = V::add(total, V::load(from + i * width + j));
        V::store(sum + j, V::add(V::load(sum + j), total));
    }
}

template <class V>
void to_bf16(const typename V::Scalar* from, int64_t count, uint16_t* to) {
    for (int64_t i = 0; i < count; i += V::kWidth) V::store_bf16(to + i, V::load(from + i));
}

template <class V>
void from_bf16(const uint16_t* from, int64_t count, typename V::Scalar* to) {
    for (int64_t i = 0; i < count; i += V::kWidth) V::store(to + i, V::load_bf16(from + i));
}

template <class V>
constexpr Kernels<typename V::Scalar> table(const char* name) {
    Kernels<typename V::Scalar> kernels{name,
                                        V::kBlockVectors * V::kWidth,
                                        gemm<V>,
                                        gemm_transposed<V>,
                                        diffuse<V>,
                                        gates<V>,
                                        candidate<V>,
                                        backward_blend<V>,
                                        backward_reset<V>,
                                        add<V>,
                                        add_column_sums<V>,
                                        nullptr,
                                        nullptr};
    if constexpr (sizeof(typename V::Scalar) == 4) {
        kernels.to_bf16 = to_bf16<V>;
        kernels.from_bf16 = from_bf16<V>;
    }
    return kernels;
}
