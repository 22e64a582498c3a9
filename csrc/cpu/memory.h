// Scratch memory: one block, cut into cache-aligned pieces.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>

#include "csrc/cpu/arena_bytes.h"
#include "csrc/cpu/kept.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace dcrnn {

/// Asks Linux for pages of 2 MiB in [start, start + bytes). A fault for each 4 KiB of a step's memory, and their
/// misses in the address cache, took a tenth of a step of 11,160 nodes.
inline void prefer_large_pages([[maybe_unused]] void* start, [[maybe_unused]] int64_t bytes) {
#ifdef MADV_HUGEPAGE
    constexpr uintptr_t kPage = uintptr_t{1} << 21;
    const auto address = reinterpret_cast<uintptr_t>(start);
    const uintptr_t first = (address + kPage - 1) / kPage * kPage, last = (address + bytes) / kPage * kPage;
    // A kernel that knows no such pages refuses: the memory is as good.
    if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

/// Gives an Arena's block back.
struct ReleaseBlock {
    int64_t bytes = 0;
    void operator()(void* start) const noexcept {
        release(start);
        arena_bytes.remove(bytes);
    }
};

/// Hands out pieces of a block. Made without memory first, it only counts, so that one function describes the pieces:
///     Arena count; lay_out(count); Arena arena(count.used()); lay_out(arena);
class Arena {
  public:
    enum class Fill { kZeros, kNothing };

    Arena() = default;
    explicit Arena(int64_t bytes, Purpose purpose = Purpose::kOther, Fill fill = Fill::kZeros)
        : block_(obtain(bytes + kLine, purpose, fill == Fill::kZeros), ReleaseBlock{bytes + kLine}) {
        arena_bytes.add(bytes + kLine);
        prefer_large_pages(block_.get(), bytes);
        const auto address = reinterpret_cast<uintptr_t>(block_.get());
        start_ = static_cast<char*>(block_.get()) + (kLine - address % kLine) % kLine;
    }

    template <class T>
    T* take(int64_t count) {
        T* piece = start_ ? reinterpret_cast<T*>(start_ + used_) : nullptr;
        const int64_t lines = (count * static_cast<int64_t>(sizeof(T)) + kLine - 1) / kLine;
        // Five lines more: pieces of equal size must not start at the same offset of a page, or the same row of all of
        // them would compete for one set of the L1 cache.
        used_ += (lines + 5) * kLine;
        return piece;
    }

    template <class T>
    T* take_zeros(int64_t count) {
        T* piece = take<T>(count);
        if (piece != nullptr) std::memset(piece, 0, count * sizeof(T));
        return piece;
    }

    int64_t used() const { return used_; }

    /// The same pieces will be handed out again, with the numbers that they hold.
    void rewind() { used_ = 0; }

    /// The same pieces will be handed out again, zeroed.
    void clear() {
        std::memset(start_, 0, used_);
        rewind();
    }

    /// The complete block as numbers: pieces and the lines between them, which stay zero.
    template <class T>
    T* numbers() {
        return reinterpret_cast<T*>(start_);
    }

  private:
    static constexpr int64_t kLine = 64;
    std::unique_ptr<void, ReleaseBlock> block_;
    char* start_ = nullptr;
    int64_t used_ = 0;
};

/// The memory that lay_out(arena) describes, after lay_out has filled it.
template <class LayOut>
Arena laid_out(const LayOut& lay_out) {
    Arena count;
    lay_out(count);
    Arena arena(count.used());
    lay_out(arena);
    return arena;
}

/// use(run) with a run that make(arena) returns, in memory of its size. It need not be initialised: almost all of a
/// tile's panels are written before they are read, those of 11,160 nodes more than 100 MiB for each thread.
template <class Make, class Use>
void with_memory(const Make& make, const Use& use, Arena::Fill fill = Arena::Fill::kNothing) {
    Arena count;
    make(count);
    Arena arena(count.used(), Purpose::kTiles, fill);
    auto run = make(arena);
    use(run);
}

}  // namespace dcrnn
