// The two products of a warp in each precision: (16 nodes, k neighbours) by (k, 32 units), which diffuses, and
// (16 nodes, 64 units) by (64, 32 outputs) of a weight.
//
// A warp holds 16x32 sums as four tiles of 16x8: element i of tile j is row lane/4 + 8 (i/2), column 8 j + 2 (lane%4) +
// i%2.
#pragma once

#include "csrc/cuda/ptx.cuh"

namespace dcrnn::cuda {

constexpr int kNodes = 16;  // a tile's nodes: the rows of a product
constexpr int kWidth = 64;  // units of a batch row, and outputs, at a time
constexpr int kHeld = 32;   // units, or outputs, that one warp sums: half of them
constexpr int kTiles = kHeld / 8;

using Sums = float[kTiles][4];

__device__ __forceinline__ void clear(Sums& sums) {
#pragma unroll
    for (int j = 0; j < kTiles; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[j][i] = 0.f;
}

/// bfloat16 (kBrain) or float16: one pass of m16n8k16, operands through ldmatrix.
template <bool kBrain>
struct Half {
    using Element = uint16_t;
    static constexpr int kChunk = 32;  // neighbours that are diffused at a time
    static constexpr int kGroup = 4;   // terms that are diffused together
    // Rows that ldmatrix reads together start on different banks.
    static constexpr int kPad = 8, kCoefficientPad = 8, kWeightPad = 8, kWeightPadTransposed = 8;
    static constexpr bool kExactTanh = false;
    static constexpr int kBlocks = 2;  // at least so many on a multiprocessor

    static __device__ __forceinline__ uint32_t pack(float low, float high) {
        return kBrain ? pack_bf16(low, high) : pack_fp16(low, high);
    }

    static __device__ __forceinline__ void unpack(uint32_t word, float& low, float& high) {
        low = kBrain ? from_bf16(uint16_t(word)) : from_fp16(uint16_t(word));
        high = kBrain ? from_bf16(uint16_t(word >> 16)) : from_fp16(uint16_t(word >> 16));
    }

    static __device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t* b) {
        const uint32_t pair[2] = {b[0], b[1]};
        if constexpr (kBrain)
            multiply_bf16(d, a, pair);
        else
            multiply_fp16(d, a, pair);
    }

    static __device__ __forceinline__ void load_left(uint32_t (&a)[4], const Element* rows, int stride, int lane) {
        load_matrices(a, rows + (lane % 16) * stride + lane / 16 * 8);
    }

    /// y[term] += coefficients[term] (16, kChunk) by x (kChunk, 32).
    static __device__ __forceinline__ void diffuse(Sums (&y)[kGroup], int terms, const Element* coefficients,
                                                   int coefficient_stride, const Element* x, int x_stride, int lane) {
#pragma unroll 1
        for (int k = 0; k < kChunk; k += 16) {
            uint32_t b[kTiles / 2][4];
#pragma unroll
            for (int j = 0; j < kTiles / 2; ++j)
                load_matrices_transposed(b[j], x + (k + lane % 16) * x_stride + j * 16 + lane / 16 * 8);
#pragma unroll
            for (int term = 0; term < kGroup; ++term) {
                if (term >= terms) continue;
                uint32_t a[4];
                load_left(a, coefficients + term * kNodes * coefficient_stride + k, coefficient_stride, lane);
#pragma unroll
                for (int j = 0; j < kTiles / 2; ++j) {
                    multiply(y[term][j * 2], a, b[j]);
                    multiply(y[term][j * 2 + 1], a, b[j] + 2);
                }
            }
        }
    }

    /// Rounds sums into rows of shared memory.
    static __device__ __forceinline__ void write(Element* rows, int stride, const Sums& y, int lane) {
#pragma unroll
        for (int j = 0; j < kTiles; ++j)
#pragma unroll
            for (int half = 0; half < 2; ++half)
                *reinterpret_cast<uint32_t*>(rows + (lane / 4 + half * 8) * stride + j * 8 + lane % 4 * 2) =
                    pack(y[j][half * 2], y[j][half * 2 + 1]);
    }

    /// sums += rows (16, 64) by weight (64, 32), which lies as (to, from) if kTransposed.
    template <bool kTransposed>
    static __device__ __forceinline__ void product(Sums& sums, const Element* rows, int stride, const Element* weight,
                                                   int weight_stride, int lane) {
#pragma unroll
        for (int k = 0; k < kWidth; k += 16) {
            uint32_t a[4];
            load_left(a, rows + k, stride, lane);
#pragma unroll
            for (int j = 0; j < kTiles; j += 2) {
                uint32_t b[4];
                if constexpr (kTransposed)
                    load_matrices(b,
                                  weight + (j * 8 + lane / 16 * 8 + lane % 8) * weight_stride + k + lane / 8 % 2 * 8);
                else
                    load_matrices_transposed(b, weight + (k + lane % 16) * weight_stride + j * 8 + lane / 16 * 8);
                multiply(sums[j], a, b);
                multiply(sums[j + 1], a, b + 2);
            }
        }
    }

    /// 8 consecutive units.
    static __device__ __forceinline__ void load8(float (&value)[8], const Element* from) {
        const uint4 words = *reinterpret_cast<const uint4*>(from);
        unpack(words.x, value[0], value[1]);
        unpack(words.y, value[2], value[3]);
        unpack(words.z, value[4], value[5]);
        unpack(words.w, value[6], value[7]);
    }

    static __device__ __forceinline__ void store8(Element* to, const float (&value)[8]) {
        *reinterpret_cast<uint4*>(to) = uint4{pack(value[0], value[1]), pack(value[2], value[3]),
                                              pack(value[4], value[5]), pack(value[6], value[7])};
    }
};

/// float32 through tf32 tensor cores (m16n8k8): rounded once, or split in two parts whose three larger products count.
template <bool kSplit>
struct Single {
    using Element = float;
    static constexpr int kChunk = 16, kGroup = 4;
    // Multiples of 32 words in a row plus 8 or 4: no two lanes of a load below meet on a bank.
    static constexpr int kPad = 8, kCoefficientPad = 4, kWeightPad = 4, kWeightPadTransposed = 8;
    static constexpr bool kExactTanh = kSplit;
    static constexpr int kBlocks = 1;

