// Parameters in the order in which the kernels read them.
//
// A packed matrix (depth x columns) is cut into blocks of `block_columns` columns (the last may be narrower); block
// after block, its rows lie one after the other. Of `depth_group` consecutive rows, the elements of one column lie
// together: element (k, j) of a block is at (k / group * width + j) * group + k % group. The order of the depth is that
// of the panels that meet it, each padded to kLanes<S> with zeros.
#pragma once

#include <algorithm>

#include "csrc/cpu/memory.h"
#include "csrc/cpu/problem.h"

namespace dcrnn {

template <class S>
struct Packed {
    S* data = nullptr;
    int64_t depth = 0;
    int64_t columns = 0;
};

/// Depth: the input's M terms (the first layer's in one panel), then the state's. Columns of gates: r, then u.
template <class S>
struct ForwardCell {
    Packed<S> gates, candidate;
    Accumulator<S>* gate_bias = nullptr;
    Accumulator<S>* candidate_bias = nullptr;
};

/// The weights that turn diffused gradients into gradients of the state and of the input; each has M terms of W.
template <class S>
struct BackwardCell {
    Packed<S> reset;  // candidate's gradient -> gradient of r * h
    Packed<S> state;  // those of u, r -> gradient of h
    Packed<S> input;  // those of candidate, u, r -> gradient of the input
};

template <class S>
struct ForwardWeights {
    Arena memory;
    std::vector<ForwardCell<S>> encoder, decoder;
    Packed<S> projection;
    Accumulator<S>* projection_bias = nullptr;
};

template <class S>
struct BackwardWeights {
    Arena memory;
    std::vector<BackwardCell<S>> encoder, decoder;
    Packed<S> projection;
};

/// Takes the memory of a packed matrix and fills it from fill(k, row), which writes into row k, zeros at first.
template <class S, class Fill>
void pack(Arena& arena, const Kernels<S>& kernels, int64_t depth, int64_t columns, Packed<S>& packed,
          const Fill& fill) {
    packed = {arena.take<S>(depth * columns * kernels.packed_halves / 2), depth, columns};
    if (packed.data == nullptr) return;
    const int64_t block = kernels.block_columns, group = kernels.depth_group;
    std::vector<S> row(columns);
    for (int64_t k = 0; k < depth; ++k) {
        std::fill(row.begin(), row.end(), S{});
        fill(k, row.data());
        for (int64_t j = 0; j < columns; j += block) {
            const int64_t width = std::min(block, columns - j);
            S* to = packed.data + j * depth + k / group * width * group + k % group;
            for (int64_t i = 0; i < width; ++i) to[i * group] = row[j + i];
        }
    }
    if (kernels.finish_packed) kernels.finish_packed(packed.data, depth, columns);
}

template <class S>
ForwardWeights<S> pack_forward(const Model<S>& model, const Kernels<S>& kernels);

template <class S>
BackwardWeights<S> pack_backward(const Model<S>& model, const Kernels<S>& kernels);

}  // namespace dcrnn
