// The encoder-decoder's backward: per tile, from the last step to the first. Gradients are diffused before they are
// multiplied, so that one diffusion serves the weights' gradient and the input's, and nothing but h, r, u, c is needed.
// If forward kept states only, each segment's h, r, u, c are computed again first.
#include <optional>

#include "csrc/cpu/segment.h"
#include "csrc/cpu/seq2seq.h"
#include "csrc/cpu/sums.h"

namespace dcrnn {
namespace {

template <class S>
class BackwardTiles {
  public:
    using A = Accumulator<S>;

    BackwardTiles(Arena& arena, const Model<S>& model, const Kernels<S>& kernels, const BackwardWeights<S>& weights,
                  const ForwardWeights<S>& forward_weights, const Batch<S>& batch, const S* prediction, Saved<S> saved,
                  const Gradients<S>& gradients, int64_t elements, const Threads* threads)
        : model_(model),
          weights_(weights),
          batch_(batch),
          saved_(saved),
          gradients_(gradients),
          s_(model.sizes),
          tile_(arena, kernels, s_, elements,
                std::max({2 * padded<S>(s_.H), padded<S>(s_.C), padded<S>(s_.decoder_channels())}),
                std::max(model.terms.sums, model.transposed.sums), threads),
          input_(arena, model, batch, prediction, true, elements) {
        const int64_t rows = elements * s_.N;
        const bool again = saved.every != Saved<S>::kSaveAll;
        const int64_t own = 1 + kGates * (again ? std::max<int64_t>(s_.M - 1, 1) : s_.M);
        // A segment that is computed again is done with its panels before gradients are diffused.
        S* panels = arena.take<S>(std::max(own, again ? Segment<S>::panels(s_) : 0) * tile_.pitch);
        if (again) segment_.emplace(arena, panels, model, forward_weights, batch, input_, tile_);
        reset_ = panels;
        for (int gate = 0; panels != nullptr && gate < kGates; ++gate) {
            diffused_[gate] = panels + (1 + gate * (s_.M - 1)) * tile_.pitch;
            gradient_[gate] = again ? nullptr : panels + (1 + kGates * (s_.M - 1) + gate) * tile_.pitch;
        }
        for (int64_t l = 0; l < s_.L; ++l) {
            dh_.push_back(arena.take<A>(rows * tile_.width));
            if (batch.initial != nullptr) initial_.push_back(tile_.take_zero_panel(arena));
        }
        d_input_ = arena.take<A>(rows * std::max(padded<S>(s_.C), padded<S>(s_.decoder_channels())));
        d_prediction_ = arena.take_zeros<S>((rows + kRowSlack) * padded<S>(s_.O));
        for (int64_t i = 0; again && i < saved.every * s_.L; ++i) {
            // The segment itself holds the states after its last step.
            S* h = i < (saved.every - 1) * s_.L ? tile_.take_panel(arena) : nullptr;
            again_.push_back({h, tile_.take_panel(arena), tile_.take_panel(arena), tile_.take_panel(arena)});
        }
    }

    void run(int64_t first, int64_t elements, Sums<S>& sums) {
        first_ = first;
        tile_.elements = elements;
        input_.forget();
        for (int64_t l = 0; l < s_.L; ++l) begin(l);
        feeds_prediction_ = false;
        const int64_t steps = s_.steps(), length = std::min(saved_.segment(s_), steps);
        for (int64_t start = (steps - 1) / length * length; start >= 0; start -= length) {
            const int64_t end = std::min(start + length, steps);
            segment_start_ = start;
            if (segment_) compute_again(start, end);
            for (int64_t t = end - 1; t >= start; --t) t < s_.P ? past_step(t, sums) : future_step(t, sums);
        }
        if (gradients_.initial != nullptr)
            for (int64_t l = 0; l < s_.L; ++l)
                narrow_rows(dh_[l], tile_.width, tile_.rows(), s_.H,
                            gradients_.initial + (l * s_.B + first_) * s_.N * s_.H, s_.H);
    }

