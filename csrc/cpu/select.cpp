#include "csrc/cpu/select.h"

#include <cstdlib>
#include <stdexcept>

#ifdef DCRNN_X86_UNITS
#include <cpuid.h>
#endif

namespace dcrnn {
namespace {

struct CpuFeatures {
    bool avx2 = false;
    bool avx512 = false;
    bool amx_bf16 = false;
};

#ifdef DCRNN_X86_UNITS
uint64_t enabled_state() {
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (static_cast<uint64_t>(high) << 32) | low;
}

CpuFeatures detect() {
    CpuFeatures found;
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return found;
    const bool fma = c & (1u << 12), xsave = c & (1u << 27), avx = c & (1u << 28);
    if (!xsave || !avx || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
    // The operating system must save the registers too: bits of XCR0 for ymm, for zmm and masks, for tiles.
    const uint64_t state = enabled_state();
    const bool f = b & (1u << 16), dq = b & (1u << 17), bw = b & (1u << 30), vl = b & (1u << 31);
    found.avx2 = fma && (b & (1u << 5)) && (state & 0x6) == 0x6;
    found.avx512 = found.avx2 && f && dq && bw && vl && (state & 0xe6) == 0xe6;
    found.amx_bf16 = found.avx512 && (d & (1u << 22)) && (d & (1u << 24)) && (state & 0x60000) == 0x60000;
    return found;
}
#else
CpuFeatures detect() { return {}; }
#endif

const CpuFeatures& features() {
    static const CpuFeatures found = detect();
    return found;
}

constexpr const char* kNames[] = {"generic", "avx2", "avx512", "amx"};

// Read at every choice, so that a test can cap one call.
size_t cap() {
    const char* wanted = std::getenv("DCRNN_FAST_CPU");
    if (wanted == nullptr || *wanted == '\0') return std::size(kNames) - 1;
    for (size_t i = 0; i < std::size(kNames); ++i)
        if (std::string(wanted) == kNames[i]) return i;
    throw std::invalid_argument("DCRNN_FAST_CPU is '" + std::string(wanted) +
                                "', wanted one of generic, avx2, avx512, amx");
}

}  // namespace

std::vector<UnitState> unit_states() {
    const size_t highest = cap();
#ifdef DCRNN_X86_UNITS
    const bool able[] = {true, features().avx2, features().avx512, features().amx_bf16};
    const bool compiled[] = {true, true, true, false};
#else
    const bool able[] = {true, false, false, false};
    const bool compiled[] = {true, false, false, false};
#endif
    std::vector<UnitState> states;
    for (size_t i = 0; i < std::size(kNames); ++i) {
        std::string reason;
        if (!compiled[i])
            reason = "not in this build";
        else if (!able[i])
            reason = "this CPU or its operating system lacks it";
        else if (i > highest)
            reason = std::string("DCRNN_FAST_CPU=") + kNames[highest];
        states.push_back({kNames[i], reason});
    }
    return states;
}

template <>
const Kernels<float>& choose_kernels<float>() {
    [[maybe_unused]] const size_t highest = cap();
#ifdef DCRNN_X86_UNITS
    if (highest >= 2 && features().avx512) return kAvx512Float;
    if (highest >= 1 && features().avx2) return kAvx2Float;
#endif
    return kGenericFloat;
}

template <>
const Kernels<double>& choose_kernels<double>() {
    cap();
    return kGenericDouble;
}

}  // namespace dcrnn
