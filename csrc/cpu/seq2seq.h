// The encoder-decoder of a batch. Without future steps there is no decoder: stacked cells over a sequence.
#pragma once

#include "csrc/cpu/saved.h"

namespace dcrnn {

template <class S>
void forward(const Model<S>& model, const Kernels<S>& kernels, const Batch<S>& batch, const Outputs<S>& outputs,
             Saved<S> saved, const Threads& threads);

/// Its backward, from the numbers that forward saved and the prediction.
template <class S>
void backward(const Model<S>& model, const Kernels<S>& kernels, const Batch<S>& batch, const S* prediction,
              Saved<S> saved, const Gradients<S>& gradients, const Threads& threads);

}  // namespace dcrnn
