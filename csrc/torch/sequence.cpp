// dcrnn_fast::dcgru_sequence_cpu and its backward, which kernels/dcgru_sequence/cpu.py defines.
#include <tuple>

#include "csrc/cpu/select.h"
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
        STD_TORCH_CHECK(!layers.empty() && layers.size() % 4 == 0, kOp, ": layers must be 4 tensors each, got ",
                        layers.size());
        Sizes s{};
        s.B = x.size(0), s.P = x.size(1), s.N = x.size(2), s.C = x.size(3);
        s.H = initial.size(3), s.L = static_cast<int64_t>(layers.size()) / 4, s.M = num_terms;
        STD_TORCH_CHECK(s.P > 0 && s.N > 0 && s.C > 0 && s.H > 0, kOp,
                        ": steps, nodes, channels and units must be at least 1");
        require_terms(kOp, terms, num_terms, s.N, wide(dtype));
        require(kOp, "initial", initial, dtype, {s.L, s.B, s.N, s.H});
        require_cells(kOp, "layers", layers, s.C, s.H, s.M, dtype);
        return s;
    }
};

template <class T>
Model<T> make_model(Views<T>& views, const Arguments& a, const Sizes& s) {
    return {s,
            read_stack(views, a.terms, 0, s),
            read_stack(views, a.terms, 3, s),
            read_cells(views, a.layers, s.C, s.H),
            {},
            nullptr,
            nullptr};
}

template <class T>
void run_forward(const Arguments& a, const Sizes& s, Tensor& states, Tensor& last, Saved saved) {
    Views<T> views;
    const Batch<T> batch{views.read(a.x), views.read(a.initial)};
    const Outputs<T> outputs{nullptr, views.write(states), views.write(last)};
    forward(make_model(views, a, s), choose_kernels<T>(), batch, outputs, saved, torch_threads());
    views.finish();
}

std::tuple<Tensor, Tensor, Tensor> forward_op(const Tensor& x, const Tensor& initial, const Tensors& terms,
                                              int64_t num_terms, const Tensors& layers, bool save) {
    const Arguments a{x, initial, terms, num_terms, layers};
    const Sizes s = a.check();
    Tensor states = torch::stable::new_empty(x, {s.B, s.P, s.N, s.H});
    Tensor last = torch::stable::new_empty(x, {s.L, s.B, s.N, s.H});
    Tensor kept =
        save ? torch::stable::new_empty(x, {4, s.P, s.L, s.B, s.N, s.width()}) : torch::stable::new_empty(x, {0});
    const Saved saved{save ? kept.mutable_data_ptr() : nullptr, x.scalar_type() == ScalarType::BFloat16};
    if (x.scalar_type() == ScalarType::Double)
        run_forward<double>(a, s, states, last, saved);
    else
        run_forward<float>(a, s, states, last, saved);
    return {states, last, kept};
}

struct Made {
    Tensor x, initial;
    Tensors layers;
};

template <class T>
void run_backward(const Arguments& a, const Sizes& s, const Tensor& grad_states, const Tensor& grad_last, Saved saved,
                  bool x_wanted, Made& out) {
    Views<T> views;
    const Batch<T> batch{views.read(a.x), views.read(a.initial)};
    Gradients<T> gradients;
    gradients.of.states = views.read(grad_states);
    gradients.of.last = views.read(grad_last);
    if (x_wanted) gradients.x = views.write(out.x);
    gradients.initial = views.write(out.initial);
    gradients.encoder = write_cells(views, out.layers);
    backward(make_model(views, a, s), choose_kernels<T>(), batch, static_cast<const T*>(nullptr), saved, gradients,
             torch_threads());
    views.finish();
}

std::tuple<Tensor, Tensor, Tensors> backward_op(const Tensor& grad_states, const Tensor& grad_last, const Tensor& x,
                                                const Tensor& initial, const Tensors& terms, int64_t num_terms,
                                                const Tensors& layers, const Tensor& kept, bool x_wanted) {
    const Arguments a{x, initial, terms, num_terms, layers};
    const Sizes s = a.check();
    const ScalarType dtype = x.scalar_type();
    require(kOp, "grad of states", grad_states, dtype, {s.B, s.P, s.N, s.H});
    require(kOp, "grad of last", grad_last, dtype, {s.L, s.B, s.N, s.H});
    require(kOp, "saved", kept, dtype, {4, s.P, s.L, s.B, s.N, s.width()});
    Made out{x_wanted ? fresh_like(x) : torch::stable::new_empty(x, {0}), fresh_like(initial), fresh_like(layers)};
    const Saved saved{kept.data_ptr(), dtype == ScalarType::BFloat16};
    if (dtype == ScalarType::Double)
        run_backward<double>(a, s, grad_states, grad_last, saved, x_wanted, out);
    else
        run_backward<float>(a, s, grad_states, grad_last, saved, x_wanted, out);
    return {out.x, out.initial, out.layers};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dcrnn_fast, CPU, library) {
    library.impl("dcgru_sequence_cpu", TORCH_BOX(&forward_op));
    library.impl("dcgru_sequence_cpu_backward", TORCH_BOX(&backward_op));
}

}  // namespace dcrnn
