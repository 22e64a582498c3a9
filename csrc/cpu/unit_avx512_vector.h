// What the vectors of the units with AVX-512 share. Each unit includes this file inside an anonymous namespace. No
// include guard: it is meant to be included once by each unit.

struct Avx512 {
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
    static DCRNN_INLINE Register add(Register a, Register b) { return _mm512_add_ps(a, b); }
    static DCRNN_INLINE Register sub(Register a, Register b) { return _mm512_sub_ps(a, b); }
    static DCRNN_INLINE Register mul(Register a, Register b) { return _mm512_mul_ps(a, b); }
    static DCRNN_INLINE Register fma(Register a, Register b, Register c) { return _mm512_fmadd_ps(a, b, c); }
};
