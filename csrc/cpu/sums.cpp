#include "csrc/cpu/sums.h"

#include <algorithm>

namespace dcrnn {
namespace {

template <class T>
void write_cell(const Sizes& s, int64_t channels, const CellSums<T>& sums, const CellGradients<T>& to) {
    const int64_t W = s.width(), H = s.H, M = s.M;
    for (int64_t m = 0; m < M; ++m)
        for (int64_t feature = 0; feature < channels + H; ++feature) {
            const int64_t row = feature * M + m;
            const auto from = [&](Gate gate) {
                return feature < channels ? sums.input + ((gate * M + m) * channels + feature) * W
                                          : sums.state + ((gate * M + m) * H + feature - channels) * W;
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

template <class T>
void add_partitions(const Kernels<T>& kernels, std::vector<Arena>& partitions, int64_t numbers,
                    const Parallel& parallel) {
    constexpr int64_t kPiece = 4096;
    parallel((numbers + kPiece - 1) / kPiece, [&](int64_t first, int64_t last) {
        for (int64_t piece = first; piece < last; ++piece) {
            const int64_t start = piece * kPiece, width = std::min(kPiece, numbers - start);
            for (size_t p = 1; p < partitions.size(); ++p)
                kernels.add(partitions[p].template numbers<T>() + start, 0, 1, width,
                            partitions[0].template numbers<T>() + start, 0);
        }
    });
}

template <class T>
void write_gradients(const Model<T>& model, const Sums<T>& sums, const Gradients<T>& gradients,
                     const Parallel& parallel) {
    const int64_t encoder_cells = model.encoder.size(), cells = encoder_cells + model.decoder.size();
    parallel(cells, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
            const bool encoder = i < encoder_cells;
            const int64_t l = encoder ? i : i - encoder_cells;
            write_cell(model.sizes, (encoder ? model.encoder : model.decoder)[l].channels,
                       (encoder ? sums.encoder : sums.decoder)[l],
                       (encoder ? gradients.encoder : gradients.decoder)[l]);
        }
    });
    const Sizes& s = model.sizes;
    for (int64_t o = 0; o < s.O; ++o)
        std::copy_n(sums.projection_weight + o * s.width(), s.H, gradients.projection_weight + o * s.H);
    std::copy_n(sums.projection_bias, s.O, gradients.projection_bias);
}

template void add_partitions(const Kernels<float>&, std::vector<Arena>&, int64_t, const Parallel&);
template void add_partitions(const Kernels<double>&, std::vector<Arena>&, int64_t, const Parallel&);
template void write_gradients(const Model<float>&, const Sums<float>&, const Gradients<float>&, const Parallel&);
template void write_gradients(const Model<double>&, const Sums<double>&, const Gradients<double>&, const Parallel&);

}  // namespace dcrnn
