// The encoder-decoder's backward: per tile, from the last step to the first. Gradients are diffused before they are
// multiplied, so that one diffusion serves the weights' gradient and the input's, and nothing but h, r, u, c is needed.
#include "csrc/cpu/sums.h"
#include "csrc/cpu/tile.h"

namespace dcrnn {
namespace {

template <class T>
class BackwardTiles {
  public:
    BackwardTiles(Arena& arena, const Model<T>& model, const Kernels<T>& kernels, const BackwardWeights<T>& weights,
                  const Batch<T>& batch, const T* prediction, Saved saved, const Gradients<T>& gradients,
                  int64_t elements)
        : model_(model),
          weights_(weights),
          batch_(batch),
          prediction_(prediction),
          saved_(saved),
          gradients_(gradients),
          s_(model.sizes),
          tile_{kernels, s_, elements, tile_pitch(s_, elements), nullptr} {
        const int64_t panel = tile_.pitch, rows = elements * s_.N;
        const int64_t narrow = std::max(s_.C, s_.O), widest = std::max(s_.width(), padded(narrow));
        tile_.product = arena.take<T>(kRowBlock * widest);
        for (auto& q : diffused_) q = arena.take<T>(s_.M * panel);
        for (int64_t l = 0; l < s_.L; ++l) dh_.push_back(arena.take<T>(panel));
        reset_ = arena.take<T>(panel);
        for (int64_t l = 0; l < s_.L; ++l) initial_.push_back(arena.take<T>(panel));
        input_ = arena.take<T>(rows * narrow);
        d_input_ = arena.take<T>(rows * padded(narrow));
        d_prediction_ = arena.take<T>(rows * s_.O);
        if (saved.bf16)
            for (auto& panel_of : loaded_) panel_of = arena.take<T>(panel);
    }

    void run(int64_t first, int64_t elements, Sums<T>& sums) {
        first_ = first;
        tile_.elements = elements;
        for (int64_t l = 0; l < s_.L; ++l) begin(l);
        bool feeds_prediction = false;
        for (int64_t f = s_.F - 1; f >= 0; --f) {
            predict_backward(f, feeds_prediction, sums);
            const bool from_label = f > 0 && batch_.feed_label[f - 1];
            feeds_prediction = f > 0 && !from_label;
            const bool wanted = feeds_prediction || (from_label && gradients_.labels != nullptr);
            if (f > 0) gather(from_label ? batch_.labels : prediction_, s_.F, f - 1, s_.O);
            step(s_.P + f, f > 0 ? s_.O : 0, wanted, padded(s_.O), weights_.decoder, sums.decoder);
            if (from_label && wanted) scatter(gradients_.labels, s_.F, f - 1, s_.O);
        }
        for (int64_t t = s_.P - 1; t >= 0; --t) {
            if (gradients_.of.states != nullptr)
                for (int64_t e = 0; e < elements; ++e)
                    add_rows(gradients_.of.states + ((first_ + e) * s_.P + t) * s_.N * s_.H, s_.N,
                             dh_[s_.L - 1] + e * s_.N * s_.width());
            gather(batch_.x, s_.P, t, s_.C);
            step(t, s_.C, gradients_.x != nullptr, padded(s_.C), weights_.encoder, sums.encoder);
            if (gradients_.x != nullptr) scatter(gradients_.x, s_.P, t, s_.C);
        }
        if (gradients_.initial != nullptr)
            for (int64_t l = 0; l < s_.L; ++l)
                copy_rows(dh_[l], s_.width(), tile_.rows(), s_.H,
                          gradients_.initial + (l * s_.B + first_) * s_.N * s_.H, s_.H);
    }

  private:
    static constexpr int kLoaded = 5;

    // What reaches layer l's last state from outside, and its state before the first step.
    void begin(int64_t l) {
        const int64_t offset = (l * s_.B + first_) * s_.N * s_.H;
        std::fill_n(dh_[l], tile_.pitch, T(0));
        if (gradients_.of.last != nullptr) add_rows(gradients_.of.last + offset, tile_.rows(), dh_[l]);
        if (batch_.initial != nullptr)
            copy_rows(batch_.initial + offset, s_.H, tile_.rows(), s_.H, initial_[l], s_.width());
    }

    // Adds rows of H numbers to rows of a panel.
    void add_rows(const T* from, int64_t rows, T* to) const {
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t j = 0; j < s_.H; ++j) to[i * s_.width() + j] += from[i * s_.H + j];
    }

