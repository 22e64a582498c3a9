// The order of blocks in the weights' gradients, shared by the units with bf16 products. Each unit includes this file
// inside an anonymous namespace, after kChunk rows of one chunk, kColumns that are packed at once, kLeftBlocks that
// wait side by side, kPackedBlock numbers of each, and smaller(). No include guard: it is meant to be included once by
// each unit.

// Columns of one of the left panels.
struct LeftBlock {
    int64_t panel, column, columns;
};

// pack_left and pack_right(from, stride, rows, columns, to); add(left, its columns, right, its columns, rows, c, stride
// of c) adds the product of two packed blocks to c. A block of the right side meets all left ones that are packed.
template <class S, class PackLeft, class PackRight, class Add>
DCRNN_INLINE void gradients_by_blocks(const Panel<S>* left, int64_t lefts, const Panel<S>* right, int64_t rights,
                                      int64_t rows, float* const* c, void* scratch, const PackLeft& pack_left,
                                      const PackRight& pack_right, const Add& add) {
    auto* right_packed = static_cast<bf16*>(scratch);
    auto* left_packed = right_packed + kPackedBlock;
    LeftBlock blocks[kLeftBlocks];
    for (int64_t row = 0; row < rows; row += kChunk) {
        const int64_t count = smaller(kChunk, rows - row);
        for (int64_t l = 0, column = 0; l < lefts;) {
            int64_t filled = 0;
            while (filled < kLeftBlocks && l < lefts) {
                const int64_t columns = smaller(kColumns, left[l].depth - column);
                pack_left(left[l].data + row * left[l].stride + column, left[l].stride, count, columns,
                          left_packed + filled * kPackedBlock);
                blocks[filled++] = {l, column, columns};
                column += columns;
                if (column == left[l].depth) ++l, column = 0;
            }
            for (int64_t r = 0; r < rights; ++r)
                for (int64_t j = 0; j < right[r].depth; j += kColumns) {
                    const int64_t columns = smaller(kColumns, right[r].depth - j), c_stride = right[r].depth;
                    pack_right(right[r].data + row * right[r].stride + j, right[r].stride, count, columns,
                               right_packed);
                    for (int64_t b = 0; b < filled; ++b)
                        add(left_packed + b * kPackedBlock, blocks[b].columns, right_packed, columns, count,
                            c[blocks[b].panel * rights + r] + blocks[b].column * c_stride + j, c_stride);
                }
        }
    }
}
