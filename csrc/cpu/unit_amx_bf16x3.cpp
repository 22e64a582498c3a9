// float32 products on AMX: every number is split into the bf16 nearest to it and the bf16 nearest to the rest, and
// a * b is made of high * high + high * low + low * high, with sums in float32. What is left out is about 2^-17 of a
// product. An infinite number has no rest and becomes NaN.
#ifndef __clang__
// GCC 12 takes the undefined sources of its own masked intrinsics for uninitialised variables.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "csrc/cpu/kernels.h"

#define DCRNN_INLINE inline __attribute__((always_inline))

namespace dcrnn {
namespace {

#include "csrc/cpu/unit_amx_tiles.h"
#include "csrc/cpu/unit_bf16_pairs.h"

// Columns of one block of a packed matrix: two tiles. Every other row of a packed pair is its high, then its low half.
constexpr int64_t kBlock = 32;
// Depth of the left side that is split at once: four tiles (high and low, 16 rows each) for every 32 of it.
constexpr int64_t kSteps = 32;
constexpr int64_t kTile = kTileRows * kTileDepth;
constexpr int64_t kTailNumbers = kTileRows * 4 * kBlock;
// Rows of one chunk of the weights' gradients, and columns of each side that are split at once.
constexpr int64_t kChunk = 224;
constexpr int64_t kColumns = 64;
constexpr int64_t kLeftBlocks = 2;
constexpr int64_t kPackedBlock = 2 * kChunk * kColumns;

DCRNN_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// 16 float32 as 16 high and 16 low bf16.
DCRNN_INLINE void split(__m512 x, __m256i& high, __m256i& low) {
    high = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
    const __m512 widened = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
    low = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_sub_ps(x, widened)));
}

// The halves of 32 float32, of which only the first `columns` (16 or more, or none) exist.
DCRNN_INLINE void split_row(const float* from, int64_t columns, __m512i& high, __m512i& low) {
    __m256i high_half[2], low_half[2];
    split(columns > 0 ? _mm512_loadu_ps(from) : _mm512_setzero_ps(), high_half[0], low_half[0]);
    split(columns > 16 ? _mm512_loadu_ps(from + 16) : _mm512_setzero_ps(), high_half[1], low_half[1]);
    high = _mm512_inserti64x4(_mm512_castsi256_si512(high_half[0]), high_half[1], 1);
    low = _mm512_inserti64x4(_mm512_castsi256_si512(low_half[0]), low_half[1], 1);
}

// Two rows of up to 32 columns as pairs: 2 * columns high numbers, then as many low ones. A row that is null counts as
// zeros. `to` may be `first`, where the second row follows it.
DCRNN_INLINE void split_pair(const float* first, const float* second, int64_t columns, bf16* to) {
    __m512i high[2], low[2], left, right;
    split_row(first, first ? columns : 0, high[0], low[0]);
    split_row(second, second ? columns : 0, high[1], low[1]);
    for (int lower = 0; lower < 2; ++lower) {
        interleave(lower ? low[0] : high[0], lower ? low[1] : high[1], left, right);
        _mm512_storeu_si512(to, left);
        if (columns > 16) _mm512_storeu_si512(to + 32, right);
        to += 2 * columns;
    }
}

void finish_packed(float* packed, int64_t depth, int64_t columns) {
    for (int64_t j = 0; j < columns; j += kBlock) {
        const int64_t width = smaller(kBlock, columns - j);
        float* row = packed + j * depth;
        for (int64_t k = 0; k < depth; k += 2, row += 2 * width)
            split_pair(row, row + width, width, reinterpret_cast<bf16*>(row));
    }
}

// Adds 32 of depth to the sums: R tiles of rows, whose high and then low halves lie behind each other at a; C tiles of
// columns of pairs at b, b_stride numbers from one to the next.
template <int R, int C>
DCRNN_INLINE void add_products(const bf16* a, const bf16* b_high, const bf16* b_low, int64_t b_stride) {
    const auto load_left = [a](bool low) __attribute__((always_inline)) {
        _tile_loadd(4, a + (low ? 2 * kTile : 0), 64);
        if (R == 2) _tile_loadd(5, a + (low ? 3 : 1) * kTile, 64);
    };
    const auto load_right = [b_stride](const bf16* b) __attribute__((always_inline)) {
        _tile_loadd(6, b, 2 * b_stride);
        if (C == 2) _tile_loadd(7, b + 2 * kTileColumns, 2 * b_stride);
    };
    const auto add = []() __attribute__((always_inline)) {
        _tile_dpbf16ps(0, 4, 6);
        if (C == 2) _tile_dpbf16ps(1, 4, 7);
        if (R == 2) _tile_dpbf16ps(2, 5, 6);
        if (R == 2 && C == 2) _tile_dpbf16ps(3, 5, 7);
    };
    load_left(true);
    load_right(b_high);
    add();
    load_left(false);
    add();
    load_right(b_low);
    add();
}

