// A tile: a few elements of the batch that one thread takes through all steps and layers.
//
// Rows of a tile are its elements' nodes, element after element; panels are (rows x W). The M terms of a tensor are the
// tensor itself (`self`) and M-1 panels of a pitch that all of a tile's panels share (`terms`).
#pragma once

#include <algorithm>

#include "csrc/cpu/pack.h"

namespace dcrnn {

// Rows of one product before its epilogue: 48 x 128 float32 results wait in L1.
constexpr int64_t kRowBlock = 48;

template <class T>
struct Terms {
    const T* self;
    T* others;
};

template <class T>
struct Tile {
    const Kernels<T>& kernels;
    const Sizes& sizes;
    int64_t elements;
    int64_t pitch;  // between panels of terms
    T* product;     // kRowBlock x the widest result
    std::vector<Panel<T>> panels{}, here{};

    int64_t rows() const { return elements * sizes.N; }

    /// Diffuses a panel of width W into the M-1 others.
    void diffuse(const SparseStack<T>& stack, const T* self, T* others) const {
        const int64_t element = sizes.N * sizes.width();
        for (int64_t e = 0; e < elements; ++e)
            kernels.diffuse(stack, self + e * element, sizes.width(), others + e * element, pitch);
    }

    /// Adds the M terms of a panel to the operands of the next product.
    void append(const Terms<T>& terms) {
        panels.push_back({terms.self, sizes.width(), sizes.H});
        for (int64_t m = 1; m < sizes.M; ++m)
            panels.push_back({terms.others + (m - 1) * pitch, sizes.width(), sizes.H});
    }

    /// Multiplies `panels` with b; epilogue(row, count) reads the results of `count` rows from `product`, whose rows
    /// are b.columns wide.
    template <class Epilogue>
    void multiply(const Packed<T>& b, const T* bias, const Epilogue& epilogue) {
        here.resize(panels.size());
        for (int64_t row = 0; row < rows(); row += kRowBlock) {
            const int64_t count = std::min(kRowBlock, rows() - row);
            for (size_t p = 0; p < panels.size(); ++p)
                here[p] = {panels[p].data + row * panels[p].stride, panels[p].stride, panels[p].depth};
            kernels.gemm(here.data(), here.size(), b.data, b.depth, bias, product, b.columns, count, b.columns);
            epilogue(row, count);
        }
    }
};

/// Copies rows between arrays of different widths.
template <class T>
void copy_rows(const T* from, int64_t from_stride, int64_t rows, int64_t width, T* to, int64_t to_stride) {
    for (int64_t i = 0; i < rows; ++i) std::copy_n(from + i * from_stride, width, to + i * to_stride);
}

/// Elements of a tile, from the shapes alone: the bits of the weights' gradients depend on it.
inline int64_t tile_elements(const Sizes& s) {
    constexpr int64_t kRowsWanted = 448;
    return std::clamp<int64_t>(kRowsWanted / std::max<int64_t>(s.N, 1), 1, 8);
}

/// Numbers between panels of a tile.
inline int64_t tile_pitch(const Sizes& s, int64_t elements) { return elements * s.N * s.width() + 5 * kLanes; }

}  // namespace dcrnn
