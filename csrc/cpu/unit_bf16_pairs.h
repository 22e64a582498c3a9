// What the units with bf16 dot products share: a dot product takes two rows of a matrix at once, so operands lie in
// pairs of rows, interleaved number by number. Each unit includes this file inside an anonymous namespace. No include
// guard: it is meant to be included once by each unit.

DCRNN_INLINE __m512bh as_pairs(__m512i bits) { return reinterpret_cast<__m512bh>(bits); }
DCRNN_INLINE __m512bh load_pairs(const bf16* from) { return as_pairs(_mm512_loadu_si512(from)); }
DCRNN_INLINE void store_two(bf16* to, __m512 low, __m512 high) {
    _mm512_storeu_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
}

// Columns [0, 16) and [16, 32) of two rows of 32, each pair side by side.
DCRNN_INLINE void interleave(__m512i first, __m512i second, __m512i& low, __m512i& high) {
    // Unpacking works within 128 bits: the quarters it will take are put there first.
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    first = _mm512_permutexvar_epi64(order, first);
    second = _mm512_permutexvar_epi64(order, second);
    low = _mm512_unpacklo_epi16(first, second);
    high = _mm512_unpackhi_epi16(first, second);
}

// Rows of x in pairs: pair p is 2 * width numbers. A missing last row counts as zeros.
inline void interleave_rows(const bf16* x, int64_t stride, int64_t rows, int64_t width, bf16* to, int64_t to_stride) {
    for (int64_t row = 0; row < rows; row += 2, x += 2 * stride, to += to_stride)
        for (int64_t j = 0; j < width; j += 32) {
            const __m512i first = _mm512_loadu_si512(x + j);
            const __m512i second = row + 1 < rows ? _mm512_loadu_si512(x + stride + j) : _mm512_setzero_si512();
            __m512i low, high;
            interleave(first, second, low, high);
            _mm512_storeu_si512(to + 2 * j, low);
            _mm512_storeu_si512(to + 2 * j + 32, high);
        }
}

