// The emulator's side of csrc/cuda/ptx.cuh: what those functions do on the CPU, with the lane maps of the PTX ISA
// (section 9.7.14, "warp-level matrix instructions").
#pragma once

#include "tests/emulation/cuda_emulator.h"

namespace dcrnn::cuda {

inline unsigned char* dynamic_shared() { return reinterpret_cast<unsigned char*>(emulator::machine().shared); }

inline int thread_anew() { return static_cast<int>(threadIdx.x); }

inline float from_bf16(uint16_t bits) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return value;
}

inline uint16_t to_bf16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float from_fp16(uint16_t bits) {
    _Float16 value;
    std::memcpy(&value, &bits, 2);
    return value;
}

inline uint16_t to_fp16(float value) {
    const _Float16 narrow = static_cast<_Float16>(value);
    uint16_t bits;
    std::memcpy(&bits, &narrow, 2);
    return bits;
}

inline uint32_t pack_bf16(float low, float high) { return to_bf16(low) | static_cast<uint32_t>(to_bf16(high)) << 16; }
inline uint32_t pack_fp16(float low, float high) { return to_fp16(low) | static_cast<uint32_t>(to_fp16(high)) << 16; }

inline float bits_to_float(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

/// cvt.rna.tf32.f32: 10 bits of mantissa, ties away from zero.
inline uint32_t round_tf32(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    if ((bits & 0x7f800000u) == 0x7f800000u) return bits;
    return (bits + 0x1000u) & ~0x1fffu;
}

}  // namespace dcrnn::cuda

namespace emulator {

struct MatrixLane {
    float* d;
    const uint32_t *a, *b;
};

/// The float32 next to `sum` on the side of zero.
inline float cut_off(double sum) {
    const float rounded = static_cast<float>(sum);
    return std::abs(static_cast<double>(rounded)) > std::abs(sum) ? std::nextafter(rounded, 0.f) : rounded;
}

/// d[16][8] += a[16][K] b[K][8]. As measured on A100 (Fasi, Higham, Mikaitis, Pranesh 2021, "Numerical behavior of
/// NVIDIA tensor cores"): `block` exact products and what was summed before make one sum, cut off to float32. Real ones
/// also lose low bits of the smaller addends.
inline void add_product(void** payloads, int steps, int block, const float* a_16K, const float* b_K8) {
    for (int lane = 0; lane < 32; ++lane) {
        float* d = static_cast<MatrixLane*>(payloads[lane])->d;
        for (int i = 0; i < 4; ++i) {
            const float* a = a_16K + (lane / 4 + (i >= 2 ? 8 : 0)) * steps;
            const float* b = b_K8 + lane % 4 * 2 + i % 2;
            float sum = d[i];
            for (int first = 0; first < steps; first += block) {
                double exact = sum;
                for (int k = first; k < first + block; ++k) exact += static_cast<double>(a[k]) * b[k * 8];
                sum = cut_off(exact);
            }
            d[i] = sum;
        }
    }
}

/// m16n8k16, 16-bit operands. A: rows lane/4 and +8 (register 0, 1), k = 2 (lane%4) + half, and +8 (registers 2, 3).
/// B: column lane/4, the same k in registers 0 and 1.
template <class Widen>
void multiply_k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const Where& where, Widen widen) {
    MatrixLane lane{d, a, b};
    collective(~0u, &lane, where, [&](void** payloads) {
        float a_16K[16 * 16], b_K8[16 * 8];
        for (int lane = 0; lane < 32; ++lane) {
            const auto& from = *static_cast<MatrixLane*>(payloads[lane]);
            for (int half = 0; half < 2; ++half) {
                const int k = lane % 4 * 2 + half;
                for (int i = 0; i < 4; ++i)
                    a_16K[(lane / 4 + i % 2 * 8) * 16 + k + i / 2 * 8] = widen(uint16_t(from.a[i] >> 16 * half));
                for (int i = 0; i < 2; ++i) b_K8[(k + i * 8) * 8 + lane / 4] = widen(uint16_t(from.b[i] >> 16 * half));
            }
        }
        add_product(payloads, 16, 8, a_16K, b_K8);
    });
}

}  // namespace emulator

