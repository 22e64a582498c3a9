// dcrnn_fast::dcgru_sequence_cpu and its backward, which kernels/dcgru_sequence/cpu.py defines.
#include <tuple>

#include "csrc/cpu/seq2seq.h"
#include "csrc/torch/tensors.h"

namespace dcrnn {
namespace {

constexpr const char* kOp = "dcgru_sequence_cpu";
using Tensors = std::vector<Tensor>;

/// The tensors that forward and backward share, checked.
struct Arguments {
    const Tensor& x;
    const Tensor& initial;
    const Tensors& terms;
    int64_t num_terms;
    const Tensors& layers;

    Sizes check() const {
        const ScalarType dtype = require_floating(kOp, x);
        STD_TORCH_CHECK(x.dim() == 4 && initial.dim() == 4, kOp, ": x and initial must have 4 dimensions, got ",
                        x.dim(), " and ", initial.dim());
        STD_TORCH_CHECK(!layers.empty() && layers.size() % kCellTensors == 0, kOp,
                        ": layers must be 4 tensors each, got ", layers.size());
        Sizes s{};
        s.B = x.size(0), s.P = x.size(1), s.N = x.size(2), s.C = x.size(3);
        s.H = initial.size(3), s.L = static_cast<int64_t>(layers.size()) / kCellTensors, s.M = num_terms;
        STD_TORCH_CHECK(s.P > 0 && s.N > 0 && s.C > 0 && s.H > 0, kOp,
                        ": steps, nodes, channels and units must be at least 1");
        require_terms(kOp, terms, s, wide(dtype));
        require(kOp, "initial", initial, dtype, {s.L, s.B, s.N, s.H});
        require_cells(kOp, "layers", layers, s.C, s.H, s.M, dtype);
        return s;
    }
};

template <class S>
Model<S> make_model(Views<S>& views, const Arguments& a, const Sizes& s) {
    return {s,
            read_diffusion(views, a.terms, false, s),
            read_diffusion(views, a.terms, true, s),
            {},
            read_cells(views, a.layers, s.C, s.H),
            {},
            nullptr,
            nullptr};
}

std::tuple<Tensor, Tensor, Tensor> forward_op(const Tensor& x, const Tensor& initial, const Tensors& terms,
                                              int64_t num_terms, const Tensors& layers, int64_t save, bool bf16x3) {
    const Arguments a{x, initial, terms, num_terms, layers};
    const Sizes s = a.check();
    require_saved(kOp, s, save, x.scalar_type(), nullptr);
    Tensor states = torch::stable::new_empty(x, {s.B, s.P, s.N, s.H});
    Tensor last = torch::stable::new_empty(x, {s.L, s.B, s.N, s.H});
    Tensor kept = fresh_saved(x, s, save);
    with_storage(x.scalar_type(), [&](auto storage) {
        using S = decltype(storage);
        Views<S> views;
        const Batch<S> batch{views.read(a.x), views.read(a.initial)};
        const Outputs<S> outputs{nullptr, views.write(states), views.write(last)};
        forward(make_model(views, a, s), kernels_for<S>(bf16x3, s.B * s.steps() * s.N), batch, outputs,
                Saved<S>{static_cast<S*>(kept.mutable_data_ptr()), save}, torch_threads());
    });
    return {states, last, kept};
}

std::tuple<Tensor, Tensor, Tensors> backward_op(const Tensor& grad_states, const Tensor& grad_last, const Tensor& x,
                                                const Tensor& initial, const Tensors& terms, int64_t num_terms,
                                                const Tensors& layers, const Tensor& kept, int64_t save, bool x_wanted,
                                                bool bf16x3) {
    const Arguments a{x, initial, terms, num_terms, layers};
    const Sizes s = a.check();
    const ScalarType dtype = x.scalar_type();
    require(kOp, "grad of states", grad_states, dtype, {s.B, s.P, s.N, s.H});
    require(kOp, "grad of last", grad_last, dtype, {s.L, s.B, s.N, s.H});
    require_saved(kOp, s, save, dtype, &kept);
    Tensor dx = x_wanted ? fresh_like(x) : torch::stable::new_empty(x, {0}), d_initial = fresh_like(initial);
    Tensors d_layers = fresh_like(layers);
    with_storage(dtype, [&](auto storage) {
        using S = decltype(storage);
        Views<S> views;
        const Batch<S> batch{views.read(a.x), views.read(a.initial)};
        Gradients<S> gradients;
        gradients.of.states = views.read(grad_states);
        gradients.of.last = views.read(grad_last);
        if (x_wanted) gradients.x = views.write(dx);
        gradients.initial = views.write(d_initial);
        gradients.encoder = write_cells(views, d_layers);
        const Tensor whole = torch::stable::contiguous(kept);
        // Only read; Saved serves forward too.
        const Saved<S> saved{static_cast<S*>(const_cast<void*>(whole.const_data_ptr())), save};
        backward(make_model(views, a, s), kernels_for<S>(bf16x3, s.B * s.steps() * s.N), batch,
                 static_cast<const S*>(nullptr), saved, gradients, torch_threads());
        views.finish();
    });
    return {dx, d_initial, d_layers};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dcrnn_fast, CPU, library) {
    library.impl("dcgru_sequence_cpu", TORCH_BOX(&forward_op));
    library.impl("dcgru_sequence_cpu_backward", TORCH_BOX(&backward_op));
}

}  // namespace dcrnn