    // input_ = step t of an array (B, steps, N, channels).
    void gather(const T* from, int64_t steps, int64_t t, int64_t channels) {
        const int64_t count = s_.N * channels;
        for (int64_t e = 0; e < tile_.elements; ++e)
            std::copy_n(from + ((first_ + e) * steps + t) * count, count, input_ + e * count);
    }

    // Step t of an array (B, steps, N, channels) = d_input_.
    void scatter(T* to, int64_t steps, int64_t t, int64_t channels) const {
        for (int64_t e = 0; e < tile_.elements; ++e)
            for (int64_t n = 0; n < s_.N; ++n)
                std::copy_n(d_input_ + (e * s_.N + n) * padded(channels), channels,
                            to + (((first_ + e) * steps + t) * s_.N + n) * channels);
    }

    // A saved panel, as T. `where` is which of loaded_ to use.
    const T* load(Saved::Kind kind, int64_t t, int64_t l, int where) {
        const int64_t offset = Saved::offset(s_, kind, t, l, first_);
        if constexpr (sizeof(T) == 4)
            if (saved_.bf16) {
                tile_.kernels.from_bf16(static_cast<const uint16_t*>(saved_.data) + offset, tile_.rows() * s_.width(),
                                        loaded_[where]);
                return loaded_[where];
            }
        return static_cast<const T*>(saved_.data) + offset;
    }

    // The projection's gradients at step f, and the last layer's dh.
    void predict_backward(int64_t f, bool add_input_gradient, Sums<T>& sums) {
        for (int64_t e = 0; e < tile_.elements; ++e) {
            const T* from = gradients_.of.prediction + ((first_ + e) * s_.F + f) * s_.N * s_.O;
            std::copy_n(from, s_.N * s_.O, d_prediction_ + e * s_.N * s_.O);
        }
        const int64_t rows = tile_.rows(), last = s_.L - 1, W = s_.width();
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t o = 0; o < s_.O; ++o) {
                T& d = d_prediction_[i * s_.O + o];
                if (add_input_gradient) d += d_input_[i * padded(s_.O) + o];
                sums.projection_bias[o] += d;
            }
        const T* h = load(Saved::kState, s_.P + f, last, 0);
        tile_.kernels.gemm_transposed(d_prediction_, s_.O, s_.O, h, W, sums.projection_weight, W, rows, W);
        tile_.panels.assign(1, {d_prediction_, s_.O, s_.O});
        tile_.multiply(weights_.projection, nullptr, [&](int64_t row, int64_t count) {
            tile_.kernels.add(tile_.product, W, count, W, dh_[last] + row * W, W);
        });
    }

    // All layers of step t; input_ holds the first layer's input (channels 0: it was zero), d_input_ gets its gradient.
    void step(int64_t t, int64_t channels, bool d_input_wanted, int64_t d_input_width,
              const std::vector<BackwardCell<T>>& cells, std::vector<CellSums<T>>& sums) {
        for (int64_t l = s_.L - 1; l > 0; --l) {
            const T* below = load(Saved::kState, t, l - 1, 0);
            cell(cells[l], t, l, below, s_.width(), s_.H, dh_[l - 1], s_.width(), sums[l]);
        }
        if (d_input_wanted) std::fill_n(d_input_, tile_.rows() * d_input_width, T(0));
        cell(cells[0], t, 0, input_, channels, channels, d_input_wanted ? d_input_ : nullptr, d_input_width, sums[0]);
    }

