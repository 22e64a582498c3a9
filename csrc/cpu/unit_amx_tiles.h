// Shared by the units with AMX. Each unit includes this file inside an anonymous namespace. No include guard: it is
// meant to be included once by each unit.

// Every tile is 16 rows of 64 bytes: 16 x 32 bf16 on the left of a product, 16 pairs of rows x 16 columns on its right,
// 16 x 16 float32 sums. Tiles 0 to 3 hold sums, 4 and 5 the left side, 6 and 7 the right one.
constexpr int64_t kTileRows = 16;
constexpr int64_t kTileDepth = 32;
constexpr int64_t kTileColumns = 16;

struct alignas(64) TileConfig {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

// GCC's intrinsics hide most of their reads: of the configuration they declare 8 of 64 bytes, of a tile none (12.2; GCC
// left out all stores of the sizes below). So all writes must be in memory before.
#define DCRNN_WRITTEN(memory) __asm__ volatile("" : : "r"(memory) : "memory")
#define DCRNN_LOAD_TILE(tile, base, stride) \
    do {                                    \
        DCRNN_WRITTEN(base);                \
        _tile_loadd(tile, base, stride);    \
    } while (false)

inline void enter() {
    TileConfig config{};
    config.palette = 1;
    for (int i = 0; i < 8; ++i) {
        config.row_bytes[i] = 64;
        config.rows[i] = kTileRows;
    }
    DCRNN_WRITTEN(&config);
    _tile_loadconfig(&config);
}

inline void leave() { _tile_release(); }

// Transposes 16 x 16 numbers of 32 bits.
inline void transpose(__m512i (&row)[16]) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(row[i], row[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(row[i], row[i + 1]);
    }
    // Now 4 x 4 within each quarter: row[4 i + k] has column k of the quarters of rows 4 i to 4 i + 3.
    for (int i = 0; i < 16; i += 4) {
        row[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        row[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        row[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        row[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int k = 0; k < 4; ++k) {
        const __m512i even_low = _mm512_shuffle_i32x4(row[k], row[4 + k], 0x88);
        const __m512i odd_low = _mm512_shuffle_i32x4(row[k], row[4 + k], 0xdd);
        const __m512i even_high = _mm512_shuffle_i32x4(row[8 + k], row[12 + k], 0x88);
        const __m512i odd_high = _mm512_shuffle_i32x4(row[8 + k], row[12 + k], 0xdd);
        t[k] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
        t[4 + k] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
        t[8 + k] = _mm512_shuffle_i32x4(even_low, even_high, 0xdd);
        t[12 + k] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd);
    }
    for (int i = 0; i < 16; ++i) row[i] = t[i];
}