  private:
    // The gradient that layer l's last state gets from outside, and its state before the first step.
    void begin(int64_t l) {
        const int64_t offset = (l * s_.B + first_) * s_.N * s_.H;
        std::fill_n(dh_[l], tile_.rows() * tile_.width, A(0));
        if (gradients_.of.last != nullptr) add_rows(gradients_.of.last + offset, tile_.rows(), dh_[l]);
        if (batch_.initial != nullptr)
            copy_rows(batch_.initial + offset, s_.H, tile_.rows(), s_.H, initial_[l], tile_.width);
    }

    // Adds rows of H numbers to rows of a panel.
    void add_rows(const S* from, int64_t rows, A* to) const {
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t j = 0; j < s_.H; ++j) to[i * tile_.width + j] += widened(from[i * s_.H + j]);
    }

    void compute_again(int64_t start, int64_t end) {
        if (start == 0)
            segment_->start(first_);
        else
            segment_->resume(first_, [&](int64_t l) { return saved_.state(s_, start - 1, l, first_); });
        for (int64_t t = start; t < end; ++t)
            segment_->step(t, inputs_from(t), end, [&](int64_t l) { return again(t, l); });
        // What was loaded on the way forward may be any part of the segment.
        if (saved_.every > 1) input_.forget();
    }

    // The first step whose input is loaded beside that of t. A segment of one step is computed again and gone back
    // through with the same inputs, which stay; a longer one loads its own only.
    int64_t inputs_from(int64_t t) const {
        const int64_t phase = t < s_.P ? 0 : s_.P;
        return segment_ && saved_.every > 1 ? std::max(phase, segment_start_) : phase;
    }

    const Slot<S>& again(int64_t t, int64_t l) const { return again_[(t - segment_start_) * s_.L + l]; }

    // h, r, u and c of a step of the segment.
    Slot<S> slot(int64_t t, int64_t l) const {
        if (!segment_) return saved_.slot(s_, t, l, first_);
        Slot<S> found = again(t, l);
        if (found.h == nullptr) found.h = segment_->state(l);
        return found;
    }

    const S* state_before(int64_t t, int64_t l) const {
        if (t == 0) return initial_[l];
        return segment_ && t == segment_start_ ? saved_.state(s_, t - 1, l, first_) : slot(t - 1, l).h;
    }

    void future_step(int64_t t, Sums<S>& sums) {
        const int64_t f = t - s_.P;
        predict_backward(f, sums);
        const bool from_label = f > 0 && batch_.feed_label[f - 1];
        feeds_prediction_ = f > 0 && !from_label;
        Panel<S> input{nullptr, 0, 0};
        // The first step reads what is known, or nothing but zeros.
        const int64_t first_read = s_.K > 0 ? 0 : 1;
        if (f >= first_read) input = input_.panel(tile_, first_, t, std::max(inputs_from(t), s_.P + first_read), t + 1);
        const bool label_wanted = from_label && gradients_.labels != nullptr,
                   known_wanted = gradients_.known != nullptr;
        const int64_t wide = padded<S>(s_.decoder_channels());
        step(t, input, feeds_prediction_ || label_wanted || known_wanted, wide, weights_.decoder, sums.decoder);
        if (label_wanted) scatter(d_input_, wide, gradients_.labels, s_.F, f - 1, s_.O);
        if (known_wanted) scatter(d_input_ + s_.O, wide, gradients_.known, s_.F, f, s_.K);
    }

    void past_step(int64_t t, Sums<S>& sums) {
        if (gradients_.of.states != nullptr)
            for (int64_t e = 0; e < tile_.elements; ++e)
                add_rows(gradients_.of.states + ((first_ + e) * s_.P + t) * s_.N * s_.H, s_.N,
                         dh_[s_.L - 1] + e * s_.N * tile_.width);
        const Panel<S> input = input_.panel(tile_, first_, t, inputs_from(t), t + 1);
        step(t, input, gradients_.x != nullptr, padded<S>(s_.C), weights_.encoder, sums.encoder);
        if (gradients_.x != nullptr) scatter(d_input_, padded<S>(s_.C), gradients_.x, s_.P, t, s_.C);
    }

