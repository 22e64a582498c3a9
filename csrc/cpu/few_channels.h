// The first layer's input, which has few channels. Its diffusion takes steps and elements side by side, so that rows
// are wide enough for vectors; for the products its M terms stand side by side too, in one panel.
#pragma once

#include "csrc/cpu/tile.h"

namespace dcrnn {

/// Columns of the panel of an input with `channels` channels.
template <class S>
int64_t joined_width(const Sizes& s, int64_t channels) {
    return padded<S>(s.M * channels);
}

/// The first layer's input at one step of one element: rows of one array, and beside them those of another, or null.
template <class S>
struct InputRows {
    const S* rows;
    const S* beside = nullptr;
};

/// The decoder's input at future step f: (N, O) of `nothing`, then of the label or the prediction of the step before;
/// beside it (N, K) of what is known.
template <class S>
InputRows<S> decoder_input(const Sizes& s, const Batch<S>& batch, const S* prediction, const S* nothing, int64_t f,
                           int64_t b) {
    const S* known = batch.known == nullptr ? nullptr : batch.known + (b * s.F + f) * s.N * s.K;
    if (f == 0) return {nothing, known};
    return {(batch.feed_label[f - 1] ? batch.labels : prediction) + (b * s.F + f - 1) * s.N * s.O, known};
}

/// The first layer's input, diffused.
template <class S>
class FewChannels {
  public:
    /// For tiles of up to `elements` elements with `channels` channels, of which the last `beside` stand in an array of
    /// their own; `steps` steps at once at most.
    FewChannels(Arena& arena, const Sizes& sizes, int64_t elements, int64_t channels, int64_t beside, int64_t steps)
        : sizes_(sizes),
          channels_(channels),
          beside_(beside),
          chunk_(std::clamp<int64_t>(columns_wanted<S>(sizes, elements) / std::max<int64_t>(elements * channels, 1), 1,
                                     steps)),
          panel_(sizes.panel_rows() * padded<S>(chunk_ * elements * channels)),
          joined_(arena.take_zeros<S>((elements * sizes.N + kRowSlack) * joined_width<S>(sizes, channels))) {}

    /// Numbers of the memory that load_into gives.
    int64_t numbers() const { return sizes_.M * panel_; }
    void load_into(S* memory) { interleaved_ = memory, terms_ = memory == nullptr ? nullptr : memory + panel_; }

    /// Forgets what is loaded: the next tile begins.
    void forget() { first_ = last_ = 0; }

    /// The panel of one step: row e * N + n, column m * channels + c. If it is not loaded yet, those steps of [from,
    /// to) are that fit beside it: [step, ...) on the way forward, [..., step + 1) on the way back. source(step,
    /// element) gives InputRows.
    template <class Source>
    Panel<S> panel(Tile<S>& tile, const Diffusion<S>& terms, int64_t step, int64_t from, int64_t to,
                   const Source& source) {
        if (step < first_ || step >= last_) {
            first_ = std::max(from, std::min(step, to - chunk_));
            last_ = std::min(to, first_ + chunk_);
            load(tile, terms, source);
        }
        join(tile, step - first_);
        const int64_t width = joined_width<S>(sizes_, channels_);
        return {joined_, width, width};
    }

  private:
    template <class Source>
    void load(Tile<S>& tile, const Diffusion<S>& terms, const Source& source) {
        const int64_t elements = tile.elements, steps = last_ - first_;
        width_ = padded<S>(steps * elements * channels_);
        const int64_t used = steps * elements * channels_, rows = terms.operators.nodes;
        rows_ = rows;
        tile.crew.divide(rows, kRowBlock, [&](auto&, int64_t first, int64_t last) {
            for (int64_t n = first; n < last; ++n) std::fill_n(interleaved_ + n * width_ + used, width_ - used, S{});
            for (int64_t step = 0; step < steps; ++step)
                for (int64_t e = 0; e < elements; ++e) {
                    const InputRows<S> from = source(first_ + step, e);
                    S* to = interleaved_ + (step * elements + e) * channels_;
                    const int64_t alone = channels_ - beside_, end = std::min(last, sizes_.N);
                    for (int64_t n = first; n < end; ++n)
                        for (int64_t c = 0; c < alone; ++c) to[n * width_ + c] = from.rows[n * alone + c];
                    for (int64_t n = first; beside_ > 0 && n < end; ++n)
                        std::copy_n(from.beside + n * beside_, beside_, to + n * width_ + alone);
                }
        });
        if (sizes_.M == 1) return;
        if (terms.exchange != nullptr) {
            terms.exchange->begin(interleaved_, width_, steps * elements * channels_, 1, 1);
            terms.exchange->finish();
        }
        const int64_t panel = rows * width_;
        if (terms.count == 0)
            return tile.crew.divide(rows, kRowBlock, [&](auto& member, int64_t first, int64_t last) {
                tile.kernels.diffuse(terms.operators, interleaved_, width_, terms_, panel, first, last, member.scratch);
            });
        const auto stored = [&](int64_t i) {
            return i == 0 ? interleaved_ : i < sizes_.M ? terms_ + (i - 1) * panel : nullptr;
        };
        for (int64_t i = 0; i < terms.count; ++i)
            tile.crew.divide(rows, kRowBlock, [&](auto&, int64_t first, int64_t last) {
                diffusion_step(tile.kernels, terms, i, stored, tile.sums, tile.sums_pitch, 0, width_, first, last);
            });
    }

