// Which unit runs on this machine.
#pragma once

#include <string>
#include <vector>

#include "csrc/cpu/kernels.h"

namespace dcrnn {

/// One unit: whether it was compiled in, and why it cannot run here (empty: it can).
struct UnitState {
    std::string name;
    std::string why_not;
};

/// Every unit of float32 from the slowest to the fastest, with the cap of DCRNN_FAST_CPU applied.
/// Throws std::invalid_argument where the variable names no unit.
std::vector<UnitState> unit_states();

/// The fastest unit that can run, for float or double. Throws as unit_states does.
template <class T>
const Kernels<T>& choose_kernels();

}  // namespace dcrnn
