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
void SumTree<S>::add(int64_t first, int64_t last, const std::function<void(int64_t, Arena&)>& run) {
    std::vector<std::unique_ptr<Node>> here, spare;
    for (int64_t p = first; p < last; ++p) {
        if (spare.empty()) {
            here.push_back(std::make_unique<Node>(Node{p, 1, Arena(bytes_)}));
        } else {
            here.push_back(std::move(spare.back()));
            spare.pop_back();
            here.back()->sums.clear();
            here.back()->first = p, here.back()->count = 1;
        }
        run(p, here.back()->sums);
        while (here.size() > 1 && siblings(*here[here.size() - 2], *here.back())) {
            Node& left = *here[here.size() - 2];
            add_numbers({&left.sums, &here.back()->sums}, 0, numbers());
            left.count *= 2;
            spare.push_back(std::move(here.back()));
            here.pop_back();
        }
    }
    const std::lock_guard<std::mutex> locked(lock_);
    for (auto& node : here) nodes_.push_back(std::move(node));
}

template <class S>
Arena& SumTree<S>::total(const Threads& threads) {
    std::sort(nodes_.begin(), nodes_.end(), [](const auto& a, const auto& b) { return a->first < b->first; });
    std::vector<Node*> waiting;
    std::vector<Pair> pairs;
    for (const auto& node : nodes_) {
        waiting.push_back(node.get());
        while (waiting.size() > 1 && siblings(*waiting[waiting.size() - 2], *waiting.back())) {
            Node& left = *waiting[waiting.size() - 2];
            pairs.push_back({&left.sums, &waiting.back()->sums});
            left.count *= 2;
            waiting.pop_back();
        }
    }
    // If the count is no power of two, several trees remain.
    for (size_t i = 1; i < waiting.size(); ++i) pairs.push_back({&waiting[0]->sums, &waiting[i]->sums});
    constexpr int64_t kPiece = 4096;
    if (!pairs.empty())
        threads.parallel((numbers() + kPiece - 1) / kPiece, [&](int64_t first, int64_t last) {
            const int64_t start = first * kPiece, count = std::min(last * kPiece, numbers()) - start;
            for (const Pair& pair : pairs) add_numbers(pair, start, count);
        });
    return waiting[0]->sums;
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

template class SumTree<float>;
template class SumTree<double>;
template class SumTree<bf16>;
template void write_gradients(const Model<float>&, const Sums<float>&, const Gradients<float>&, const Threads&);
template void write_gradients(const Model<double>&, const Sums<double>&, const Gradients<double>&, const Threads&);
template void write_gradients(const Model<bf16>&, const Sums<bf16>&, const Gradients<bf16>&, const Threads&);

}  // namespace dcrnn
