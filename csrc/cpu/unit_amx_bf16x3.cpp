// float32 products on AMX. A number is split into parts: the bf16 nearest to it, the one nearest to the rest, and the
// one nearest to the rest of that. Three parts hold all 24 bits, two hold 17. Products of parts are summed in float32.
// An infinite number has no rest and becomes NaN.
//
// Six products (all but low * middle, middle * low and low * low) are as good as float32. The cost of fewer, as the
// worst max error over max value of a gradient: METR-LA steps with losses of both signs, and 60 random problems of few
// rows.
//
//     high * high, high * middle, middle * high           1.5e-5   1.2e-4
//     and middle * middle                                 1.5e-5   6.1e-5
//     and high * low: weights in three parts              1.2e-5   4.4e-5
//     instead low * high: left sides in three parts       9.7e-6   1.7e-5
//     six, but three for the gradients of weights         4.9e-6   3.3e-5
//     six                                                 9e-7     3.6e-6 (plain float32: 5.6e-6)
//
// Errors in states and in their gradients are handed from step to step; the sum over rows in a weight's gradient
// averages its own, if rows are many. So three products serve there (6.0e-6 in random problems of 4096 rows and
// more), and six everywhere else: five on average, since a third of all products are gradients of weights. Problems of
// few rows take six throughout.
#include "csrc/cpu/unit_prologue.h"

namespace dcrnn {
namespace {

#include "csrc/cpu/unit_amx_tiles.h"
#include "csrc/cpu/unit_bf16_pairs.h"

// Columns of one block of a packed matrix: two tiles. A pair of its rows holds its parts one after the other.
constexpr int64_t kBlock = 32;
// Depth of the left side that is split at once: two tiles (16 rows each) of each part for every 32 of it.
constexpr int64_t kSteps = 32;
constexpr int64_t kTile = kTileRows * kTileDepth;
// Parts of a number, at most.
constexpr int64_t kParts = 3;
constexpr int64_t kLeftNumbers = kSteps * kParts * 2 * kTile;
constexpr int64_t kTailNumbers = kTileRows * kParts * 2 * kBlock;
// Rows of one chunk of the weights' gradients, and columns of each side that are split at once.
constexpr int64_t kChunk = 224;
constexpr int64_t kColumns = 64;
constexpr int64_t kLeftBlocks = 2;
constexpr int64_t kPackedBlock = kParts * kChunk * kColumns;
// Up to this depth the left side of a weight's gradient is a prediction's gradient or an input's terms: cheap, and six
// products are needed, because gradients of an absolute error are one number of both signs: its rest does not average.
constexpr int64_t kShallow = 32;

// Which parts of the left and of the right side are multiplied, 0 the highest; each step changes one side only.
struct Product {
    int left, right;
};
struct Three {
    static constexpr int kLeftParts = 2, kRightParts = 2;
    static constexpr Product kProducts[] = {{1, 0}, {0, 0}, {0, 1}};
};
struct Six {
    static constexpr int kLeftParts = 3, kRightParts = 3;
    static constexpr Product kProducts[] = {{0, 2}, {0, 1}, {1, 1}, {1, 0}, {2, 0}, {0, 0}};
};

DCRNN_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// 16 float32 as 16 bf16 of each part.
template <int P>
DCRNN_INLINE void split(__m512 x, __m256i (&part)[P]) {
    for (int p = 0; p < P; ++p) {
        part[p] = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
        x = _mm512_sub_ps(x, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(part[p]), 16)));
    }
}

// The parts of 32 float32, of which only the first `columns` (16 or more, or none) exist.
template <int P>
DCRNN_INLINE void split_row(const float* from, int64_t columns, __m512i (&part)[P]) {
    __m256i left[P], right[P];
    split(columns > 0 ? _mm512_loadu_ps(from) : _mm512_setzero_ps(), left);
    split(columns > 16 ? _mm512_loadu_ps(from + 16) : _mm512_setzero_ps(), right);
    for (int p = 0; p < P; ++p) part[p] = _mm512_inserti64x4(_mm512_castsi256_si512(left[p]), right[p], 1);
}

