// The AVX-512 BF16 unit: panels in bf16, products by dot products of pairs, sums in float32.
#include "csrc/cpu/unit_prologue.h"

namespace dcrnn {
namespace {

#include "csrc/cpu/unit_bf16_pairs.h"
#include "csrc/cpu/unit_bf16_vector.h"
#include "csrc/cpu/unit_body.h"

// clang-format keeps blocks of includes apart; this one needs those above.
#include "csrc/cpu/unit_bf16_diffuse.h"

// A register tile is kRows rows of four vectors: 24 sums hide the latency of the dot product, and 6 broadcasts and 4
// loads for 24 of them leave the load ports half idle.
constexpr int64_t kBlock = 64;
// Rows of one chunk of the weights' gradients, and columns of the left side that are interleaved at once: 28 KiB for
// every 64 columns, read over and over while the right side's blocks pass by.
constexpr int64_t kChunk = 224;
constexpr int64_t kColumns = kBlock;
constexpr int64_t kLeftBlocks = 4;
constexpr int64_t kPackedBlock = kChunk * kBlock;
constexpr int64_t kRecursionFromNodes = 2048;

DCRNN_INLINE __m512bh broadcast_pair(const bf16* from) {
    int pair;
    __builtin_memcpy(&pair, from, sizeof pair);
    return as_pairs(_mm512_set1_epi32(pair));
}

// Adds `depth` / 2 pairs to the sums of R rows: row i's pairs lie at a + i * a_row + k * a_pair.
template <int R, int NV>
DCRNN_INLINE void add_products(__m512 (&sum)[R][NV], const bf16* a, int64_t a_row, int64_t a_pair, int64_t depth,
                               const bf16* b) {
    for (int64_t k = 0; k < depth; k += 2, a += a_pair, b += NV * 32) {
        __m512bh row[NV];
        for (int j = 0; j < NV; ++j) row[j] = load_pairs(b + 32 * j);
        for (int i = 0; i < R; ++i) {
            const __m512bh x = broadcast_pair(a + i * a_row);
            for (int j = 0; j < NV; ++j) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], x, row[j]);
        }
    }
}

// `ask`: for the rows of the next tile, before they are read the first time.
template <int NV>
void gemm_block(const Panel<bf16>* panels, int64_t count, const bf16* packed, const float* bias, float* c,
                int64_t c_stride, int64_t rows, bool ask) {
    // The last tile reads and writes past the last row, as far as kRowSlack allows.
    for (int64_t row = 0; row < rows; row += kRows) {
        __m512 sum[kRows][NV];
        for (int i = 0; i < kRows; ++i)
            for (int j = 0; j < NV; ++j) sum[i][j] = bias ? _mm512_loadu_ps(bias + 16 * j) : _mm512_setzero_ps();
        const bf16* b = packed;
        for (int64_t p = 0; p < count; ++p) {
            const Panel<bf16>& a = panels[p];
            if (ask) prefetch_block(a.data + (row + kRows) * a.stride, a.stride, kRows, a.depth);
            add_products<kRows, NV>(sum, a.data + row * a.stride, a.stride, 2, a.depth, b);
            b += a.depth * NV * 16;
        }
        for (int i = 0; i < kRows; ++i)
            for (int j = 0; j < NV; ++j) _mm512_storeu_ps(c + (row + i) * c_stride + 16 * j, sum[i][j]);
    }
}

void gemm_of_pairs(const Panel<bf16>* panels, int64_t count, const bf16* packed, int64_t packed_depth,
                   const float* bias, float* c, int64_t c_stride, int64_t rows, int64_t columns, bool far, void*) {
    for (int64_t j = 0; j < columns; j += kBlock) {
        const bf16* b = packed + j * packed_depth;
        const float* bias_here = bias ? bias + j : nullptr;
        if (columns - j >= kBlock)
            gemm_block<4>(panels, count, b, bias_here, c + j, c_stride, rows, far && j == 0);
        else
            gemm_block<2>(panels, count, b, bias_here, c + j, c_stride, rows, far && j == 0);
    }
}

