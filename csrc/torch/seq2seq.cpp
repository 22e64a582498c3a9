// dcrnn_fast::seq2seq_cpu and its backward: implementations of operators that kernels/dcrnn_seq2seq/cpu.py defines.
#include <tuple>

#include "csrc/cpu/select.h"
#include "csrc/torch/tensors.h"

namespace dcrnn {
namespace {

constexpr const char* kOp = "seq2seq_cpu";
using Tensors = std::vector<Tensor>;

/// The tensors that forward and backward share, checked.
struct Arguments {
    const Tensor& x;
    const Tensors& terms;
    int64_t num_terms;
    const Tensors& encoder;
    const Tensors& decoder;
    const Tensor& projection_weight;
    const Tensor& labels;
    const Tensor& feed_label;

    Sizes check() const {
        const ScalarType dtype = require_floating(kOp, x);
        STD_TORCH_CHECK(x.dim() == 4 && labels.dim() == 4 && projection_weight.dim() == 2, kOp,
                        ": x and labels must have 4 dimensions, projection_weight 2, got ", x.dim(), ", ", labels.dim(),
                        " and ", projection_weight.dim());
        STD_TORCH_CHECK(!encoder.empty() && encoder.size() % 4 == 0 && encoder.size() == decoder.size(), kOp,
                        ": encoder and decoder must be as many layers of 4 tensors, got ", encoder.size(), " and ",
                        decoder.size(), " tensors");
        Sizes s{};
        s.B = x.size(0), s.P = x.size(1), s.N = x.size(2), s.C = x.size(3);
        s.F = labels.size(1), s.O = projection_weight.size(0), s.H = projection_weight.size(1);
        s.L = static_cast<int64_t>(encoder.size()) / 4, s.M = num_terms;
        STD_TORCH_CHECK(s.P > 0 && s.N > 0 && s.C > 0 && s.O > 0 && s.H > 0, kOp,
                        ": steps, nodes, channels and units must be at least 1, got x ", text(x),
                        " and projection_weight ", text(projection_weight));
        require_terms(kOp, terms, num_terms, s.N, wide(dtype));
        require(kOp, "x", x, dtype, {s.B, s.P, s.N, s.C});
        require(kOp, "labels", labels, dtype, {s.B, s.F, s.N, s.O});
        require(kOp, "feed_label", feed_label, ScalarType::Bool, {s.F});
        require(kOp, "projection_weight", projection_weight, dtype, {s.O, s.H});
        require_cells(kOp, "encoder", encoder, s.C, s.H, s.M, dtype);
        require_cells(kOp, "decoder", decoder, s.O, s.H, s.M, dtype);
        return s;
    }