namespace dcrnn::cuda {

using emulator::Where;

inline void multiply_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                          const Where& where = Where::current()) {
    emulator::multiply_k16(d, a, b, where, from_bf16);
}

inline void multiply_fp16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                          const Where& where = Where::current()) {
    emulator::multiply_k16(d, a, b, where, from_fp16);
}

/// m16n8k8. A: rows lane/4 and +8 (registers 0, 1), k = lane%4, and +4 (registers 2, 3). B: column lane/4, k = lane%4
/// and +4. The multiplier does not see the low 13 bits.
inline void multiply_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                          const Where& where = Where::current()) {
    emulator::MatrixLane lane{d, a, b};
    emulator::collective(~0u, &lane, where, [](void** payloads) {
        float a_16K[16 * 8], b_K8[8 * 8];
        const auto seen = [](uint32_t bits) { return bits_to_float(bits & ~0x1fffu); };
        for (int lane = 0; lane < 32; ++lane) {
            const auto& from = *static_cast<emulator::MatrixLane*>(payloads[lane]);
            for (int i = 0; i < 4; ++i) a_16K[(lane / 4 + i % 2 * 8) * 8 + lane % 4 + i / 2 * 4] = seen(from.a[i]);
            for (int i = 0; i < 2; ++i) b_K8[(lane % 4 + i * 4) * 8 + lane / 4] = seen(from.b[i]);
        }
        emulator::add_product(payloads, 8, 4, a_16K, b_K8);
    });
}

namespace emulation {
struct MatrixLoad {
    uint32_t* to;
    const uint16_t* row;
};

/// ldmatrix: lane 8 i + r gives the address of row r of the 8x8 matrix i; lane l receives of each matrix the two
/// elements (l/4, 2 (l%4)) and the one right of it, or with .trans of the transposed matrix.
template <int kTransposed>
void load_matrices(uint32_t (&to)[4], const void* row, const Where& where) {
    emulator::Machine& m = emulator::machine();
    m.current->where = where;
    const auto* begin = static_cast<const char*>(row);
    if (reinterpret_cast<uintptr_t>(row) % 16)
        emulator::fail("ldmatrix row at an address that is no multiple of 16: " + emulator::describe(*m.current));
    if (begin < m.shared || begin + 16 > m.shared + m.shared_size)
        emulator::fail("ldmatrix outside of shared memory: " + emulator::describe(*m.current));
    MatrixLoad lane{to, static_cast<const uint16_t*>(row)};
    emulator::collective(~0u, &lane, where, [](void** payloads) {
        for (int matrix = 0; matrix < 4; ++matrix)
            for (int lane = 0; lane < 32; ++lane) {
                uint32_t word = 0;
                for (int half = 0; half < 2; ++half) {
                    const int r = kTransposed ? lane % 4 * 2 + half : lane / 4;
                    const int c = kTransposed ? lane / 4 : lane % 4 * 2 + half;
                    word |= uint32_t{static_cast<MatrixLoad*>(payloads[matrix * 8 + r])->row[c]} << 16 * half;
                }
                static_cast<MatrixLoad*>(payloads[lane])->to[matrix] = word;
            }
    });
}
}  // namespace emulation

inline void load_matrices(uint32_t (&to)[4], const void* row, const Where& where = Where::current()) {
    emulation::load_matrices<false>(to, row, where);
}

inline void load_matrices_transposed(uint32_t (&to)[4], const void* row, const Where& where = Where::current()) {
    emulation::load_matrices<true>(to, row, where);
}

inline void copy_async(void* shared, const void* global, bool valid, const Where& where = Where::current()) {
    emulator::issue_copy(shared, valid ? global : nullptr, where);
}

inline void commit_copies() { emulator::commit_copies(); }

template <int kPending>
void wait_copies() {
    emulator::wait_copies(kPending);
}

}  // namespace dcrnn::cuda
