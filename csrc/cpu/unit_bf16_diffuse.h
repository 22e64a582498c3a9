// Diffusion by dot products. Each unit includes this file inside an anonymous namespace. No include guard: it is meant
// to be included once by each unit.

// An order of the nodes that puts those side by side that read much the same rows of x, over all operators. place[n] is
// the position of node n.
struct Order {
    int32_t* node;
    int32_t* place;
};

inline int64_t order_bytes(int64_t nodes) { return (2 * nodes * 4 + 63) / 64 * 64; }

// Nodes of one group: the depth of an AMX tile.
constexpr int32_t kGroup = 32;
// A row that more nodes read than this does not bring them together: all nodes may read a hub, and each group would
// visit all.
constexpr int32_t kMostReaders = 256;

inline int64_t order_scratch_bytes(const SparseStack<bf16>& stack) {
    const int64_t columns = stack.operators * stack.nodes;
    return 4 * (stack.row_start[columns] + 2 * columns + 1 + 3 * stack.nodes);
}

// Groups grow greedily: the next node is the one that adds the fewest reads to its group's. A new group begins with the
// node that shares the most reads with the group before.
inline Order find_order(const SparseStack<bf16>& stack, void* memory, void* scratch) {
    const auto nodes = static_cast<int32_t>(stack.nodes);
    const int64_t columns = stack.operators * stack.nodes;
    const int32_t entries = stack.row_start[columns];
    const Order order{static_cast<int32_t*>(memory), static_cast<int32_t*>(memory) + nodes};
    auto* readers = static_cast<int32_t*>(scratch);  // nodes that read column c of operator m: from m * nodes + c
    int32_t* reader_start = readers + entries;
    int32_t* group_of = reader_start + columns + 1;  // the last group that reads a column
    int32_t* length = group_of + columns;            // a node's entries in all operators
    int32_t* shared = length + nodes;                // of them, those that the group reads too
    int32_t* near = shared + nodes;                  // nodes without a place that share something
    for (int64_t c = 0; c < columns; ++c) reader_start[c] = 0, group_of[c] = -1;
    for (int32_t n = 0; n < nodes; ++n) length[n] = shared[n] = 0, order.place[n] = -1;
    const auto each_entry = [&](int32_t n, const auto& visit) __attribute__((always_inline)) {
        for (int64_t m = 0; m < stack.operators; ++m)
            for (int32_t e = stack.row_start[m * nodes + n]; e < stack.row_start[m * nodes + n + 1]; ++e)
                visit(m * nodes + stack.column[e]);
    };
    for (int32_t n = 0; n < nodes; ++n) each_entry(n, [&](int64_t c) { ++length[n], ++reader_start[c]; });
    for (int64_t c = 1; c < columns; ++c) reader_start[c] += reader_start[c - 1];
    reader_start[columns] = entries;
    // Until now each was the end of its column.
    for (int32_t n = nodes - 1; n >= 0; --n) each_entry(n, [&](int64_t c) { readers[--reader_start[c]] = n; });
    int32_t near_count = 0, unplaced = 0;
    for (int32_t at = 0; at < nodes; ++at) {
        const bool new_group = at % kGroup == 0;
        int32_t best = -1, kept = 0;
        for (int32_t i = 0; i < near_count; ++i) {
            const int32_t n = near[i];
            if (order.place[n] >= 0) continue;
            near[kept++] = n;
            const int32_t more = best < 0 ? 1 : shared[n] - shared[best];
            const int32_t fewer_new = best < 0 ? 1 : (length[best] - shared[best]) - (length[n] - shared[n]);
            if (new_group ? more > 0 : fewer_new > 0 || (fewer_new == 0 && more > 0)) best = n;
        }
        near_count = kept;
        if (best < 0) {
            while (order.place[unplaced] >= 0) ++unplaced;
            best = unplaced;
        }
        if (new_group) {
            for (int32_t i = 0; i < near_count; ++i) shared[near[i]] = 0;
            near_count = 0;
        }
        order.node[at] = best;
        order.place[best] = at;
        each_entry(best, [&](int64_t c) {
            if (group_of[c] == at / kGroup) return;
            group_of[c] = at / kGroup;
            if (reader_start[c + 1] - reader_start[c] > kMostReaders) return;
            for (int32_t e = reader_start[c]; e < reader_start[c + 1]; ++e)
                if (order.place[readers[e]] < 0 && shared[readers[e]]++ == 0) near[near_count++] = readers[e];
        });
    }
    return order;
}

