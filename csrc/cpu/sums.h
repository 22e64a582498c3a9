// Sums of the weights' gradients while tiles are on their way, in the order in which the kernels write them.
//
// Tiles are dealt to a number of partitions that depends on shapes alone; each partition has its own sums, added tile
// after tile, and the partitions are added pairwise, by the tree of their numbers. So the bits do not depend on how
// many threads there are.
#pragma once

#include <mutex>

#include "csrc/cpu/few_channels.h"
#include "csrc/cpu/memory.h"

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

/// The sums of partitions, each in an Arena of its own until it joins its sibling: partition 2i + 1 is added to 2i,
/// their sum to that of its neighbours, and so on. So few of them are in memory at once.
template <class S>
class SumTree {
  public:
    using A = Accumulator<S>;

    /// `bytes` of one partition's Arena.
    SumTree(const Kernels<S>& kernels, int64_t bytes) : kernels_(kernels), bytes_(bytes) {}

    /// Adds partitions [first, last): run(p, arena) fills an Arena of zeros. Any thread may call it.
    void add(int64_t first, int64_t last, const std::function<void(int64_t p, Arena& arena)>& run);

    /// The sum of all, once they are there (at least one).
    Arena& total(const Threads& threads);

  private:
    struct Node {
        int64_t first, count;
        Arena sums;
    };
    struct Pair {
        Arena *to, *from;
    };

    // Whether a waits for b.
    static bool siblings(const Node& a, const Node& b) {
        return a.count == b.count && a.first + a.count == b.first && a.first % (2 * a.count) == 0;
    }
    void add_numbers(const Pair& pair, int64_t start, int64_t count) const {
        kernels_.add(pair.from->template numbers<A>() + start, 0, 1, count, pair.to->template numbers<A>() + start, 0);
    }
    int64_t numbers() const { return bytes_ / static_cast<int64_t>(sizeof(A)); }

    const Kernels<S>& kernels_;
    int64_t bytes_;
    std::mutex lock_;
    std::vector<std::unique_ptr<Node>> nodes_;
};

/// Writes sums to gradients in the released layout.
template <class S>
void write_gradients(const Model<S>& model, const Sums<S>& sums, const Gradients<S>& gradients, const Threads& threads);

}  // namespace dcrnn
