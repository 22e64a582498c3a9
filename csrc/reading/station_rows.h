// Rows of a PeMS station file into their places in a series.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dcrnn {

/// Where a file's readings belong. Arrays are the caller's: `steps * stations` places of kReadings floats and one byte.
struct StationPlaces {
    float* readings;       // flow, occupancy, speed, share observed
    uint8_t* seen;         // whether a place has its row
    const int32_t* place;  // of station first_id + i, -1 for none; num_ids of them
    int64_t first_id, num_ids;
    int64_t steps, stations;
    int64_t first_second, step_seconds;  // of the file's first row, since 1970; between rows
    int64_t columns;                     // of each line
    bool keep_imputed;                   // rows of which nothing was observed are readings
};

constexpr int64_t kReadings = 4;

enum class StationFault : int { none = 0, line = 1, unknown_station = 2 };

/// What was met. `consumed` bytes were whole lines; at a fault it is where the line at fault begins.
struct StationCounts {
    int64_t consumed = 0, rows = 0, imputed = 0, of_another_day = 0, twice = 0;
    StationFault fault = StationFault::none;
};

/// Reads whole lines, to the last line feed of the text, or, at the file's end, to its end.
StationCounts read_station_rows(const char* text, int64_t size, bool at_end, const StationPlaces& places);

}  // namespace dcrnn
