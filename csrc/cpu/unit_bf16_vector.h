// The vector of the units with AVX-512 BF16 instructions: panels in bf16, arithmetic in float32. Each unit includes
// this file inside an anonymous namespace. No include guard: it is meant to be included once by each unit.

struct Vector {
    using Scalar = float;
    using Register = __m512;
    static constexpr int kWidth = 16;
    static constexpr int kBlockVectors = 4;

    static DCRNN_INLINE Register zero() { return _mm512_setzero_ps(); }
    static DCRNN_INLINE Register broadcast(float x) { return _mm512_set1_ps(x); }
    static DCRNN_INLINE Register load(const float* from) { return _mm512_loadu_ps(from); }
    static DCRNN_INLINE void store(float* to, Register x) { _mm512_storeu_ps(to, x); }
    static DCRNN_INLINE Register load(const bf16* from) {
        const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
        return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
    }
    static DCRNN_INLINE void store(bf16* to, Register x) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
    }
    static DCRNN_INLINE Register add(Register a, Register b) { return _mm512_add_ps(a, b); }
    static DCRNN_INLINE Register sub(Register a, Register b) { return _mm512_sub_ps(a, b); }
    static DCRNN_INLINE Register mul(Register a, Register b) { return _mm512_mul_ps(a, b); }
    static DCRNN_INLINE Register fma(Register a, Register b, Register c) { return _mm512_fmadd_ps(a, b, c); }

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
