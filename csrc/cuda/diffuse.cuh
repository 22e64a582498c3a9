// The loop of the candidate's kernels: diffuse a tile of 16 nodes, multiply by weights, finish.
//
// A block takes one tile and four batch rows; two warps take a batch row, and each sums one half of its 64 units, then
// of its 64 outputs. The block's reads come in steps, each copied into one of two stages of shared memory while the
// step before is computed: the tile's own rows with the first term's weight; then, group of terms by group, chunks of
// the neighbours with their coefficients, and the weights of the group's terms. Any number of neighbours, terms, units
// and outputs is a matter of more steps.
#pragma once

#include "csrc/cuda/arithmetic.cuh"
#include "csrc/cuda/candidate.h"

namespace dcrnn::cuda {

constexpr int kRowsAtOnce = 4;  // batch rows of a block
constexpr int kWarps = 2 * kRowsAtOnce;
constexpr int kThreads = 32 * kWarps;

__host__ __device__ __forceinline__ int divide_up(int a, int b) { return (a + b - 1) / b; }

/// A matrix (rows, units) for each term; reads beyond its end give zeros.
template <class Element>
struct Weight {
    const Element* data;
    int rows, units, stride;
};

/// Sizes of the stages, in elements.
template <class Math>
struct Layout {
    static constexpr int kPiece = 16 / sizeof(typename Math::Element);  // elements of an asynchronous copy
    static constexpr int kRow = kRowsAtOnce * kWidth;
    static constexpr int kRowStride = kRow + Math::kPad;
    static constexpr int kNeighbours = Math::kChunk * kRowStride;
    static constexpr int kCoefficientStride = Math::kChunk + Math::kCoefficientPad;
    static constexpr int kCoefficients = Math::kGroup * kNodes * kCoefficientStride;
    static constexpr int kOwn = kNodes * kRowStride;
    template <bool kTransposed>
    static constexpr int kWeightStride = kWidth + (kTransposed ? Math::kWeightPadTransposed : Math::kWeightPad);
    static constexpr int kWeights = kWidth * (kWidth + Math::kWeightPadTransposed);
    static constexpr int kStage =
        kNeighbours + kCoefficients > kOwn + kWeights ? kNeighbours + kCoefficients : kOwn + kWeights;
    static constexpr int kDiffused = Math::kGroup * kOwn;  // behind the two stages
    static constexpr int kBytes = (2 * kStage + kDiffused) * static_cast<int>(sizeof(typename Math::Element));
};

/// How many steps of each kind there are. Known on the host, so that it costs a block no registers.
struct Counts {
    int terms;    // that are diffused
    int groups;   // of Math::kGroup terms
    int slabs;    // of 64 units
    int outputs;  // times 64
    bool kept;    // the terms that are diffused for the first outputs serve the others
};

template <class Math>
Counts count_steps(int terms, int units, int outputs) {
    const int groups = divide_up(terms - 1, Math::kGroup), slabs = divide_up(units, kWidth);
    return {terms - 1, groups, slabs, outputs, groups == 1 && slabs == 1};
}

/// The position of one step of the loop.
struct Step {
    int output = 0;  // tile of 64 outputs
    int slab = 0;    // 64 of the units
    int group = 0;   // kGroup terms
    int at = -1;     // -1: the first term; then the chunks; then the weights of the group's terms
};

/// One block's share. `Task` names the operands and finishes the sums:
///   graph, batch, units, source (N, B, units), counts;
///   of each 64 outputs the weight(), first_output() in it and width();
///   term(rows, m, slab): the 64 units of term m that start at 64 slab, of every term once; all threads call it;
///   finish(sums, output): every output, once.
template <class Math, class Task>
class Loop {
    using Element = typename Math::Element;
    using Sizes = Layout<Math>;
    static constexpr bool kTransposed = Task::kTransposed;
    static constexpr int kWeightStride = Sizes::template kWeightStride<kTransposed>;
    static constexpr int kGroup = Math::kGroup;

