// The reader of station files as a function of the Python module.
#pragma once

#include <pybind11/pybind11.h>

namespace dcrnn {

void define_station_rows(pybind11::module_& module);

}  // namespace dcrnn
