// What the encoder-decoder computes on: sizes, and views of the caller's arrays. No memory is owned here.
//
// Letters: B batch, P past steps, F future steps, S = P + F, N nodes, C input channels, O output channels, H units,
// L layers, M diffusion terms, W = H padded to a multiple of kLanes.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "csrc/cpu/kernels.h"

namespace dcrnn {

inline int64_t padded(int64_t width) { return (width + kLanes - 1) / kLanes * kLanes; }

struct Sizes {
    int64_t B, P, F, N, C, O, H, L, M;

    int64_t steps() const { return P + F; }
    int64_t width() const { return padded(H); }
};

/// Parameters of one cell in the released layout: row = feature * M + m, features [input, state]; columns r, then u.
template <class T>
struct CellWeights {
    int64_t channels;
    const T* gate_weight;       // ((channels + H) * M, 2H)
    const T* gate_bias;         // (2H)
    const T* candidate_weight;  // ((channels + H) * M, H)
    const T* candidate_bias;    // (H)
};

/// The gradients of the same, written (not added to).
template <class T>
struct CellGradients {
    T* gate_weight;
    T* gate_bias;
    T* candidate_weight;
    T* candidate_bias;
};

template <class T>
struct Model {
    Sizes sizes;
    SparseStack<T> terms;                          // P_1 .. P_{M-1}
    SparseStack<T> transposed;                     // their transposes
    std::vector<CellWeights<T>> encoder, decoder;  // L cells each; no decoder where F = 0
    const T* projection_weight = nullptr;          // (O, H)
    const T* projection_bias = nullptr;            // (O)
};

/// Where h, r, u and c of every step go: 4 arrays (S, L, B, N, W), of T or of bfloat16. `data` null: nothing is saved.
struct Saved {
    void* data = nullptr;
    bool bf16 = false;

    enum Kind { kState, kReset, kUpdate, kCandidate };

    /// Offset, in numbers, of element `b` of the batch.
    static int64_t offset(const Sizes& s, Kind kind, int64_t step, int64_t layer, int64_t b) {
        return (((kind * s.steps() + step) * s.L + layer) * s.B + b) * s.N * s.width();
    }
};

template <class T>
struct Batch {
    const T* x;                        // (B, P, N, C)
    const T* initial = nullptr;        // (L, B, N, H): the states before the first step, or null: zeros
    const T* labels = nullptr;         // (B, F, N, O)
    const bool* feed_label = nullptr;  // (F)
};

/// Results; a null one is not wanted.
template <class T>
struct Outputs {
    T* prediction = nullptr;  // (B, F, N, O)
    T* states = nullptr;      // (B, P, N, H): the last layer's state after every past step
    T* last = nullptr;        // (L, B, N, H): every layer's state after the last past step
};

/// The gradients of the results come in (null: zero), those of the arguments go out (null: not wanted).
template <class T>
struct Gradients {
    Outputs<const T> of;
    T* x = nullptr;        // (B, P, N, C)
    T* initial = nullptr;  // (L, B, N, H)
    T* labels = nullptr;   // (B, F, N, O)
    std::vector<CellGradients<T>> encoder, decoder;
    T* projection_weight = nullptr;  // (O, H)
    T* projection_bias = nullptr;    // (O)
};

using Range = std::function<void(int64_t first, int64_t last)>;
/// Calls range(first, last) on disjoint pieces of [0, count), on any threads in any order.
using Parallel = std::function<void(int64_t count, const Range& range)>;

/// A forward of the whole batch. Without future steps there is no decoder: stacked cells over a sequence.
template <class T>
void forward(const Model<T>& model, const Kernels<T>& kernels, const Batch<T>& batch, const Outputs<T>& outputs,
             Saved saved, const Parallel& parallel);

/// Its backward, from what forward saved and predicted.
template <class T>
void backward(const Model<T>& model, const Kernels<T>& kernels, const Batch<T>& batch, const T* prediction, Saved saved,
              const Gradients<T>& gradients, const Parallel& parallel);

}  // namespace dcrnn
