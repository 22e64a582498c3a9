#include "csrc/torch/station_rows.h"

#include <stdexcept>
#include <string>

#include "csrc/reading/station_rows.h"

namespace dcrnn {
namespace {

namespace py = pybind11;

/// The bytes of a contiguous buffer of `count` items of `item` bytes.
void* held(const py::buffer_info& info, const char* name, int64_t count, int64_t item) {
    py::ssize_t wanted = info.itemsize;
    for (py::ssize_t k = info.ndim - 1; k >= 0; --k) {
        if (info.strides[k] != wanted) throw std::invalid_argument(std::string(name) + " must be contiguous");
        wanted *= info.shape[k];
    }
    if (info.size != count || info.itemsize != item)
        throw std::invalid_argument(std::string(name) + " must have " + std::to_string(count) + " items of " +
                                    std::to_string(item) + " bytes");
    return info.ptr;
}

py::tuple station_rows(const py::buffer& text, bool at_end, const py::buffer& readings, const py::buffer& seen,
                       const py::buffer& place, int64_t first_id, int64_t steps, int64_t stations, int64_t first_second,
                       int64_t step_seconds, int64_t columns, bool keep_imputed) {
    const py::buffer_info from = text.request(), into = readings.request(true), marks = seen.request(true),
                          table = place.request();
    if (steps < 1 || stations < 1 || step_seconds < 1 || steps > (int64_t{1} << 40) / stations)
        throw std::invalid_argument("steps, stations and step_seconds must be positive");
    const char* const bytes = static_cast<const char*>(held(from, "text", from.size, 1));
    StationPlaces places{static_cast<float*>(held(into, "readings", steps * stations * kReadings, sizeof(float))),
                         static_cast<uint8_t*>(held(marks, "seen", steps * stations, 1)),
                         static_cast<const int32_t*>(held(table, "place", table.size, sizeof(int32_t))),
                         first_id,
                         table.size,
                         steps,
                         stations,
                         first_second,
                         step_seconds,
                         columns,
                         keep_imputed};
    for (int64_t i = 0; i < places.num_ids; ++i)
        if (places.place[i] >= stations) throw std::invalid_argument("place names a station that is not there");
    StationCounts counts;
    {
        const py::gil_scoped_release others;
        counts = read_station_rows(bytes, from.size, at_end, places);
    }
    return py::make_tuple(counts.consumed, counts.rows, counts.imputed, counts.of_another_day, counts.twice,
                          static_cast<int>(counts.fault));
}

}  // namespace

void define_station_rows(py::module_& module) {
    module.def("station_rows", &station_rows, py::arg("text"), py::arg("at_end"), py::arg("readings"), py::arg("seen"),
               py::arg("place"), py::kw_only(), py::arg("first_id"), py::arg("steps"), py::arg("stations"),
               py::arg("first_second"), py::arg("step_seconds"), py::arg("columns"), py::arg("keep_imputed"),
               "Whole lines of a PeMS station file into readings (steps, stations, 4) float32 and seen (steps, "
               "stations); place is int32, by id from first_id on, -1 for none.\n\n"
               "Returns (bytes consumed, rows, imputed rows, rows of another day, rows that came twice, fault): fault "
               "1: the next line is no row, 2: its station has no place.\n\n"
               "Raises:\n    ValueError: an array of another size.");
}

}  // namespace dcrnn