    template <int kCount>
    struct Parts {
        uint32_t high[kCount], low[kSplit ? kCount : 1];
        __device__ __forceinline__ void set(int i, float value) {
            high[i] = round_tf32(value);
            if constexpr (kSplit) low[i] = round_tf32(value - bits_to_float(high[i]));
        }
    };

    static __device__ __forceinline__ void multiply(float (&d)[4], const Parts<4>& a, const Parts<2>& b) {
        if constexpr (kSplit) {
            // The tensor core cuts its sums off instead of rounding them: long sums are kept outside (Ootomo and Yokota
            // 2022, "Recovering single precision accuracy from Tensor Cores while surpassing the FP32 theoretical
            // peak").
            float part[4] = {0.f, 0.f, 0.f, 0.f};
            multiply_tf32(part, a.low, b.high);
            multiply_tf32(part, a.high, b.low);
            multiply_tf32(part, a.high, b.high);
#pragma unroll
            for (int i = 0; i < 4; ++i) d[i] += part[i];
        } else {
            multiply_tf32(d, a.high, b.high);
        }
    }

    static __device__ __forceinline__ void diffuse(Sums (&y)[kGroup], int terms, const Element* coefficients,
                                                   int coefficient_stride, const Element* x, int x_stride, int lane) {
        const int row = lane / 4, column = lane % 4;
#pragma unroll
        for (int k = 0; k < kChunk; k += 8) {
            Parts<2> b[kTiles];
#pragma unroll
            for (int j = 0; j < kTiles; ++j) {
                const float* from = x + (k + column) * x_stride + j * 8 + row;
                b[j].set(0, from[0]);
                b[j].set(1, from[4 * x_stride]);
            }
#pragma unroll
            for (int term = 0; term < kGroup; ++term) {
                if (term >= terms) continue;
                Parts<4> a;
                const float* from = coefficients + (term * kNodes + row) * coefficient_stride + k + column;
#pragma unroll
                for (int i = 0; i < 4; ++i) a.set(i, from[i % 2 * 8 * coefficient_stride + i / 2 * 4]);
#pragma unroll
                for (int j = 0; j < kTiles; ++j) multiply(y[term][j], a, b[j]);
            }
        }
    }

