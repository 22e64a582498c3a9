// Parameters in the order in which the kernels read them.
//
// A packed matrix (depth x columns) is cut into blocks of `block_columns` columns (the last may be narrower); block
// after block, the rows of a block lie one after the other. The order of the depth is that of the panels that meet it.
#pragma once

#include <algorithm>

#include "csrc/cpu/memory.h"
#include "csrc/cpu/problem.h"

namespace dcrnn {

template <class T>
struct Packed {
    T* data = nullptr;
    int64_t depth = 0;
    int64_t columns = 0;
};

/// Depth: the input's M terms, then the state's. Columns of gates: r, then u, each padded to W.
template <class T>
struct ForwardCell {
    Packed<T> gates, candidate;
    T* gate_bias = nullptr;
    T* candidate_bias = nullptr;
};

/// What turns diffused gradients into gradients of the state and of the input; each has M terms of H.
template <class T>
struct BackwardCell {
    Packed<T> reset;  // candidate's gradient -> gradient of r * h
    Packed<T> state;  // those of u, r -> gradient of h
    Packed<T> input;  // those of candidate, u, r -> gradient of the input
};

template <class T>
struct ForwardWeights {
    Arena memory;
    std::vector<ForwardCell<T>> encoder, decoder;
    Packed<T> projection;
    T* projection_bias;
};

template <class T>
struct BackwardWeights {
    Arena memory;
    std::vector<BackwardCell<T>> encoder, decoder;
    Packed<T> projection;
};

/// Takes the memory of a packed matrix and fills it from fill(k, row), which writes row k.
template <class T, class Fill>
void pack(Arena& arena, int64_t block_columns, int64_t depth, int64_t columns, Packed<T>& packed, const Fill& fill) {
    packed = {arena.take<T>(depth * columns), depth, columns};
    if (packed.data == nullptr) return;
    std::vector<T> row(columns);
    for (int64_t k = 0; k < depth; ++k) {
        fill(k, row.data());
        for (int64_t j = 0; j < columns; j += block_columns) {
            const int64_t width = std::min(block_columns, columns - j);
            std::copy_n(row.data() + j, width, packed.data + j * depth + k * width);
        }
    }
}

template <class T>
ForwardWeights<T> pack_forward(const Model<T>& model, const Kernels<T>& kernels);

template <class T>
BackwardWeights<T> pack_backward(const Model<T>& model, const Kernels<T>& kernels);

}  // namespace dcrnn