  public:
    __device__ __forceinline__ explicit Loop(const Task& task)
        : task_(task),
          counts_(task.counts),
          tile_(static_cast<int>(blockIdx.x)),
          first_row_(static_cast<int>(blockIdx.y) * kRowsAtOnce),
          warp_(static_cast<int>(threadIdx.x) / 32),
          lane_(static_cast<int>(threadIdx.x) % 32),
          half_(warp_ % 2),
          stages_(reinterpret_cast<Element*>(dynamic_shared())),
          count_(__ldg(task.graph.count + tile_)),
          chunks_(max(1, divide_up(count_, Math::kChunk))) {}

    __device__ __forceinline__ void run() {
        indices_ = chunk_indices(0);
        Step now;
        issue(now);
        Sums sums;
        clear(sums);
        while (now.output < counts_.outputs) {
            if (0 <= now.at && now.at < chunks_) diffuse(now);
            const Element* stage = next_stage(now);
            const Element* rows = now.at < 0 ? stage + Sizes::kWeights : diffused(now.at - chunks_);
            const int term = now.at < 0 ? 0 : 1 + now.group * kGroup + now.at - chunks_;
            if (now.output == 0) task_.term(rows, term, now.slab, tile_, first_row_);
            const Element* weight = stage + half_ * kHeld * (kTransposed ? kWeightStride : 1);
            if (half_ * kHeld < task_.width(now.output))
                Math::template product<kTransposed>(sums, rows + warp_ / 2 * kWidth, Sizes::kRowStride, weight,
                                                    kWeightStride, lane_);
            const int output = now.output;
            advance(now);
            if (now.output == output) continue;
            const int thread = thread_anew(), warp = thread / 32;
            task_.finish(sums, output, warp % 2 * kHeld, tile_, first_row_ + warp / 2, thread % 32);
            clear(sums);
        }
    }

  private:
    /// The rows of one term of the group, all batch rows of the block.
    __device__ __forceinline__ Element* diffused(int term) const {
        return stages_ + 2 * Sizes::kStage + term * Sizes::kOwn;
    }

    /// All chunks of a group.
    __device__ __forceinline__ void diffuse(Step& now) {
        const int terms = counts_.terms - now.group * kGroup;
        Sums y[kGroup];
#pragma unroll
        for (int term = 0; term < kGroup; ++term) clear(y[term]);
        for (; now.at < chunks_; ++now.at) {
            const Element* stage = next_stage(now);
            Math::diffuse(y, terms, stage + Sizes::kNeighbours, Sizes::kCoefficientStride, stage + warp_ * kHeld,
                          Sizes::kRowStride, lane_);
        }
#pragma unroll
        for (int term = 0; term < kGroup; ++term)
            if (term < terms) Math::write(diffused(term) + warp_ * kHeld, Sizes::kRowStride, y[term], lane_);
    }

    /// The stage of the step that begins, complete; the step behind it is on its way when this returns.
    __device__ __forceinline__ const Element* next_stage(const Step& now) {
        const Element* stage = stages_ + filled_ * Sizes::kStage;
        filled_ ^= 1;
        wait_copies<0>();
        __syncthreads();  // all threads' copies have landed, and no thread reads the other stage any more
        Step next = now;
        advance(next);
        if (next.output < counts_.outputs) issue(next);
        return stage;
    }

    __device__ __forceinline__ void issue(const Step& next) {
        Element* stage = stages_ + filled_ * Sizes::kStage;
        if (next.at < 0) {
            copy_weight(stage, 0, next);
            copy_own(stage + Sizes::kWeights, next);
        } else if (next.at < chunks_) {
            copy_neighbours(stage, next);
            copy_coefficients(stage + Sizes::kNeighbours, next);
            indices_ = chunk_indices(next.at + 1 < chunks_ ? next.at + 1 : 0);
        } else {
            copy_weight(stage, 1 + next.group * kGroup + next.at - chunks_, next);
        }
        commit_copies();
    }

    __device__ __forceinline__ void advance(Step& step) const {
        const int terms = min(kGroup, counts_.terms - step.group * kGroup);
        ++step.at;
        if (step.at == 0 && counts_.kept && step.output > 0) step.at = chunks_;
        if (step.at < chunks_ + terms && step.group < counts_.groups) return;
        step.at = 0;
        if (++step.group < counts_.groups) return;
        step.group = 0;
        step.at = -1;
        if (++step.slab < counts_.slabs) return;
        step.slab = 0;
        ++step.output;
    }

