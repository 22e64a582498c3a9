// From tensors to the core's views, with every check that keeps the core inside its arrays.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <deque>
#include <string>
#include <type_traits>
#include <vector>

#include "csrc/cpu/memory.h"
#include "csrc/cpu/saved.h"
#include "csrc/cpu/scalar.h"
#include "csrc/cpu/select.h"
#include "csrc/torch/halo.h"

namespace dcrnn {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

/// "(2, 3)"
std::string shape_text(const std::vector<int64_t>& shape);

/// Throws unless the tensor is on the CPU, of this dtype and of this shape; the message names it.
void require(const char* op, const std::string& name, const Tensor& tensor, ScalarType dtype,
             const std::vector<int64_t>& shape);

/// Of an operator's `terms`, those that hold the operators; eight more hold the recursion that makes them, if any; one
/// more is the halo of a divided graph.
constexpr size_t kTermTensors = 6, kRecursionTensors = 8;

/// Of a cell, in its flat list (kernels/weights.py: TENSORS_PER_CELL).
constexpr int64_t kCellTensors = 4;

/// Throws unless the tensors are two stacks of (s.M - 1) sparse operators over s.N nodes, values of `dtype`: their
/// row_start, column and value, those of their transposes; and, if there are more, DiffusionStep rows and the stack of
/// supports that they name, of either. Of a divided graph, sets the sizes of its panels.
void require_terms(const char* op, const std::vector<Tensor>& terms, Sizes& s, ScalarType dtype);

/// Throws unless flat is cells of kCellTensors tensors each, the first for `channels` channels and all of `units`
/// units.
void require_cells(const char* op, const std::string& part, const std::vector<Tensor>& flat, int64_t channels,
                   int64_t units, int64_t num_terms, ScalarType dtype);

/// Throws unless x is of a dtype that there are kernels for; returns it.
ScalarType require_floating(const char* op, const Tensor& x);

/// The dtype of the graph's values for tensors of `dtype`.
inline ScalarType wide(ScalarType dtype) {
    return dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

/// The caller's threads: torch's, or one in a forked child, whose parent's thread pool it does not have.
Threads torch_threads();

/// use(S{}) for the storage type S of `dtype`.
template <class Use>
void with_storage(ScalarType dtype, const Use& use) {
    if (dtype == ScalarType::Double)
        use(double{});
    else if (dtype == ScalarType::BFloat16)
        use(bf16{});
    else
        use(float{});
}

/// The unit for S and a problem of `rows` rows; `bf16x3` allows float32 products made of bf16 ones.
template <class S>
const Kernels<S>& kernels_for([[maybe_unused]] bool bf16x3, [[maybe_unused]] int64_t rows) {
    if constexpr (std::is_same_v<S, float>)
        if (bf16x3) return choose_split_kernels(rows);
    return choose_kernels<S>();
}

/// Keeps contiguous tensors, and sums that will be rounded, alive for one call.
template <class S>
class Views {
  public:
    using A = Accumulator<S>;

    template <class T = S>
    const T* read(const Tensor& tensor) {
        kept_.push_back(torch::stable::contiguous(tensor));
        return static_cast<const T*>(kept_.back().const_data_ptr());
    }

    /// The memory into which the core writes `tensor`, zeros at first.
    S* write(Tensor& tensor) const {
        torch::stable::zero_(tensor);
        return static_cast<S*>(tensor.mutable_data_ptr());
    }

    /// The same in the accumulator's precision; finish() rounds.
    A* write_wide(Tensor& tensor) {
        if constexpr (std::is_same_v<S, A>) return write(tensor);
        rounded_.push_back({tensor, std::vector<A>(tensor.numel())});
        return rounded_.back().values.data();
    }

    /// Lives as long as the call.
    Exchange* keep(Exchange exchange) {
        exchanges_.push_back(std::move(exchange));
        return &exchanges_.back();
    }

    void finish() {
        for (auto& [tensor, values] : rounded_) {
            S* to = static_cast<S*>(tensor.mutable_data_ptr());
            for (size_t i = 0; i < values.size(); ++i) to[i] = narrowed<S>(values[i]);
        }
    }

  private:
    struct Rounded {
        Tensor tensor;
        std::vector<A> values;
    };
    std::deque<Tensor> kept_;
    std::deque<Rounded> rounded_;
    std::deque<Exchange> exchanges_;
};

template <class S>
SparseStack<S> read_stack(Views<S>& views, const std::vector<Tensor>& terms, int first, const Sizes& s) {
    return {views.template read<int32_t>(terms[first]), views.template read<int32_t>(terms[first + 1]),
            views.template read<Accumulator<S>>(terms[first + 2]), s.N, s.M - 1};
}

/// The diffusion by `terms`, or by their transposes; checked by require_terms.
template <class S>
Diffusion<S> read_diffusion(Views<S>& views, const std::vector<Tensor>& terms, bool transposed, const Sizes& s) {
    Diffusion<S> read{read_stack(views, terms, transposed ? 3 : 0, s)};
    if (const Tensor* halo = halo_tensor(terms))
        read.exchange = views.keep(make_exchange(views.template read<int64_t>(*halo), transposed, s.N));
    if (terms.size() < kTermTensors + kRecursionTensors) return read;
    const int first = kTermTensors + (transposed ? 4 : 0);
    read.supports = read_stack(views, terms, first + 1, s);
    read.supports.nodes = read.exchange ? read.exchange->panel_rows() : s.N;
    read.supports.operators = terms[first + 1].numel() / read.supports.nodes;
    read.steps = views.template read<DiffusionStep>(terms[first]);
    read.count = terms[first].size(0);
    return read;
}

template <class S>
std::vector<CellWeights<S>> read_cells(Views<S>& views, const std::vector<Tensor>& flat, int64_t channels,
                                       int64_t units) {
    std::vector<CellWeights<S>> cells;
    for (size_t i = 0; i < flat.size(); i += kCellTensors, channels = units)
        cells.push_back(
            {channels, views.read(flat[i]), views.read(flat[i + 1]), views.read(flat[i + 2]), views.read(flat[i + 3])});
    return cells;
}

template <class S>
std::vector<CellGradients<Accumulator<S>>> write_cells(Views<S>& views, std::vector<Tensor>& flat) {
    std::vector<CellGradients<Accumulator<S>>> cells;
    for (size_t i = 0; i < flat.size(); i += kCellTensors)
        cells.push_back({views.write_wide(flat[i]), views.write_wide(flat[i + 1]), views.write_wide(flat[i + 2]),
                         views.write_wide(flat[i + 3])});
    return cells;
}

/// Memory for the numbers that a forward saves, not initialised: see Saved.
inline Tensor fresh_saved(const Tensor& x, const Sizes& s, int64_t save) {
    int64_t numbers = 0, bytes = 0;
    with_storage(x.scalar_type(), [&](auto storage) {
        numbers = Saved<decltype(storage)>::numbers(s, save);
        bytes = numbers * static_cast<int64_t>(sizeof(storage));
    });
    Tensor kept = torch::stable::new_empty(x, {numbers});
    prefer_large_pages(kept.mutable_data_ptr(), bytes);
    return kept;
}

/// Throws unless `save` is one of Saved's and `kept`, if given, is a tensor that a forward saved by it.
void require_saved(const char* op, const Sizes& s, int64_t save, ScalarType dtype, const Tensor* kept);

/// Contiguous and not initialised.
inline Tensor fresh_like(const Tensor& tensor) { return torch::stable::new_empty(tensor, tensor.sizes()); }

inline std::vector<Tensor> fresh_like(const std::vector<Tensor>& tensors) {
    std::vector<Tensor> made;
    for (const Tensor& tensor : tensors) made.push_back(fresh_like(tensor));
    return made;
}

}  // namespace dcrnn
