// How a unit's source begins: it includes this before anything else of its own, and nothing twice. What follows is in
// the unit's own namespace, so that no function of one instruction set is ever linked in place of another's.
#if !defined(__clang__) && defined(__AVX512F__)
// GCC 12 takes the undefined sources of its own masked intrinsics for uninitialised variables.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "csrc/cpu/kernels.h"

#define DCRNN_INLINE inline __attribute__((always_inline))

namespace dcrnn {
namespace {