// Rows of x as pairs: pair p is 2 * width numbers. A missing row (-1, or behind the last) counts as zeros.
inline void gather_pairs(const bf16* x, int64_t width, const int32_t* node, int64_t count, bf16* to) {
    for (int64_t i = 0; i < count; i += 2, to += 2 * width) {
        const bf16* first = node[i] < 0 ? nullptr : x + node[i] * width;
        const bf16* second = i + 1 == count || node[i + 1] < 0 ? nullptr : x + node[i + 1] * width;
        for (int64_t j = 0; j < width; j += 32) {
            __m512i low, high;
            interleave(first ? _mm512_loadu_si512(first + j) : _mm512_setzero_si512(),
                       second ? _mm512_loadu_si512(second + j) : _mm512_setzero_si512(), low, high);
            _mm512_storeu_si512(to + 2 * j, low);
            _mm512_storeu_si512(to + 2 * j + 32, high);
        }
    }
}

// A stack in blocks of two rows and two columns, in the order: x is read once for two rows. Values are rounded to bf16,
// and if only some of the four exist the others are zero. (So a NaN of one node also reaches the rows that read the
// node beside it.) Pairs of rows of a window are sorted by length: the processor predicts the end of a loop that is as
// long as the one before.
struct BlockRow {
    int32_t node[2];  // the second may be missing: -1
    int32_t op, count;
    int64_t start;
};
struct Block {
    int32_t index;
    uint32_t values[2];
};
struct BlockStack {
    Order order;
    int64_t rows;
    const BlockRow* row;
    const Block* block;
};
// Pairs of rows of one window: those of 256 nodes of a graph with four operators.
constexpr int64_t kWindow = 512;

// The order is found in the same memory before.
inline int64_t blocks_bytes(const SparseStack<bf16>& stack) {
    const int64_t pairs = (stack.nodes + 1) / 2, rows = stack.operators * pairs;
    const int64_t entries = stack.row_start[stack.operators * stack.nodes];
    const int64_t blocks =
        sizeof(BlockStack) + pairs * 4 + (rows + kWindow) * sizeof(BlockRow) + entries * sizeof(Block);
    const int64_t order = order_scratch_bytes(stack);
    return ((blocks > order ? blocks : order) + 63) / 64 * 64;
}

// The blocks of a pair of rows; returns how many. `slot` of every pair of columns is -1 before and after.
inline int32_t make_blocks(const SparseStack<bf16>& stack, const Order& order, const BlockRow& row, int32_t* slot,
                           Block* blocks) {
    int32_t count = 0;
    for (int i = 0; i < 2 && row.node[i] >= 0; ++i) {
        const int64_t at = row.op * stack.nodes + row.node[i];
        for (int64_t e = stack.row_start[at]; e < stack.row_start[at + 1]; ++e) {
            const int32_t place = order.place[stack.column[e]];
            int32_t& here = slot[place / 2];
            if (here < 0) {
                here = count++;
                blocks[here] = {place / 2, {0, 0}};
            }
            uint32_t& values = blocks[here].values[i];
            const int shift = place % 2 * 16;
            const float sum = widened(values >> shift & 0xffffu) + stack.value[e];
            values = (values & ~(0xffffu << shift)) | rounded(sum) << shift;
        }
    }
    for (int32_t b = 0; b < count; ++b) slot[blocks[b].index] = -1;
    return count;
}

