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
        const ScalarType dtype = x.scalar_type();
        STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double || dtype == ScalarType::BFloat16, kOp,
                        ": x must be float32, float64 or bfloat16");
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
        require_cells("encoder", encoder, s, s.C, dtype);
        require_cells("decoder", decoder, s, s.O, dtype);
        return s;
    }

    static ScalarType wide(ScalarType dtype) {
        return dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
    }

  private:
    static std::string text(const Tensor& tensor) {
        const auto sizes = tensor.sizes();
        return shape_text({sizes.begin(), sizes.end()});
    }

    static void require_cells(const std::string& part, const Tensors& flat, const Sizes& s, int64_t channels,
                              ScalarType dtype) {
        for (int64_t l = 0; l < s.L; ++l, channels = s.H) {
            const std::string layer = part + "[" + std::to_string(l) + "] ";
            const int64_t rows = (channels + s.H) * s.M;
            require(kOp, layer + "gate_weight", flat[4 * l], dtype, {rows, 2 * s.H});
            require(kOp, layer + "gate_bias", flat[4 * l + 1], dtype, {2 * s.H});
            require(kOp, layer + "candidate_weight", flat[4 * l + 2], dtype, {rows, s.H});
            require(kOp, layer + "candidate_bias", flat[4 * l + 3], dtype, {s.H});
        }
    }
};

template <class T>
std::vector<CellWeights<T>> cells(Views<T>& views, const Tensors& flat, int64_t channels, int64_t units) {
    std::vector<CellWeights<T>> read;
    for (size_t i = 0; i < flat.size(); i += 4, channels = units)
        read.push_back(
            {channels, views.read(flat[i]), views.read(flat[i + 1]), views.read(flat[i + 2]), views.read(flat[i + 3])});
    return read;
}

template <class T>
Model<T> make_model(Views<T>& views, const Arguments& a, const Sizes& s) {
    const auto stack = [&](int first) {
        // int32 tensors go through another Views, whose type only matters for bfloat16.
        const auto ints = [&](const Tensor& t) { return reinterpret_cast<const int32_t*>(views.read(t)); };
        return SparseStack<T>{ints(a.terms[first]), ints(a.terms[first + 1]), views.read(a.terms[first + 2]), s.N,
                              s.M - 1};
    };
    return Model<T>{s,
                    stack(0),
                    stack(3),
                    cells(views, a.encoder, s.C, s.H),
                    cells(views, a.decoder, s.O, s.H),
                    views.read(a.projection_weight),
                    nullptr};
}

template <class T>
Batch<T> make_batch(Views<T>& views, const Arguments& a) {
    return {views.read(a.x), views.read(a.labels), reinterpret_cast<const bool*>(views.read(a.feed_label))};
}

template <class T>
void run_forward(const Arguments& a, const Sizes& s, const Tensor& projection_bias, Tensor& prediction, Saved saved) {
    Views<T> views;
    Model<T> model = make_model(views, a, s);
    model.projection_bias = views.read(projection_bias);
    forward(model, choose_kernels<T>(), make_batch(views, a), views.write(prediction), saved, torch_threads());
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

struct Outputs {
    Tensor x, projection_weight, projection_bias, labels;
    Tensors encoder, decoder;
};

template <class T>
std::vector<CellGradients<T>> cell_gradients(Views<T>& views, Tensors& flat) {
    std::vector<CellGradients<T>> to;
    for (size_t i = 0; i < flat.size(); i += 4)
        to.push_back(
            {views.write(flat[i]), views.write(flat[i + 1]), views.write(flat[i + 2]), views.write(flat[i + 3])});
    return to;
}

template <class T>
void run_backward(const Arguments& a, const Sizes& s, const Tensor& grad, const Tensor& prediction, Saved saved,
                  bool x_wanted, bool labels_wanted, Outputs& out) {
    Views<T> views;
    const Model<T> model = make_model(views, a, s);
    Gradients<T> gradients{views.read(grad),
                           x_wanted ? views.write(out.x) : nullptr,
                           labels_wanted ? views.write(out.labels) : nullptr,
                           cell_gradients(views, out.encoder),
                           cell_gradients(views, out.decoder),
                           views.write(out.projection_weight),
                           views.write(out.projection_bias)};
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
    const auto like = [](const Tensor& tensor) { return torch::stable::new_empty(tensor, tensor.sizes()); };
    const auto likes = [&](const Tensors& tensors) {
        Tensors made;
        for (const Tensor& tensor : tensors) made.push_back(like(tensor));
        return made;
    };
    Outputs out{x_wanted ? like(x) : torch::stable::new_empty(x, {0}),
                like(projection_weight),
                torch::stable::new_empty(projection_weight, {s.O}),
                labels_wanted ? like(labels) : torch::stable::new_empty(labels, {0}),
                likes(encoder),
                likes(decoder)};
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
