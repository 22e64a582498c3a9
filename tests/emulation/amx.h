// AMX in plain C++, to run the AMX units on a CPU without it: tile registers of each thread, and the instructions as
// the architecture manual (Intel SDM volume 2: LDTILECFG, TILELOADD, TILESTORED, TILEZERO, TILERELEASE, TDPBF16PS)
// defines them. What the processor would answer with a fault ends the process with a message. The build includes this
// file before every other (-include), so that the units do not know.
#pragma once

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace dcrnn_emulated_amx {

constexpr int kTiles = 8;
constexpr int kMostRows = 16;
constexpr int kMostBytes = 64;

struct Tile {
    int rows, row_bytes;
    alignas(64) unsigned char data[kMostRows][kMostBytes];
};

struct State {
    bool configured;
    Tile tiles[kTiles];
};

inline thread_local State state{};

[[noreturn]] inline void fault(const char* instruction, const char* what) {
    fprintf(stderr, "emulated AMX: %s: %s\n", instruction, what);
    abort();
}

inline Tile& tile(const char* instruction, int number) {
    if (number < 0 || number >= kTiles) fault(instruction, "no such tile");
    if (!state.configured) fault(instruction, "tiles are not configured (#UD)");
    Tile& found = state.tiles[number];
    if (found.rows == 0 || found.row_bytes == 0) fault(instruction, "the tile has no rows or columns (#UD)");
    return found;
}

inline void loadconfig(const void* memory) {
    const auto* bytes = static_cast<const unsigned char*>(memory);
    if (bytes[0] == 0) {
        state = State{};
        return;
    }
    if (bytes[0] != 1) fault("ldtilecfg", "the palette is not 1 (#GP)");
    if (bytes[1] != 0) fault("ldtilecfg", "start_row is not 0: no load was interrupted here");
    for (int i = 2; i < 16; ++i)
        if (bytes[i] != 0) fault("ldtilecfg", "a reserved byte is not 0 (#GP)");
    State next{};
    next.configured = true;
    for (int i = 0; i < 16; ++i) {
        uint16_t row_bytes;
        memcpy(&row_bytes, bytes + 16 + 2 * i, 2);
        const int rows = bytes[48 + i];
        if (i >= kTiles) {
            if (row_bytes != 0 || rows != 0) fault("ldtilecfg", "palette 1 has 8 tiles (#GP)");
            continue;
        }
        if (row_bytes > kMostBytes || rows > kMostRows) fault("ldtilecfg", "a tile is larger than 16 x 64 bytes (#GP)");
        if ((row_bytes == 0) != (rows == 0)) fault("ldtilecfg", "a tile has rows or columns only (#GP)");
        next.tiles[i].rows = rows;
        next.tiles[i].row_bytes = row_bytes;
    }
    // All tiles are zeroed.
    state = next;
}

inline void release() { state = State{}; }

inline void zero(int to) { memset(tile("tilezero", to).data, 0, sizeof state.tiles[to].data); }

inline void load(int to, const void* base, int64_t stride) {
    Tile& t = tile("tileloadd", to);
    memset(t.data, 0, sizeof t.data);
    for (int row = 0; row < t.rows; ++row)
        memcpy(t.data[row], static_cast<const char*>(base) + row * stride, t.row_bytes);
}

inline void stored(int from, void* base, int64_t stride) {
    const Tile& t = tile("tilestored", from);
    for (int row = 0; row < t.rows; ++row) memcpy(static_cast<char*>(base) + row * stride, t.data[row], t.row_bytes);
}

// A denormal becomes a zero of its sign.
inline float flushed(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x; }

// bf16 number `column` of a row, as float32, denormals as zero.
inline float bf16_at(const unsigned char* row, int column) {
    uint16_t half;
    memcpy(&half, row + 2 * column, 2);
    const uint32_t bits = static_cast<uint32_t>(half) << 16;
    float x;
    memcpy(&x, &bits, 4);
    return flushed(x);
}

inline void dpbf16ps(int to, int left, int right) {
    constexpr const char* kName = "tdpbf16ps";
    if (to == left || to == right || left == right) fault(kName, "two operands are the same tile (#UD)");
    Tile &c = tile(kName, to), &a = tile(kName, left), &b = tile(kName, right);
    if (c.row_bytes % 4 || a.row_bytes % 4 || b.row_bytes % 4) fault(kName, "a row is no whole number of dwords (#UD)");
    if (a.rows != c.rows) fault(kName, "rows of the left side and of the sums differ (#UD)");
    if (b.row_bytes != c.row_bytes) fault(kName, "columns of the right side and of the sums differ (#UD)");
    if (a.row_bytes / 4 != b.rows) fault(kName, "columns of the left side and rows of the right side differ (#UD)");
    const int columns = c.row_bytes / 4;
    float right_even[kMostRows][16], right_odd[kMostRows][16];
    for (int k = 0; k < b.rows; ++k)
        for (int n = 0; n < columns; ++n) {
            right_even[k][n] = bf16_at(b.data[k], 2 * n);
            right_odd[k][n] = bf16_at(b.data[k], 2 * n + 1);
        }
    for (int m = 0; m < c.rows; ++m) {
        // Even and odd numbers of the pairs have sums of their own, which meet at the end.
        float even[16] = {}, odd[16] = {}, sum[16] = {};
        for (int k = 0; k < b.rows; ++k) {
            const float left_even = bf16_at(a.data[m], 2 * k), left_odd = bf16_at(a.data[m], 2 * k + 1);
            for (int n = 0; n < columns; ++n) even[n] = flushed(fmaf(left_even, right_even[k][n], even[n]));
            for (int n = 0; n < columns; ++n) odd[n] = flushed(fmaf(left_odd, right_odd[k][n], odd[n]));
        }
        memcpy(sum, c.data[m], c.row_bytes);
        for (int n = 0; n < columns; ++n) sum[n] = flushed(flushed(sum[n]) + flushed(even[n] + odd[n]));
        // Bytes beyond the row's end become zero.
        memset(c.data[m], 0, kMostBytes);
        memcpy(c.data[m], sum, c.row_bytes);
    }
    for (int m = c.rows; m < kMostRows; ++m) memset(c.data[m], 0, kMostBytes);
}

}  // namespace dcrnn_emulated_amx

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig ::dcrnn_emulated_amx::loadconfig
#define _tile_release ::dcrnn_emulated_amx::release
#define _tile_zero ::dcrnn_emulated_amx::zero
#define _tile_loadd ::dcrnn_emulated_amx::load
#define _tile_stored ::dcrnn_emulated_amx::stored
#define _tile_dpbf16ps ::dcrnn_emulated_amx::dpbf16ps
