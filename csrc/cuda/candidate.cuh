// The candidate of a DCGRU cell and the way back through it, each one kernel around the loop of diffuse.cuh.
#pragma once

#include "csrc/cuda/diffuse.cuh"

namespace dcrnn::cuda {

/// tanh with an error of a float32 rounding, or of a few at a fraction of its cost.
template <bool kExact>
__device__ __forceinline__ float hyperbolic_tangent(float x) {
    if constexpr (kExact) return tanhf(x);
    return 1.f - __fdividef(2.f, 1.f + __expf(2.f * x));
}

/// Calls use(values, column, node) for the two times 8 consecutive columns that a lane holds of (16 nodes, 32 columns).
template <class Use>
__device__ __forceinline__ void for_each_row(const Sums& sums, int lane, Use use) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float from[4][2], values[8];
#pragma unroll
        for (int tile = 0; tile < 4; ++tile)
#pragma unroll
            for (int i = 0; i < 2; ++i) from[tile][i] = sums[tile][half * 2 + i];
        gather_row(values, from, lane);
        use(values, lane % 4 * 8, lane / 4 + half * 8);
    }
}

__device__ __forceinline__ void load8(float (&value)[8], const float* from) { Single<false>::load8(value, from); }
__device__ __forceinline__ void store8(float* to, const float (&value)[8]) { Single<false>::store8(to, value); }

template <class Math>
struct CandidateTask {
    using Element = typename Math::Element;
    static constexpr bool kTransposed = false;

    TileGraph graph;
    Counts counts;
    int batch, units, weight_stride;
    const Element *source, *h, *u;
    const float* pre;
    const Element* data;
    Element *c, *next;

    explicit CandidateTask(const Candidate& call)
        : graph(call.graph),
          counts(count_steps<Math>(call.graph.terms, call.units, divide_up(call.units, kWidth))),
          batch(call.batch),
          units(call.units),
          weight_stride(call.weight_stride),
          source(static_cast<const Element*>(call.reset)),
          h(static_cast<const Element*>(call.h)),
          u(static_cast<const Element*>(call.u)),
          pre(call.pre),
          data(static_cast<const Element*>(call.weight)),
          c(static_cast<Element*>(call.c)),
          next(static_cast<Element*>(call.next)) {}

    __device__ __forceinline__ int first_output(int output) const { return output * kWidth; }
    __device__ __forceinline__ int width(int output) const { return units - first_output(output); }
    __device__ __forceinline__ Weight<Element> weight(int) const { return {data, units, units, weight_stride}; }
    __device__ __forceinline__ void term(const Element*, int, int, int, int) const {}

    __device__ __forceinline__ void finish(const Sums& sums, int output, int first, int tile, int row, int lane) const {
        for_each_row(sums, lane, [&](const float (&sum)[8], int at, int node) {
            const int unit = first_output(output) + first + at;
            if (row >= batch || unit >= units) return;
            const int64_t line = int64_t{tile * kNodes + node} * batch + row, here = line * units + unit;
            float before[8], state[8], update[8], candidate[8], after[8];
            load8(before, pre + (line * 3 + 2) * units + unit);
            Math::load8(state, h + here);
            Math::load8(update, u + here);
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                candidate[i] = hyperbolic_tangent<Math::kExactTanh>(before[i] + sum[i]);
                after[i] = update[i] * state[i] + (1.f - update[i]) * candidate[i];
            }
            Math::store8(c + here, candidate);
            Math::store8(next + here, after);
        });
    }
};

template <class Math>
struct GradientTask {
    using Element = typename Math::Element;
    static constexpr bool kTransposed = true;

    TileGraph graph;
    Counts counts;
    int batch, units, channels, weight_stride;
    const Element *source, *h, *r, *u, *c, *input_weight, *state_weight;
    float *dh, *dx;
    Element *dr_pre, *du_pre, *q;

