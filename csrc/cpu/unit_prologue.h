// The beginning of every unit's source.
#pragma once

#if !defined(__clang__) && defined(__AVX512F__)
// GCC 12 takes the undefined sources of its own masked intrinsics for uninitialised variables.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "csrc/cpu/kernels.h"

#define DCRNN_INLINE inline __attribute__((always_inline))
