// One diffusion convolution: y = sum over terms m of P_m x W_m, plus bias. C input channels, O output channels.
#pragma once

#include "csrc/cpu/problem.h"

namespace dcrnn {

template <class T>
struct Convolution {
    int64_t B, N, C, O, M;
    SparseStack<T> terms, transposed;
    const T* weight;  // (C * M, O), row = channel * M + m
    const T* bias;    // (O)
};

/// x (B, N, C) -> y (B, N, O).
template <class T>
void convolve(const Convolution<T>& op, const Kernels<T>& kernels, const T* x, T* y, const Parallel& parallel);

/// From dy (B, N, O): dx (B, N, C), or null; d_weight (C * M, O); d_bias (O).
template <class T>
void convolve_backward(const Convolution<T>& op, const Kernels<T>& kernels, const T* dy, const T* x, T* dx, T* d_weight,
                       T* d_bias, const Parallel& parallel);

}  // namespace dcrnn
