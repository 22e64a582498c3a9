// Memory that is kept from call to call, so that a step does not begin with a page fault for each of its pages.
//
// Nothing is kept unless the process asks for it (keep_memory), as a training does. What is kept is bounded: a call
// takes an idle block of the same purpose before any new memory, the smallest that is large enough; if all are too
// small, the largest of them is freed before a larger one is allocated. So there are never more blocks than were in use
// at once. A block of which kForwards forwards did not need the half is freed: a smaller batch gives memory back.
#pragma once

#include <cstdint>

namespace dcrnn {

/// Only blocks of the same purpose replace each other.
enum class Purpose { kSaved, kTiles, kOther };

/// Memory below this comes from malloc and goes back to it: the heap keeps that by itself.
constexpr int64_t kLeastKept = int64_t{1} << 20;

/// Forwards after which a block that none of them needed is freed.
constexpr int64_t kForwards = 4;

/// `bytes` of memory, zeros if so wanted. Any thread may call it, and release what any other took.
/// Throws std::bad_alloc.
void* obtain(int64_t bytes, Purpose purpose, bool zeros);
void release(void* start) noexcept;

/// A forward begins.
void next_forward();

/// Whether blocks are kept from now on; false frees the idle ones.
void keep_memory(bool keep);
bool keeps_memory();

/// Bytes that are kept and idle.
int64_t idle_bytes();

}  // namespace dcrnn
