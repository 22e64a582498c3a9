// dcrnn_fast::candidate_cuda and candidate_gradient_cuda, which kernels/dcgru_sequence/cuda.py defines: launches on the
// tensors' device, on its current stream.
#include <torch/csrc/stable/accelerator.h>

#include "csrc/cuda/candidate.h"
#include "csrc/torch/tensors.h"

namespace dcrnn {
namespace {

using cuda::Precision;

/// Checks one call's tensors as they are named.
class Checked {
  public:
    Checked(const char* op, const Tensor& first, int64_t precision) : op_(op), device_(first.get_device_index()) {
        STD_TORCH_CHECK(precision >= 0 && precision <= 3, op, ": precision must be 0 to 3, got ", precision);
        precision_ = static_cast<Precision>(precision);
        low_ = precision_ == Precision::bf16   ? ScalarType::BFloat16
               : precision_ == Precision::fp16 ? ScalarType::Half
                                               : ScalarType::Float;
    }

    Precision precision() const { return precision_; }

    void* low(const char* name, const Tensor& tensor, const std::vector<int64_t>& shape) const {
        return pointer(name, tensor, low_, shape, contiguous(shape));
    }

    float* wide(const char* name, const Tensor& tensor, const std::vector<int64_t>& shape) const {
        return static_cast<float*>(pointer(name, tensor, ScalarType::Float, shape, contiguous(shape)));
    }

    const int32_t* ints(const char* name, const Tensor& tensor, const std::vector<int64_t>& shape) const {
        return static_cast<const int32_t*>(pointer(name, tensor, ScalarType::Int, shape, contiguous(shape)));
    }

    /// (M, rows, columns), whose rows may be parts of longer ones.
    void* weight(const char* name, const Tensor& tensor, const std::vector<int64_t>& shape, int64_t stride) const {
        STD_TORCH_CHECK(stride >= shape[2] && stride % 8 == 0, op_, ": rows of ", name,
                        " must be a multiple of 8 apart");
        return pointer(name, tensor, low_, shape, {shape[1] * stride, stride, 1});
    }

    cuda::TileGraph graph(const Tensor& index, const Tensor& count, const Tensor& coefficient, int64_t nodes,
                          int64_t terms) const {
        STD_TORCH_CHECK(index.dim() == 2 && nodes == 16 * index.size(0), op_, ": index must be (tiles, slots) for ",
                        nodes, " nodes, 16 to a tile");
        const int64_t tiles = index.size(0), slots = index.size(1);
        return {ints("index", index, {tiles, slots}),
                ints("count", count, {tiles}),
                low("coefficient", coefficient, {tiles, terms - 1, 16, slots}),
                static_cast<int>(tiles),
                static_cast<int>(slots),
                static_cast<int>(terms)};
    }

    template <class Call>
    void launch(const Call& call) const {
        const char* reason = cuda::why_not(call.graph, call.batch, call.units);
        STD_TORCH_CHECK(reason == nullptr, op_, ": ", reason);
        if (call.batch == 0 || call.graph.tiles == 0) return;
        const torch::stable::accelerator::DeviceGuard guard(device_);
        void* stream = torch::stable::accelerator::getCurrentStream(device_).nativeHandle();
        const int error = cuda::launch(call, stream);
        STD_TORCH_CHECK(error == 0, op_, ": the launch failed: ", cuda::error_text(error));
    }

  private:
    static std::vector<int64_t> contiguous(const std::vector<int64_t>& shape) {
        std::vector<int64_t> strides(shape.size(), 1);
        for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
        return strides;
    }

