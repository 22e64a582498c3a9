// The Python module: the functions that are no tensor operators. Importing it also registers the operators'
// implementations.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "csrc/cpu/arena_bytes.h"
#include "csrc/cpu/kept.h"
#include "csrc/cpu/select.h"
#include "csrc/torch/halo.h"
#include "csrc/torch/station_rows.h"

PYBIND11_MODULE(_dcrnn_fast_C, module) {
    module.doc() = "Compiled CPU kernels of dcrnn_fast.";
    module.def(
        "cpu_units",
        [] {
            std::vector<std::pair<std::string, std::string>> units;
            for (const auto& unit : dcrnn::unit_states()) units.emplace_back(unit.name, unit.why_not);
            return units;
        },
        "(name, why it cannot run, or \"\") of each unit, slowest first, capped by DCRNN_FAST_CPU.\n\n"
        "Raises:\n    ValueError: DCRNN_FAST_CPU names no unit.");
    module.def(
        "chosen_unit",
        [](const std::string& storage) -> std::string {
            if (storage == "float32") return dcrnn::choose_kernels<float>().name;
            if (storage == "float64") return dcrnn::choose_kernels<double>().name;
            if (storage == "bfloat16") return dcrnn::choose_kernels<dcrnn::bf16>().name;
            if (storage == "bf16x3") return dcrnn::choose_split_kernels(0).name;
            throw std::invalid_argument("storage is '" + storage + "', wanted float32, float64, bfloat16 or bf16x3");
        },
        "The unit that runs for float32, float64, bfloat16, or for float32 as bf16x3.\n\n"
        "Raises:\n    ValueError: another storage, or DCRNN_FAST_CPU names no unit.");
    module.def(
        "most_arena_bytes", [] { return dcrnn::arena_bytes.take_most(); },
        "Bytes of scratch memory that the kernels have had at once, at most, since the last call.");
    module.def("set_exchange", &dcrnn::set_exchange,
               "The addresses of two C functions that exchange the rows of a divided graph: see csrc/torch/halo.h.");
    module.def("keep_memory", &dcrnn::keep_memory, pybind11::arg("keep"),
               "Whether the operators keep their memory from call to call; False also frees what is idle.");
    module.def("keeps_memory", &dcrnn::keeps_memory, "What was asked for last.");
    module.def("idle_bytes", &dcrnn::idle_bytes, "Bytes that are kept and not in use.");
    dcrnn::define_station_rows(module);
}
