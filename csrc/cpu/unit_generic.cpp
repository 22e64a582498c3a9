// The unit for any machine: 16-byte vectors in the compilers' own notation (SSE2, NEON), exp and tanh of the C library.
#include <math.h>
#include <string.h>

#include "csrc/cpu/unit_prologue.h"

namespace dcrnn {
namespace {

DCRNN_INLINE float exp_of(float x) { return expf(x); }
DCRNN_INLINE double exp_of(double x) { return exp(x); }
DCRNN_INLINE float tanh_of(float x) { return tanhf(x); }
DCRNN_INLINE double tanh_of(double x) { return tanh(x); }

template <class T>
struct Vector {
    using Scalar = T;
    typedef T Register __attribute__((vector_size(16)));
    static constexpr int kWidth = 16 / sizeof(T);
    static constexpr int kBlockVectors = 2;

    static DCRNN_INLINE Register zero() { return Register{}; }
    static DCRNN_INLINE Register broadcast(T x) { return Register{} + x; }
    static DCRNN_INLINE Register load(const T* from) {
        Register x;
        memcpy(&x, from, sizeof x);
        return x;
    }
    static DCRNN_INLINE void store(T* to, Register x) { memcpy(to, &x, sizeof x); }
    static DCRNN_INLINE Register add(Register a, Register b) { return a + b; }
    static DCRNN_INLINE Register sub(Register a, Register b) { return a - b; }
    static DCRNN_INLINE Register mul(Register a, Register b) { return a * b; }
    static DCRNN_INLINE Register fma(Register a, Register b, Register c) { return a * b + c; }
    static DCRNN_INLINE Register sigmoid(Register x) {
        for (int i = 0; i < kWidth; ++i) x[i] = 1 / (1 + exp_of(-x[i]));
        return x;
    }
    static DCRNN_INLINE Register tanh(Register x) {
        for (int i = 0; i < kWidth; ++i) x[i] = tanh_of(x[i]);
        return x;
    }
    static DCRNN_INLINE Register load(const bf16* from) {
        uint32_t bits[kWidth];
        for (int i = 0; i < kWidth; ++i) bits[i] = static_cast<uint32_t>(from[i].bits) << 16;
        Register x;
        memcpy(&x, bits, sizeof x);
        return x;
    }
    static DCRNN_INLINE void store(bf16* to, Register x) {
        uint32_t bits[kWidth];
        memcpy(bits, &x, sizeof x);
        for (int i = 0; i < kWidth; ++i) {
            const bool nan = (bits[i] & 0x7fffffffu) > 0x7f800000u;
            to[i].bits = nan ? 0x7fc0 : static_cast<uint16_t>((bits[i] + 0x7fffu + ((bits[i] >> 16) & 1u)) >> 16);
        }
    }
};

#include "csrc/cpu/unit_body.h"

}  // namespace

const Kernels<float> kGenericFloat = table<Vector<float>>("generic");
const Kernels<double> kGenericDouble = table<Vector<double>>("generic");
const Kernels<bf16> kGenericBf16 = table<Vector<float>, bf16>("generic");

}  // namespace dcrnn
