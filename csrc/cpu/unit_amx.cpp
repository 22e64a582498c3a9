// The AMX unit: panels in bf16, products in tiles, sums in float32.
#include "csrc/cpu/unit_prologue.h"

namespace dcrnn {
namespace {

#include "csrc/cpu/unit_amx_tiles.h"
#include "csrc/cpu/unit_bf16_pairs.h"
#include "csrc/cpu/unit_bf16_vector.h"
#include "csrc/cpu/unit_body.h"

// Columns of one block of a packed matrix: two tiles, whose rows lie side by side.
constexpr int64_t kBlock = 32;
// Rows of one chunk of the weights' gradients, and columns of each side that are rearranged at once: 28 KiB for every
// 64 columns, read over and over while the right side's blocks pass by.
constexpr int64_t kChunk = 224;
constexpr int64_t kColumns = 64;
constexpr int64_t kLeftBlocks = 4;
constexpr int64_t kPackedBlock = kChunk * kColumns;

DCRNN_INLINE int64_t up(int64_t a, int64_t unit) { return (a + unit - 1) / unit * unit; }

// 32 rows x 32 columns, or with Rows = 16 the first tile row only. Past the last row it computes as kRowSlack allows.
// `ask`: for the 32 rows behind these, before they are read the first time.
template <int Rows>
DCRNN_INLINE void gemm_tiles(const Panel<bf16>* panels, int64_t count, int64_t row, const bf16* b, const float* bias,
                             float* c, int64_t c_stride, bool ask) {
    if (bias != nullptr) {
        // Without a stride every row of the tile is the bias.
        DCRNN_LOAD_TILE(0, bias, 0);
        DCRNN_LOAD_TILE(1, bias + kTileColumns, 0);
        if (Rows == 32) {
            DCRNN_LOAD_TILE(2, bias, 0);
            DCRNN_LOAD_TILE(3, bias + kTileColumns, 0);
        }
    } else {
        _tile_zero(0);
        _tile_zero(1);
        if (Rows == 32) {
            _tile_zero(2);
            _tile_zero(3);
        }
    }
    for (int64_t p = 0; p < count; ++p) {
        const int64_t stride = panels[p].stride;
        const bf16* a = panels[p].data + row * stride;
        for (int64_t k = 0; k < panels[p].depth; k += kTileDepth, b += kTileDepth * kBlock) {
            if (ask) prefetch_block(a + 2 * kTileRows * stride + k, stride, 2 * kTileRows, kTileDepth);
            DCRNN_LOAD_TILE(6, b, 4 * kBlock);
            DCRNN_LOAD_TILE(7, b + 2 * kTileColumns, 4 * kBlock);
            DCRNN_LOAD_TILE(4, a + k, 2 * stride);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            if (Rows == 32) {
                DCRNN_LOAD_TILE(5, a + kTileRows * stride + k, 2 * stride);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
        }
    }
    _tile_stored(0, c, 4 * c_stride);
    _tile_stored(1, c + kTileColumns, 4 * c_stride);
    if (Rows == 32) {
        _tile_stored(2, c + kTileRows * c_stride, 4 * c_stride);
        _tile_stored(3, c + kTileRows * c_stride + kTileColumns, 4 * c_stride);
    }
}

void gemm_in_tiles(const Panel<bf16>* panels, int64_t count, const bf16* packed, int64_t packed_depth,
                   const float* bias, float* c, int64_t c_stride, int64_t rows, int64_t columns, bool far, void*) {
    for (int64_t row = 0; row < rows; row += 2 * kTileRows)
        for (int64_t j = 0; j < columns; j += kBlock) {
            const bf16* b = packed + j * packed_depth;
            const float* bias_here = bias ? bias + j : nullptr;
            float* to = c + row * c_stride + j;
            if (rows - row > kTileRows)
                gemm_tiles<32>(panels, count, row, b, bias_here, to, c_stride, far && j == 0);
            else
                gemm_tiles<16>(panels, count, row, b, bias_here, to, c_stride, far && j == 0);
        }
}

// Columns of `from` as tiles of a left side: tile (k, t) at (k * kColumns / 16 + t) * 512 has columns 16 t and on of 32
// rows, transposed. Rows beyond the last count as zeros.
void transpose_to_tiles(const bf16* from, int64_t stride, int64_t rows, int64_t columns, bf16* to) {
    for (int64_t row = 0; row < rows; row += kTileDepth, to += kTileDepth * kColumns)
        for (int64_t j = 0; j < columns; j += 32) {
            __m512i low[16], high[16];
            for (int i = 0; i < 16; ++i) {
                const int64_t here = row + 2 * i;
                const bf16* pair = from + here * stride + j;
                const __m512i first = here < rows ? _mm512_loadu_si512(pair) : _mm512_setzero_si512();
                const __m512i second = here + 1 < rows ? _mm512_loadu_si512(pair + stride) : _mm512_setzero_si512();
                interleave(first, second, low[i], high[i]);
            }
            transpose(low);
            transpose(high);
            bf16* tile = to + j / kTileColumns * 512;
            for (int i = 0; i < 16; ++i) {
                _mm512_storeu_si512(tile + 32 * i, low[i]);
                _mm512_storeu_si512(tile + 512 + 32 * i, high[i]);
            }
        }
}

// Interleaved rows, padded with zeros to a multiple of a tile's rows.
void interleave_for_tiles(const bf16* x, int64_t stride, int64_t rows, int64_t width, bf16* to) {
    interleave_rows(x, stride, rows, width, to, 2 * width);
    for (int64_t pair = (rows + 1) / 2; pair < up(rows, kTileDepth) / 2; ++pair)
        for (int64_t j = 0; j < 2 * width; j += 32)
            _mm512_storeu_si512(to + pair * 2 * width + j, _mm512_setzero_si512());
}

// c[left_columns x right_columns] += tiles of the left side * interleaved rows of the right side.
void gradient_block(const bf16* left, int64_t left_columns, const bf16* right, int64_t right_columns, int64_t depth,
                    float* c, int64_t c_stride) {
    for (int64_t i = 0; i < left_columns; i += 2 * kTileRows)
        for (int64_t j = 0; j < right_columns; j += 2 * kTileColumns) {
            float *top = c + i * c_stride + j, *bottom = top + kTileRows * c_stride;
            DCRNN_LOAD_TILE(0, top, 4 * c_stride);
            DCRNN_LOAD_TILE(1, top + kTileColumns, 4 * c_stride);
            DCRNN_LOAD_TILE(2, bottom, 4 * c_stride);
            DCRNN_LOAD_TILE(3, bottom + kTileColumns, 4 * c_stride);
            for (int64_t k = 0; k < depth; k += kTileDepth) {
                const bf16* a = left + k * kColumns + i / kTileRows * 512;
                const bf16* b = right + k * right_columns + 2 * j;
                DCRNN_LOAD_TILE(4, a, 64);
                DCRNN_LOAD_TILE(6, b, 4 * right_columns);
                _tile_dpbf16ps(0, 4, 6);
                DCRNN_LOAD_TILE(7, b + 2 * kTileColumns, 4 * right_columns);
                _tile_dpbf16ps(1, 4, 7);
                DCRNN_LOAD_TILE(5, a + 512, 64);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
            _tile_stored(0, top, 4 * c_stride);
            _tile_stored(1, top + kTileColumns, 4 * c_stride);
            _tile_stored(2, bottom, 4 * c_stride);
            _tile_stored(3, bottom + kTileColumns, 4 * c_stride);
        }
}

#include "csrc/cpu/unit_gradient_blocks.h"

void weight_gradients_in_tiles(const Panel<bf16>* left, int64_t lefts, const Panel<bf16>* right, int64_t rights,
                               int64_t rows, float* const* c, void* scratch) {
    gradients_by_blocks(left, lefts, right, rights, rows, c, scratch, transpose_to_tiles, interleave_for_tiles,
                        gradient_block);
}

#include "csrc/cpu/unit_bf16_diffuse.h"

// This one needs the one above.
#include "csrc/cpu/unit_amx_diffuse.h"

}  // namespace

constinit const Kernels<bf16> kAmxBf16 = [] {
    Kernels<bf16> kernels = table<Vector, bf16>("amx");
    kernels.block_columns = kBlock;
    kernels.depth_group = 2;
    kernels.scratch_bytes = (1 + kLeftBlocks) * kPackedBlock * 2;
    kernels.row_block = 2 * kTileRows;
    kernels.enter = enter;
    kernels.leave = leave;
    kernels.gemm = gemm_in_tiles;
    kernels.weight_gradients = weight_gradients_in_tiles;
    kernels.diffuse = diffuse_in_tiles;
    kernels.prepared_bytes = prepared_bytes;
    kernels.prepare_stack = prepare_stack;
    kernels.diffuse_scratch_bytes = diffuse_scratch_bytes;
    kernels.diffuse_step = nullptr;  // Tiles are faster.
    return kernels;
}();

}  // namespace dcrnn
