#include "csrc/cpu/pack.h"

#include <algorithm>

namespace dcrnn {
namespace {

template <class T>
T* pack_bias(Arena& arena, int64_t columns, const T* first, int64_t count, int64_t at, T* into = nullptr) {
    T* bias = into ? into : arena.take<T>(columns);
    if (bias) std::copy_n(first, count, bias + at);
    return bias;
}

template <class T>
void pack_cell(Arena& arena, const Kernels<T>& kernels, const Sizes& s, const CellWeights<T>& weights,
               ForwardCell<T>& cell) {
    const int64_t X = weights.channels, H = s.H, W = s.width(), M = s.M, depth = (X + H) * M;
    const auto source_row = [=](int64_t k) {
        const bool of_input = k < M * X;
        const int64_t in_part = of_input ? k : k - M * X, part = of_input ? X : H;
        return (in_part % part + (of_input ? 0 : X)) * M + in_part / part;
    };
    pack(arena, kernels.block_columns, depth, 2 * W, cell.gates, [&](int64_t k, T* row) {
        const T* from = weights.gate_weight + source_row(k) * 2 * H;
        std::copy_n(from, H, row);
        std::copy_n(from + H, H, row + W);
    });
    pack(arena, kernels.block_columns, depth, W, cell.candidate,
         [&](int64_t k, T* row) { std::copy_n(weights.candidate_weight + source_row(k) * H, H, row); });
    cell.gate_bias = pack_bias(arena, 2 * W, weights.gate_bias, H, 0);
    pack_bias(arena, 2 * W, weights.gate_bias + H, H, W, cell.gate_bias ? cell.gate_bias : nullptr);
    cell.candidate_bias = pack_bias(arena, W, weights.candidate_bias, H, 0);
}

template <class T>
void pack_cell(Arena& arena, const Kernels<T>& kernels, const Sizes& s, const CellWeights<T>& weights,
               BackwardCell<T>& cell) {
    const int64_t X = weights.channels, H = s.H, M = s.M, block = kernels.block_columns;
    // Row k of the transpose: over features [first, first + count), unit k % H of term k / H.
    const auto transposed_row = [=](const T* weight, int64_t columns, int64_t k, int64_t first, int64_t count, T* row) {
        for (int64_t i = 0; i < count; ++i) row[i] = weight[((first + i) * M + k / H) * columns + k % H];
    };
    const T* r_weight = weights.gate_weight;
    const T* u_weight = weights.gate_weight + H;
    pack(arena, block, M * H, s.width(), cell.reset,
         [&](int64_t k, T* row) { transposed_row(weights.candidate_weight, H, k, X, H, row); });
    pack(arena, block, 2 * M * H, s.width(), cell.state,
         [&](int64_t k, T* row) { transposed_row(k < M * H ? u_weight : r_weight, 2 * H, k % (M * H), X, H, row); });
    pack(arena, block, 3 * M * H, padded(X), cell.input, [&](int64_t k, T* row) {
        const int64_t gate = k / (M * H);
        const T* weight = gate == 0 ? weights.candidate_weight : gate == 1 ? u_weight : r_weight;
        transposed_row(weight, gate == 0 ? H : 2 * H, k % (M * H), 0, X, row);
    });
}

}  // namespace

template <class T>
ForwardWeights<T> pack_forward(const Model<T>& model, const Kernels<T>& kernels) {
    const Sizes& s = model.sizes;
    ForwardWeights<T> packed;
    packed.encoder.resize(model.encoder.size());
    packed.decoder.resize(model.decoder.size());
    const auto lay_out = [&](Arena& arena) {
        for (size_t l = 0; l < model.encoder.size(); ++l)
            pack_cell(arena, kernels, s, model.encoder[l], packed.encoder[l]);
        for (size_t l = 0; l < model.decoder.size(); ++l)
            pack_cell(arena, kernels, s, model.decoder[l], packed.decoder[l]);
        pack(arena, kernels.block_columns, s.H, padded(s.O), packed.projection, [&](int64_t k, T* row) {
            for (int64_t o = 0; o < s.O; ++o) row[o] = model.projection_weight[o * s.H + k];
        });
        packed.projection_bias = pack_bias(arena, padded(s.O), model.projection_bias, s.O, 0);
    };
    packed.memory = laid_out(lay_out);
    return packed;
}

template <class T>
BackwardWeights<T> pack_backward(const Model<T>& model, const Kernels<T>& kernels) {
    const Sizes& s = model.sizes;
    BackwardWeights<T> packed;
    packed.encoder.resize(model.encoder.size());
    packed.decoder.resize(model.decoder.size());
    const auto lay_out = [&](Arena& arena) {
        for (size_t l = 0; l < model.encoder.size(); ++l)
            pack_cell(arena, kernels, s, model.encoder[l], packed.encoder[l]);
        for (size_t l = 0; l < model.decoder.size(); ++l)
            pack_cell(arena, kernels, s, model.decoder[l], packed.decoder[l]);
        pack(arena, kernels.block_columns, s.O, s.width(), packed.projection,
             [&](int64_t k, T* row) { std::copy_n(model.projection_weight + k * s.H, s.H, row); });
    };
    packed.memory = laid_out(lay_out);
    return packed;
}

template ForwardWeights<float> pack_forward(const Model<float>&, const Kernels<float>&);
template ForwardWeights<double> pack_forward(const Model<double>&, const Kernels<double>&);
template BackwardWeights<float> pack_backward(const Model<float>&, const Kernels<float>&);
template BackwardWeights<double> pack_backward(const Model<double>&, const Kernels<double>&);

}  // namespace dcrnn
