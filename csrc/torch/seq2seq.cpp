// dcrnn_fast::seq2seq_cpu and its backward: implementations of operators that kernels/dcrnn_seq2seq/cpu.py defines.
#include "csrc/cpu/seq2seq.h"

#include <optional>
#include <tuple>

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
    const std::optional<Tensor>& known;

    Sizes check() const {
        const ScalarType dtype = require_floating(kOp, x);
        STD_TORCH_CHECK(x.dim() == 4 && labels.dim() == 4 && projection_weight.dim() == 2, kOp,
                        ": x and labels must have 4 dimensions, projection_weight 2, got ", x.dim(), ", ", labels.dim(),
                        " and ", projection_weight.dim());
        STD_TORCH_CHECK(!encoder.empty() && encoder.size() % kCellTensors == 0 && encoder.size() == decoder.size(), kOp,
                        ": encoder and decoder must be as many layers of 4 tensors, got ", encoder.size(), " and ",
                        decoder.size(), " tensors");
        Sizes s{};
        s.B = x.size(0), s.P = x.size(1), s.N = x.size(2), s.C = x.size(3);
        s.F = labels.size(1), s.O = projection_weight.size(0), s.H = projection_weight.size(1);
        s.L = static_cast<int64_t>(encoder.size()) / kCellTensors, s.M = num_terms;
        if (known.has_value()) {
            STD_TORCH_CHECK(known->dim() == 4 && known->size(3) > 0, kOp,
                            ": known must have 4 dimensions and a channel, got ", text(*known));
            s.K = known->size(3);
            require(kOp, "known", *known, dtype, {s.B, s.F, s.N, s.K});
        }
        STD_TORCH_CHECK(s.P > 0 && s.N > 0 && s.C > 0 && s.O > 0 && s.H > 0, kOp,
                        ": steps, nodes, channels and units must be at least 1, got x ", text(x),
                        " and projection_weight ", text(projection_weight));
        require_terms(kOp, terms, s, wide(dtype));
        require(kOp, "x", x, dtype, {s.B, s.P, s.N, s.C});
        require(kOp, "labels", labels, dtype, {s.B, s.F, s.N, s.O});
        require(kOp, "feed_label", feed_label, ScalarType::Bool, {s.F});
        require(kOp, "projection_weight", projection_weight, dtype, {s.O, s.H});
        require_cells(kOp, "encoder", encoder, s.C, s.H, s.M, dtype);
        require_cells(kOp, "decoder", decoder, s.decoder_channels(), s.H, s.M, dtype);
        return s;
    }

  private:
    static std::string text(const Tensor& tensor) {
        const auto sizes = tensor.sizes();
        return shape_text({sizes.begin(), sizes.end()});
    }
};

template <class S>
Model<S> make_model(Views<S>& views, const Arguments& a, const Sizes& s) {
    return {s,
            read_diffusion(views, a.terms, false, s),
            read_diffusion(views, a.terms, true, s),
            {},
            read_cells(views, a.encoder, s.C, s.H),
            read_cells(views, a.decoder, s.decoder_channels(), s.H),
            views.read(a.projection_weight),
            nullptr};
}

template <class S>
Batch<S> make_batch(Views<S>& views, const Arguments& a) {
    return {views.read(a.x), nullptr, views.read(a.labels), views.template read<bool>(a.feed_label),
            a.known.has_value() ? views.read(*a.known) : nullptr};
}

