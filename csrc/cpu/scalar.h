// Between the storage of panels and their accumulator, number by number, outside of kernels.
#pragma once

#include <cstring>

#include "csrc/cpu/kernels.h"

namespace dcrnn {

inline float widened(float x) { return x; }
inline double widened(double x) { return x; }
inline float widened(bf16 x) {
    const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

/// To the nearest, ties to even.
template <class S>
S narrowed(Accumulator<S> x) {
    return x;
}
template <>
inline bf16 narrowed<bf16>(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    return {nan ? uint16_t{0x7fc0} : static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

}  // namespace dcrnn
