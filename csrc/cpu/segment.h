// The core of forward: one tile through a run of steps, states in, states out. The complete sequence is one segment;
// backward runs shorter ones again if forward kept states only.
#pragma once

#include "csrc/cpu/few_channels.h"
#include "csrc/cpu/saved.h"

namespace dcrnn {

template <class S>
class Segment {
  public:
    /// Panels that it works in while steps run, of tile.pitch numbers each; those of the states are its own.
    static int64_t panels(const Sizes& s) { return 1 + (s.L + 1) * (s.M - 1); }

    Segment(Arena& arena, S* panels, const Model<S>& model, const ForwardWeights<S>& weights, const Batch<S>& batch,
            FirstInput<S>& input, Tile<S>& tile)
        : model_(model), weights_(weights), batch_(batch), input_(input), s_(model.sizes), tile_(tile) {
        const auto take = [&](int64_t count) {
            S* piece = panels;
            if (panels != nullptr) panels += count * tile.pitch;
            return piece;
        };
        reset_ = take(1), reset_terms_ = take(s_.M - 1);
        for (int64_t l = 0; l < s_.L; ++l)
            state_.push_back(tile.take_panel(arena)), state_terms_.push_back(take(s_.M - 1));
    }

    /// The states now, (rows x W).
    S* state(int64_t l) const { return state_[l]; }

    /// Before the first step of elements [first, first + tile.elements).
    void start(int64_t first) {
        first_ = first;
        for (int64_t l = 0; l < s_.L; ++l) {
            std::fill_n(state_[l], tile_.rows() * tile_.width, S{});
            // Zeros have no terms: the first step leaves them out.
            if (batch_.initial == nullptr) continue;
            copy_rows(batch_.initial + (l * s_.B + first_) * s_.N * s_.H, s_.H, tile_.rows(), s_.H, state_[l],
                      tile_.width);
            tile_.diffuse(model_.terms, state_[l], state_terms_[l]);
        }
    }

    /// Before a later step, from the states that state(l) gives.
    template <class State>
    void resume(int64_t first, const State& state) {
        first_ = first;
        for (int64_t l = 0; l < s_.L; ++l) {
            std::copy_n(state(l), tile_.rows() * tile_.width, state_[l]);
            tile_.diffuse(model_.terms, state_[l], state_terms_[l]);
        }
    }

    /// Step t of all layers; slot(l) is the place of the results (h may be null). `end`: one past the segment's last
    /// step. Inputs of steps from `from` on may be loaded beside its own.
    template <class SlotOf>
    void step(int64_t t, int64_t from, int64_t end, const SlotOf& slot) {
        const auto& cells = t < s_.P ? weights_.encoder : weights_.decoder;
        for (int64_t l = 0; l < s_.L; ++l) {
            tile_.panels.clear();
            if (l == 0)
                tile_.panels.push_back(input_.panel(tile_, first_, t, from, end));
            else
                tile_.append(state_[l - 1], state_terms_[l - 1]);
            cell(cells[l], t == 0 && batch_.initial == nullptr, l, slot(l));
            // After the last step only the layer above still reads the terms.
            if (t + 1 < end || l + 1 < s_.L) tile_.diffuse(model_.terms, state_[l], state_terms_[l]);
        }
    }

  private:
    // One cell; the input's terms are in tile_.panels already.
    void cell(const ForwardCell<S>& weights, bool from_zero, int64_t l, const Slot<S>& out) {
        const int64_t W = tile_.width;
        const Kernels<S>& kernels = tile_.kernels;
        const size_t input_panels = tile_.panels.size();
        S* h = state_[l];
        if (!from_zero) tile_.append(h, state_terms_[l]);
        tile_.multiply(weights.gates, weights.gate_bias, [&](const auto* product, int64_t row, int64_t count) {
            const int64_t at = row * W;
            kernels.gates(product, 2 * W, count, W, h + at, out.r + at, out.u + at, reset_ + at);
        });
        tile_.panels.resize(input_panels);
        if (!from_zero) {
            tile_.diffuse(model_.terms, reset_, reset_terms_);
            tile_.append(reset_, reset_terms_);
        }
        tile_.multiply(weights.candidate, weights.candidate_bias, [&](const auto* product, int64_t row, int64_t count) {
            const int64_t at = row * W;
            kernels.candidate(product, W, count, W, out.u + at, h + at, out.c + at, h + at);
            if (out.h != nullptr) std::copy_n(h + at, count * W, out.h + at);
        });
    }

    const Model<S>& model_;
    const ForwardWeights<S>& weights_;
    const Batch<S>& batch_;
    FirstInput<S>& input_;
    const Sizes& s_;
    Tile<S>& tile_;
    int64_t first_ = 0;
    S *reset_, *reset_terms_;
    std::vector<S*> state_, state_terms_;
};

}  // namespace dcrnn
