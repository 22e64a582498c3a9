// Which unit runs on this machine.
#pragma once

#include <string>
#include <vector>

#include "csrc/cpu/kernels.h"

namespace dcrnn {

/// One unit, and why it cannot run here (empty: it can).
struct UnitState {
    std::string name;
    std::string why_not;
};

/// Every unit from the slowest to the fastest, with the cap of DCRNN_FAST_CPU applied.
/// Throws std::invalid_argument if the variable names no unit.
std::vector<UnitState> unit_states();

/// The fastest unit that can run, for S = float, double or bf16. Throws as unit_states does.
template <class S>
const Kernels<S>& choose_kernels();

/// Fewer rows of a problem than this are few: errors of their sums do not average.
inline constexpr int64_t kFewRows = 4096;

/// For float32 whose products may be made of bf16 ones: the unit that does so for a problem of `rows` rows (elements,
/// steps and nodes), or the exact one if this CPU has none.
const Kernels<float>& choose_split_kernels(int64_t rows);

}  // namespace dcrnn
