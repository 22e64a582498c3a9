// Sums of the weights' gradients while tiles are on their way, in the order in which the kernels write them.
//
// Tiles are dealt to a number of partitions that depends on shapes alone; each partition has its own sums, added tile
// after tile, and the partitions are added in order. So the bits do not depend on how many threads there are.
#pragma once

#include "csrc/cpu/memory.h"
#include "csrc/cpu/problem.h"

namespace dcrnn {

/// Gates in the order of backward: candidate, u, r.
enum Gate { kCandidateGate, kUpdateGate, kResetGate, kGates };

template <class T>
struct CellSums {
    T* input;  // (gates, M, channels, W)
    T* state;  // (gates, M, H, W)
    T* bias;   // (gates, W)

    CellSums(Arena& arena, const Sizes& s, int64_t channels)
        : input(arena.take<T>(kGates * s.M * channels * s.width())),
          state(arena.take<T>(kGates * s.M * s.H * s.width())),
          bias(arena.take<T>(kGates * s.width())) {}
};

template <class T>
struct Sums {
    std::vector<CellSums<T>> encoder, decoder;
    T* projection_weight;  // (O, W)
    T* projection_bias;    // (padded O)

    Sums(Arena& arena, const Model<T>& model) {
        const Sizes& s = model.sizes;
        for (const auto& cell : model.encoder) encoder.emplace_back(arena, s, cell.channels);
        for (const auto& cell : model.decoder) decoder.emplace_back(arena, s, cell.channels);
        projection_weight = arena.take<T>(s.O * s.width());
        projection_bias = arena.take<T>(padded(s.O));
    }
};

/// How many partitions serve `tiles` tiles: enough to keep threads busy, few enough to keep the sums small.
inline int64_t partition_count(int64_t tiles) {
    constexpr int64_t kMost = 32;
    return tiles < kMost ? tiles : kMost;
}

/// Adds the sums of all partitions to those of the first, in order; `numbers` is a multiple of kLanes.
template <class T>
void add_partitions(const Kernels<T>& kernels, std::vector<Arena>& partitions, int64_t numbers,
                    const Parallel& parallel);

/// Writes sums to gradients in the released layout.
template <class T>
void write_gradients(const Model<T>& model, const Sums<T>& sums, const Gradients<T>& gradients,
                     const Parallel& parallel);

}  // namespace dcrnn
