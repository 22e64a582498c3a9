// Shared by the units with bf16 dot products. A dot product takes two rows of a matrix at once, so operands lie in
// pairs of rows, interleaved number by number. Each unit includes this file inside an anonymous namespace. No include
// guard: it is meant to be included once by each unit.

DCRNN_INLINE __m512bh as_pairs(__m512i bits) { return reinterpret_cast<__m512bh>(bits); }
DCRNN_INLINE __m512bh load_pairs(const bf16* from) { return as_pairs(_mm512_loadu_si512(from)); }
DCRNN_INLINE void store_two(bf16* to, __m512 low, __m512 high) {
    _mm512_storeu_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
}

// Columns [0, 16) and [16, 32) of two rows of 32, each pair side by side.
DCRNN_INLINE void interleave(__m512i first, __m512i second, __m512i& low, __m512i& high) {
    // Unpacking works within 128 bits: the quarters it will take are put there first.
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    first = _mm512_permutexvar_epi64(order, first);
    second = _mm512_permutexvar_epi64(order, second);
    low = _mm512_unpacklo_epi16(first, second);
    high = _mm512_unpackhi_epi16(first, second);
}

// Rows of x in pairs: pair p is 2 * width numbers. A missing last row counts as zeros.
inline void interleave_rows(const bf16* x, int64_t stride, int64_t rows, int64_t width, bf16* to, int64_t to_stride) {
    for (int64_t row = 0; row < rows; row += 2, x += 2 * stride, to += to_stride)
        for (int64_t j = 0; j < width; j += 32) {
            const __m512i first = _mm512_loadu_si512(x + j);
            const __m512i second = row + 1 < rows ? _mm512_loadu_si512(x + stride + j) : _mm512_setzero_si512();
            __m512i low, high;
            interleave(first, second, low, high);
            _mm512_storeu_si512(to + 2 * j, low);
            _mm512_storeu_si512(to + 2 * j + 32, high);
        }
}

DCRNN_INLINE uint32_t rounded(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0;
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

DCRNN_INLINE float widened(uint32_t bits) {
    bits <<= 16;
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}
