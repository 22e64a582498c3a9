// Diffusion in tiles: every 16 rows of the stacked operators as dense blocks of 32 of the columns that they have.
// Included by the AMX unit inside its anonymous namespace.

// A block costs its unit as much as this many entries of the sparse way: 16 cycles of each of four products and their
// five loads, against some five cycles for an entry (64 columns; measured on Emerald Rapids). METR-LA has 162 in a
// block, a city of 11,160 nodes 146.
constexpr int64_t kEntriesWorthATile = 16;

// The result of prepare_stack: the nodes that each 16 rows in the order (a block row) read, and tiles whose columns are
// these; or the blocks of unit_bf16_diffuse.h.
struct alignas(64) TiledStack {
    Order order;
    const int64_t* read_start;  // of block row r, a multiple of 32; null: sparse blocks follow
    const int32_t* read;        // nodes; of the last 32 of a block row some may be missing: -1
    const int64_t* start;       // of the tiles of block row r and operator m: r * operators + m
    const int32_t* column;      // the first one of each tile, among its block row's reads
    const bf16* values;         // 16 x 32 of each tile
};

int64_t block_rows(int64_t nodes) { return up(nodes, kTileRows) / kTileRows; }
int64_t entries_of(const SparseStack<bf16>& stack) { return stack.row_start[stack.operators * stack.nodes]; }

// How many tiles are worth it.
int64_t most_tiles(const SparseStack<bf16>& stack) { return entries_of(stack) / kEntriesWorthATile; }

// The arrays of a TiledStack in a piece of memory, and two more that are used while they are filled.
struct TileArrays {
    bf16* values = nullptr;
    int64_t *read_start = nullptr, *start = nullptr;
    int32_t *read = nullptr, *column = nullptr;
    int32_t* place = nullptr;   // of a node among the reads; between block rows -1
    int32_t* others = nullptr;  // room for nodes; between operators -1
    int64_t bytes;

    // No memory: only the bytes are counted.
    TileArrays(const SparseStack<bf16>& stack, char* memory) : bytes(0) {
        const int64_t rows = block_rows(stack.nodes), tiles = most_tiles(stack);
        const auto take = [&](auto*& array, int64_t count) {
            if (memory != nullptr) array = reinterpret_cast<decltype(array + 0)>(memory + bytes);
            bytes += up(count * static_cast<int64_t>(sizeof *array), 64);
        };
        take(values, tiles * kTileRows * kTileDepth);
        take(read_start, rows + 1);
        take(start, rows * stack.operators + 1);
        take(read, entries_of(stack) + rows * kTileDepth);
        take(column, tiles);
        take(place, stack.nodes);
        take(others, stack.nodes);
    }
};

// visit(row of the tile, node, value) for the entries that operator m has in block row r.
template <class Visit>
DCRNN_INLINE void each_entry(const SparseStack<bf16>& stack, const Order& order, int64_t m, int64_t r,
                             const Visit& visit) {
    for (int64_t i = r * kTileRows; i < smaller((r + 1) * kTileRows, stack.nodes); ++i) {
        const int32_t* row_start = stack.row_start + m * stack.nodes + order.node[i];
        for (int64_t e = row_start[0]; e < row_start[1]; ++e) visit(i % kTileRows, stack.column[e], stack.value[e]);
    }
}

// The nodes that block row r reads; returns their number. Those of the first operator come first, then the second one's
// others, and so on: the columns of each operator lie in few tiles.
int64_t find_reads(const SparseStack<bf16>& stack, const Order& order, int64_t r, const TileArrays& to, int32_t* read) {
    int64_t count = 0;
    for (int64_t m = 0; m < stack.operators; ++m)
        each_entry(stack, order, m, r, [&](int64_t, int32_t node, float) {
            if (to.place[node] < 0) to.place[node] = 0, read[count++] = node;
        });
    for (int64_t m = stack.operators - 1; m >= 0; --m) {
        each_entry(stack, order, m, r, [&](int64_t, int32_t node, float) { to.place[node] = 1; });
        int64_t first = 0, rest = 0;
        for (int64_t i = 0; i < count; ++i) {
            const int32_t node = read[i];
            (to.place[node] == 1 ? read[first++] : to.others[rest++]) = node;
            to.place[node] = 0;
        }
        for (int64_t i = 0; i < rest; ++i) read[first + i] = to.others[i], to.others[i] = -1;
    }
    for (int64_t i = 0; i < count; ++i) to.place[read[i]] = static_cast<int32_t>(i);
    return count;
}