    // One cell: dh_[l] goes from the state after it to the state before it; d_input (or null) is added to.
    void cell(const BackwardCell<T>& weights, int64_t t, int64_t l, const T* input, int64_t input_stride,
              int64_t input_columns, T* d_input, int64_t d_input_width, CellSums<T>& sums) {
        const Kernels<T>& kernels = tile_.kernels;
        const int64_t W = s_.width(), rows = tile_.rows(), M = s_.M;
        // Where the state before the first step is zero, r gets no gradient, and nobody asks for the state's.
        const bool from_zero = t == 0 && batch_.initial == nullptr;
        const T* h = t == 0 ? initial_[l] : load(Saved::kState, t - 1, l, 1);
        const T* r = load(Saved::kReset, t, l, 2);
        T* d_candidate = diffused_[kCandidateGate];
        T* d_u = diffused_[kUpdateGate];
        T* d_r = diffused_[kResetGate];
        kernels.backward_blend(rows * W, r, load(Saved::kUpdate, t, l, 3), load(Saved::kCandidate, t, l, 4), h, dh_[l],
                               d_candidate, d_u, reset_);
        diffuse(d_candidate);
        diffuse(d_u);
        if (!from_zero) {
            tile_.panels.clear();
            append(d_candidate);
            tile_.multiply(weights.reset, nullptr, [&](int64_t row, int64_t count) {
                const int64_t at = row * W;
                kernels.backward_reset(tile_.product, W, count, W, r + at, h + at, d_r + at, dh_[l] + at);
            });
            diffuse(d_r);
            tile_.panels.clear();
            append(d_u);
            append(d_r);
            tile_.multiply(weights.state, nullptr, [&](int64_t row, int64_t count) {
                kernels.add(tile_.product, W, count, W, dh_[l] + row * W, W);
            });
        }
        const int gates = from_zero ? kResetGate : kGates;
        if (d_input != nullptr) {
            tile_.panels.clear();
            for (int gate = 0; gate < gates; ++gate) append(diffused_[gate]);
            tile_.multiply(weights.input, nullptr, [&](int64_t row, int64_t count) {
                kernels.add(tile_.product, d_input_width, count, d_input_width, d_input + row * d_input_width,
                            d_input_width);
            });
        }
        for (int gate = 0; gate < gates; ++gate) {
            const T* state = gate == kCandidateGate ? reset_ : h;
            kernels.add_column_sums(diffused_[gate], rows, W, sums.bias + gate * W);
            for (int64_t m = 0; m < M; ++m) {
                const T* q = diffused_[gate] + m * tile_.pitch;
                if (!from_zero)
                    kernels.gemm_transposed(state, W, s_.H, q, W, sums.state + (gate * M + m) * s_.H * W, W, rows, W);
                if (input_columns > 0)
                    kernels.gemm_transposed(input, input_stride, input_columns, q, W,
                                            sums.input + (gate * M + m) * input_columns * W, W, rows, W);
            }
        }
    }

    void diffuse(T* q) const { tile_.diffuse(model_.transposed, q, q + tile_.pitch); }
    void append(T* q) { tile_.append({q, q + tile_.pitch}); }

    const Model<T>& model_;
    const BackwardWeights<T>& weights_;
    const Batch<T>& batch_;
    const T* prediction_;
    Saved saved_;
    const Gradients<T>& gradients_;
    const Sizes& s_;
    Tile<T> tile_;
    int64_t first_ = 0;
    T* diffused_[kGates];  // each M panels: the gradient before the gate's activation, and its diffusions
    std::vector<T*> dh_, initial_;
    T *reset_, *input_, *d_input_, *d_prediction_;
    T* loaded_[kLoaded] = {};
};

}  // namespace

template <class T>
void backward(const Model<T>& model, const Kernels<T>& kernels, const Batch<T>& batch, const T* prediction, Saved saved,
              const Gradients<T>& gradients, const Parallel& parallel) {
    const Sizes& s = model.sizes;
    const BackwardWeights<T> weights = pack_backward(model, kernels);
    const int64_t elements = std::min(tile_elements(s), std::max<int64_t>(s.B, 1));
    const int64_t tiles = (s.B + elements - 1) / elements, partitions = std::max<int64_t>(partition_count(tiles), 1);
    Arena counter;
    Sums<T>(counter, model);
    std::vector<Arena> memory;
    std::vector<Sums<T>> sums;
    for (int64_t p = 0; p < partitions; ++p) {
        memory.emplace_back(counter.used());
        sums.emplace_back(memory.back(), model);
    }
    parallel(tiles == 0 ? 0 : partitions, [&](int64_t first, int64_t last) {
        const auto make = [&](Arena& arena) {
            return BackwardTiles<T>(arena, model, kernels, weights, batch, prediction, saved, gradients, elements);
        };
        Arena count;
        make(count);
        Arena arena(count.used());
        auto run = make(arena);
        for (int64_t p = first; p < last; ++p)
            for (int64_t tile = p * tiles / partitions; tile < (p + 1) * tiles / partitions; ++tile)
                run.run(tile * elements, std::min(elements, s.B - tile * elements), sums[p]);
    });
    add_partitions(kernels, memory, counter.used() / static_cast<int64_t>(sizeof(T)), parallel);
    write_gradients(model, sums[0], gradients, parallel);
}

template void backward(const Model<float>&, const Kernels<float>&, const Batch<float>&, const float*, Saved,
                       const Gradients<float>&, const Parallel&);
template void backward(const Model<double>&, const Kernels<double>&, const Batch<double>&, const double*, Saved,
                       const Gradients<double>&, const Parallel&);

}  // namespace dcrnn