// Two rows of up to 32 columns as pairs: 2 * columns numbers of each part. A row that is null counts as zeros.
template <int P>
DCRNN_INLINE void split_pair(const float* first, const float* second, int64_t columns, bf16* to) {
    __m512i upper[P], lower[P], left, right;
    split_row(first, first ? columns : 0, upper);
    split_row(second, second ? columns : 0, lower);
    for (int p = 0; p < P; ++p, to += 2 * columns) {
        interleave(upper[p], lower[p], left, right);
        _mm512_storeu_si512(to, left);
        if (columns > 16) _mm512_storeu_si512(to + 32, right);
    }
}

// From the last pair of rows to the first: the written rows are longer, and must not overwrite unread ones.
void finish_packed(float* packed, int64_t depth, int64_t columns) {
    auto* made = reinterpret_cast<bf16*>(packed);
    for (int64_t j = (columns - 1) / kBlock * kBlock; j >= 0; j -= kBlock) {
        const int64_t width = smaller(kBlock, columns - j);
        for (int64_t k = depth - 2; k >= 0; k -= 2) {
            const int64_t at = j * depth + k * width;
            split_pair<kParts>(packed + at, packed + at + width, width, made + kParts * at);
        }
    }
}

// Adds 32 of depth to the sums: R tiles of rows, two tiles of each part behind each other at a; C tiles of columns, the
// parts of their pairs behind each other at b.
template <class Of, int R, int C>
DCRNN_INLINE void add_products(const bf16* a, const bf16* b) {
    constexpr int64_t kPart = 2 * C * kTileColumns, kStride = 2 * Of::kRightParts * kPart;
    Product before{-1, -1};
    for (const Product now : Of::kProducts) {
        if (now.left != before.left) {
            DCRNN_LOAD_TILE(4, a + 2 * now.left * kTile, 64);
            if (R == 2) DCRNN_LOAD_TILE(5, a + (2 * now.left + 1) * kTile, 64);
        }
        if (now.right != before.right) {
            DCRNN_LOAD_TILE(6, b + now.right * kPart, kStride);
            if (C == 2) DCRNN_LOAD_TILE(7, b + now.right * kPart + 2 * kTileColumns, kStride);
        }
        _tile_dpbf16ps(0, 4, 6);
        if (C == 2) _tile_dpbf16ps(1, 4, 7);
        if (R == 2) _tile_dpbf16ps(2, 5, 6);
        if (R == 2 && C == 2) _tile_dpbf16ps(3, 5, 7);
        before = now;
    }
}

template <int R, int C>
DCRNN_INLINE void load_sums(const float* c, int64_t stride_bytes, int64_t below) {
    DCRNN_LOAD_TILE(0, c, stride_bytes);
    if (C == 2) DCRNN_LOAD_TILE(1, c + kTileColumns, stride_bytes);
    if (R == 2) DCRNN_LOAD_TILE(2, c + below, stride_bytes);
    if (R == 2 && C == 2) DCRNN_LOAD_TILE(3, c + below + kTileColumns, stride_bytes);
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
template <class Of, int R, int C>
void product_tiles(const bf16* left, const bf16* right, int64_t steps, const bf16* tail, const float* start,
                   bool start_is_row, float* c, int64_t c_stride) {
    constexpr int64_t kPair = Of::kRightParts * 2 * C * kTileColumns;
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
        add_products<Of, R, C>(left + step * 2 * Of::kLeftParts * kTile, b);
    }
    store_sums<R, C>(c, c_stride);
}

template <class Of>
auto product_tiles_of(bool two_rows, bool two_columns) {
    return two_columns ? (two_rows ? product_tiles<Of, 2, 2> : product_tiles<Of, 1, 2>)
                       : (two_rows ? product_tiles<Of, 2, 1> : product_tiles<Of, 1, 1>);
}

