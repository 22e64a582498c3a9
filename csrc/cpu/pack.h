// Parameters in the order in which the kernels read them.
//
// A packed matrix (depth x columns) is cut into blocks of `block_columns` columns (the last may be narrower); block
// after block, the rows of a block lie one after the other. The order of the depth is that of the panels that meet it.
#pragma once

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

template <class T>
ForwardWeights<T> pack_forward(const Model<T>& model, const Kernels<T>& kernels);

template <class T>
BackwardWeights<T> pack_backward(const Model<T>& model, const Kernels<T>& kernels);

}  // namespace dcrnn
