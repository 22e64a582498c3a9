#include "csrc/cpu/kept.h"

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <thread>
#include <unordered_map>
#include <vector>

#ifndef _WIN32
#include <pthread.h>
#endif

namespace dcrnn {
namespace {

struct Block {
    void* start;
    int64_t bytes;
    Purpose purpose;
    int64_t needed;         // the last forward that needed more than half of it
    std::thread::id owner;  // the last thread that used it, on whose memory node its pages are
};

class Pool {
  public:
    void* take(int64_t bytes, Purpose purpose) {
        const std::lock_guard locked(mutex_);
        if (!keeps_) return nullptr;
        const auto self = std::this_thread::get_id();
        size_t best = idle_.size(), largest = idle_.size();
        for (size_t i = 0; i < idle_.size(); ++i) {
            const Block& block = idle_[i];
            if (block.purpose != purpose) continue;
            if (block.bytes < bytes) {
                if (largest == idle_.size() || block.bytes > idle_[largest].bytes) largest = i;
            } else if (best == idle_.size() || block.bytes < idle_[best].bytes ||
                       (block.bytes == idle_[best].bytes && block.owner == self)) {
                best = i;
            }
        }
        if (best == idle_.size()) {
            if (largest != idle_.size()) free_idle(largest);
            return nullptr;
        }
        Block block = idle_[best];
        forget(best);
        block.owner = self;
        if (2 * bytes > block.bytes) block.needed = forward_;
        used_.emplace(block.start, block);
        return block.start;
    }

    void add(void* start, int64_t bytes, Purpose purpose) {
        const std::lock_guard locked(mutex_);
        if (!keeps_) return;
        used_.emplace(start, Block{start, bytes, purpose, forward_, std::this_thread::get_id()});
        idle_.reserve(idle_.size() + used_.size());  // giving back cannot fail
    }

    void give_back(void* start) {
        const std::lock_guard locked(mutex_);
        const auto found = used_.find(start);
        if (found == used_.end()) {
            std::free(start);
            return;
        }
        const Block block = found->second;
        used_.erase(found);
        if (keeps_ && forward_ - block.needed < kForwards)
            idle_.push_back(block);
        else
            std::free(start);
    }

    void next_forward() {
        const std::lock_guard locked(mutex_);
        ++forward_;
        for (size_t i = idle_.size(); i-- > 0;)
            if (forward_ - idle_[i].needed >= kForwards) free_idle(i);
    }

    void keep(bool keep) {
        const std::lock_guard locked(mutex_);
        keeps_ = keep;
        while (!keep && !idle_.empty()) free_idle(idle_.size() - 1);
    }

    bool keeps() {
        const std::lock_guard locked(mutex_);
        return keeps_;
    }

    int64_t idle() {
        const std::lock_guard locked(mutex_);
        int64_t bytes = 0;
        for (const Block& block : idle_) bytes += block.bytes;
        return bytes;
    }

    std::mutex& mutex() { return mutex_; }

  private:
    void forget(size_t i) {
        idle_[i] = idle_.back();
        idle_.pop_back();
    }
    void free_idle(size_t i) {
        std::free(idle_[i].start);
        forget(i);
    }

    std::mutex mutex_;
    bool keeps_ = false;
    int64_t forward_ = 0;
    std::vector<Block> idle_;
    std::unordered_map<void*, Block> used_;
};

// Never destroyed: tensors may give their memory back while the process ends.
Pool& pool() {
    static Pool& only = *new Pool;
    return only;
}

#ifndef _WIN32
// A child forked while another thread held the lock would wait for it forever.
[[maybe_unused]] const int registered =
    pthread_atfork([] { pool().mutex().lock(); }, [] { pool().mutex().unlock(); }, [] { pool().mutex().unlock(); });
#endif

}  // namespace

void* obtain(int64_t bytes, Purpose purpose, bool zeros) {
    const bool large = bytes >= kLeastKept;
    if (void* kept = large ? pool().take(bytes, purpose) : nullptr) return zeros ? std::memset(kept, 0, bytes) : kept;
    void* start = zeros ? std::calloc(1, bytes) : std::malloc(bytes);
    if (start == nullptr) throw std::bad_alloc();
    if (large) pool().add(start, bytes, purpose);
    return start;
}

void release(void* start) noexcept { pool().give_back(start); }

void next_forward() { pool().next_forward(); }

void keep_memory(bool keep) { pool().keep(keep); }

bool keeps_memory() { return pool().keeps(); }

int64_t idle_bytes() { return pool().idle(); }

}  // namespace dcrnn
