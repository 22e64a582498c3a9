// The encoder-decoder's arguments: sizes, and views of the caller's arrays. No memory is owned here.
//
// S is the storage of activations, A = Accumulator<S>. Letters: B batch, P past steps, F future steps, T = P + F,
// N nodes, C input channels, O output channels, K known channels, H units, L layers, M diffusion terms, W = H padded to
// kLanes<S>.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "csrc/cpu/kernels.h"

namespace dcrnn {

template <class S>
constexpr int64_t padded(int64_t width) {
    return (width + kLanes<S> - 1) / kLanes<S> * kLanes<S>;
}

struct Sizes {
    int64_t B, P, F, N, C, O, H, L, M;
    int64_t K = 0;
    // Of a rank's part of a divided graph: rows of an element in a panel, and nodes of the largest part.
    int64_t panel_nodes = 0, most_nodes = 0;

    int64_t steps() const { return P + F; }
    // Of the decoder's input: what is fed back, then what is known.
    int64_t decoder_channels() const { return O + K; }
    bool divided() const { return panel_nodes > 0; }
    int64_t panel_rows() const { return divided() ? panel_nodes : N; }
};

/// Parameters of one cell in the released layout: row = feature * M + m, features [input, state]; columns r, then u.
template <class S>
struct CellWeights {
    int64_t channels;
    const S* gate_weight;       // ((channels + H) * M, 2H)
    const S* gate_bias;         // (2H)
    const S* candidate_weight;  // ((channels + H) * M, H)
    const S* candidate_bias;    // (H)
};

/// The gradients of the same, written (not added to).
template <class A>
struct CellGradients {
    A* gate_weight;
    A* gate_bias;
    A* candidate_weight;
    A* candidate_bias;
};

/// panel[target] = scale * (support applied to panel[source]) - panel[minus]; minus < 0: nothing is subtracted.
struct DiffusionStep {
    int32_t support, source, minus, scale, target;
};

class Exchange;

/// How a panel gets its M-1 diffusions: by the operators P_1 .. P_{M-1}; or, if there are steps, by recursion over the
/// supports, which have fewer entries. Panel 0 is the one that is diffused, m < M its m-th term; the rest are
/// temporary.
template <class S>
struct Diffusion {
    SparseStack<S> operators;
    SparseStack<S> supports{};
    const DiffusionStep* steps = nullptr;
    int64_t count = 0;
    std::vector<int32_t> kept_sums{};  // of each panel: its place among the panels of sums, or -1; see plan_sums
    int64_t sums = 0;                  // how many there are
    Exchange* exchange = nullptr;      // of a divided graph: before each diffusion
};

/// Which panels of a recursion are kept as sums: temporary ones, and of bf16 all that a later step reads, which would
/// be rounded between two steps.
template <class S>
void plan_sums(Diffusion<S>& diffusion, int64_t terms) {
    diffusion.sums = 0;
    diffusion.kept_sums.assign(terms + diffusion.count, -1);
    const auto keep = [&](int32_t panel) {
        if (panel > 0 && diffusion.kept_sums[panel] < 0) diffusion.kept_sums[panel] = diffusion.sums++;
    };
    constexpr bool rounds = sizeof(S) < sizeof(Accumulator<S>);
    for (int64_t i = 0; i < diffusion.count; ++i) {
        const DiffusionStep& s = diffusion.steps[i];
        for (const int32_t panel : {s.source, s.minus, s.target})
            if (panel >= terms || (rounds && panel != s.target)) keep(panel);
    }
}

template <class S>
struct Model {
    Sizes sizes;
    Diffusion<S> terms;                            // P_1 .. P_{M-1}
    Diffusion<S> transposed;                       // their transposes
    Diffusion<S> input_terms;                      // as terms, for panels whose elements stand in columns
    std::vector<CellWeights<S>> encoder, decoder;  // L cells each; no decoder if F = 0
    const S* projection_weight = nullptr;          // (O, H)
    const S* projection_bias = nullptr;            // (O)
};

template <class S>
struct Batch {
    const S* x;                        // (B, P, N, C)
    const S* initial = nullptr;        // (L, B, N, H): the states before the first step, or null: zeros
    const S* labels = nullptr;         // (B, F, N, O)
    const bool* feed_label = nullptr;  // (F)
    const S* known = nullptr;          // (B, F, N, K): beside what is fed back, or null: nothing
};

/// Results; a null one is not wanted.
template <class S>
struct Outputs {
    S* prediction = nullptr;  // (B, F, N, O)
    S* states = nullptr;      // (B, P, N, H): the last layer's state after every past step
    S* last = nullptr;        // (L, B, N, H): every layer's state after the last past step
};

/// The gradients of the results come in (null: zero), those of the arguments go out (null: not wanted).
template <class S>
struct Gradients {
    using A = Accumulator<S>;

    Outputs<const S> of;
    S* x = nullptr;        // (B, P, N, C)
    S* initial = nullptr;  // (L, B, N, H)
    S* labels = nullptr;   // (B, F, N, O)
    S* known = nullptr;    // (B, F, N, K)
    std::vector<CellGradients<A>> encoder, decoder;
    A* projection_weight = nullptr;  // (O, H)
    A* projection_bias = nullptr;    // (O)
};

using Range = std::function<void(int64_t first, int64_t last)>;

/// The caller's threads.
struct Threads {
    int64_t count;
    /// Calls range(first, last) on disjoint pieces of [0, count), on any threads in any order, and waits.
    std::function<void(int64_t count, const Range& range)> parallel;
};

}  // namespace dcrnn