    // Step t of an array (B, steps, N, channels) = `from`, whose rows are `stride` numbers apart.
    void scatter(const A* from, int64_t stride, S* to, int64_t steps, int64_t t, int64_t channels) const {
        for (int64_t e = 0; e < tile_.elements; ++e)
            narrow_rows(from + e * s_.N * stride, stride, s_.N, channels,
                        to + ((first_ + e) * steps + t) * s_.N * channels, channels);
    }

    // The projection's gradients at step f, and the last layer's dh.
    void predict_backward(int64_t f, Sums<S>& sums) {
        const int64_t O = s_.O, wide = padded<S>(O), d_input_wide = padded<S>(s_.decoder_channels()), W = tile_.width;
        for (int64_t start = 0; start < tile_.rows(); start += kSumRows)
            for (int64_t o = 0; o < O; ++o) {
                A sum = 0;
                for (int64_t i = start; i < std::min(start + kSumRows, tile_.rows()); ++i) {
                    const int64_t window = (first_ + i / s_.N) * s_.F + f;
                    A d = widened(gradients_.of.prediction[(window * s_.N + i % s_.N) * O + o]);
                    if (feeds_prediction_) d += d_input_[i * d_input_wide + o];
                    sum += d;
                    d_prediction_[i * wide + o] = narrowed<S>(d);
                }
                sums.projection_bias[o] += sum;
            }
        const Panel<S> d_prediction{d_prediction_, wide, wide};
        tile_.add_weight_gradients({d_prediction}, {{slot(s_.P + f, s_.L - 1).h, W, W}}, {sums.projection_weight});
        tile_.panels.assign(1, d_prediction);
        multiply_onto(weights_.projection, dh_[s_.L - 1], W);
    }

    // All layers of step t. `input` is the first layer's (no data: it was zero); d_input_ gets its gradient.
    void step(int64_t t, const Panel<S>& input, bool d_input_wanted, int64_t d_input_width,
              const std::vector<BackwardCell<S>>& cells, std::vector<CellSums<S>>& sums) {
        for (int64_t l = s_.L - 1; l > 0; --l) {
            cell(cells[l], t, l, {slot(t, l - 1).h, tile_.width, tile_.width}, sums[l]);
            multiply_onto(cells[l].input, dh_[l - 1], tile_.width);
        }
        cell(cells[0], t, 0, input, sums[0]);
        if (!d_input_wanted) return;
        std::fill_n(d_input_, tile_.rows() * d_input_width, A(0));
        multiply_onto(cells[0].input, d_input_, d_input_width);
    }

