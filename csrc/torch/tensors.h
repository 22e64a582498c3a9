// From tensors to the core's views, with every check that keeps the core inside its arrays.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "csrc/cpu/problem.h"

namespace dcrnn {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

/// "(2, 3)"
std::string shape_text(const std::vector<int64_t>& shape);

/// Throws unless the tensor is on the CPU, of this dtype and of this shape; the message names it.
void require(const char* op, const std::string& name, const Tensor& tensor, ScalarType dtype,
             const std::vector<int64_t>& shape);

/// Throws unless the six tensors are two stacks of (terms - 1) sparse operators over `nodes` nodes, values of `dtype`.
void require_terms(const char* op, const std::vector<Tensor>& terms, int64_t num_terms, int64_t nodes,
                   ScalarType dtype);

/// Throws unless flat is cells of 4 tensors each, the first for `channels` channels and all of `units` units.
void require_cells(const char* op, const std::string& part, const std::vector<Tensor>& flat, int64_t channels,
                   int64_t units, int64_t num_terms, ScalarType dtype);

/// Throws unless x is of a dtype that there are kernels for; returns it.
ScalarType require_floating(const char* op, const Tensor& x);

/// The dtype of the graph's values for tensors of `dtype`.
inline ScalarType wide(ScalarType dtype) {
    return dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

/// The caller's threads: torch's, or one in a forked child, whose parent's thread pool it does not have.
Parallel torch_threads();

/// Keeps contiguous tensors and float32 copies of bfloat16 ones alive for one call.
template <class T>
class Views {
  public:
    const T* read(const Tensor& tensor) {
        kept_.push_back(torch::stable::contiguous(tensor));
        const Tensor& kept = kept_.back();
        if (kept.scalar_type() != ScalarType::BFloat16) return static_cast<const T*>(kept.const_data_ptr());
        std::vector<T>& copy = copies_.emplace_back(kept.numel());
        const auto* from = static_cast<const uint16_t*>(kept.const_data_ptr());
        for (size_t i = 0; i < copy.size(); ++i) {
            const uint32_t bits = static_cast<uint32_t>(from[i]) << 16;
            float value;
            std::memcpy(&value, &bits, sizeof value);
            copy[i] = value;
        }
        return copy.data();
    }

    /// Where the core writes `tensor`, zeros at first; finish() rounds what is bfloat16.
    T* write(Tensor& tensor) {
        if (tensor.scalar_type() != ScalarType::BFloat16) {
            torch::stable::zero_(tensor);
            return static_cast<T*>(tensor.mutable_data_ptr());
        }
        rounded_.push_back({tensor, std::vector<T>(tensor.numel())});
        return rounded_.back().values.data();
    }

    void finish() {
        for (auto& [tensor, values] : rounded_) {
            auto* to = static_cast<uint16_t*>(tensor.mutable_data_ptr());
            for (size_t i = 0; i < values.size(); ++i) {
                const float value = static_cast<float>(values[i]);
                uint32_t bits;
                std::memcpy(&bits, &value, sizeof bits);
                const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
                to[i] = nan ? 0x7fc0 : static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
            }
        }
    }

  private:
    struct Rounded {
        Tensor tensor;
        std::vector<T> values;
    };
    std::deque<Tensor> kept_;
    std::deque<std::vector<T>> copies_;
    std::deque<Rounded> rounded_;
};

template <class T>
SparseStack<T> read_stack(Views<T>& views, const std::vector<Tensor>& terms, int first, const Sizes& s) {
    // The type of Views only matters for bfloat16.
    const auto ints = [&](const Tensor& tensor) { return reinterpret_cast<const int32_t*>(views.read(tensor)); };
    return {ints(terms[first]), ints(terms[first + 1]), views.read(terms[first + 2]), s.N, s.M - 1};
}

template <class T>
std::vector<CellWeights<T>> read_cells(Views<T>& views, const std::vector<Tensor>& flat, int64_t channels,
                                       int64_t units) {
    std::vector<CellWeights<T>> cells;
    for (size_t i = 0; i < flat.size(); i += 4, channels = units)
        cells.push_back(
            {channels, views.read(flat[i]), views.read(flat[i + 1]), views.read(flat[i + 2]), views.read(flat[i + 3])});
    return cells;
}

template <class T>
std::vector<CellGradients<T>> write_cells(Views<T>& views, std::vector<Tensor>& flat) {
    std::vector<CellGradients<T>> cells;
    for (size_t i = 0; i < flat.size(); i += 4)
        cells.push_back(
            {views.write(flat[i]), views.write(flat[i + 1]), views.write(flat[i + 2]), views.write(flat[i + 3])});
    return cells;
}

/// Contiguous and not initialised.
inline Tensor fresh_like(const Tensor& tensor) { return torch::stable::new_empty(tensor, tensor.sizes()); }

inline std::vector<Tensor> fresh_like(const std::vector<Tensor>& tensors) {
    std::vector<Tensor> made;
    for (const Tensor& tensor : tensors) made.push_back(fresh_like(tensor));
    return made;
}

}  // namespace dcrnn