DCRNN_INLINE uint32_t rounded(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0;
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

DCRNN_INLINE float widened(uint32_t bits) {
    bits <<= 16;
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

// A stack of operators for dot products, in blocks of two rows and two columns (2q, 2q + 1) x (2p, 2p + 1): x is read
// once for two rows. Values are rounded to bf16, and where only some of the four exist the others are zero. (So a NaN
// of one node also reaches what knows the node beside it.) Pairs of rows of a window of nodes stand in the order of
// their length: the processor foresees the end of a loop that is as long as the one before.
struct BlockRow {
    int32_t node, op;
    int64_t start, count;
};
struct Block {
    int32_t index;
    uint32_t values[2];
};
struct BlockStack {
    const BlockRow* rows;
    const Block* blocks;
};
constexpr int64_t kWindow = 256;

inline int64_t block_rows(const SparseStack<bf16>& stack) { return stack.operators * ((stack.nodes + 1) / 2); }

inline int64_t blocks_bytes(const SparseStack<bf16>& stack) {
    const int64_t rows = block_rows(stack), entries = stack.row_start[stack.operators * stack.nodes];
    return sizeof(BlockStack) + rows * sizeof(BlockRow) + entries * sizeof(Block);
}

// The blocks of rows n and n + 1 of operator m, in the order of their columns; returns how many.
inline int64_t make_blocks(const SparseStack<bf16>& stack, int64_t m, int64_t n, Block* blocks) {
    int64_t count = 0;
    for (int64_t i = 0; i < 2 && n + i < stack.nodes; ++i) {
        const int64_t row = m * stack.nodes + n + i;
        int64_t at = 0;
        for (int64_t e = stack.row_start[row]; e < stack.row_start[row + 1]; ++e) {
            const int32_t index = stack.column[e] / 2;
            while (at > 0 && blocks[at - 1].index >= index) --at;
            while (at < count && blocks[at].index < index) ++at;
            if (at == count || blocks[at].index != index) {
                for (int64_t later = count; later > at; --later) blocks[later] = blocks[later - 1];
                blocks[at] = {index, {0, 0}};
                ++count;
            }
            uint32_t& values = blocks[at].values[i];
            const int shift = stack.column[e] % 2 * 16;
            const float sum = widened(values >> shift & 0xffffu) + stack.value[e];
            values = (values & ~(0xffffu << shift)) | rounded(sum) << shift;
        }
    }
    return count;
}

inline void prepare_blocks(const SparseStack<bf16>& stack, void* memory) {
    // Rows with as many blocks share a bucket; the last one has all longer ones.
    constexpr int64_t kBuckets = 128;
    auto* prepared = static_cast<BlockStack*>(memory);
    auto* rows = reinterpret_cast<BlockRow*>(prepared + 1);
    auto* blocks = reinterpret_cast<Block*>(rows + block_rows(stack));
    *prepared = {rows, blocks};
    int64_t used = 0;
    for (int64_t first = 0; first < stack.nodes; first += kWindow) {
        const int64_t last = first + kWindow < stack.nodes ? first + kWindow : stack.nodes;
        int64_t place[kBuckets] = {};
        const auto walk = [&](bool writing) {
            int64_t start = used;
            for (int64_t n = first; n < last; n += 2)
                for (int64_t m = 0; m < stack.operators; ++m) {
                    const int64_t count = make_blocks(stack, m, n, blocks + start);
                    int64_t& at = place[count < kBuckets ? count : kBuckets - 1];
                    if (writing) rows[at] = {static_cast<int32_t>(n), static_cast<int32_t>(m), start, count};
                    ++at;
                    start += count;
                }
            return start;
        };
        walk(false);
        int64_t before = 0;
        for (int64_t& at : place) {
            const int64_t size = at;
            at = before;
            before += size;
        }
        used = walk(true);
        rows += before;
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
        if (first != nullptr)
            store_two(first + 32 * j, _mm512_add_ps(sum[0][0][2 * j], sum[1][0][2 * j]),
                      _mm512_add_ps(sum[0][0][2 * j + 1], sum[1][0][2 * j + 1]));
        if (second != nullptr)
            store_two(second + 32 * j, _mm512_add_ps(sum[0][1][2 * j], sum[1][1][2 * j]),
                      _mm512_add_ps(sum[0][1][2 * j + 1], sum[1][1][2 * j + 1]));
    }
}

// `x` interleaved, all of it.
inline void diffuse_by_blocks(const SparseStack<bf16>& stack, const BlockStack& prepared, const bf16* x, int64_t width,
                              bf16* out, int64_t out_panel, int64_t first, int64_t last) {
    const int64_t begin = first / kWindow * kWindow, window_end = (last + kWindow - 1) / kWindow * kWindow;
    const int64_t end = window_end < stack.nodes ? window_end : stack.nodes;
    const BlockRow* row = prepared.rows + begin / 2 * stack.operators;
    const BlockRow* row_end = prepared.rows + (end + 1) / 2 * stack.operators;
    for (; row < row_end; ++row) {
        if (row->node + 1 < first || row->node >= last) continue;
        const Block* blocks = prepared.blocks + row->start;
        bf16* to = out + row->op * out_panel + row->node * width;
        bf16* to_first = row->node >= first ? to : nullptr;
        bf16* to_second = row->node + 1 < last ? to + width : nullptr;
        int64_t j = 0;
        for (; j + 64 <= width; j += 64)
            diffuse_rows<2>(blocks, row->count, x + 2 * j, width, to_first ? to_first + j : nullptr,
                            to_second ? to_second + j : nullptr);
        if (j < width)
            diffuse_rows<1>(blocks, row->count, x + 2 * j, width, to_first ? to_first + j : nullptr,
                            to_second ? to_second + j : nullptr);
    }
}
