// dcrnn_fast::diffusion_conv_cpu and its backward, which kernels/diffusion_conv/cpu.py defines.
#include "csrc/cpu/convolution.h"

#include <tuple>

#include "csrc/cpu/select.h"
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
    require_terms(kOp, terms, num_terms, s.N, wide(dtype));
    require(kOp, "x", x, dtype, {s.B, s.N, s.C});
    require(kOp, "weight", weight, dtype, {s.C * s.M, s.O});
    return s;
}

template <class T>
Convolution<T> read(Views<T>& views, const Sizes& s, const Tensors& terms, const Tensor& weight, const T* bias) {
    return {s.B, s.N, s.C, s.O, s.M, read_stack(views, terms, 0, s), read_stack(views, terms, 3, s), views.read(weight),
            bias};
}

template <class T>
void run_forward(const Sizes& s, const Tensor& x, const Tensors& terms, const Tensor& weight, const Tensor& bias,
                 Tensor& y) {
    Views<T> views;
    const Convolution<T> op = read(views, s, terms, weight, views.read(bias));
    convolve(op, choose_kernels<T>(), views.read(x), views.write(y), torch_threads());
    views.finish();
}

Tensor forward_op(const Tensor& x, const Tensors& terms, int64_t num_terms, const Tensor& weight, const Tensor& bias) {
    const Sizes s = check(x, terms, num_terms, weight);
    require(kOp, "bias", bias, x.scalar_type(), {s.O});
    Tensor y = torch::stable::new_empty(x, {s.B, s.N, s.O});
    if (x.scalar_type() == ScalarType::Double)
        run_forward<double>(s, x, terms, weight, bias, y);
    else
        run_forward<float>(s, x, terms, weight, bias, y);
    return y;
}

struct Made {
    Tensor x, weight, bias;
};

template <class T>
void run_backward(const Sizes& s, const Tensor& grad, const Tensor& x, const Tensors& terms, const Tensor& weight,
                  bool x_wanted, Made& out) {
    Views<T> views;
    const Convolution<T> op = read(views, s, terms, weight, static_cast<const T*>(nullptr));
    T* dx = x_wanted ? views.write(out.x) : nullptr;
    convolve_backward(op, choose_kernels<T>(), views.read(grad), views.read(x), dx, views.write(out.weight),
                      views.write(out.bias), torch_threads());
    views.finish();
}

std::tuple<Tensor, Tensor, Tensor> backward_op(const Tensor& grad, const Tensor& x, const Tensors& terms,
                                               int64_t num_terms, const Tensor& weight, bool x_wanted) {
    const Sizes s = check(x, terms, num_terms, weight);
    require(kOp, "grad", grad, x.scalar_type(), {s.B, s.N, s.O});
    Made out{x_wanted ? fresh_like(x) : torch::stable::new_empty(x, {0}), fresh_like(weight),
             torch::stable::new_empty(weight, {s.O})};
    if (x.scalar_type() == ScalarType::Double)
        run_backward<double>(s, grad, x, terms, weight, x_wanted, out);
    else
        run_backward<float>(s, grad, x, terms, weight, x_wanted, out);
    return {out.x, out.weight, out.bias};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dcrnn_fast, CPU, library) {
    library.impl("diffusion_conv_cpu", TORCH_BOX(&forward_op));
    library.impl("diffusion_conv_cpu_backward", TORCH_BOX(&backward_op));
}

}  // namespace dcrnn