// c[R rows] += the products of R columns of the left side and NV vectors of the right one, both interleaved.
template <int R, int NV>
DCRNN_INLINE void gradient_tile(const bf16* left, const bf16* right, int64_t depth, float* c, int64_t c_stride) {
    __m512 sum[R][NV];
    for (int i = 0; i < R; ++i)
        for (int j = 0; j < NV; ++j) sum[i][j] = _mm512_setzero_ps();
    add_products<R, NV>(sum, left, 2, 2 * kBlock, depth, right);
    for (int i = 0; i < R; ++i)
        for (int j = 0; j < NV; ++j) {
            float* to = c + i * c_stride + 16 * j;
            _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), sum[i][j]));
        }
}

template <int NV>
void gradient_block(const bf16* left, int64_t left_columns, const bf16* right, int64_t depth, float* c,
                    int64_t c_stride) {
    int64_t i = 0;
    for (; i + kRows <= left_columns; i += kRows)
        gradient_tile<kRows, NV>(left + 2 * i, right, depth, c + i * c_stride, c_stride);
    // 64 and 32 columns are some sixes and 4 or 2.
    if (left_columns - i == 4) gradient_tile<4, NV>(left + 2 * i, right, depth, c + i * c_stride, c_stride);
    if (left_columns - i == 2) gradient_tile<2, NV>(left + 2 * i, right, depth, c + i * c_stride, c_stride);
}

#include "csrc/cpu/unit_gradient_blocks.h"

void weight_gradients_of_pairs(const Panel<bf16>* left, int64_t lefts, const Panel<bf16>* right, int64_t rights,
                               int64_t rows, float* const* c, void* scratch) {
    const auto pack_left = [](const bf16* from, int64_t stride, int64_t count, int64_t columns, bf16* to) {
        interleave_rows(from, stride, count, columns, to, 2 * kBlock);
    };
    const auto pack_right = [](const bf16* from, int64_t stride, int64_t count, int64_t columns, bf16* to) {
        interleave_rows(from, stride, count, columns, to, 2 * columns);
    };
    gradients_by_blocks(left, lefts, right, rights, rows, c, scratch, pack_left, pack_right,
                        [](const bf16* from, int64_t left_columns, const bf16* right_packed, int64_t columns,
                           int64_t count, float* to, int64_t c_stride) {
                            const auto run = columns == kBlock ? gradient_block<4> : gradient_block<2>;
                            run(from, left_columns, right_packed, (count + 1) / 2 * 2, to, c_stride);
                        });
}

void diffuse_of_pairs(const SparseStack<bf16>& stack, const bf16* x, int64_t width, bf16* out, int64_t out_panel,
                      int64_t first, int64_t last, void* scratch) {
    const auto& prepared = *static_cast<const BlockStack*>(stack.prepared);
    auto* pairs = static_cast<bf16*>(scratch);
    gather_pairs(x, width, prepared.order.node, stack.nodes, pairs);
    diffuse_by_blocks(prepared, pairs, width, out, out_panel, first, last);
}

int64_t prepared_bytes(const SparseStack<bf16>& stack) { return blocks_bytes(stack) + order_bytes(stack.nodes); }

void prepare_stack(const SparseStack<bf16>& stack, void* memory) {
    char* end = static_cast<char*>(memory) + blocks_bytes(stack);
    prepare_blocks(stack, find_order(stack, end, memory), memory);
}

int64_t diffuse_scratch_bytes(int64_t nodes, int64_t width) { return (nodes + 1) / 2 * 2 * width * 2; }

}  // namespace

constinit const Kernels<bf16> kAvx512DotBf16 = [] {
    Kernels<bf16> kernels = table<Vector, bf16>("avx512_bf16");
    kernels.block_columns = kBlock;
    kernels.depth_group = 2;
    kernels.scratch_bytes = (1 + kLeftBlocks) * kPackedBlock * 2;
    kernels.gemm = gemm_of_pairs;
    kernels.weight_gradients = weight_gradients_of_pairs;
    kernels.diffuse = diffuse_of_pairs;
    kernels.prepared_bytes = prepared_bytes;
    kernels.prepare_stack = prepare_stack;
    kernels.diffuse_scratch_bytes = diffuse_scratch_bytes;
    kernels.recursion_from_nodes = kRecursionFromNodes;
    return kernels;
}();

}  // namespace dcrnn