    /// Each lane has the position of one of the chunk's neighbours.
    __device__ __forceinline__ int chunk_indices(int chunk) const {
        const int slot = chunk * Math::kChunk + lane_;
        const bool real = lane_ < Math::kChunk && slot < count_;
        return real ? __ldg(task_.graph.index + int64_t{tile_} * task_.graph.slots + slot) : 0;
    }

    /// The four batch rows' 64 units of one node, by one warp.
    __device__ __forceinline__ void copy_row(Element* to, int node, bool real, int slab) const {
#pragma unroll
        for (int at = 0; at < Sizes::kRow; at += 32 * Sizes::kPiece) {
            const int element = at + lane_ * Sizes::kPiece;
            const int row = first_row_ + element / kWidth, unit = slab * kWidth + element % kWidth;
            const bool valid = real && row < task_.batch && unit < task_.units;
            const int64_t offset = (int64_t{node} * task_.batch + row) * task_.units + unit;
            copy_async(to + element, task_.source + (valid ? offset : 0), valid);
        }
    }

    __device__ __forceinline__ void copy_own(Element* to, const Step& next) const {
#pragma unroll 1
        for (int node = warp_; node < kNodes; node += kWarps)
            copy_row(to + node * Sizes::kRowStride, tile_ * kNodes + node, true, next.slab);
    }

    __device__ __forceinline__ void copy_neighbours(Element* to, const Step& next) const {
#pragma unroll 1
        for (int slot = warp_; slot < Math::kChunk; slot += kWarps) {
            const int node = __shfl_sync(~0u, indices_, slot);
            copy_row(to + slot * Sizes::kRowStride, node, next.at * Math::kChunk + slot < count_, next.slab);
        }
    }

    __device__ __forceinline__ void copy_coefficients(Element* to, const Step& next) const {
        constexpr int kPieces = Math::kChunk / Sizes::kPiece;
        const auto* from = static_cast<const Element*>(task_.graph.coefficient);
        const int first = next.group * kGroup;
#pragma unroll 1
        for (int i = static_cast<int>(threadIdx.x); i < kGroup * kNodes * kPieces; i += kThreads) {
            const int row = i / kPieces, term = first + row / kNodes;
            const int slot = next.at * Math::kChunk + i % kPieces * Sizes::kPiece;
            const bool valid = term < counts_.terms && slot < task_.graph.slots;
            const int64_t line = (int64_t{tile_} * counts_.terms + term) * kNodes + row % kNodes;
            copy_async(to + row * Sizes::kCoefficientStride + i % kPieces * Sizes::kPiece,
                       from + (valid ? line * task_.graph.slots + slot : 0), valid);
        }
    }

    __device__ __forceinline__ void copy_weight(Element* to, int term, const Step& next) const {
        constexpr int kPieces = kWidth / Sizes::kPiece;
        const Weight<Element> weight = task_.weight(next.output);
        const int first = kTransposed ? task_.first_output(next.output) : next.slab * kWidth;
        const int column = kTransposed ? next.slab * kWidth : task_.first_output(next.output);
#pragma unroll 1
        for (int i = static_cast<int>(threadIdx.x); i < kWidth * kPieces; i += kThreads) {
            const int row = first + i / kPieces, unit = column + i % kPieces * Sizes::kPiece;
            const bool valid = row < weight.rows && unit < weight.units;
            const int64_t offset = (int64_t{term} * weight.rows + row) * weight.stride + unit;
            copy_async(to + i / kPieces * kWeightStride + i % kPieces * Sizes::kPiece,
                       weight.data + (valid ? offset : 0), valid);
        }
    }

    const Task& task_;
    const Counts& counts_;
    const int tile_, first_row_, warp_, lane_, half_;
    Element* const stages_;
    const int count_, chunks_;
    int filled_ = 0, indices_ = 0;
};

}  // namespace dcrnn::cuda