inline void prepare_blocks(const SparseStack<bf16>& stack, const Order& order, void* memory) {
    auto* prepared = static_cast<BlockStack*>(memory);
    const int64_t pairs = (stack.nodes + 1) / 2, rows = stack.operators * pairs;
    auto* row = reinterpret_cast<BlockRow*>(prepared + 1);
    auto* window = row + rows;
    auto* blocks = reinterpret_cast<Block*>(window + kWindow);
    auto* slot = reinterpret_cast<int32_t*>(blocks + stack.row_start[stack.operators * stack.nodes]);
    *prepared = {order, rows, row, blocks};
    for (int64_t p = 0; p < pairs; ++p) slot[p] = -1;
    int64_t used = 0;
    for (int64_t first = 0; first < rows; first += kWindow, row += kWindow) {
        const int64_t size = rows - first < kWindow ? rows - first : kWindow;
        // Rows with as many blocks share a bucket; the last one has all longer ones.
        constexpr int kBuckets = 128;
        int32_t place[kBuckets + 1] = {};
        for (int64_t i = 0; i < size; ++i) {
            const int64_t pair = (first + i) / stack.operators;
            const int32_t second = 2 * pair + 1 < stack.nodes ? order.node[2 * pair + 1] : -1;
            window[i] = {{order.node[2 * pair], second}, static_cast<int32_t>((first + i) % stack.operators), 0, used};
            window[i].count = make_blocks(stack, order, window[i], slot, blocks + used);
            used += window[i].count;
            ++place[(window[i].count < kBuckets ? window[i].count : kBuckets - 1) + 1];
        }
        for (int bucket = 1; bucket < kBuckets; ++bucket) place[bucket] += place[bucket - 1];
        for (int64_t i = 0; i < size; ++i)
            row[place[window[i].count < kBuckets ? window[i].count : kBuckets - 1]++] = window[i];
    }
}

// Two rows of the result, 32 * NB columns of them. Two sets of sums, or each would wait for the one before.
template <int NB>
DCRNN_INLINE void diffuse_rows(const Block* block, int64_t count, const bf16* x, int64_t width, bf16* first,
                               bf16* second) {
    constexpr int NV = 2 * NB;
    __m512 sum[2][2][NV];
    for (auto& set : sum)
        for (auto& row : set)
            for (int j = 0; j < NV; ++j) row[j] = _mm512_setzero_ps();
    const auto add = [&](const Block& b, __m512(&to)[2][NV]) __attribute__((always_inline)) {
        const bf16* from = x + b.index * 2 * width;
        const __m512bh v0 = as_pairs(_mm512_set1_epi32(static_cast<int>(b.values[0])));
        const __m512bh v1 = as_pairs(_mm512_set1_epi32(static_cast<int>(b.values[1])));
        for (int j = 0; j < NV; ++j) {
            const __m512bh pairs = load_pairs(from + 32 * j);
            to[0][j] = _mm512_dpbf16_ps(to[0][j], v0, pairs);
            to[1][j] = _mm512_dpbf16_ps(to[1][j], v1, pairs);
        }
    };
    const Block* end = block + count;
    for (; block + 2 <= end; block += 2) {
        add(block[0], sum[0]);
        add(block[1], sum[1]);
    }
    if (block < end) add(*block, sum[0]);
    for (int j = 0; j < NB; ++j) {
        store_two(first + 32 * j, _mm512_add_ps(sum[0][0][2 * j], sum[1][0][2 * j]),
                  _mm512_add_ps(sum[0][0][2 * j + 1], sum[1][0][2 * j + 1]));
        if (second != nullptr)
            store_two(second + 32 * j, _mm512_add_ps(sum[0][1][2 * j], sum[1][1][2 * j]),
                      _mm512_add_ps(sum[0][1][2 * j + 1], sum[1][1][2 * j + 1]));
    }
}

// `x` gathered in pairs. A pair of rows belongs to the range that its first node is in.
inline void diffuse_by_blocks(const BlockStack& stack, const bf16* x, int64_t width, bf16* out, int64_t out_panel,
                              int64_t first, int64_t last) {
    for (const BlockRow* row = stack.row; row < stack.row + stack.rows; ++row) {
        if (row->node[0] < first || row->node[0] >= last) continue;
        const Block* blocks = stack.block + row->start;
        bf16* to = out + row->op * out_panel;
        bf16* to_first = to + row->node[0] * width;
        bf16* to_second = row->node[1] >= 0 ? to + row->node[1] * width : nullptr;
        int64_t j = 0;
        for (; j + 64 <= width; j += 64)
            diffuse_rows<2>(blocks, row->count, x + 2 * j, width, to_first + j, to_second ? to_second + j : nullptr);
        if (j < width)
            diffuse_rows<1>(blocks, row->count, x + 2 * j, width, to_first + j, to_second ? to_second + j : nullptr);
    }
}