// Panels from `panel`, `column` on, split into tiles of 32 rows until kSteps are full; returns the depth taken.
template <int P>
int64_t split_left(const Panel<float>* panels, int64_t count, int64_t row, int64_t rows, int64_t& panel,
                   int64_t& column, bf16* to) {
    int64_t depth = 0;
    for (; panel < count; ++panel, column = 0)
        for (; column < panels[panel].depth; column += 16, depth += 16) {
            if (depth == kSteps * kTileDepth) return depth;
            const float* from = panels[panel].data + row * panels[panel].stride + column;
            bf16* tiles = to + depth / kTileDepth * 2 * P * kTile + depth % kTileDepth;
            for (int64_t i = 0; i < rows; ++i, from += panels[panel].stride) {
                __m256i part[P];
                split(_mm512_loadu_ps(from), part);
                bf16* at = tiles + i * kTileDepth;
                for (int p = 0; p < P; ++p)
                    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at + 2 * p * kTile), part[p]);
            }
        }
    if (depth % kTileDepth != 0) {
        bf16* tiles = to + depth / kTileDepth * 2 * P * kTile + 16;
        for (int64_t i = 0; i < 2 * P * kTileRows; ++i)
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(tiles + i * kTileDepth), _mm256_setzero_si256());
    }
    return depth;
}

template <class Of>
void gemm(const Panel<float>* panels, int64_t count, const float* packed, int64_t packed_depth, const float* bias,
          float* c, int64_t c_stride, int64_t rows, int64_t columns, bool, void* scratch) {
    auto* left = static_cast<bf16*>(scratch);
    auto* tail = left + kLeftNumbers;
    const auto* made = reinterpret_cast<const bf16*>(packed);
    for (int64_t row = 0; row < rows; row += 2 * kTileRows, c += 2 * kTileRows * c_stride) {
        const bool two = rows - row > kTileRows;
        int64_t panel = 0, column = 0, done = 0;
        do {
            const int64_t depth = split_left<Of::kLeftParts>(panels, count, row, two ? 32 : 16, panel, column, left);
            const int64_t steps = (depth + kTileDepth - 1) / kTileDepth;
            for (int64_t j = 0; j < columns; j += kBlock) {
                const int64_t width = smaller(kBlock, columns - j);
                const bf16* right = made + kParts * (j * packed_depth + done * width);
                const bool half = depth % kTileDepth != 0;
                if (half) {
                    // Half a step remains of the packed matrix, behind which there may be nothing.
                    const int64_t numbers = kTileDepth * kParts * width;
                    const bf16* from = right + (steps - 1) * numbers;
                    for (int64_t i = 0; i < numbers; i += 32)
                        _mm512_storeu_si512(tail + i,
                                            i < numbers / 2 ? _mm512_loadu_si512(from + i) : _mm512_setzero_si512());
                }
                const float* start = done > 0 ? c + j : bias ? bias + j : nullptr;
                const auto run = product_tiles_of<Of>(two, width == kBlock);
                run(left, right, steps, half ? tail : nullptr, start, done == 0, c + j, c_stride);
            }
            done += depth;
        } while (panel < count);
    }
}

// Columns of `from` as tiles of a left side, transposed: for every 32 rows and 32 columns two tiles of each part. Rows
// beyond the last count as zeros.
template <int P>
void transpose_to_tiles(const float* from, int64_t stride, int64_t rows, int64_t columns, bf16* to) {
    for (int64_t j = 0; j < columns; j += 32)
        for (int64_t row = 0; row < rows; row += kTileDepth, to += 2 * P * kTile) {
            __m512i left[P][16], right[P][16];
            for (int i = 0; i < 16; ++i) {
                const float* pair = from + (row + 2 * i) * stride + j;
                const int64_t first = row + 2 * i < rows ? columns - j : 0;
                const int64_t second = row + 2 * i + 1 < rows ? columns - j : 0;
                __m512i upper[P], lower[P];
                split_row(pair, first, upper);
                split_row(pair + stride, second, lower);
                for (int p = 0; p < P; ++p) interleave(upper[p], lower[p], left[p][i], right[p][i]);
            }
            for (int p = 0; p < P; ++p) {
                transpose(left[p]);
                transpose(right[p]);
                bf16* tiles = to + 2 * p * kTile;
                for (int i = 0; i < 16; ++i) {
                    _mm512_storeu_si512(tiles + 32 * i, left[p][i]);
                    _mm512_storeu_si512(tiles + kTile + 32 * i, right[p][i]);
                }
            }
        }
}