    // One cell: dh_[l] goes from the state after it to the state before it, the weights' gradients are added to sums,
    // and the operands of the product for the input's gradient are left in tile_.panels.
    void cell(const BackwardCell<S>& weights, int64_t t, int64_t l, const Panel<S>& input, CellSums<S>& sums) {
        const Kernels<S>& kernels = tile_.kernels;
        const int64_t W = tile_.width;
        // If the state before the first step is zero, r gets no gradient, and the state's is not wanted.
        const bool from_zero = t == 0 && batch_.initial == nullptr;
        const Slot<S> after = slot(t, l);
        // Numbers that were computed again are read once: the gradients take their places.
        if (segment_)
            gradient_[kCandidateGate] = after.c, gradient_[kUpdateGate] = after.u, gradient_[kResetGate] = after.r;
        S *d_candidate = gradient_[kCandidateGate], *d_u = gradient_[kUpdateGate], *d_r = gradient_[kResetGate];
        S* zeros = segment_ ? diffused_[kResetGate] : d_r;  // nothing else needs it then
        const S* h = from_zero ? zeros : state_before(t, l);
        A* dh = dh_[l];
        tile_.divide_rows([&](auto&, int64_t first, int64_t last) {
            const int64_t at = first * W;
            if (from_zero) std::fill_n(zeros + at, (last - first) * W, S{});
            kernels.backward_blend((last - first) * W, after.r + at, after.u + at, after.c + at, h + at, dh + at,
                                   d_candidate + at, d_u + at, reset_ + at);
        });
        // On a divided graph the rows of one gradient travel while another is diffused or multiplied.
        begin_exchange(kCandidateGate);
        begin_exchange(kUpdateGate);
        diffuse_begun(kCandidateGate);
        if (!from_zero) {
            tile_.panels.clear();
            append(kCandidateGate);
            tile_.multiply(weights.reset, nullptr, [&](const auto* product, int64_t row, int64_t count) {
                const int64_t at = row * W;
                kernels.backward_reset(product, W, count, W, after.r + at, h + at, d_r + at, dh + at);
            });
            begin_exchange(kResetGate);
        }
        diffuse_begun(kUpdateGate);
        const int gates = from_zero ? kResetGate : kGates;
        add_weight_gradients(kCandidateGate, kUpdateGate, from_zero, l, h, input, sums);
        if (!from_zero) {
            diffuse_begun(kResetGate);
            tile_.panels.clear();
            append(kUpdateGate);
            append(kResetGate);
            multiply_onto(weights.state, dh, W);
        }
        add_weight_gradients(kUpdateGate, gates, from_zero, l, h, input, sums);
        if (l == 0 && input.data != nullptr) add_input_gradients(gates, input, sums);
        tile_.panels.clear();
        for (int gate = 0; gate < gates; ++gate) append(gate);
    }

    // Of gates that share their left panels: the candidate beside reset, the others beside h.
    void add_weight_gradients(int from, int to, bool from_zero, int64_t l, const S* h, const Panel<S>& input,
                              CellSums<S>& sums) {
        const int64_t W = tile_.width, M = s_.M;
        tile_.crew.divide((to - from) * W, kLanes<S>, [&](auto&, int64_t first, int64_t last) {
            first += from * W, last += from * W;
            for (int64_t gate = first / W; gate * W < last; ++gate) {
                const int64_t start = std::max<int64_t>(first - gate * W, 0), end = std::min(last - gate * W, W);
                tile_.kernels.add_column_sums(gradient_[gate] + start, W, tile_.rows(), end - start,
                                              sums.bias + gate * W + start);
            }
        });
        left_.clear(), right_.clear(), results_.clear();
        for (int gate = from; gate < to; ++gate)
            for (int64_t m = 0; m < M; ++m)
                right_.push_back({m == 0 ? gradient_[gate] : diffused_[gate] + (m - 1) * tile_.pitch, W, W});
        if (l > 0) {
            left_.push_back(input);
            for (int64_t q = from * M; q < to * M; ++q) results_.push_back(sums.input + q * W * W);
        }
        if (!from_zero) {
            left_.push_back({from == kCandidateGate ? reset_ : h, W, W});
            for (int64_t q = from * M; q < to * M; ++q) results_.push_back(sums.state + q * W * W);
        }
        if (!left_.empty()) tile_.add_weight_gradients(left_, right_, results_);
    }

    // The first layer's input was diffused instead of its gates' gradients: its terms stand side by side in one panel.
    void add_input_gradients(int gates, const Panel<S>& input, CellSums<S>& sums) {
        const int64_t W = tile_.width;
        left_.assign(1, input);
        right_.clear(), results_.clear();
        for (int gate = 0; gate < gates; ++gate) {
            right_.push_back({gradient_[gate], W, W});
            results_.push_back(sums.input + gate * input.depth * W);
        }
        tile_.add_weight_gradients(left_, right_, results_);
    }

