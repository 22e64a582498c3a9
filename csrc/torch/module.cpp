// The Python module: what is no tensor operator. Importing it also registers the operators' implementations.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "csrc/cpu/select.h"

PYBIND11_MODULE(_dcrnn_fast_C, module) {
    module.doc() = "Compiled CPU kernels of dcrnn_fast.";
    module.def(
        "cpu_units",
        [] {
            std::vector<std::pair<std::string, std::string>> units;
            for (const auto& unit : dcrnn::unit_states()) units.emplace_back(unit.name, unit.why_not);
            return units;
        },
        "(name, why it cannot run, or \"\") of each float32 unit, slowest first, capped by DCRNN_FAST_CPU.\n\n"
        "Raises:\n    ValueError: DCRNN_FAST_CPU names no unit.");
}
