// Diffusion in tiles: the stacked operators cut into dense blocks of 16 x 32, those with only zeros left out. Included
// by the AMX unit inside its anonymous namespace.

// A block costs its unit as much as this many entries of the sparse way: 16 cycles of each of four products and their
// five loads, against some five cycles for an entry (64 columns; measured on Emerald Rapids). A graph in a good order
// has 20 to 90 in a block.
constexpr int64_t kEntriesWorthATile = 16;
// Columns that are marked while blocks are counted: 32 * 8 bits * 4 KiB.
constexpr int64_t kMostNodes = int64_t{1} << 20;

// What prepare_stack leaves: tiles of rows and columns in the order, or the blocks of unit_bf16_diffuse.h.
struct alignas(64) TiledStack {
    Order order;
    const int64_t* start;   // of block row r of operator m: m * block_rows + r; null: sparse blocks follow
    const int32_t* column;  // of each tile, in tiles
    const bf16* values;     // 16 x 32 of each tile
};

// Visits the block columns that block row r of operator m has, from left to right; returns how many.
template <class Visit>
int64_t visit_tiles(const SparseStack<bf16>& stack, const Order& order, int64_t m, int64_t r, const Visit& visit) {
    uint64_t present[kMostNodes / kTileDepth / 64];
    const int64_t words = up(up(stack.nodes, kTileDepth) / kTileDepth, 64) / 64;
    for (int64_t word = 0; word < words; ++word) present[word] = 0;
    for (int64_t i = r * kTileRows; i < smaller((r + 1) * kTileRows, stack.nodes); ++i) {
        const int32_t* row_start = stack.row_start + m * stack.nodes + order.node[i];
        for (int64_t e = row_start[0]; e < row_start[1]; ++e) {
            const int64_t column = order.place[stack.column[e]] / kTileDepth;
            present[column / 64] |= uint64_t{1} << column % 64;
        }
    }
    int64_t count = 0;
    for (int64_t word = 0; word < words; ++word)
        for (uint64_t left = present[word]; left != 0; left &= left - 1, ++count)
            visit(count, word * 64 + __builtin_ctzll(left));
    return count;
}

int64_t count_tiles(const SparseStack<bf16>& stack, const Order& order) {
    int64_t count = 0;
    for (int64_t m = 0; m < stack.operators; ++m)
        for (int64_t r = 0; r < up(stack.nodes, kTileRows) / kTileRows; ++r)
            count += visit_tiles(stack, order, m, r, [](int64_t, int64_t) {});
    return count;
}

// Whether a stack that takes so many tiles has entries enough on them.
bool worth_it(const SparseStack<bf16>& stack, int64_t tiles) {
    return stack.row_start[stack.operators * stack.nodes] >= kEntriesWorthATile * tiles;
}

int64_t start_bytes(const SparseStack<bf16>& stack) {
    return up((stack.operators * (up(stack.nodes, kTileRows) / kTileRows) + 1) * 8, 64);
}

// Enough for either; as many tiles as are worth it for these entries.
int64_t prepared_bytes(const SparseStack<bf16>& stack) {
    const int64_t tiles = stack.row_start[stack.operators * stack.nodes] / kEntriesWorthATile;
    const int64_t tiled = start_bytes(stack) + up(tiles * 4, 64) + tiles * kTileRows * kTileDepth * 2;
    const int64_t blocks = blocks_bytes(stack);
    return sizeof(TiledStack) + order_bytes(stack.nodes) + (tiled > blocks ? tiled : blocks);
}

void prepare_stack(const SparseStack<bf16>& stack, void* memory) {
    auto* prepared = static_cast<TiledStack*>(memory);
    auto* rest = reinterpret_cast<char*>(prepared + 1);
    const Order order = find_order(stack, rest);
    rest += order_bytes(stack.nodes);
    const int64_t tiles = stack.nodes > kMostNodes ? -1 : count_tiles(stack, order);
    if (tiles < 0 || !worth_it(stack, tiles)) {
        *prepared = {order, nullptr, nullptr, nullptr};
        return prepare_blocks(stack, rest);
    }
    auto* start = reinterpret_cast<int64_t*>(rest);
    auto* columns = reinterpret_cast<int32_t*>(rest + start_bytes(stack));
    auto* values = reinterpret_cast<bf16*>(rest + start_bytes(stack) + up(tiles * 4, 64));
    *prepared = {order, start, columns, values};
    const int64_t block_rows = up(stack.nodes, kTileRows) / kTileRows;
    start[0] = 0;
    for (int64_t m = 0; m < stack.operators; ++m)
        for (int64_t r = 0; r < block_rows; ++r, ++start) {
            int32_t* here = columns + start[0];
            const int64_t count = visit_tiles(
                stack, order, m, r, [here](int64_t at, int64_t column) { here[at] = static_cast<int32_t>(column); });
            start[1] = start[0] + count;
            bf16* tile = values + start[0] * kTileRows * kTileDepth;
            for (int64_t i = 0; i < count * kTileRows * kTileDepth; i += 32)
                _mm512_storeu_si512(tile + i, _mm512_setzero_si512());
            for (int64_t i = r * kTileRows; i < smaller((r + 1) * kTileRows, stack.nodes); ++i) {
                const int32_t* row_start = stack.row_start + m * stack.nodes + order.node[i];
                int64_t at = 0;
                for (int64_t e = row_start[0]; e < row_start[1]; ++e) {
                    const int32_t place = order.place[stack.column[e]], column = place / kTileDepth;
                    while (here[at] > column) --at;
                    while (here[at] < column) ++at;
                    bf16& value = tile[(at * kTileRows + i % kTileRows) * kTileDepth + place % kTileDepth];
                    value.bits = static_cast<uint16_t>(rounded(widened(value.bits) + stack.value[e]));
                }
            }
        }
}

