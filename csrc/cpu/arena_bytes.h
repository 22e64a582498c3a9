// The bytes of all Arenas of this process: what the kernels take beside their arguments and results, so that a planner
// need not know how they lay it out.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace dcrnn {

class ArenaBytes {
  public:
    void add(int64_t bytes) {
        const int64_t now = now_.fetch_add(bytes) + bytes;
        for (int64_t most = most_.load(); now > most && !most_.compare_exchange_weak(most, now);) {
        }
    }
    void remove(int64_t bytes) { now_.fetch_sub(bytes); }

    /// The most that there were at once since the last call.
    int64_t take_most() { return most_.exchange(now_.load()); }

  private:
    std::atomic<int64_t> now_{0}, most_{0};
};

inline ArenaBytes arena_bytes;

}  // namespace dcrnn