std::tuple<Tensor, Tensor> forward_op(const Tensor& x, const Tensors& terms, int64_t num_terms, const Tensors& encoder,
                                      const Tensors& decoder, const Tensor& projection_weight,
                                      const Tensor& projection_bias, const Tensor& labels, const Tensor& feed_label,
                                      int64_t save, bool bf16x3, const std::optional<Tensor>& known) {
    const Arguments a{x, terms, num_terms, encoder, decoder, projection_weight, labels, feed_label, known};
    const Sizes s = a.check();
    require(kOp, "projection_bias", projection_bias, x.scalar_type(), {s.O});
    require_saved(kOp, s, save, x.scalar_type(), nullptr);
    Tensor prediction = torch::stable::new_empty(x, {s.B, s.F, s.N, s.O});
    Tensor kept = fresh_saved(x, s, save);
    with_storage(x.scalar_type(), [&](auto storage) {
        using S = decltype(storage);
        Views<S> views;
        Model<S> model = make_model(views, a, s);
        model.projection_bias = views.read(projection_bias);
        forward(model, kernels_for<S>(bf16x3, s.B * s.steps() * s.N), make_batch(views, a),
                Outputs<S>{views.write(prediction)}, Saved<S>{static_cast<S*>(kept.mutable_data_ptr()), save},
                torch_threads());
    });
    return {prediction, kept};
}

std::tuple<Tensor, Tensors, Tensors, Tensor, Tensor, Tensor, Tensor> backward_op(
    const Tensor& grad, const Tensor& x, const Tensors& terms, int64_t num_terms, const Tensors& encoder,
    const Tensors& decoder, const Tensor& projection_weight, const Tensor& labels, const Tensor& feed_label,
    const Tensor& prediction, const Tensor& kept, int64_t save, bool x_wanted, bool labels_wanted, bool bf16x3,
    const std::optional<Tensor>& known, bool known_wanted) {
    const Arguments a{x, terms, num_terms, encoder, decoder, projection_weight, labels, feed_label, known};
    const Sizes s = a.check();
    const ScalarType dtype = x.scalar_type();
    require(kOp, "grad", grad, dtype, {s.B, s.F, s.N, s.O});
    require(kOp, "prediction", prediction, dtype, {s.B, s.F, s.N, s.O});
    require_saved(kOp, s, save, dtype, &kept);
    Tensor dx = x_wanted ? fresh_like(x) : torch::stable::new_empty(x, {0});
    Tensor d_labels = labels_wanted ? fresh_like(labels) : torch::stable::new_empty(labels, {0});
    STD_TORCH_CHECK(known.has_value() || !known_wanted, kOp,
                    ": there is no known input whose gradient could be wanted");
    Tensor d_known = known_wanted ? fresh_like(*known) : torch::stable::new_empty(x, {0});
    Tensor d_weight = fresh_like(projection_weight), d_bias = torch::stable::new_empty(projection_weight, {s.O});
    Tensors d_encoder = fresh_like(encoder), d_decoder = fresh_like(decoder);
    with_storage(dtype, [&](auto storage) {
        using S = decltype(storage);
        Views<S> views;
        const Model<S> model = make_model(views, a, s);
        Gradients<S> gradients;
        gradients.of.prediction = views.read(grad);
        if (x_wanted) gradients.x = views.write(dx);
        if (labels_wanted) gradients.labels = views.write(d_labels);
        if (known_wanted) gradients.known = views.write(d_known);
        gradients.encoder = write_cells(views, d_encoder);
        gradients.decoder = write_cells(views, d_decoder);
        gradients.projection_weight = views.write_wide(d_weight);
        gradients.projection_bias = views.write_wide(d_bias);
        const Tensor whole = torch::stable::contiguous(kept);
        // Only read; Saved serves forward too.
        const Saved<S> saved{static_cast<S*>(const_cast<void*>(whole.const_data_ptr())), save};
        backward(model, kernels_for<S>(bf16x3, s.B * s.steps() * s.N), make_batch(views, a), views.read(prediction),
                 saved, gradients, torch_threads());
        views.finish();
    });
    return {dx, d_encoder, d_decoder, d_weight, d_bias, d_labels, d_known};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dcrnn_fast, CPU, library) {
    library.impl("seq2seq_cpu", TORCH_BOX(&forward_op));
    library.impl("seq2seq_cpu_backward", TORCH_BOX(&backward_op));
}

}  // namespace dcrnn
