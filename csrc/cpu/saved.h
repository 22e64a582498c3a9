// The numbers that forward keeps for backward, by step: all that backward reads, or states from which it computes them
// again.
#pragma once

#include "csrc/cpu/problem.h"

namespace dcrnn {

/// A cell's results at one step, panels (rows x W): the state after it, both gates, the candidate.
template <class S>
struct Slot {
    S *h, *r, *u, *c;
};

/// `every` kSaveNothing: nothing; kSaveAll: h, r, u and c of all steps, (4, T, L, B, N, W); k > 0: h after every k-th
/// step but the last, from which backward runs segments of k steps again, ((T - 1) / k, L, B, N, W).
template <class S>
struct Saved {
    S* data = nullptr;
    int64_t every = 0;

    static constexpr int64_t kSaveNothing = 0, kSaveAll = -1;

    static int64_t numbers(const Sizes& s, int64_t every) {
        const int64_t panels = every == kSaveAll ? 4 * s.steps() : every > 0 ? (s.steps() - 1) / every : 0;
        return panels * s.L * s.B * s.N * padded<S>(s.H);
    }

    /// Steps that are in memory at once while backward runs.
    int64_t segment(const Sizes& s) const { return every == kSaveAll ? s.steps() : every; }

    /// With kSaveAll: the places of layer l's results at step t, from element b on.
    Slot<S> slot(const Sizes& s, int64_t t, int64_t l, int64_t b) const {
        const int64_t one = s.B * s.N * padded<S>(s.H), all = s.steps() * s.L * one;
        S* h = data + (t * s.L + l) * one + b * s.N * padded<S>(s.H);
        return {h, h + all, h + 2 * all, h + 3 * all};
    }

    /// With k > 0: whether the states after step t are kept, and their place.
    bool keeps(const Sizes& s, int64_t t) const { return every > 0 && (t + 1) % every == 0 && t + 1 < s.steps(); }
    S* state(const Sizes& s, int64_t t, int64_t l, int64_t b) const {
        return data + ((((t + 1) / every - 1) * s.L + l) * s.B + b) * s.N * padded<S>(s.H);
    }
};

}  // namespace dcrnn
