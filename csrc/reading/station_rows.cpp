#include "csrc/reading/station_rows.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>

namespace dcrnn {
namespace {

// Columns: time, station, district, freeway, direction, lane type, length, samples, then these four.
constexpr int kBetween = 6;
constexpr int64_t kTimeSize = 19;  // MM/DD/YYYY HH:MM:SS
constexpr float kPowers[] = {1e0F, 1e1F, 1e2F, 1e3F, 1e4F, 1e5F, 1e6F, 1e7F, 1e8F, 1e9F, 1e10F};
constexpr int kMostDecimals = 10;
constexpr uint32_t kExact = 1U << 24;  // whole numbers below it are floats

bool digits(const char* at, int count, int64_t& number) {
    number = 0;
    for (int i = 0; i < count; ++i) {
        if (at[i] < '0' || at[i] > '9') return false;
        number = 10 * number + (at[i] - '0');
    }
    return true;
}

int64_t days_since_1970(int64_t year, int64_t month, int64_t day) {
    // Years begin in March here, so that a leap day is their last.
    year -= month <= 2;
    const int64_t era = year / 400, of_era = year - 400 * era;
    const int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return 146097 * era + 365 * of_era + of_era / 4 - of_era / 100 + of_year - 719468;
}

int64_t days_of_month(int64_t year, int64_t month) {
    constexpr int64_t kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return kDays[month - 1] + (month == 2 && leap);
}

/// Seconds since 1970 of kTimeSize characters.
bool seconds(const char* at, int64_t& time) {
    int64_t month, day, year, hour, minute, second;
    if (at[2] != '/' || at[5] != '/' || at[10] != ' ' || at[13] != ':' || at[16] != ':') return false;
    if (!digits(at, 2, month) || !digits(at + 3, 2, day) || !digits(at + 6, 4, year)) return false;
    if (!digits(at + 11, 2, hour) || !digits(at + 14, 2, minute) || !digits(at + 17, 2, second)) return false;
    if (month < 1 || month > 12 || day < 1 || day > days_of_month(year, month)) return false;
    if (hour > 23 || minute > 59 || second > 59) return false;
    time = 86400 * days_since_1970(year, month, day) + 3600 * hour + 60 * minute + second;
    return true;
}

/// A field that may be empty, NaN then. Quotients of whole floats by powers of ten are rounded once, as the text asks.
bool number(const char* from, const char* to, float& value) {
    if (from == to) {
        value = std::numeric_limits<float>::quiet_NaN();
        return true;
    }
    uint32_t whole = 0;
    int decimals = -1;
    for (const char* at = from; at < to; ++at) {
        const bool is_digit = *at >= '0' && *at <= '9';
        if (!is_digit && (*at != '.' || decimals >= 0 || to - from == 1)) goto any;
        if (is_digit) {
            whole = 10 * whole + static_cast<uint32_t>(*at - '0');
            if (whole >= kExact) goto any;
            decimals += decimals >= 0;
        } else {
            decimals = 0;
        }
    }
    if (decimals > kMostDecimals) goto any;
    value = static_cast<float>(whole) / kPowers[decimals < 0 ? 0 : decimals];
    return true;
any:
    const auto read = std::from_chars(from, to, value);
    return read.ec == std::errc() && read.ptr == to;
}

/// The end of the field that begins here: its comma, or the line's end.
const char* field_end(const char* from, const char* end) {
    while (from < end && *from != ',') ++from;
    return from;
}

struct Row {
    int64_t time, id;
    float values[kReadings];
};

bool parse(const char* at, const char* end, int64_t columns, Row& row) {
    if (end - at <= kTimeSize || at[kTimeSize] != ',' || !seconds(at, row.time)) return false;
    const char* from = at + kTimeSize + 1;
    const char* to = field_end(from, end);
    if (to == end || from == to || to - from > 15 || !digits(from, static_cast<int>(to - from), row.id)) return false;
    for (int skipped = 0; skipped < kBetween; ++skipped) {
        to = field_end(to + 1, end);
        if (to == end) return false;
    }
    // Share observed comes first in the file and last among the readings.
    for (const int k : {3, 0, 1, 2}) {
        if (to == end) return false;
        from = to + 1;
        to = field_end(from, end);
        if (!number(from, to, row.values[k])) return false;
    }
    return 12 + std::count(to, end, ',') == columns;
}

}  // namespace

StationCounts read_station_rows(const char* text, int64_t size, bool at_end, const StationPlaces& places) {
    StationCounts counts;
    const char *at = text, *const stop = text + size;
    for (; at < stop; counts.consumed = at - text) {
        const char* feed = static_cast<const char*>(std::memchr(at, '\n', static_cast<size_t>(stop - at)));
        if (feed == nullptr && !at_end) break;
        const char* end = feed == nullptr ? stop : feed;
        const char* next = feed == nullptr ? stop : feed + 1;
        if (end > at && end[-1] == '\r') --end;
        if (end == at) {
            at = next;
            continue;
        }
        Row row;
        if (!parse(at, end, places.columns, row)) {
            counts.fault = StationFault::line;
            return counts;
        }
        const int64_t since = row.time - places.first_second;
        const int64_t step = since / places.step_seconds;
        if (since % places.step_seconds != 0) {
            counts.fault = StationFault::line;
            return counts;
        }
        const int64_t offset = row.id - places.first_id;
        const int64_t station = offset < 0 || offset >= places.num_ids ? -1 : places.place[offset];
        if (station < 0) {
            counts.fault = StationFault::unknown_station;
            return counts;
        }
        at = next;
        ++counts.rows;
        if (since < 0 || step >= places.steps) {
            ++counts.of_another_day;
            continue;
        }
        const int64_t position = step * places.stations + station;
        if (places.seen[position]) {
            ++counts.twice;
            continue;
        }
        places.seen[position] = 1;
        if (row.values[3] == 0 && row.values[0] == row.values[0]) {
            ++counts.imputed;
            if (!places.keep_imputed) std::fill_n(row.values, 3, std::numeric_limits<float>::quiet_NaN());
        }
        std::copy_n(row.values, kReadings, places.readings + kReadings * position);
    }
    return counts;
}

}  // namespace dcrnn
