// The core of forward: one tile through a run of steps, states in, states out. The complete sequence is one segment;
// backward runs shorter ones again if forward kept states only.
#pragma once

#include "csrc/cpu/few_channels.h"
#include "csrc/cpu/saved.h"

namespace dcrnn {

template <class S>
class Segment {
  public:
    /// `prediction` (B, F, N, O) is read if the decoder reads its own forecast back.
    Segment(Arena& arena, const Model<S>& model, const ForwardWeights<S>& weights, const Batch<S>& batch,
            const S* prediction, Tile<S>& tile)
        : model_(model),
          weights_(weights),
          batch_(batch),
          prediction_(prediction),
          s_(model.sizes),
          tile_(tile),
          past_(arena, s_, tile.elements, s_.C, s_.P),
          fed_back_(arena, s_, tile.elements, s_.O, 1),
          nothing_(arena.take_zeros<S>(s_.N * s_.O)),
          reset_(tile.take_panel(arena)),
          reset_terms_(arena.take<S>((s_.M - 1) * tile.pitch)) {
        for (int64_t l = 0; l < s_.L; ++l) {
            state_.push_back(tile.take_zero_panel(arena));
            state_terms_.push_back(arena.take<S>((s_.M - 1) * tile.pitch));
        }
    }

    /// The states now, (rows x W).
    const S* state(int64_t l) const { return state_[l]; }

    /// Before the first step of elements [first, first + tile.elements).
    void start(int64_t first) {
        first_ = first;
        past_.forget();
        fed_back_.forget();
        for (int64_t l = 0; l < s_.L; ++l) {
            if (batch_.initial == nullptr) {
                // Zeros have no terms: the first step leaves them out.
                std::fill_n(state_[l], tile_.rows() * tile_.width, S{});
                continue;
            }
            copy_rows(batch_.initial + (l * s_.B + first_) * s_.N * s_.H, s_.H, tile_.rows(), s_.H, state_[l],
                      tile_.width);
            tile_.diffuse(model_.terms, state_[l], state_terms_[l]);
        }
    }

    /// Before a later step, from the states that state(l) gives.
    template <class State>
    void resume(int64_t first, const State& state) {
        first_ = first;
        past_.forget();
        fed_back_.forget();
        for (int64_t l = 0; l < s_.L; ++l) {
            std::copy_n(state(l), tile_.rows() * tile_.width, state_[l]);
            tile_.diffuse(model_.terms, state_[l], state_terms_[l]);
        }
    }

    /// Step t of all layers; slot(l) is the place of the results (h may be null). `end`: one past the segment's last
    /// step.
    template <class SlotOf>
    void step(int64_t t, int64_t end, const SlotOf& slot) {
        const bool past = t < s_.P;
        const auto& cells = past ? weights_.encoder : weights_.decoder;
        for (int64_t l = 0; l < s_.L; ++l) {
            tile_.panels.clear();
            if (l == 0)
                tile_.panels.push_back(past ? past_input(t, end) : fed_back_input(t));
            else
                tile_.append(state_[l - 1], state_terms_[l - 1]);
            cell(cells[l], t == 0 && batch_.initial == nullptr, l, slot(l));
            // After the last step only the layer above still reads the terms.
            if (t + 1 < end || l + 1 < s_.L) tile_.diffuse(model_.terms, state_[l], state_terms_[l]);
        }
    }

  private:
    Panel<S> past_input(int64_t t, int64_t end) {
        return past_.panel(tile_, model_.input_terms, t, t, std::min(s_.P, end),
                           [&](int64_t at, int64_t e) { return batch_.x + ((first_ + e) * s_.P + at) * s_.N * s_.C; });
    }

    Panel<S> fed_back_input(int64_t t) {
        return fed_back_.panel(tile_, model_.input_terms, t, t, t + 1, [&](int64_t at, int64_t e) {
            return decoder_input(s_, batch_, prediction_, nothing_, at - s_.P, first_ + e);
        });
    }

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
    const S* prediction_;
    const Sizes& s_;
    Tile<S>& tile_;
    FewChannels<S> past_, fed_back_;
    int64_t first_ = 0;
    const S* nothing_;  // zeros
    S *reset_, *reset_terms_;
    std::vector<S*> state_, state_terms_;
};

}  // namespace dcrnn