    void* pointer(const char* name, const Tensor& tensor, ScalarType dtype, const std::vector<int64_t>& shape,
                  const std::vector<int64_t>& strides) const {
        STD_TORCH_CHECK(tensor.is_cuda() && tensor.get_device_index() == device_, op_, ": ", name,
                        " must be on cuda:", device_);
        STD_TORCH_CHECK(tensor.scalar_type() == dtype, op_, ": ", name, " has the wrong dtype");
        const auto sizes = tensor.sizes(), steps = tensor.strides();
        const std::vector<int64_t> got(sizes.begin(), sizes.end());
        STD_TORCH_CHECK(got == shape, op_, ": ", name, " must be ", shape_text(shape), ", got ", shape_text(got));
        for (size_t i = 0; i < shape.size(); ++i)
            STD_TORCH_CHECK(shape[i] <= 1 || steps[i] == strides[i], op_, ": ", name, " must be contiguous");
        void* data = tensor.data_ptr();
        STD_TORCH_CHECK(reinterpret_cast<uintptr_t>(data) % 16 == 0, op_, ": ", name,
                        " must start at a multiple of 16 bytes");
        return data;
    }

    const char* op_;
    int32_t device_;
    Precision precision_;
    ScalarType low_;
};

int to_int(int64_t size) {
    STD_TORCH_CHECK(size <= INT32_MAX, "dcrnn_fast: a size of ", size, " is too large for a kernel");
    return static_cast<int>(size);
}

void candidate_op(const Tensor& reset, const Tensor& h, const Tensor& u, const Tensor& pre, const Tensor& weight,
                  const Tensor& index, const Tensor& count, const Tensor& coefficient, const Tensor& c,
                  const Tensor& next, int64_t precision) {
    const Checked check("candidate_cuda", reset, precision);
    STD_TORCH_CHECK(reset.dim() == 3 && weight.dim() == 3, "candidate_cuda: reset and weight must have 3 dimensions");
    const int64_t N = reset.size(0), B = reset.size(1), H = reset.size(2), M = weight.size(0);
    const std::vector<int64_t> shape{N, B, H};
    const int64_t stride = weight.stride(1);
    check.launch(cuda::Candidate{check.precision(), check.graph(index, count, coefficient, N, M), to_int(B), to_int(H),
                                 to_int(stride), check.low("reset", reset, shape), check.low("h", h, shape),
                                 check.low("u", u, shape), check.wide("pre", pre, {N, B, 3 * H}),
                                 check.weight("weight", weight, {M, H, H}, stride), check.low("c", c, shape),
                                 check.low("next", next, shape)});
}

void candidate_gradient_op(const Tensor& dpre, const Tensor& h, const Tensor& r, const Tensor& u, const Tensor& c,
                           const Tensor& input_weight, const Tensor& state_weight, const Tensor& index,
                           const Tensor& count, const Tensor& coefficient, const Tensor& q, const Tensor& dh,
                           const Tensor& dr_pre, const Tensor& du_pre, const std::optional<Tensor>& dx,
                           int64_t precision) {
    const Checked check("candidate_gradient_cuda", dpre, precision);
    STD_TORCH_CHECK(dpre.dim() == 3 && input_weight.dim() == 3, "candidate_gradient_cuda: dpre and input_weight must",
                    " have 3 dimensions");
    const int64_t N = dpre.size(0), B = dpre.size(1), H = dpre.size(2), M = input_weight.size(0);
    const int64_t C = input_weight.size(1), stride = state_weight.stride(1);
    const std::vector<int64_t> shape{N, B, H};
    check.launch(cuda::CandidateGradient{
        check.precision(), check.graph(index, count, coefficient, N, M), to_int(B), to_int(H), to_int(C),
        to_int(stride), check.low("dpre", dpre, shape), check.low("h", h, shape), check.low("r", r, shape),
        check.low("u", u, shape), check.low("c", c, shape),
        check.weight("input_weight", input_weight, {M, C, H}, stride),
        check.weight("state_weight", state_weight, {M, H, H}, stride), check.wide("dh", dh, shape),
        check.low("dr_pre", dr_pre, shape), check.low("du_pre", du_pre, shape),
        dx ? check.wide("dx", *dx, {N, B, C}) : nullptr, check.low("q", q, {N, B, 3 * M * H})});
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dcrnn_fast, CUDA, library) {
    library.impl("candidate_cuda", TORCH_BOX(&candidate_op));
    library.impl("candidate_gradient_cuda", TORCH_BOX(&candidate_gradient_op));
}

}  // namespace dcrnn
