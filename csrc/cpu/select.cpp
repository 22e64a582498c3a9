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

// What there is, from the slowest to the fastest; a unit may lack a table, which a slower one then provides.
struct Unit {
    const char* name;
    bool able;
    const Kernels<float>* float32;
    const Kernels<bf16>* bfloat16;
    const Kernels<float>* split;  // bf16x3
    const Kernels<double>* float64;

    bool compiled() const { return float32 || bfloat16 || split || float64; }
};

const std::vector<Unit>& units() {
    static const CpuFeatures found = detect();
    static const std::vector<Unit> all = {
        {"generic", true, &kGenericFloat, &kGenericBf16, nullptr, &kGenericDouble},
#ifdef DCRNN_X86_UNITS
        {"avx2", found.avx2, &kAvx2Float, &kAvx2Bf16, nullptr, nullptr},
        {"avx512", found.avx512, &kAvx512Float, &kAvx512Bf16, nullptr, nullptr},
#else
        {"avx2", false, nullptr, nullptr, nullptr, nullptr},
        {"avx512", false, nullptr, nullptr, nullptr, nullptr},
#endif
        {"amx", found.amx_bf16, nullptr, nullptr, nullptr, nullptr},
    };
    return all;
}

// The highest unit that may run. Read at every choice, so that a test can cap one call.
size_t cap() {
    const char* wanted = std::getenv("DCRNN_FAST_CPU");
    if (wanted == nullptr || *wanted == '\0') return units().size() - 1;
    std::string known;
    for (size_t i = 0; i < units().size(); ++i) {
        if (std::string(wanted) == units()[i].name) return i;
        known += (i ? ", " : "") + std::string(units()[i].name);
    }
    throw std::invalid_argument("DCRNN_FAST_CPU is '" + std::string(wanted) + "', wanted one of " + known);
}

template <class S>
const Kernels<S>* fastest(const Kernels<S>* Unit::* table) {
    for (size_t i = cap() + 1; i-- > 0;)
        if (units()[i].able && units()[i].*table) return units()[i].*table;
    return nullptr;
}

}  // namespace

std::vector<UnitState> unit_states() {
    const size_t highest = cap();
    std::vector<UnitState> states;
    for (size_t i = 0; i < units().size(); ++i) {
        std::string reason;
        if (!units()[i].compiled())
            reason = "not in this build";
        else if (!units()[i].able)
            reason = "this CPU or its operating system lacks it";
        else if (i > highest)
            reason = std::string("DCRNN_FAST_CPU=") + units()[highest].name;
        states.push_back({units()[i].name, reason});
    }
    return states;
}

template <>
const Kernels<float>& choose_kernels<float>() {
    return *fastest(&Unit::float32);
}

template <>
const Kernels<double>& choose_kernels<double>() {
    return *fastest(&Unit::float64);
}

template <>
const Kernels<bf16>& choose_kernels<bf16>() {
    return *fastest(&Unit::bfloat16);
}

const Kernels<float>& choose_split_kernels() {
    const Kernels<float>* split = fastest(&Unit::split);
    return split ? *split : choose_kernels<float>();
}

}  // namespace dcrnn