// False: more tiles than are worth it.
bool fill_tiles(const SparseStack<bf16>& stack, const Order& order, const TileArrays& to) {
    const int64_t most = most_tiles(stack);
    for (int64_t n = 0; n < stack.nodes; ++n) to.place[n] = to.others[n] = -1;
    int64_t tiles = 0, reads = 0;
    for (int64_t r = 0; r < block_rows(stack.nodes); ++r) {
        to.read_start[r] = reads;
        const int64_t count = find_reads(stack, order, r, to, to.read + reads);
        int32_t* tile_of = to.others;  // of every 32 columns
        for (int64_t m = 0; m < stack.operators; ++m) {
            const int64_t first = to.start[r * stack.operators + m] = tiles;
            bool room = true;
            each_entry(stack, order, m, r, [&](int64_t i, int32_t node, float value) {
                const int32_t column = to.place[node] % kTileDepth, block = to.place[node] / kTileDepth;
                if (tile_of[block] < 0 && tiles == most) room = false;
                if (!room) return;
                if (tile_of[block] < 0) {
                    bf16* empty = to.values + tiles * kTileRows * kTileDepth;
                    for (int64_t k = 0; k < kTileRows * kTileDepth; k += 32)
                        _mm512_storeu_si512(empty + k, _mm512_setzero_si512());
                    to.column[tiles] = block * kTileDepth;
                    tile_of[block] = static_cast<int32_t>(tiles++);
                }
                bf16& sum = to.values[(tile_of[block] * kTileRows + i) * kTileDepth + column];
                sum.bits = static_cast<uint16_t>(rounded(widened(sum.bits) + value));
            });
            if (!room) return false;
            for (int64_t t = first; t < tiles; ++t) tile_of[to.column[t] / kTileDepth] = -1;
        }
        for (int64_t i = 0; i < count; ++i) to.place[to.read[reads + i]] = -1;
        for (int64_t i = count; i < up(count, kTileDepth); ++i) to.read[reads + i] = -1;
        reads += up(count, kTileDepth);
    }
    to.read_start[block_rows(stack.nodes)] = reads;
    to.start[block_rows(stack.nodes) * stack.operators] = tiles;
    return true;
}

// Enough for either, before the order.
int64_t body_bytes(const SparseStack<bf16>& stack) {
    const int64_t tiles = TileArrays(stack, nullptr).bytes, blocks = blocks_bytes(stack);
    return tiles > blocks ? tiles : blocks;
}

int64_t prepared_bytes(const SparseStack<bf16>& stack) {
    return sizeof(TiledStack) + body_bytes(stack) + order_bytes(stack.nodes);
}

void prepare_stack(const SparseStack<bf16>& stack, void* memory) {
    auto* prepared = static_cast<TiledStack*>(memory);
    auto* body = reinterpret_cast<char*>(prepared + 1);
    const Order order = find_order(stack, body + body_bytes(stack), body);
    const TileArrays arrays(stack, body);
    if (fill_tiles(stack, order, arrays)) {
        *prepared = {order, arrays.read_start, arrays.read, arrays.start, arrays.column, arrays.values};
        return;
    }
    *prepared = {order, nullptr, nullptr, nullptr, nullptr, nullptr};
    prepare_blocks(stack, order, body);
}

// Interleaved rows, as many as a block row reads at most; then one row of results in float32.
int64_t interleaved_bytes(int64_t nodes, int64_t width) { return up(nodes, kTileDepth) * width * 2; }
int64_t diffuse_scratch_bytes(int64_t nodes, int64_t width) {
    return interleaved_bytes(nodes, width) + kTileRows * 64 * 4;
}

// Columns [0, 16 * Tiles) of one block row of one operator, whose tiles are [first, last). x: the block row's reads.
template <int Tiles>
void diffuse_block_row(const TiledStack& stack, int64_t first, int64_t last, const bf16* x, int64_t width,
                       float* sums) {
    _tile_zero(0);
    _tile_zero(1);
    if (Tiles == 4) {
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t t = first; t < last; ++t) {
        const bf16* b = x + stack.column[t] * width;
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
    if (tiled.read_start == nullptr) {
        gather_pairs(x, width, tiled.order.node, stack.nodes, paired);
        const auto& blocks = *reinterpret_cast<const BlockStack*>(&tiled + 1);
        return diffuse_by_blocks(blocks, paired, width, out, out_panel, first, last);
    }
    auto* sums = reinterpret_cast<float*>(static_cast<char*>(scratch) + interleaved_bytes(stack.nodes, width));
    // Term after term of the same nodes: they read much the same. A block row belongs to the range that its first node
    // is in.
    for (int64_t r = 0; r < block_rows(stack.nodes); ++r) {
        const int32_t* node = tiled.order.node + r * kTileRows;
        if (node[0] < first || node[0] >= last) continue;
        const int64_t rows = smaller(kTileRows, stack.nodes - r * kTileRows);
        const int64_t reads = tiled.read_start[r];
        gather_pairs(x, width, tiled.read + reads, tiled.read_start[r + 1] - reads, paired);
        for (int64_t m = 0; m < stack.operators; ++m) {
            const int64_t* tiles = tiled.start + r * stack.operators + m;
            for (int64_t j = 0; j < width; j += 64) {
                const int64_t columns = smaller(64, width - j);
                if (columns == 64)
                    diffuse_block_row<4>(tiled, tiles[0], tiles[1], paired + 2 * j, width, sums);
                else
                    diffuse_block_row<2>(tiled, tiles[0], tiles[1], paired + 2 * j, width, sums);
                for (int64_t i = 0; i < rows; ++i)
                    for (int64_t k = 0; k < columns; k += 32) {
                        const float* from = sums + i * 64 + k;
                        store_two(out + m * out_panel + node[i] * width + j + k, _mm512_loadu_ps(from),
                                  _mm512_loadu_ps(from + 16));
                    }
            }
        }
    }
}