    // onto (rows x columns) += tile_.panels times b.
    void multiply_onto(const Packed<S>& b, A* onto, int64_t columns) {
        tile_.multiply(b, nullptr, [&](const auto* product, int64_t row, int64_t count) {
            tile_.kernels.add(product, columns, count, columns, onto + row * columns, columns);
        });
    }

    void begin_exchange(int gate) { tile_.begin_exchange(model_.transposed, gradient_[gate]); }
    void diffuse_begun(int gate) { tile_.diffuse_begun(model_.transposed, gradient_[gate], diffused_[gate]); }
    void append(int gate) { tile_.append(gradient_[gate], diffused_[gate]); }

    const Model<S>& model_;
    const BackwardWeights<S>& weights_;
    const Batch<S>& batch_;
    Saved<S> saved_;
    const Gradients<S>& gradients_;
    const Sizes& s_;
    Tile<S> tile_;
    FirstInput<S> input_;
    S* reset_;
    S* gradient_[kGates] = {};  // before the gates' activations
    S* diffused_[kGates] = {};  // each M-1 panels: its diffusions
    S* d_prediction_;
    A* d_input_;
    std::vector<A*> dh_;
    std::vector<S*> initial_;
    std::optional<Segment<S>> segment_;  // computes h, r, u, c again
    std::vector<Slot<S>> again_;
    int64_t first_ = 0, segment_start_ = 0;
    bool feeds_prediction_ = false;  // whether d_input_ is the gradient of the prediction of the step before
    std::vector<Panel<S>> left_, right_;
    std::vector<A*> results_;
};

}  // namespace

template <class S>
void backward(const Model<S>& given, const Kernels<S>& kernels, const Batch<S>& batch, const S* prediction,
              Saved<S> saved, const Gradients<S>& gradients, const Threads& threads) {
    Model<S> model = given;
    const Sizes& s = model.sizes;
    const Tiles tiles(s);
    const Ready<S> terms(kernels, given.terms, tiles.most), transposed(kernels, given.transposed, tiles.most),
        input_terms(kernels, given.terms, 1);
    model.terms = terms.get(), model.transposed = transposed.get(), model.input_terms = input_terms.get();
    const BackwardWeights<S> weights = pack_backward(model, kernels);
    const ForwardWeights<S> forward_weights =
        saved.every == Saved<S>::kSaveAll ? ForwardWeights<S>{} : pack_forward(model, kernels);
    const int64_t partitions = std::max<int64_t>(partition_count(tiles.count), 1);
    Arena counter;
    Sums<S>(counter, model);
    SumTree<S> tree(kernels, counter.used());
    over_tiles(
        threads, tiles, partitions,
        [&](Arena& arena, const Threads* crew) {
            return BackwardTiles<S>(arena, model, kernels, weights, forward_weights, batch, prediction, saved,
                                    gradients, tiles.most, crew);
        },
        [&](BackwardTiles<S>& run, int64_t first, int64_t last) {
            tree.add(first, last, [&](int64_t p, Arena& arena) {
                Sums<S> sums(arena, model);
                for (int64_t i = p * tiles.count / partitions; i < (p + 1) * tiles.count / partitions; ++i)
                    run.run(tiles.first(i), tiles.elements(i), sums);
            });
        });
    Arena& total = tree.total(threads);
    total.rewind();
    write_gradients(model, Sums<S>(total, model), gradients, threads);
}

template void backward(const Model<float>&, const Kernels<float>&, const Batch<float>&, const float*, Saved<float>,
                       const Gradients<float>&, const Threads&);
template void backward(const Model<double>&, const Kernels<double>&, const Batch<double>&, const double*, Saved<double>,
                       const Gradients<double>&, const Threads&);
template void backward(const Model<bf16>&, const Kernels<bf16>&, const Batch<bf16>&, const bf16*, Saved<bf16>,
                       const Gradients<bf16>&, const Threads&);

}  // namespace dcrnn
