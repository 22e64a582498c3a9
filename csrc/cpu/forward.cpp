// The encoder-decoder's forward: every tile goes through all steps and layers before the next one starts.
#include "csrc/cpu/narrow.h"

namespace dcrnn {
namespace {

// Where a cell's results go; panels (rows x W).
template <class T>
struct Slot {
    T *h, *r, *u, *c;
};

template <class T>
class ForwardTiles {
  public:
    ForwardTiles(Arena& arena, const Model<T>& model, const Kernels<T>& kernels, const ForwardWeights<T>& weights,
                 const Batch<T>& batch, const Outputs<T>& outputs, Saved saved, int64_t elements)
        : model_(model),
          weights_(weights),
          batch_(batch),
          outputs_(outputs),
          saved_(saved),
          s_(model.sizes),
          tile_{kernels, s_, elements, tile_pitch(s_, elements), nullptr},
          past_(arena, s_, elements, s_.C, s_.P),
          fed_back_(arena, s_, elements, s_.O, 1) {
        const int64_t panel = tile_.pitch;
        tile_.product = arena.take<T>(kRowBlock * std::max(2 * s_.width(), padded(s_.O)));
        joined_ = arena.take<T>(elements * s_.N * s_.M * std::max(s_.C, s_.O));
        start_ = arena.take<T>(std::max(panel, s_.N * s_.O));
        for (int64_t l = 0; l < s_.L; ++l) {
            state_terms_.push_back(arena.take<T>((s_.M - 1) * panel));
            initial_.push_back(batch.initial ? arena.take<T>(panel) : start_);
            own_.push_back({arena.take<T>(panel), nullptr, nullptr, nullptr});
        }
        T *r = arena.take<T>(panel), *u = arena.take<T>(panel), *c = arena.take<T>(panel);
        for (auto& slot : own_) slot = {slot.h, r, u, c};
        reset_ = arena.take<T>(panel);
        reset_terms_ = arena.take<T>((s_.M - 1) * panel);
    }

    void run(int64_t first, int64_t elements) {
        first_ = first;
        tile_.elements = elements;
        begin();
        for (int64_t t = 0; t < s_.P; ++t) {
            const int64_t in_chunk = t % past_.chunk();
            if (in_chunk == 0)
                past_.load(tile_, model_.terms, std::min(past_.chunk(), s_.P - t), [&](int64_t step, int64_t e) {
                    return batch_.x + ((first_ + e) * s_.P + t + step) * s_.N * s_.C;
                });
            past_.join(in_chunk, joined_);
            step(t, s_.C, weights_.encoder);
            if (outputs_.states != nullptr)
                for (int64_t e = 0; e < elements; ++e)
                    write_state(s_.L - 1, e, outputs_.states + ((first_ + e) * s_.P + t) * s_.N * s_.H);
        }
        if (outputs_.last != nullptr)
            for (int64_t l = 0; l < s_.L; ++l)
                for (int64_t e = 0; e < elements; ++e)
                    write_state(l, e, outputs_.last + (l * s_.B + first_ + e) * s_.N * s_.H);
        for (int64_t f = 0; f < s_.F; ++f) {
            fed_back_.load(tile_, model_.terms, 1, [&](int64_t, int64_t e) { return decoder_input(f, e); });
            fed_back_.join(0, joined_);
            step(s_.P + f, s_.O, weights_.decoder);
            project(f);
        }
    }

  private:
    // The states before the first step. Zeros have no terms: the first step leaves them out.
    void begin() {
        state_.assign(initial_.begin(), initial_.end());
        if (batch_.initial == nullptr) return;
        for (int64_t l = 0; l < s_.L; ++l) {
            const T* from = batch_.initial + (l * s_.B + first_) * s_.N * s_.H;
            copy_rows(from, s_.H, tile_.rows(), s_.H, initial_[l], s_.width());
            tile_.diffuse(model_.terms, initial_[l], state_terms_[l]);
        }
    }

    void write_state(int64_t l, int64_t e, T* to) const {
        copy_rows(state_[l] + e * s_.N * s_.width(), s_.width(), s_.N, s_.H, to, s_.H);
    }

    const T* decoder_input(int64_t f, int64_t e) const {
        if (f == 0) return start_;
        const T* source = batch_.feed_label[f - 1] ? batch_.labels : outputs_.prediction;
        return source + ((first_ + e) * s_.F + f - 1) * s_.N * s_.O;
    }

    void step(int64_t t, int64_t channels, const std::vector<ForwardCell<T>>& cells) {
        for (int64_t l = 0; l < s_.L; ++l) {
            tile_.panels.clear();
            if (l == 0)
                tile_.panels.push_back({joined_, s_.M * channels, s_.M * channels});
            else
                tile_.append({state_[l - 1], state_terms_[l - 1]});
            cell(cells[l], t, l);
        }
    }