// Columns of `from` as pairs of rows, in blocks of 32 columns, padded with zeros to a complete tile.
template <int P>
void split_right(const float* from, int64_t stride, int64_t rows, int64_t columns, bf16* to) {
    for (int64_t j = 0; j < columns; j += kBlock) {
        const int64_t width = smaller(kBlock, columns - j);
        for (int64_t row = 0; row < (rows + kTileDepth - 1) / kTileDepth * kTileDepth; row += 2, to += 2 * P * width) {
            const float* pair = from + row * stride + j;
            split_pair<P>(row < rows ? pair : nullptr, row + 1 < rows ? pair + stride : nullptr, width, to);
        }
    }
}

#include "csrc/cpu/unit_gradient_blocks.h"

template <class Of>
void weight_gradients_of(const Panel<float>* left, int64_t lefts, const Panel<float>* right, int64_t rights,
                         int64_t rows, float* const* c, void* scratch) {
    gradients_by_blocks(
        left, lefts, right, rights, rows, c, scratch, transpose_to_tiles<Of::kLeftParts>, split_right<Of::kRightParts>,
        [](const bf16* from, int64_t left_columns, const bf16* right_packed, int64_t columns, int64_t count, float* to,
           int64_t c_stride) {
            const int64_t steps = (count + kTileDepth - 1) / kTileDepth;
            for (int64_t i = 0; i < left_columns; i += 2 * kTileRows)
                for (int64_t k = 0; k < columns; k += kBlock) {
                    float* here = to + i * c_stride + k;
                    const bf16* tiles = from + i / 32 * steps * 2 * Of::kLeftParts * kTile;
                    const bf16* pairs = right_packed + k * steps * kTileDepth * Of::kRightParts;
                    const auto run = product_tiles_of<Of>(left_columns - i > kTileRows, columns - k > 16);
                    run(tiles, pairs, steps, nullptr, here, false, here, c_stride);
                }
        });
}

void weight_gradients(const Panel<float>* left, int64_t lefts, const Panel<float>* right, int64_t rights, int64_t rows,
                      float* const* c, void* scratch) {
    const bool shallow = lefts == 1 && left[0].depth <= kShallow;
    const auto run = shallow ? weight_gradients_of<Six> : weight_gradients_of<Three>;
    run(left, lefts, right, rights, rows, c, scratch);
}

constexpr Kernels<float> products() {
    Kernels<float> kernels{};
    kernels.name = "amx (bf16x3)";
    kernels.block_columns = kBlock;
    kernels.depth_group = 1;
    kernels.packed_halves = kParts;
    constexpr int64_t kGemm = kLeftNumbers + kTailNumbers, kGradients = (1 + kLeftBlocks) * kPackedBlock;
    kernels.scratch_bytes = 2 * (kGemm > kGradients ? kGemm : kGradients);
    kernels.row_block = 2 * kTileRows;
    kernels.enter = enter;
    kernels.leave = leave;
    kernels.finish_packed = finish_packed;
    kernels.gemm = gemm<Six>;
    kernels.weight_gradients = weight_gradients_of<Six>;
    return kernels;
}

}  // namespace

constinit const Kernels<float> kAmxBf16x6Products = products();

constinit const Kernels<float> kAmxBf16x3Products = [] {
    Kernels<float> kernels = products();
    kernels.weight_gradients = weight_gradients;
    return kernels;
}();

}  // namespace dcrnn
