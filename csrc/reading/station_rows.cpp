#include "csrc/reading/station_rows.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace dcrnn {
namespace {

// Columns: time, station, district, freeway, direction, lane type, length, samples, share observed, flow, occupancy,
// speed; then those of lanes.
constexpr int kStationColumns = 12;
constexpr int kMostDigits = 15;
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

/// Where commas and line feeds are among 64 characters, a bit each.
struct Marks {
    uint64_t commas = 0, feeds = 0;
};

Marks marks_of(const char* at, int64_t count) {
    Marks marks;
#if defined(__SSE2__)
    if (count >= 64) {
        const __m128i comma = _mm_set1_epi8(','), feed = _mm_set1_epi8('\n');
        for (int k = 0; k < 4; ++k) {
            const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + 16 * k));
            const auto commas = static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(text, comma)));
            const auto feeds = static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(text, feed)));
            marks.commas |= static_cast<uint64_t>(commas) << (16 * k);
            marks.feeds |= static_cast<uint64_t>(feeds) << (16 * k);
        }
        return marks;
    }
#endif
    for (int64_t i = 0; i < std::min<int64_t>(count, 64); ++i) {
        marks.commas |= static_cast<uint64_t>(at[i] == ',') << i;
        marks.feeds |= static_cast<uint64_t>(at[i] == '\n') << i;
    }
    return marks;
}

/// A line: where its first commas are, and how many there are in all.
struct Line {
    const char *begin, *end;
    const char* comma[kStationColumns];
    int64_t commas;
    bool whole;  // a line feed follows it
};

Line line_at(const char* begin, const char* stop) {
    Line line{begin, stop, {}, 0, false};
    for (const char* at = begin; at < stop; at += 64) {
        Marks marks = marks_of(at, stop - at);
        if (marks.feeds) {
            const int length = std::countr_zero(marks.feeds);
            marks.commas &= (uint64_t{1} << length) - 1;
            line.end = at + length;
            line.whole = true;
        }
        const int64_t before = line.commas;
        line.commas += std::popcount(marks.commas);
        for (int64_t k = before; k < kStationColumns && marks.commas; ++k, marks.commas &= marks.commas - 1)
            line.comma[k] = at + std::countr_zero(marks.commas);
        if (line.whole) break;
    }
    for (int64_t k = line.commas; k < kStationColumns; ++k) line.comma[k] = line.end;
    return line;
}

struct Row {
    int64_t time, id;
    float values[kReadings];
};

/// The row of a line; `known` is the time that `known_text` stands for, as most lines have that of the line before.
bool parse(const Line& line, int64_t columns, const char*& known_text, int64_t known, Row& row) {
    if (line.commas + 1 != columns || line.comma[0] - line.begin != kTimeSize) return false;
    row.time = known;
    if (known_text == nullptr || std::memcmp(known_text, line.begin, kTimeSize) != 0) {
        if (!seconds(line.begin, row.time)) return false;
        known_text = line.begin;
    }
    const char* const id = line.comma[0] + 1;
    const auto size = static_cast<int>(std::min<int64_t>(line.comma[1] - id, kMostDigits + 1));
    if (size < 1 || size > kMostDigits || !digits(id, size, row.id)) return false;
    // Share observed comes first in the file and last among the readings.
    return number(line.comma[7] + 1, line.comma[8], row.values[3]) &&
           number(line.comma[8] + 1, line.comma[9], row.values[0]) &&
           number(line.comma[9] + 1, line.comma[10], row.values[1]) &&
           number(line.comma[10] + 1, line.comma[11], row.values[2]);
}

}  // namespace

StationCounts read_station_rows(const char* text, int64_t size, bool at_end, const StationPlaces& places) {
    StationCounts counts;
    const char *at = text, *const stop = text + size;
    const char* known_text = nullptr;
    int64_t known = 0;
    for (; at < stop; counts.consumed = at - text) {
        Line line = line_at(at, stop);
        if (!line.whole && !at_end) break;
        const char* const next = line.whole ? line.end + 1 : stop;
        if (line.end > at && line.end[-1] == '\r') {
            --line.end;
            for (const char*& comma : line.comma) comma = std::min(comma, line.end);
        }
        if (line.end == at) {
            at = next;
            continue;
        }
        Row row;
        if (!parse(line, places.columns, known_text, known, row)) {
            counts.fault = StationFault::line;
            return counts;
        }
        known = row.time;
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
