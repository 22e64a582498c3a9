// The encoder-decoder's forward: every tile goes through all steps and layers before the next one starts.
#include "csrc/cpu/segment.h"
#include "csrc/cpu/seq2seq.h"

namespace dcrnn {
namespace {

template <class S>
class ForwardTiles {
  public:
    ForwardTiles(Arena& arena, const Model<S>& model, const Kernels<S>& kernels, const ForwardWeights<S>& weights,
                 const Batch<S>& batch, const Outputs<S>& outputs, Saved<S> saved, int64_t elements,
                 const Threads* threads)
        : weights_(weights),
          outputs_(outputs),
          saved_(saved),
          s_(model.sizes),
          tile_(arena, kernels, s_, elements, std::max(2 * padded<S>(s_.H), padded<S>(s_.O)), model.terms.sums,
                threads),
          input_(arena, model, batch, outputs.prediction, false, elements),
          segment_(arena, arena.take<S>(Segment<S>::panels(s_) * tile_.pitch), model, weights, batch, input_, tile_),
          unsaved_{nullptr, tile_.take_panel(arena), tile_.take_panel(arena), tile_.take_panel(arena)} {}

    void run(int64_t first, int64_t elements) {
        first_ = first;
        tile_.elements = elements;
        input_.forget();
        segment_.start(first);
        for (int64_t t = 0; t < s_.steps(); ++t) {
            segment_.step(t, t, s_.steps(), [&](int64_t l) {
                return saved_.every == Saved<S>::kSaveAll ? saved_.slot(s_, t, l, first_) : unsaved_;
            });
            if (saved_.keeps(s_, t))
                for (int64_t l = 0; l < s_.L; ++l)
                    std::copy_n(segment_.state(l), tile_.rows() * tile_.width, saved_.state(s_, t, l, first_));
            if (t < s_.P && outputs_.states != nullptr)
                for (int64_t e = 0; e < elements; ++e)
                    write_state(s_.L - 1, e, outputs_.states + ((first_ + e) * s_.P + t) * s_.N * s_.H);
            if (t == s_.P - 1 && outputs_.last != nullptr)
                for (int64_t l = 0; l < s_.L; ++l)
                    for (int64_t e = 0; e < elements; ++e)
                        write_state(l, e, outputs_.last + (l * s_.B + first_ + e) * s_.N * s_.H);
            if (t >= s_.P) project(t - s_.P);
        }
    }

  private:
    void write_state(int64_t l, int64_t e, S* to) const {
        copy_rows(segment_.state(l) + e * s_.N * tile_.width, tile_.width, s_.N, s_.H, to, s_.H);
    }

    void project(int64_t f) {
        tile_.panels.assign(1, {segment_.state(s_.L - 1), tile_.width, tile_.width});
        tile_.multiply(weights_.projection, weights_.projection_bias, [&](auto* product, int64_t row, int64_t count) {
            for (int64_t i = row; i < row + count; ++i) {
                const int64_t e = i / s_.N, n = i % s_.N;
                narrow_rows(product + (i - row) * weights_.projection.columns, 0, 1, s_.O,
                            outputs_.prediction + (((first_ + e) * s_.F + f) * s_.N + n) * s_.O, 0);
            }
        });
    }

    const ForwardWeights<S>& weights_;
    const Outputs<S>& outputs_;
    Saved<S> saved_;
    const Sizes& s_;
    Tile<S> tile_;
    FirstInput<S> input_;
    Segment<S> segment_;
    Slot<S> unsaved_;
    int64_t first_ = 0;
};

}  // namespace

template <class S>
void forward(const Model<S>& given, const Kernels<S>& kernels, const Batch<S>& batch, const Outputs<S>& outputs,
             Saved<S> saved, const Threads& threads) {
    Model<S> model = given;
    const Sizes& s = model.sizes;
    if (s.B == 0) return;
    const Tiles tiles(s);
    const Ready<S> terms(kernels, given.terms, tiles.most), input_terms(kernels, given.terms, 1);
    model.terms = terms.get(), model.input_terms = input_terms.get();
    const ForwardWeights<S> weights = pack_forward(model, kernels);
    over_tiles(
        threads, tiles, tiles.count,
        [&](Arena& arena, const Threads* crew) {
            return ForwardTiles<S>(arena, model, kernels, weights, batch, outputs, saved, tiles.most, crew);
        },
        [&](ForwardTiles<S>& run, int64_t first, int64_t last) {
            for (int64_t tile = first; tile < last; ++tile) run.run(tiles.first(tile), tiles.elements(tile));
        });
}

template void forward(const Model<float>&, const Kernels<float>&, const Batch<float>&, const Outputs<float>&,
                      Saved<float>, const Threads&);
template void forward(const Model<double>&, const Kernels<double>&, const Batch<double>&, const Outputs<double>&,
                      Saved<double>, const Threads&);
template void forward(const Model<bf16>&, const Kernels<bf16>&, const Batch<bf16>&, const Outputs<bf16>&, Saved<bf16>,
                      const Threads&);

}  // namespace dcrnn
