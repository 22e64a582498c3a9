// The AVX-512 unit (F, BW, DQ, VL): float32, and bfloat16 computed in float32.
#include "csrc/cpu/unit_prologue.h"

namespace dcrnn {
namespace {

#include "csrc/cpu/unit_avx512_vector.h"

struct Vector : Avx512 {
    using Avx512::store;

    // exp(x) within 1 ulp: 2^n * p(x - n ln 2), ln 2 in two parts, p of degree 6 (Cephes expf). The bound comes second
    // in min and max, so that NaN stays NaN; beyond it 1 / (1 + exp) has long been 0 or 1.
    static DCRNN_INLINE Register exp(Register x) {
        x = _mm512_min_ps(broadcast(88.0f), _mm512_max_ps(broadcast(-88.0f), x));
        const Register n = _mm512_roundscale_ps(mul(x, broadcast(1.44269504f)), 8);
        Register r = _mm512_fnmadd_ps(n, broadcast(0.693359375f), x);
        r = _mm512_fnmadd_ps(n, broadcast(-2.12194440e-4f), r);
        Register p = broadcast(1.9875691500e-4f);
        p = fma(p, r, broadcast(1.3981999507e-3f));
        p = fma(p, r, broadcast(8.3334519073e-3f));
        p = fma(p, r, broadcast(4.1665795894e-2f));
        p = fma(p, r, broadcast(1.6666665459e-1f));
        p = fma(p, r, broadcast(5.0000001201e-1f));
        p = add(fma(p, mul(r, r), r), broadcast(1.0f));
        return _mm512_scalef_ps(p, n);
    }
    // 1 / x for x in [1, 2^127): 14 bits, and one step of Newton.
    static DCRNN_INLINE Register reciprocal(Register x) {
        const Register y = _mm512_rcp14_ps(x);
        return fma(y, _mm512_fnmadd_ps(x, y, broadcast(1.0f)), y);
    }
    static DCRNN_INLINE Register sigmoid(Register x) { return reciprocal(add(broadcast(1.0f), exp(sub(zero(), x)))); }
    // 1 - 2 / (exp(2x) + 1), which cancels near 0: there the odd polynomial of Cephes tanhf.
    static DCRNN_INLINE Register tanh(Register x) {
        const Register far =
            _mm512_fnmadd_ps(broadcast(2.0f), reciprocal(add(broadcast(1.0f), exp(add(x, x)))), broadcast(1.0f));
        const Register z = mul(x, x);
        Register p = broadcast(-5.70498872745e-3f);
        p = fma(p, z, broadcast(2.06390887954e-2f));
        p = fma(p, z, broadcast(-5.37397155531e-2f));
        p = fma(p, z, broadcast(1.33314422036e-1f));
        p = fma(p, z, broadcast(-3.33332819422e-1f));
        const Register near = fma(mul(p, z), x, x);
        const __mmask16 small = _mm512_cmp_ps_mask(_mm512_abs_ps(x), broadcast(0.625f), _CMP_LT_OQ);
        return _mm512_mask_blend_ps(small, far, near);
    }
    static DCRNN_INLINE void store(bf16* to, Register x) {
        const __m512i bits = _mm512_castps_si512(x);
        const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
        const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
        const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
        const __m512i high = _mm512_mask_mov_epi32(_mm512_srli_epi32(rounded, 16), nan, _mm512_set1_epi32(0x7fc0));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(high));
    }
};

#include "csrc/cpu/unit_body.h"

}  // namespace

const Kernels<float> kAvx512Float = table<Vector>("avx512");
const Kernels<bf16> kAvx512Bf16 = table<Vector, bf16>("avx512");

}  // namespace dcrnn
