#include "csrc/cpu/select.h"

#include <cstdlib>
#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#endif

namespace dcrnn {
namespace {

// Why this process cannot use an instruction set; empty: it can.
struct Missing {
    std::string avx2 = "this CPU is no x86-64", avx512 = avx2, avx512_bf16 = avx2, amx = avx2;
};

#if defined(__x86_64__)
uint64_t enabled_state() {
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (static_cast<uint64_t>(high) << 32) | low;
}

// Tiles are large; Linux gives a process room to save them only when it asks (since 5.16).
std::string ask_for_tiles() {
#if defined(DCRNN_EMULATED_AMX) || !defined(__linux__)
    return "";
#else
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0) return "";
    return std::string("the kernel gives no permission for AMX (arch_prctl: ") + std::strerror(errno) + ")";
#endif
}

Missing detect() {
    uint32_t a, b, c, d;
    Missing missing{"this CPU lacks AVX2 or FMA", "this CPU lacks AVX-512 F, BW, DQ or VL",
                    "this CPU lacks AVX512-BF16", "this CPU lacks AMX-BF16"};
    if (!__get_cpuid(1, &a, &b, &c, &d)) return missing;
    const bool fma = c & (1u << 12), xsave = c & (1u << 27), avx = c & (1u << 28);
    if (!xsave || !avx || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return missing;
    const bool avx2 = fma && (b & (1u << 5));
    const bool f = b & (1u << 16), dq = b & (1u << 17), bw = b & (1u << 30), vl = b & (1u << 31);
    [[maybe_unused]] const bool amx = (d & (1u << 22)) && (d & (1u << 24));
    const bool bfloat16 = a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 5));
    // The operating system must save the registers too: bits of XCR0 for ymm, for zmm and masks, for tiles.
    const uint64_t state = enabled_state();
    const auto saved = [state](uint64_t bits) -> std::string {
        return (state & bits) == bits ? "" : "the operating system does not save its registers";
    };
    if (avx2) missing.avx2 = saved(0x6);
    if (!missing.avx2.empty()) return missing;
    if (f && dq && bw && vl) missing.avx512 = saved(0xe6);
    if (!missing.avx512.empty()) return missing;
    if (bfloat16) missing.avx512_bf16.clear();
    if (!missing.avx512_bf16.empty()) return missing;
#ifdef DCRNN_EMULATED_AMX
    missing.amx.clear();
#else
    if (amx) missing.amx = saved(0x60000);
#endif
    if (missing.amx.empty()) missing.amx = ask_for_tiles();
    return missing;
}
#else
Missing detect() { return {}; }
#endif

// All units, from the slowest to the fastest; a unit may lack a table, which a slower one then provides.
struct Unit {
    const char* name;
    std::string missing;
    const Kernels<float>* float32 = nullptr;
    const Kernels<bf16>* bfloat16 = nullptr;
    const Kernels<float>* split = nullptr;      // bf16x3
    const Kernels<float>* split_few = nullptr;  // the same for few rows
    const Kernels<double>* float64 = nullptr;

    bool compiled() const { return float32 || bfloat16 || split || float64; }
};

#if defined(DCRNN_UNIT_AMX_BF16X3) && defined(DCRNN_UNIT_AVX512)
// The products of one unit, and of the other all the rest.
Kernels<float> products_of(const Kernels<float>& products, Kernels<float> all) {
    all.name = products.name;
    all.block_columns = products.block_columns, all.depth_group = products.depth_group;
    all.scratch_bytes = products.scratch_bytes, all.row_block = products.row_block;
    all.enter = products.enter, all.leave = products.leave;
    all.finish_packed = products.finish_packed, all.packed_halves = products.packed_halves;
    all.gemm = products.gemm, all.weight_gradients = products.weight_gradients;
    return all;
}
#endif

const std::vector<Unit>& units() {
    static const std::vector<Unit> all = [] {
        const Missing missing = detect();
        std::vector<Unit> made = {{"generic", "", &kGenericFloat, &kGenericBf16, nullptr, nullptr, &kGenericDouble},
                                  {"avx2", missing.avx2},
                                  {"avx512", missing.avx512},
                                  {"avx512_bf16", missing.avx512_bf16},
                                  {"amx", missing.amx}};
#ifdef DCRNN_UNIT_AVX2
        made[1].float32 = &kAvx2Float, made[1].bfloat16 = &kAvx2Bf16;
#endif
#ifdef DCRNN_UNIT_AVX512
        made[2].float32 = &kAvx512Float, made[2].bfloat16 = &kAvx512Bf16;
#endif
#ifdef DCRNN_UNIT_AVX512_BF16
        made[3].bfloat16 = &kAvx512DotBf16;
#endif
#ifdef DCRNN_UNIT_AMX
        made[4].bfloat16 = &kAmxBf16;
#endif
#if defined(DCRNN_UNIT_AMX_BF16X3) && defined(DCRNN_UNIT_AVX512)
        static const Kernels<float> split = products_of(kAmxBf16x3Products, kAvx512Float);
        static const Kernels<float> split_few = products_of(kAmxBf16x6Products, kAvx512Float);
        made[4].split = &split, made[4].split_few = &split_few;
#endif
        return made;
    }();
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
        if (units()[i].missing.empty() && units()[i].*table) return units()[i].*table;
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
        else if (!units()[i].missing.empty())
            reason = units()[i].missing;
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

const Kernels<float>& choose_split_kernels(int64_t rows) {
    const Kernels<float>* split = fastest(rows < kFewRows ? &Unit::split_few : &Unit::split);
    return split ? *split : choose_kernels<float>();
}

}  // namespace dcrnn
