// The vector of the units with AVX-512 BF16 instructions: panels in bf16, arithmetic in float32. Each unit includes
// this file inside an anonymous namespace. No include guard: it is meant to be included once by each unit.

#include "csrc/cpu/unit_avx512_vector.h"

struct Vector : Avx512 {
    using Avx512::store;

    static DCRNN_INLINE void store(bf16* to, Register x) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
    }

    // 1 / (1 + 2^x), within 2^-12: stored numbers have 8 bits. 2^x from a polynomial of degree 3 for the fraction. The
    // bound comes second, so that NaN stays NaN; below it 2^x is 0 in time.
    static DCRNN_INLINE Register one_over_one_plus_exp2(Register x) {
        x = _mm512_min_ps(broadcast(126.0f), x);
        const Register fraction = _mm512_reduce_ps(x, 0);
        Register p = broadcast(0.0555041f);
        p = fma(p, fraction, broadcast(0.2402265f));
        p = fma(p, fraction, broadcast(0.6931472f));
        p = fma(p, fraction, broadcast(1.0f));
        return _mm512_rcp14_ps(add(broadcast(1.0f), _mm512_scalef_ps(p, sub(x, fraction))));
    }
    static DCRNN_INLINE Register sigmoid(Register x) { return one_over_one_plus_exp2(mul(x, broadcast(-1.44269504f))); }
    static DCRNN_INLINE Register tanh(Register x) {
        return _mm512_fmsub_ps(broadcast(2.0f), one_over_one_plus_exp2(mul(x, broadcast(-2.88539008f))),
                               broadcast(1.0f));
    }
};
