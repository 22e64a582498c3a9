// One diffusion convolution: y = sum over terms m of P_m x W_m, plus bias. C input channels, O output channels.
#pragma once

#include "csrc/cpu/problem.h"

namespace dcrnn {

template <class S>
struct Convolution {
    int64_t B, N, C, O, M;
    Diffusion<S> terms, transposed;
    const S* weight;                          // (C * M, O), row = channel * M + m
    const S* bias;                            // (O)
    int64_t panel_nodes = 0, most_nodes = 0;  // see Sizes
};

/// x (B, N, C) -> y (B, N, O).
template <class S>
void convolve(const Convolution<S>& op, const Kernels<S>& kernels, const S* x, S* y, const Threads& threads);

/// From dy (B, N, O): dx (B, N, C), or null; d_weight (C * M, O); d_bias (O).
template <class S>
void convolve_backward(const Convolution<S>& op, const Kernels<S>& kernels, const S* dy, const S* x, S* dx,
                       Accumulator<S>* d_weight, Accumulator<S>* d_bias, const Threads& threads);

}  // namespace dcrnn