template <int R, int C>
DCRNN_INLINE void load_sums(const float* c, int64_t stride_bytes, int64_t below) {
    _tile_loadd(0, c, stride_bytes);
    if (C == 2) _tile_loadd(1, c + kTileColumns, stride_bytes);
    if (R == 2) _tile_loadd(2, c + below, stride_bytes);
    if (R == 2 && C == 2) _tile_loadd(3, c + below + kTileColumns, stride_bytes);
}

template <int R, int C>
DCRNN_INLINE void store_sums(float* c, int64_t c_stride) {
    float* below = c + kTileRows * c_stride;
    _tile_stored(0, c, 4 * c_stride);
    if (C == 2) _tile_stored(1, c + kTileColumns, 4 * c_stride);
    if (R == 2) _tile_stored(2, below, 4 * c_stride);
    if (R == 2 && C == 2) _tile_stored(3, below + kTileColumns, 4 * c_stride);
}

// c[16 R x 16 C] = start + left * right over `steps` steps of depth. A half last step has its right side at `tail`.
template <int R, int C>
void product_tiles(const bf16* left, const bf16* right, int64_t steps, const bf16* tail, const float* start,
                   bool start_is_row, float* c, int64_t c_stride) {
    constexpr int64_t kPair = 4 * C * kTileColumns;
    if (start != nullptr) {
        // Without a stride every row of the tile is the bias.
        load_sums<R, C>(start, start_is_row ? 0 : 4 * c_stride, start_is_row ? 0 : kTileRows * c_stride);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t step = 0; step < steps; ++step) {
        const bf16* b = tail != nullptr && step == steps - 1 ? tail : right + step * kTileRows * kPair;
        add_products<R, C>(left + step * 4 * kTile, b, b + kPair / 2, kPair);
    }
    store_sums<R, C>(c, c_stride);
}

// Panels from `panel`, `column` on, split into tiles of 32 rows until kSteps are full; returns the depth taken.
int64_t split_left(const Panel<float>* panels, int64_t count, int64_t row, int64_t rows, int64_t& panel,
                   int64_t& column, bf16* to) {
    int64_t depth = 0;
    for (; panel < count; ++panel, column = 0)
        for (; column < panels[panel].depth; column += 16, depth += 16) {
            if (depth == kSteps * kTileDepth) return depth;
            const float* from = panels[panel].data + row * panels[panel].stride + column;
            bf16* tiles = to + depth / kTileDepth * 4 * kTile + depth % kTileDepth;
            for (int64_t i = 0; i < rows; ++i, from += panels[panel].stride) {
                __m256i high, low;
                split(_mm512_loadu_ps(from), high, low);
                bf16* at = tiles + i * kTileDepth;
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), high);
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(at + 2 * kTile), low);
            }
        }
    if (depth % kTileDepth != 0) {
        bf16* tiles = to + depth / kTileDepth * 4 * kTile + 16;
        for (int64_t i = 0; i < 4 * kTileRows; ++i)
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(tiles + i * kTileDepth), _mm256_setzero_si256());
    }
    return depth;
}

void gemm(const Panel<float>* panels, int64_t count, const float* packed, int64_t packed_depth, const float* bias,
          float* c, int64_t c_stride, int64_t rows, int64_t columns, void* scratch) {
    auto* left = static_cast<bf16*>(scratch);
    auto* tail = left + kSteps * 4 * kTile;
    for (int64_t row = 0; row < rows; row += 2 * kTileRows, c += 2 * kTileRows * c_stride) {
        const bool two = rows - row > kTileRows;
        int64_t panel = 0, column = 0, done = 0;
        do {
            const int64_t depth = split_left(panels, count, row, two ? 32 : 16, panel, column, left);
            const int64_t steps = (depth + kTileDepth - 1) / kTileDepth;
            for (int64_t j = 0; j < columns; j += kBlock) {
                const int64_t width = smaller(kBlock, columns - j);
                const auto* right = reinterpret_cast<const bf16*>(packed + j * packed_depth + done * width);
                const bool half = depth % kTileDepth != 0;
                if (half) {
                    // Half a step remains of the packed matrix, behind which there may be nothing.
                    const bf16* from = right + (steps - 1) * kTileRows * 4 * width;
                    for (int64_t i = 0; i < kTileRows * 4 * width; i += 32)
                        _mm512_storeu_si512(tail + i, i < kTileRows * 2 * width ? _mm512_loadu_si512(from + i)
                                                                                : _mm512_setzero_si512());
                }
                const float* start = done > 0 ? c + j : bias ? bias + j : nullptr;
                const auto run = width == kBlock ? (two ? product_tiles<2, 2> : product_tiles<1, 2>)
                                                 : (two ? product_tiles<2, 1> : product_tiles<1, 1>);
                run(left, right, steps, half ? tail : nullptr, start, done == 0, c + j, c_stride);
            }
            done += depth;
        } while (panel < count);
    }
}

