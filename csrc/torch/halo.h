// The halo of a divided graph: a tensor that kernels/halo/exchange.py makes, and the exchange that it names.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "csrc/cpu/halo.h"

namespace dcrnn {

/// Functions of the caller, which return 0, or another number if they failed.
///     start(name, transposed, send, receive, bytes of a row): begins to exchange with the partners of the halo `name`;
///     finish(name): waits for the first exchange of `name` that was started and not finished.
void set_exchange(uintptr_t start, uintptr_t finish);

/// The last of an operator's `terms` if it is a halo, else null.
const torch::stable::Tensor* halo_tensor(const std::vector<torch::stable::Tensor>& terms);

/// Why these numbers are no halo of `nodes` own nodes, or "".
std::string why_not_halo(const int64_t* numbers, int64_t count, int64_t nodes);

/// Nodes of the largest part.
int64_t halo_most_nodes(const int64_t* numbers);

/// The exchange before a diffusion by the operators, or by the transposed ones; it reads `numbers` while it lives.
Exchange make_exchange(const int64_t* numbers, bool transposed, int64_t nodes);

}  // namespace dcrnn