    void join(Tile<S>& tile, int64_t step) {
        const int64_t columns = joined_width<S>(sizes_, channels_);
        tile.crew.divide(sizes_.N, kRowBlock, [&](auto&, int64_t first, int64_t last) {
            for (int64_t m = 0; m < sizes_.M; ++m) {
                const S* terms = m == 0 ? interleaved_ : terms_ + (m - 1) * rows_ * width_;
                for (int64_t e = 0; e < tile.elements; ++e) {
                    const S* from = terms + (step * tile.elements + e) * channels_;
                    S* to = joined_ + e * sizes_.N * columns + m * channels_;
                    for (int64_t n = first; n < last; ++n)
                        for (int64_t c = 0; c < channels_; ++c) to[n * columns + c] = from[n * width_ + c];
                }
            }
        });
    }

    const Sizes& sizes_;
    int64_t channels_, beside_, chunk_, panel_, first_ = 0, last_ = 0, width_ = 0, rows_ = 0;
    S *interleaved_ = nullptr, *terms_ = nullptr, *joined_;
};

/// The first layer's inputs of all steps: the encoder's, then the decoder's, in memory that they share.
template <class S>
class FirstInput {
  public:
    /// `prediction` (B, F, N, O) is read if the decoder reads its own forecast back; `complete`: all of it is there
    /// from the start.
    FirstInput(Arena& arena, const Model<S>& model, const Batch<S>& batch, const S* prediction, bool complete,
               int64_t elements)
        : model_(model),
          batch_(batch),
          prediction_(prediction),
          complete_(complete),
          past_(arena, model.sizes, elements, model.sizes.C, 0, model.sizes.P),
          fed_back_(arena, model.sizes, elements, model.sizes.decoder_channels(), model.sizes.K,
                    complete ? std::max<int64_t>(model.sizes.F, 1) : 1),
          nothing_(arena.take_zeros<S>(model.sizes.N * model.sizes.O)) {
        S* memory = arena.take<S>(std::max(past_.numbers(), fed_back_.numbers()));
        past_.load_into(memory), fed_back_.load_into(memory);
    }

    /// Forgets what is loaded.
    void forget() { past_.forget(), fed_back_.forget(); }

    /// The panel of step t of elements [first, first + tile.elements), loaded beside others of [from, to) as
    /// FewChannels::panel says.
    Panel<S> panel(Tile<S>& tile, int64_t first, int64_t t, int64_t from, int64_t to) {
        const Sizes& s = model_.sizes;
        if (t < s.P) {
            fed_back_.forget();
            return past_.panel(tile, model_.input_terms, t, from, std::min(s.P, to), [&](int64_t at, int64_t e) {
                return InputRows<S>{batch_.x + ((first + e) * s.P + at) * s.N * s.C};
            });
        }
        past_.forget();
        return fed_back_.panel(tile, model_.input_terms, t, std::max(s.P, from), complete_ ? to : t + 1,
                               [&](int64_t at, int64_t e) {
                                   return decoder_input(s, batch_, prediction_, nothing_, at - s.P, first + e);
                               });
    }

  private:
    const Model<S>& model_;
    const Batch<S>& batch_;
    const S* prediction_;
    bool complete_;
    FewChannels<S> past_, fed_back_;
    const S* nothing_;  // zeros
};

}  // namespace dcrnn