// Columns of `from` as tiles of a left side, transposed: for every 32 rows and 32 columns two high and two low tiles.
// Rows beyond the last count as zeros.
void transpose_to_tiles(const float* from, int64_t stride, int64_t rows, int64_t columns, bf16* to) {
    for (int64_t j = 0; j < columns; j += 32)
        for (int64_t row = 0; row < rows; row += kTileDepth, to += 4 * kTile)
            for (int lower = 0; lower < 2; ++lower) {
                __m512i left[16], right[16];
                for (int i = 0; i < 16; ++i) {
                    __m512i high[2], low[2];
                    for (int of_pair = 0; of_pair < 2; ++of_pair) {
                        const int64_t here = row + 2 * i + of_pair;
                        split_row(from + here * stride + j, here < rows ? columns - j : 0, high[of_pair], low[of_pair]);
                    }
                    interleave(lower ? low[0] : high[0], lower ? low[1] : high[1], left[i], right[i]);
                }
                transpose(left);
                transpose(right);
                bf16* tiles = to + (lower ? 2 * kTile : 0);
                for (int i = 0; i < 16; ++i) {
                    _mm512_storeu_si512(tiles + 32 * i, left[i]);
                    _mm512_storeu_si512(tiles + kTile + 32 * i, right[i]);
                }
            }
}

// Columns of `from` as pairs of rows, in blocks of 32 columns, with zeros up to a whole tile.
void split_right(const float* from, int64_t stride, int64_t rows, int64_t columns, bf16* to) {
    for (int64_t j = 0; j < columns; j += kBlock) {
        const int64_t width = smaller(kBlock, columns - j);
        for (int64_t row = 0; row < (rows + kTileDepth - 1) / kTileDepth * kTileDepth; row += 2, to += 4 * width) {
            const float* pair = from + row * stride + j;
            split_pair(row < rows ? pair : nullptr, row + 1 < rows ? pair + stride : nullptr, width, to);
        }
    }
}

struct LeftBlock {
    int64_t panel, column, columns;
};

void weight_gradients(const Panel<float>* left, int64_t lefts, const Panel<float>* right, int64_t rights, int64_t rows,
                      float* const* c, void* scratch) {
    auto* right_packed = static_cast<bf16*>(scratch);
    auto* left_packed = right_packed + kPackedBlock;
    LeftBlock blocks[kLeftBlocks];
    for (int64_t row = 0; row < rows; row += kChunk) {
        const int64_t count = smaller(kChunk, rows - row), steps = (count + kTileDepth - 1) / kTileDepth;
        for (int64_t l = 0, column = 0; l < lefts;) {
            int64_t filled = 0;
            while (filled < kLeftBlocks && l < lefts) {
                const int64_t columns = smaller(kColumns, left[l].depth - column);
                transpose_to_tiles(left[l].data + row * left[l].stride + column, left[l].stride, count, columns,
                                   left_packed + filled * kPackedBlock);
                blocks[filled++] = {l, column, columns};
                column += columns;
                if (column == left[l].depth) ++l, column = 0;
            }
            for (int64_t r = 0; r < rights; ++r)
                for (int64_t j = 0; j < right[r].depth; j += kColumns) {
                    const int64_t columns = smaller(kColumns, right[r].depth - j), c_stride = right[r].depth;
                    split_right(right[r].data + row * right[r].stride + j, right[r].stride, count, columns,
                                right_packed);
                    for (int64_t b = 0; b < filled; ++b)
                        for (int64_t i = 0; i < blocks[b].columns; i += 2 * kTileRows)
                            for (int64_t k = 0; k < columns; k += kBlock) {
                                const bool two = blocks[b].columns - i > kTileRows;
                                float* to = c[blocks[b].panel * rights + r] + (blocks[b].column + i) * c_stride + j + k;
                                const bf16* tiles = left_packed + b * kPackedBlock + i / 32 * steps * 4 * kTile;
                                const bf16* pairs = right_packed + k * steps * kTileDepth * 2;
                                const auto run = columns - k > 16 ? (two ? product_tiles<2, 2> : product_tiles<1, 2>)
                                                                  : (two ? product_tiles<2, 1> : product_tiles<1, 1>);
                                run(tiles, pairs, steps, nullptr, to, false, to, c_stride);
                            }
                }
        }
    }
}

}  // namespace

constinit const Kernels<float> kAmxBf16x3Products = [] {
    Kernels<float> kernels{};
    kernels.name = "amx (bf16x3)";
    kernels.block_columns = kBlock;
    kernels.depth_group = 1;
    constexpr int64_t kGemm = kSteps * 4 * kTile + kTailNumbers, kGradients = (1 + kLeftBlocks) * kPackedBlock;
    kernels.scratch_bytes = 2 * (kGemm > kGradients ? kGemm : kGradients);
    kernels.row_block = 2 * kTileRows;
    kernels.enter = enter;
    kernels.leave = leave;
    kernels.finish_packed = finish_packed;
    kernels.gemm = gemm;
    kernels.weight_gradients = weight_gradients;
    return kernels;
}();

}  // namespace dcrnn