    static __device__ __forceinline__ void write(Element* rows, int stride, const Sums& y, int lane) {
#pragma unroll
        for (int j = 0; j < kTiles; ++j)
#pragma unroll
            for (int half = 0; half < 2; ++half)
                *reinterpret_cast<float2*>(rows + (lane / 4 + half * 8) * stride + j * 8 + lane % 4 * 2) =
                    float2{y[j][half * 2], y[j][half * 2 + 1]};
    }

    /// The order of a sum is free: units 2t and 2t+1 of eight, neighbours in memory, take the places of the
    /// instruction's t and t+4.
    template <bool kTransposed>
    static __device__ __forceinline__ void product(Sums& sums, const Element* rows, int stride, const Element* weight,
                                                   int weight_stride, int lane) {
        const int row = lane / 4, column = lane % 4;
#pragma unroll
        for (int k = 0; k < kWidth; k += 8) {
            Parts<4> a;
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const float* from = rows + (row + half * 8) * stride + k + column * 2;
                const float2 pair = *reinterpret_cast<const float2*>(from);
                a.set(half, pair.x);
                a.set(half + 2, pair.y);
            }
#pragma unroll
            for (int j = 0; j < kTiles; ++j) {
                Parts<2> b;
                if constexpr (kTransposed) {
                    const float* from = weight + (j * 8 + row) * weight_stride + k + column * 2;
                    const float2 pair = *reinterpret_cast<const float2*>(from);
                    b.set(0, pair.x);
                    b.set(1, pair.y);
                } else {
                    const float* from = weight + (k + column * 2) * weight_stride + j * 8 + row;
                    b.set(0, from[0]);
                    b.set(1, from[weight_stride]);
                }
                multiply(sums[j], a, b);
            }
        }
    }

    static __device__ __forceinline__ void load8(float (&value)[8], const Element* from) {
#pragma unroll
        for (int i = 0; i < 8; i += 4) {
            const float4 four = *reinterpret_cast<const float4*>(from + i);
            value[i] = four.x, value[i + 1] = four.y, value[i + 2] = four.z, value[i + 3] = four.w;
        }
    }

    static __device__ __forceinline__ void store8(Element* to, const float (&value)[8]) {
#pragma unroll
        for (int i = 0; i < 8; i += 4)
            *reinterpret_cast<float4*>(to + i) = float4{value[i], value[i + 1], value[i + 2], value[i + 3]};
    }
};

/// Four lanes of a row hold of each of four tiles two neighbouring channels; afterwards each holds all eight of its
/// tile.
__device__ __forceinline__ void gather_row(float (&channels)[8], const float (&from)[4][2], int lane) {
    float value[4][2];
    const bool upper = lane & 2, odd = lane & 1;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        float mid[4];
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const float got = __shfl_xor_sync(~0u, upper ? from[j][i] : from[j + 2][i], 2);
            mid[j] = upper ? got : from[j][i];
            mid[j + 2] = upper ? from[j + 2][i] : got;
        }
#pragma unroll
        for (int j = 0; j < 4; j += 2) {
            const float got = __shfl_xor_sync(~0u, odd ? mid[j] : mid[j + 1], 1);
            value[j][i] = odd ? got : mid[j];
            value[j + 1][i] = odd ? mid[j + 1] : got;
        }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) channels[j * 2] = value[j][0], channels[j * 2 + 1] = value[j][1];
}

}  // namespace dcrnn::cuda