  private:
    static std::string text(const Tensor& tensor) {
        const auto sizes = tensor.sizes();
        return shape_text({sizes.begin(), sizes.end()});
    }
};

template <class T>
Model<T> make_model(Views<T>& views, const Arguments& a, const Sizes& s) {
    return {s,
            read_stack(views, a.terms, 0, s),
            read_stack(views, a.terms, 3, s),
            read_cells(views, a.encoder, s.C, s.H),
            read_cells(views, a.decoder, s.O, s.H),
            views.read(a.projection_weight),
            nullptr};
}

template <class T>
Batch<T> make_batch(Views<T>& views, const Arguments& a) {
    return {views.read(a.x), nullptr, views.read(a.labels), reinterpret_cast<const bool*>(views.read(a.feed_label))};
}

template <class T>
void run_forward(const Arguments& a, const Sizes& s, const Tensor& projection_bias, Tensor& prediction, Saved saved) {
    Views<T> views;
    Model<T> model = make_model(views, a, s);
    model.projection_bias = views.read(projection_bias);
    forward(model, choose_kernels<T>(), make_batch(views, a), Outputs<T>{views.write(prediction)}, saved,
            torch_threads());
    views.finish();
}

std::tuple<Tensor, Tensor> forward_op(const Tensor& x, const Tensors& terms, int64_t num_terms, const Tensors& encoder,
                                      const Tensors& decoder, const Tensor& projection_weight,
                                      const Tensor& projection_bias, const Tensor& labels, const Tensor& feed_label,
                                      bool save) {
    const Arguments a{x, terms, num_terms, encoder, decoder, projection_weight, labels, feed_label};
    const Sizes s = a.check();
    const ScalarType dtype = x.scalar_type();
    require(kOp, "projection_bias", projection_bias, dtype, {s.O});
    Tensor prediction = torch::stable::new_empty(x, {s.B, s.F, s.N, s.O});
    Tensor kept =
        save ? torch::stable::new_empty(x, {4, s.steps(), s.L, s.B, s.N, s.width()}) : torch::stable::new_empty(x, {0});
    const Saved saved{save ? kept.mutable_data_ptr() : nullptr, dtype == ScalarType::BFloat16};
    if (dtype == ScalarType::Double)
        run_forward<double>(a, s, projection_bias, prediction, saved);
    else
        run_forward<float>(a, s, projection_bias, prediction, saved);
    return {prediction, kept};
}

struct Made {
    Tensor x, projection_weight, projection_bias, labels;
    Tensors encoder, decoder;
};

template <class T>
void run_backward(const Arguments& a, const Sizes& s, const Tensor& grad, const Tensor& prediction, Saved saved,
                  bool x_wanted, bool labels_wanted, Made& out) {
    Views<T> views;
    const Model<T> model = make_model(views, a, s);
    Gradients<T> gradients;
    gradients.of.prediction = views.read(grad);
    if (x_wanted) gradients.x = views.write(out.x);
    if (labels_wanted) gradients.labels = views.write(out.labels);
    gradients.encoder = write_cells(views, out.encoder);
    gradients.decoder = write_cells(views, out.decoder);
    gradients.projection_weight = views.write(out.projection_weight);
    gradients.projection_bias = views.write(out.projection_bias);
    backward(model, choose_kernels<T>(), make_batch(views, a), views.read(prediction), saved, gradients,
             torch_threads());
    views.finish();
}

std::tuple<Tensor, Tensors, Tensors, Tensor, Tensor, Tensor> backward_op(
    const Tensor& grad, const Tensor& x, const Tensors& terms, int64_t num_terms, const Tensors& encoder,
    const Tensors& decoder, const Tensor& projection_weight, const Tensor& labels, const Tensor& feed_label,
    const Tensor& prediction, const Tensor& kept, bool x_wanted, bool labels_wanted) {
    const Arguments a{x, terms, num_terms, encoder, decoder, projection_weight, labels, feed_label};
    const Sizes s = a.check();
    const ScalarType dtype = x.scalar_type();
    require(kOp, "grad", grad, dtype, {s.B, s.F, s.N, s.O});
    require(kOp, "prediction", prediction, dtype, {s.B, s.F, s.N, s.O});
    require(kOp, "saved", kept, dtype, {4, s.steps(), s.L, s.B, s.N, s.width()});
    Made out{x_wanted ? fresh_like(x) : torch::stable::new_empty(x, {0}),
             fresh_like(projection_weight),
             torch::stable::new_empty(projection_weight, {s.O}),
             labels_wanted ? fresh_like(labels) : torch::stable::new_empty(labels, {0}),
             fresh_like(encoder),
             fresh_like(decoder)};
    const Saved saved{kept.data_ptr(), dtype == ScalarType::BFloat16};
    if (dtype == ScalarType::Double)
        run_backward<double>(a, s, grad, prediction, saved, x_wanted, labels_wanted, out);
    else
        run_backward<float>(a, s, grad, prediction, saved, x_wanted, labels_wanted, out);
    return {out.x, out.encoder, out.decoder, out.projection_weight, out.projection_bias, out.labels};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dcrnn_fast, CPU, library) {
    library.impl("seq2seq_cpu", TORCH_BOX(&forward_op));
    library.impl("seq2seq_cpu_backward", TORCH_BOX(&backward_op));
}

}  // namespace dcrnn
