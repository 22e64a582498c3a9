// Sums of the weights' gradients while tiles are on their way, in the order in which the kernels write them.
//
// Tiles are dealt to a number of partitions that depends on shapes alone; each partition has its own sums, added tile
// after tile, and the partitions are added in order. So the bits do not depend on how many threads there are.
#pragma once

#include "csrc/cpu/memory.h"
#include "csrc/cpu/narrow.h"

namespace dcrnn {

/// Gates in the order of backward: candidate, u, r.
enum Gate { kCandidateGate, kUpdateGate, kResetGate, kGates };

template <class S>
struct CellSums {
    using A = Accumulator<S>;

    A* input;  // (gates, M, W, W); of the first layer (gates, padded M * channels, W)
    A* state;  // (gates, M, W, W)
    A* bias;   // (gates, W)

    CellSums(Arena& arena, const Sizes& s, int64_t channels, bool first) {
        const int64_t W = padded<S>(s.H);
        input = arena.take<A>(kGates * (first ? joined_width<S>(s, channels) : s.M * W) * W);
        state = arena.take<A>(kGates * s.M * W * W);
        bias = arena.take<A>(kGates * W);
    }
};

template <class S>
struct Sums {
    using A = Accumulator<S>;

    std::vector<CellSums<S>> encoder, decoder;
    A* projection_weight;  // (padded O, W)
    A* projection_bias;    // (padded O)

    Sums(Arena& arena, const Model<S>& model) {
        const Sizes& s = model.sizes;
        for (const auto& cell : model.encoder) encoder.emplace_back(arena, s, cell.channels, encoder.empty());
        for (const auto& cell : model.decoder) decoder.emplace_back(arena, s, cell.channels, decoder.empty());
        projection_weight = arena.take<A>(padded<S>(s.O) * padded<S>(s.H));
        projection_bias = arena.take<A>(padded<S>(s.O));
    }
};

/// How many partitions serve `tiles` tiles: enough to keep threads busy, few enough to keep the sums small.
inline int64_t partition_count(int64_t tiles) {
    constexpr int64_t kMost = 32;
    return tiles < kMost ? tiles : kMost;
}

/// Adds the sums of all partitions to those of the first, in order; `numbers` is a multiple of 16.
template <class S>
void add_partitions(const Kernels<S>& kernels, std::vector<Arena>& partitions, int64_t numbers, const Threads& threads);

/// Writes sums to gradients in the released layout.
template <class S>
void write_gradients(const Model<S>& model, const Sums<S>& sums, const Gradients<S>& gradients, const Threads& threads);

}  // namespace dcrnn