    explicit GradientTask(const CandidateGradient& call)
        : graph(call.graph),
          counts(count_steps<Math>(call.graph.terms, call.units,
                                   divide_up(call.units, kWidth) + (call.dx ? divide_up(call.channels, kWidth) : 0))),
          batch(call.batch),
          units(call.units),
          channels(call.dx ? call.channels : 0),
          weight_stride(call.weight_stride),
          source(static_cast<const Element*>(call.dpre)),
          h(static_cast<const Element*>(call.h)),
          r(static_cast<const Element*>(call.r)),
          u(static_cast<const Element*>(call.u)),
          c(static_cast<const Element*>(call.c)),
          input_weight(static_cast<const Element*>(call.input_weight)),
          state_weight(static_cast<const Element*>(call.state_weight)),
          dh(call.dh),
          dx(call.dx),
          dr_pre(static_cast<Element*>(call.dr_pre)),
          du_pre(static_cast<Element*>(call.du_pre)),
          q(static_cast<Element*>(call.q)) {}

    // The state's outputs come first, then the input's.
    __device__ __forceinline__ bool of_state(int output) const { return output < counts.slabs; }

    __device__ __forceinline__ int first_output(int output) const {
        return (of_state(output) ? output : output - counts.slabs) * kWidth;
    }

    __device__ __forceinline__ int width(int output) const {
        return (of_state(output) ? units : channels) - first_output(output);
    }

    __device__ __forceinline__ Weight<Element> weight(int output) const {
        if (of_state(output)) return {state_weight, units, units, weight_stride};
        return {input_weight, channels, units, weight_stride};
    }

    /// Stores the term into the last third of q's 3 M units a row.
    __device__ __forceinline__ void term(const Element* rows, int m, int slab, int tile, int first_row) const {
        using Sizes = Layout<Math>;
        constexpr int kPieces = Sizes::kRow / Sizes::kPiece;
#pragma unroll 1
        for (int i = static_cast<int>(threadIdx.x); i < kNodes * kPieces; i += kThreads) {
            const int node = i / kPieces, element = i % kPieces * Sizes::kPiece;
            const int row = first_row + element / kWidth, unit = slab * kWidth + element % kWidth;
            if (row >= batch || unit >= units) continue;
            const int64_t line = int64_t{tile * kNodes + node} * batch + row;
            *reinterpret_cast<uint4*>(q + (line * 3 * graph.terms + 2 * graph.terms + m) * units + unit) =
                *reinterpret_cast<const uint4*>(rows + node * Sizes::kRowStride + element);
        }
    }

    __device__ __forceinline__ void finish(const Sums& sums, int output, int first, int tile, int row, int lane) const {
        for_each_row(sums, lane, [&](const float (&sum)[8], int at, int node) {
            if (row >= batch || first + at >= width(output)) return;
            const int64_t line = int64_t{tile * kNodes + node} * batch + row;
            const int column = first_output(output) + first + at;
            if (of_state(output))
                finish_state(sum, line * units + column);
            else
                finish_input(sum, line, column);
        });
    }

    __device__ __forceinline__ void finish_state(const float (&d_reset)[8], int64_t here) const {
        float state[8], reset[8], update[8], candidate[8], gradient[8], through_reset[8], through_update[8];
        Math::load8(state, h + here);
        Math::load8(reset, r + here);
        Math::load8(update, u + here);
        Math::load8(candidate, c + here);
        load8(gradient, dh + here);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            through_reset[i] = d_reset[i] * state[i] * reset[i] * (1.f - reset[i]);
            through_update[i] = gradient[i] * (state[i] - candidate[i]) * update[i] * (1.f - update[i]);
            gradient[i] = gradient[i] * update[i] + d_reset[i] * reset[i];
        }
        Math::store8(dr_pre + here, through_reset);
        Math::store8(du_pre + here, through_update);
        store8(dh + here, gradient);
    }

    __device__ __forceinline__ void finish_input(const float (&sum)[8], int64_t line, int first) const {
        if (channels % 8 == 0) {
            store8(dx + line * channels + first, sum);
            return;
        }
#pragma unroll
        for (int i = 0; i < 8; ++i)
            if (first + i < channels) dx[line * channels + first + i] = sum[i];
    }
};

/// One block for each tile and four batch rows; the tiles of one batch slice follow each other, so that it stays in L2.
template <class Math, class Task>
__global__ void __launch_bounds__(kThreads, Math::kBlocks) diffuse_kernel(const __grid_constant__ Task task) {
    Loop<Math, Task>(task).run();
}

}  // namespace dcrnn::cuda
