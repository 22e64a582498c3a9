#include "csrc/cpu/sums.h"

#include <algorithm>

namespace dcrnn {
namespace {

template <class S>
void write_cell(const Sizes& s, int64_t channels, bool first, const CellSums<S>& sums,
                const CellGradients<Accumulator<S>>& to) {
    const int64_t W = padded<S>(s.H), H = s.H, M = s.M, joined = joined_width<S>(s, channels);
    for (int64_t m = 0; m < M; ++m)
        for (int64_t feature = 0; feature < channels + H; ++feature) {
            const int64_t row = feature * M + m;
            const auto from = [&](Gate gate) {
                if (feature >= channels) return sums.state + ((gate * M + m) * W + feature - channels) * W;
                return first ? sums.input + (gate * joined + m * channels + feature) * W
                             : sums.input + ((gate * M + m) * W + feature) * W;
            };
            std::copy_n(from(kResetGate), H, to.gate_weight + row * 2 * H);
            std::copy_n(from(kUpdateGate), H, to.gate_weight + row * 2 * H + H);
            std::copy_n(from(kCandidateGate), H, to.candidate_weight + row * H);
        }
    std::copy_n(sums.bias + kResetGate * W, H, to.gate_bias);
    std::copy_n(sums.bias + kUpdateGate * W, H, to.gate_bias + H);
    std::copy_n(sums.bias + kCandidateGate * W, H, to.candidate_bias);
}

}  // namespace

template <class S>
void add_partitions(const Kernels<S>& kernels, std::vector<Arena>& partitions, int64_t numbers,
                    const Threads& threads) {
    using A = Accumulator<S>;
    constexpr int64_t kPiece = 4096;
    if (partitions.size() == 1) return;
    threads.parallel((numbers + kPiece - 1) / kPiece, [&](int64_t first, int64_t last) {
        for (int64_t piece = first; piece < last; ++piece) {
            const int64_t start = piece * kPiece, width = std::min(kPiece, numbers - start);
            for (size_t p = 1; p < partitions.size(); ++p)
                kernels.add(partitions[p].template numbers<A>() + start, 0, 1, width,
                            partitions[0].template numbers<A>() + start, 0);
        }
    });
}

template <class S>
void write_gradients(const Model<S>& model, const Sums<S>& sums, const Gradients<S>& gradients,
                     const Threads& threads) {
    const int64_t encoder_cells = model.encoder.size(), cells = encoder_cells + model.decoder.size();
    threads.parallel(cells, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
            const bool encoder = i < encoder_cells;
            const int64_t l = encoder ? i : i - encoder_cells;
            write_cell(model.sizes, (encoder ? model.encoder : model.decoder)[l].channels, l == 0,
                       (encoder ? sums.encoder : sums.decoder)[l],
                       (encoder ? gradients.encoder : gradients.decoder)[l]);
        }
    });
    const Sizes& s = model.sizes;
    for (int64_t o = 0; o < s.O; ++o)
        std::copy_n(sums.projection_weight + o * padded<S>(s.H), s.H, gradients.projection_weight + o * s.H);
    std::copy_n(sums.projection_bias, s.O, gradients.projection_bias);
}

template void add_partitions(const Kernels<float>&, std::vector<Arena>&, int64_t, const Threads&);
template void add_partitions(const Kernels<double>&, std::vector<Arena>&, int64_t, const Threads&);
template void add_partitions(const Kernels<bf16>&, std::vector<Arena>&, int64_t, const Threads&);
template void write_gradients(const Model<float>&, const Sums<float>&, const Gradients<float>&, const Threads&);
template void write_gradients(const Model<double>&, const Sums<double>&, const Gradients<double>&, const Threads&);
template void write_gradients(const Model<bf16>&, const Sums<bf16>&, const Gradients<bf16>&, const Threads&);

}  // namespace dcrnn