// Interleaved rows, then one row of results in float32.
int64_t interleaved_bytes(int64_t nodes, int64_t width) { return up(nodes, kTileDepth) * width * 2; }
int64_t diffuse_scratch_bytes(int64_t nodes, int64_t width) {
    return interleaved_bytes(nodes, width) + kTileRows * 64 * 4;
}

// Columns [0, 16 * Tiles) of one block row of one operator.
template <int Tiles>
void diffuse_block_row(const TiledStack& stack, int64_t block_row, const bf16* x, int64_t width, float* sums) {
    _tile_zero(0);
    _tile_zero(1);
    if (Tiles == 4) {
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t t = stack.start[block_row]; t < stack.start[block_row + 1]; ++t) {
        const bf16* b = x + stack.column[t] * kTileDepth * width;
        DCRNN_LOAD_TILE(4, stack.values + t * kTileRows * kTileDepth, 64);
        DCRNN_LOAD_TILE(5, b, 4 * width);
        _tile_dpbf16ps(0, 4, 5);
        DCRNN_LOAD_TILE(6, b + 2 * kTileColumns, 4 * width);
        _tile_dpbf16ps(1, 4, 6);
        if (Tiles == 4) {
            DCRNN_LOAD_TILE(7, b + 4 * kTileColumns, 4 * width);
            _tile_dpbf16ps(2, 4, 7);
            DCRNN_LOAD_TILE(5, b + 6 * kTileColumns, 4 * width);
            _tile_dpbf16ps(3, 4, 5);
        }
    }
    _tile_stored(0, sums, 256);
    _tile_stored(1, sums + kTileColumns, 256);
    if (Tiles == 4) {
        _tile_stored(2, sums + 2 * kTileColumns, 256);
        _tile_stored(3, sums + 3 * kTileColumns, 256);
    }
}

void diffuse_in_tiles(const SparseStack<bf16>& stack, const bf16* x, int64_t width, bf16* out, int64_t out_panel,
                      int64_t first, int64_t last, void* scratch) {
    const auto& tiled = *static_cast<const TiledStack*>(stack.prepared);
    auto* paired = static_cast<bf16*>(scratch);
    gather_pairs(x, width, tiled.order, stack.nodes, paired);
    if (tiled.start == nullptr) {
        const auto* rest = reinterpret_cast<const char*>(&tiled + 1) + order_bytes(stack.nodes);
        return diffuse_by_blocks(*reinterpret_cast<const BlockStack*>(rest), paired, width, out, out_panel, first,
                                 last);
    }
    const int64_t numbers = up(stack.nodes, 2) * width;
    for (int64_t i = numbers; i < up(stack.nodes, kTileDepth) * width; i += 32)
        _mm512_storeu_si512(paired + i, _mm512_setzero_si512());
    auto* sums = reinterpret_cast<float*>(static_cast<char*>(scratch) + interleaved_bytes(stack.nodes, width));
    const int64_t block_rows = up(stack.nodes, kTileRows) / kTileRows;
    // Term after term of the same nodes: their neighbours are much the same. A block row belongs to the range that its
    // first node is in.
    for (int64_t r = 0; r < block_rows; ++r) {
        const int32_t* node = tiled.order.node + r * kTileRows;
        if (node[0] < first || node[0] >= last) continue;
        const int64_t rows = smaller(kTileRows, stack.nodes - r * kTileRows);
        for (int64_t m = 0; m < stack.operators; ++m)
            for (int64_t j = 0; j < width; j += 64) {
                const int64_t columns = smaller(64, width - j);
                if (columns == 64)
                    diffuse_block_row<4>(tiled, m * block_rows + r, paired + 2 * j, width, sums);
                else
                    diffuse_block_row<2>(tiled, m * block_rows + r, paired + 2 * j, width, sums);
                for (int64_t i = 0; i < rows; ++i)
                    for (int64_t k = 0; k < columns; k += 32) {
                        const float* from = sums + i * 64 + k;
                        store_two(out + m * out_panel + node[i] * width + j + k, _mm512_loadu_ps(from),
                                  _mm512_loadu_ps(from + 16));
                    }
            }
    }
}