    Slot<T> slot(int64_t t, int64_t l) const {
        if (saved_.data == nullptr || saved_.bf16) return own_[l];
        T* data = static_cast<T*>(saved_.data);
        return {data + Saved::offset(s_, Saved::kState, t, l, first_),
                data + Saved::offset(s_, Saved::kReset, t, l, first_),
                data + Saved::offset(s_, Saved::kUpdate, t, l, first_),
                data + Saved::offset(s_, Saved::kCandidate, t, l, first_)};
    }

    // One cell; the input's terms are in tile_.panels already.
    void cell(const ForwardCell<T>& weights, int64_t t, int64_t l) {
        const int64_t W = s_.width();
        const bool from_zero = t == 0 && batch_.initial == nullptr;
        const size_t input_panels = tile_.panels.size();
        const T* h = state_[l];
        const Slot<T> out = slot(t, l);
        if (!from_zero) tile_.append({h, state_terms_[l]});
        tile_.multiply(weights.gates, weights.gate_bias, [&](int64_t row, int64_t count) {
            const int64_t at = row * W;
            tile_.kernels.gates(tile_.product, 2 * W, count, W, h + at, out.r + at, out.u + at, reset_ + at);
        });
        tile_.panels.resize(input_panels);
        if (!from_zero) {
            tile_.diffuse(model_.terms, reset_, reset_terms_);
            tile_.append({reset_, reset_terms_});
        }
        tile_.multiply(weights.candidate, weights.candidate_bias, [&](int64_t row, int64_t count) {
            const int64_t at = row * W;
            tile_.kernels.candidate(tile_.product, W, count, W, out.u + at, h + at, out.c + at, out.h + at);
        });
        state_[l] = out.h;
        if (saved_.data != nullptr && saved_.bf16) save_bf16(out, t, l);
        // After the last step only the layer above still reads the terms.
        if (t + 1 < s_.steps() || l + 1 < s_.L) tile_.diffuse(model_.terms, out.h, state_terms_[l]);
    }

    void save_bf16(const Slot<T>& from, int64_t t, int64_t l) const {
        if constexpr (sizeof(T) == 4) {
            auto* data = static_cast<uint16_t*>(saved_.data);
            const int64_t count = tile_.rows() * s_.width();
            const auto save = [&](Saved::Kind kind, const T* panel) {
                tile_.kernels.to_bf16(panel, count, data + Saved::offset(s_, kind, t, l, first_));
            };
            save(Saved::kState, from.h);
            save(Saved::kReset, from.r);
            save(Saved::kUpdate, from.u);
            save(Saved::kCandidate, from.c);
        }
    }

    void project(int64_t f) {
        tile_.panels.assign(1, {state_[s_.L - 1], s_.width(), s_.H});
        tile_.multiply(weights_.projection, weights_.projection_bias, [&](int64_t row, int64_t count) {
            for (int64_t i = row; i < row + count; ++i) {
                const int64_t e = i / s_.N, n = i % s_.N;
                std::copy_n(tile_.product + (i - row) * padded(s_.O), s_.O,
                            outputs_.prediction + (((first_ + e) * s_.F + f) * s_.N + n) * s_.O);
            }
        });
    }

    const Model<T>& model_;
    const ForwardWeights<T>& weights_;
    const Batch<T>& batch_;
    const Outputs<T>& outputs_;
    Saved saved_;
    const Sizes& s_;
    Tile<T> tile_;
    NarrowInput<T> past_, fed_back_;
    int64_t first_ = 0;
    T* joined_;
    T* start_;  // zeros
    std::vector<T*> initial_;
    std::vector<const T*> state_;
    std::vector<T*> state_terms_;
    std::vector<Slot<T>> own_;
    T *reset_, *reset_terms_;
};

}  // namespace

template <class T>
void forward(const Model<T>& model, const Kernels<T>& kernels, const Batch<T>& batch, const Outputs<T>& outputs,
             Saved saved, const Parallel& parallel) {
    const Sizes& s = model.sizes;
    const ForwardWeights<T> weights = pack_forward(model, kernels);
    if (s.B == 0) return;
    const int64_t elements = std::min(tile_elements(s), s.B), tiles = (s.B + elements - 1) / elements;
    parallel(tiles, [&](int64_t first, int64_t last) {
        const auto make = [&](Arena& arena) {
            return ForwardTiles<T>(arena, model, kernels, weights, batch, outputs, saved, elements);
        };
        Arena count;
        make(count);
        Arena arena(count.used());
        auto run = make(arena);
        for (int64_t tile = first; tile < last; ++tile)
            run.run(tile * elements, std::min(elements, s.B - tile * elements));
    });
}

template void forward(const Model<float>&, const Kernels<float>&, const Batch<float>&, const Outputs<float>&, Saved,
                      const Parallel&);
template void forward(const Model<double>&, const Kernels<double>&, const Batch<double>&, const Outputs<double>&, Saved,
                      const Parallel&);

}  // namespace dcrnn
