// dcrnn_fast::diffusion_conv_cpu and its backward, which kernels/diffusion_conv/cpu.py defines.
#include "csrc/cpu/convolution.h"

#include <tuple>

#include "csrc/torch/tensors.h"

namespace dcrnn {
namespace {

constexpr const char* kOp = "diffusion_conv_cpu";
using Tensors = std::vector<Tensor>;

Sizes check(const Tensor& x, const Tensors& terms, int64_t num_terms, const Tensor& weight) {
    const ScalarType dtype = require_floating(kOp, x);
    STD_TORCH_CHECK(x.dim() == 3 && weight.dim() == 2, kOp, ": x must have 3 dimensions and weight 2, got ", x.dim(),
                    " and ", weight.dim());
    Sizes s{};
    s.B = x.size(0), s.N = x.size(1), s.C = x.size(2), s.O = weight.size(1), s.M = num_terms;
    STD_TORCH_CHECK(s.N > 0 && s.C > 0 && s.O > 0, kOp, ": nodes and channels must be at least 1");
    require_terms(kOp, terms, s, wide(dtype));
    require(kOp, "x", x, dtype, {s.B, s.N, s.C});
    require(kOp, "weight", weight, dtype, {s.C * s.M, s.O});
    return s;
}

template <class S>
Convolution<S> read(Views<S>& views, const Sizes& s, const Tensors& terms, const Tensor& weight, const S* bias) {
    return {s.B,
            s.N,
            s.C,
            s.O,
            s.M,
            read_diffusion(views, terms, false, s),
            read_diffusion(views, terms, true, s),
            views.read(weight),
            bias,
            s.panel_nodes,
            s.most_nodes};
}

Tensor forward_op(const Tensor& x, const Tensors& terms, int64_t num_terms, const Tensor& weight, const Tensor& bias,
                  bool bf16x3) {
    const Sizes s = check(x, terms, num_terms, weight);
    require(kOp, "bias", bias, x.scalar_type(), {s.O});
    Tensor y = torch::stable::new_empty(x, {s.B, s.N, s.O});
    with_storage(x.scalar_type(), [&](auto storage) {
        using S = decltype(storage);
        Views<S> views;
        const Convolution<S> op = read(views, s, terms, weight, views.read(bias));
        convolve(op, kernels_for<S>(bf16x3, s.B * s.N), views.read(x), views.write(y), torch_threads());
    });
    return y;
}

std::tuple<Tensor, Tensor, Tensor> backward_op(const Tensor& grad, const Tensor& x, const Tensors& terms,
                                               int64_t num_terms, const Tensor& weight, bool x_wanted, bool bf16x3) {
    const Sizes s = check(x, terms, num_terms, weight);
    require(kOp, "grad", grad, x.scalar_type(), {s.B, s.N, s.O});
    Tensor dx = x_wanted ? fresh_like(x) : torch::stable::new_empty(x, {0}), d_weight = fresh_like(weight);
    Tensor d_bias = torch::stable::new_empty(weight, {s.O});
    with_storage(x.scalar_type(), [&](auto storage) {
        using S = decltype(storage);
        Views<S> views;
        const Convolution<S> op = read(views, s, terms, weight, static_cast<const S*>(nullptr));
        convolve_backward(op, kernels_for<S>(bf16x3, s.B * s.N), views.read(grad), views.read(x),
                          x_wanted ? views.write(dx) : nullptr, views.write_wide(d_weight), views.write_wide(d_bias),
                          torch_threads());
        views.finish();
    });
    return {dx, d_weight, d_bias};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dcrnn_fast, CPU, library) {
    library.impl("diffusion_conv_cpu", TORCH_BOX(&forward_op));
    library.impl("diffusion_conv_cpu_backward", TORCH_BOX(&backward_op));
}

}  // namespace dcrnn
