#include "csrc/cpu/pack.h"

#include <algorithm>

#include "csrc/cpu/scalar.h"

namespace dcrnn {
namespace {

// `count` biases into a row of sums, if it has memory already and there are any.
template <class S>
void widen_into(Accumulator<S>* to, const S* from, int64_t count) {
    if (to == nullptr || from == nullptr) return;
    for (int64_t i = 0; i < count; ++i) to[i] = widened(from[i]);
}

template <class S>
void pack_cell(Arena& arena, const Kernels<S>& kernels, const Sizes& s, const CellWeights<S>& weights, bool first,
               ForwardCell<S>& cell) {
    const int64_t X = weights.channels, H = s.H, W = padded<S>(H), M = s.M;
    const int64_t input_depth = first ? padded<S>(M * X) : M * W, depth = input_depth + M * W;
    // The row of the released layout that stands at depth k, or -1: padding.
    const auto source_row = [=](int64_t k) -> int64_t {
        if (k < input_depth && first) return k < M * X ? k % X * M + k / X : -1;
        const int64_t at = k < input_depth ? k : k - input_depth, channel = at % W;
        return channel < H ? (channel + (k < input_depth ? 0 : X)) * M + at / W : -1;
    };
    pack(arena, kernels, depth, 2 * W, cell.gates, [&](int64_t k, S* row) {
        const int64_t source = source_row(k);
        if (source < 0) return;
        const S* from = weights.gate_weight + source * 2 * H;
        std::copy_n(from, H, row);
        std::copy_n(from + H, H, row + W);
    });
    pack(arena, kernels, depth, W, cell.candidate, [&](int64_t k, S* row) {
        const int64_t source = source_row(k);
        if (source >= 0) std::copy_n(weights.candidate_weight + source * H, H, row);
    });
    cell.gate_bias = arena.take<Accumulator<S>>(2 * W);
    widen_into(cell.gate_bias, weights.gate_bias, H);
    if (cell.gate_bias != nullptr) widen_into(cell.gate_bias + W, weights.gate_bias + H, H);
    cell.candidate_bias = arena.take<Accumulator<S>>(W);
    widen_into(cell.candidate_bias, weights.candidate_bias, H);
}

template <class S>
void pack_cell(Arena& arena, const Kernels<S>& kernels, const Sizes& s, const CellWeights<S>& weights,
               BackwardCell<S>& cell) {
    const int64_t X = weights.channels, H = s.H, W = padded<S>(H), M = s.M;
    // Depth k of the transpose, unit k % W of term k / W, over features [first, first + count).
    const auto transposed_row = [=](const S* weight, int64_t columns, int64_t k, int64_t first, int64_t count, S* row) {
        if (k % W >= H) return;
        for (int64_t i = 0; i < count; ++i) row[i] = weight[((first + i) * M + k / W) * columns + k % W];
    };
    const S* r_weight = weights.gate_weight;
    const S* u_weight = weights.gate_weight + H;
    pack(arena, kernels, M * W, W, cell.reset,
         [&](int64_t k, S* row) { transposed_row(weights.candidate_weight, H, k, X, H, row); });
    pack(arena, kernels, 2 * M * W, W, cell.state,
         [&](int64_t k, S* row) { transposed_row(k < M * W ? u_weight : r_weight, 2 * H, k % (M * W), X, H, row); });
    pack(arena, kernels, 3 * M * W, padded<S>(X), cell.input, [&](int64_t k, S* row) {
        const int64_t gate = k / (M * W);
        const S* weight = gate == 0 ? weights.candidate_weight : gate == 1 ? u_weight : r_weight;
        transposed_row(weight, gate == 0 ? H : 2 * H, k % (M * W), 0, X, row);
    });
}

}  // namespace

template <class S>
ForwardWeights<S> pack_forward(const Model<S>& model, const Kernels<S>& kernels) {
    const Sizes& s = model.sizes;
    ForwardWeights<S> packed;
    packed.encoder.resize(model.encoder.size());
    packed.decoder.resize(model.decoder.size());
    const auto lay_out = [&](Arena& arena) {
        for (size_t l = 0; l < model.encoder.size(); ++l)
            pack_cell(arena, kernels, s, model.encoder[l], l == 0, packed.encoder[l]);
        for (size_t l = 0; l < model.decoder.size(); ++l)
            pack_cell(arena, kernels, s, model.decoder[l], l == 0, packed.decoder[l]);
        pack(arena, kernels, padded<S>(s.H), padded<S>(s.O), packed.projection, [&](int64_t k, S* row) {
            for (int64_t o = 0; k < s.H && o < s.O; ++o) row[o] = model.projection_weight[o * s.H + k];
        });
        packed.projection_bias = arena.take<Accumulator<S>>(padded<S>(s.O));
        widen_into(packed.projection_bias, model.projection_bias, s.O);
    };
    packed.memory = laid_out(lay_out);
    return packed;
}

template <class S>
BackwardWeights<S> pack_backward(const Model<S>& model, const Kernels<S>& kernels) {
    const Sizes& s = model.sizes;
    BackwardWeights<S> packed;
    packed.encoder.resize(model.encoder.size());
    packed.decoder.resize(model.decoder.size());
    const auto lay_out = [&](Arena& arena) {
        for (size_t l = 0; l < model.encoder.size(); ++l)
            pack_cell(arena, kernels, s, model.encoder[l], packed.encoder[l]);
        for (size_t l = 0; l < model.decoder.size(); ++l)
            pack_cell(arena, kernels, s, model.decoder[l], packed.decoder[l]);
        pack(arena, kernels, padded<S>(s.O), padded<S>(s.H), packed.projection, [&](int64_t k, S* row) {
            if (k < s.O) std::copy_n(model.projection_weight + k * s.H, s.H, row);
        });
    };
    packed.memory = laid_out(lay_out);
    return packed;
}

template ForwardWeights<float> pack_forward(const Model<float>&, const Kernels<float>&);
template ForwardWeights<double> pack_forward(const Model<double>&, const Kernels<double>&);
template ForwardWeights<bf16> pack_forward(const Model<bf16>&, const Kernels<bf16>&);
template BackwardWeights<float> pack_backward(const Model<float>&, const Kernels<float>&);
template BackwardWeights<double> pack_backward(const Model<double>&, const Kernels<double>&);
template BackwardWeights<bf16> pack_backward(const Model<bf16>&, const Kernels<bf16>&);

}  // namespace dcrnn
