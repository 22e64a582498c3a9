// The AVX2 unit (with FMA): float32, and bfloat16 computed in float32.
#include "csrc/cpu/unit_prologue.h"

namespace dcrnn {
namespace {

struct Vector {
    using Scalar = float;
    using Register = __m256;
    static constexpr int kWidth = 8;
    static constexpr int kBlockVectors = 2;

    static DCRNN_INLINE Register zero() { return _mm256_setzero_ps(); }
    static DCRNN_INLINE Register broadcast(float x) { return _mm256_set1_ps(x); }
    static DCRNN_INLINE Register load(const float* from) { return _mm256_loadu_ps(from); }
    static DCRNN_INLINE void store(float* to, Register x) { _mm256_storeu_ps(to, x); }
    static DCRNN_INLINE Register add(Register a, Register b) { return _mm256_add_ps(a, b); }
    static DCRNN_INLINE Register sub(Register a, Register b) { return _mm256_sub_ps(a, b); }
    static DCRNN_INLINE Register mul(Register a, Register b) { return _mm256_mul_ps(a, b); }
    static DCRNN_INLINE Register fma(Register a, Register b, Register c) { return _mm256_fmadd_ps(a, b, c); }

    // exp(x) within 1 ulp: 2^n * p(x - n ln 2), ln 2 in two parts, p of degree 6 (Cephes expf). The bound comes second
    // in min and max, so that NaN stays NaN, and 2^n is always a normal number.
    static DCRNN_INLINE Register exp(Register x) {
        x = _mm256_min_ps(broadcast(87.0f), _mm256_max_ps(broadcast(-87.0f), x));
        const Register n =
            _mm256_round_ps(mul(x, broadcast(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        Register r = _mm256_fnmadd_ps(n, broadcast(0.693359375f), x);
        r = _mm256_fnmadd_ps(n, broadcast(-2.12194440e-4f), r);
        Register p = broadcast(1.9875691500e-4f);
        p = fma(p, r, broadcast(1.3981999507e-3f));
        p = fma(p, r, broadcast(8.3334519073e-3f));
        p = fma(p, r, broadcast(4.1665795894e-2f));
        p = fma(p, r, broadcast(1.6666665459e-1f));
        p = fma(p, r, broadcast(5.0000001201e-1f));
        p = add(fma(p, mul(r, r), r), broadcast(1.0f));
        const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
        return mul(p, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
    }
    static DCRNN_INLINE Register reciprocal(Register x) { return _mm256_div_ps(broadcast(1.0f), x); }
    static DCRNN_INLINE Register sigmoid(Register x) { return reciprocal(add(broadcast(1.0f), exp(sub(zero(), x)))); }
    // 1 - 2 / (exp(2x) + 1), which cancels near 0: there the odd polynomial of Cephes tanhf.
    static DCRNN_INLINE Register tanh(Register x) {
        const Register far =
            _mm256_fnmadd_ps(broadcast(2.0f), reciprocal(add(broadcast(1.0f), exp(add(x, x)))), broadcast(1.0f));
        const Register z = mul(x, x);
        Register p = broadcast(-5.70498872745e-3f);
        p = fma(p, z, broadcast(2.06390887954e-2f));
        p = fma(p, z, broadcast(-5.37397155531e-2f));
        p = fma(p, z, broadcast(1.33314422036e-1f));
        p = fma(p, z, broadcast(-3.33332819422e-1f));
        const Register near = fma(mul(p, z), x, x);
        const Register magnitude = _mm256_andnot_ps(broadcast(-0.0f), x);
        return _mm256_blendv_ps(far, near, _mm256_cmp_ps(magnitude, broadcast(0.625f), _CMP_LT_OQ));
    }
    static DCRNN_INLINE Register load(const bf16* from) {
        const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
        return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
    }
    static DCRNN_INLINE void store(bf16* to, Register x) {
        const __m256i bits = _mm256_castps_si256(x);
        const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
        const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
        const __m256i high = _mm256_blendv_epi8(_mm256_srli_epi32(rounded, 16), _mm256_set1_epi32(0x7fc0), nan);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                         _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1)));
    }
};

#include "csrc/cpu/unit_body.h"

}  // namespace

const Kernels<float> kAvx2Float = table<Vector>("avx2");
const Kernels<bf16> kAvx2Bf16 = table<Vector, bf16>("avx2");

}  // namespace dcrnn
