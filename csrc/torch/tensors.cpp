#include "csrc/torch/tensors.h"

#include <pthread.h>

#include <atomic>

namespace dcrnn {
namespace {

std::atomic<bool> forked{false};
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { forked = true; });

const char* dtype_name(ScalarType dtype) {
    switch (dtype) {
        case ScalarType::Float:
            return "float32";
        case ScalarType::Double:
            return "float64";
        case ScalarType::BFloat16:
            return "bfloat16";
        case ScalarType::Int:
            return "int32";
        case ScalarType::Long:
            return "int64";
        case ScalarType::Bool:
            return "bool";
        default:
            return "another dtype";
    }
}

void require_stack(const char* op, const std::string& which, const Tensor& row_start, const Tensor& column,
                   int64_t rows, int64_t nodes) {
    const Tensor starts = torch::stable::contiguous(row_start), columns = torch::stable::contiguous(column);
    const auto* start = static_cast<const int32_t*>(starts.const_data_ptr());
    const auto* index = static_cast<const int32_t*>(columns.const_data_ptr());
    const int64_t entries = column.numel();
    bool rising = start[0] == 0 && start[rows] == entries;
    for (int64_t i = 0; i < rows; ++i) rising = rising && start[i] <= start[i + 1];
    STD_TORCH_CHECK(rising, op, ": ", which, " row_start must rise from 0 to the ", entries, " stored entries");
    bool inside = true;
    for (int64_t e = 0; e < entries; ++e) inside = inside && index[e] >= 0 && index[e] < nodes;
    STD_TORCH_CHECK(inside, op, ": ", which, " column has an index outside of [0, ", nodes, ")");
}

// Every step must read panels that there are already, and all terms must come about.
void require_steps(const char* op, const std::string& which, const Tensor& steps, int64_t supports, int64_t num_terms,
                   bool temporaries) {
    const Tensor whole = torch::stable::contiguous(steps);
    const auto* all = static_cast<const DiffusionStep*>(whole.const_data_ptr());
    const int64_t count = steps.size(0);
    if (count == 0) return;
    std::vector<bool> there(num_terms + (temporaries ? count : 0), false);
    there[0] = true;
    const auto readable = [&](int64_t i) { return i >= 0 && i < static_cast<int64_t>(there.size()) && there[i]; };
    for (int64_t i = 0; i < count; ++i) {
        const DiffusionStep& s = all[i];
        const bool good = s.support >= 0 && s.support < supports && readable(s.source) &&
                          (s.minus < 0 || readable(s.minus)) && s.target > 0 &&
                          s.target < static_cast<int64_t>(there.size()) && !there[s.target];
        STD_TORCH_CHECK(good, op, ": ", which, " step ", i, " names a support or a panel that is not there");
        there[s.target] = true;
    }
    for (int64_t m = 0; m < num_terms; ++m) STD_TORCH_CHECK(there[m], op, ": ", which, " no step makes term ", m);
}

}  // namespace

std::string shape_text(const std::vector<int64_t>& shape) {
    std::string text = "(";
    for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

void require(const char* op, const std::string& name, const Tensor& tensor, ScalarType dtype,
             const std::vector<int64_t>& shape) {
    STD_TORCH_CHECK(tensor.is_cpu(), op, ": ", name, " must be on the CPU");
    STD_TORCH_CHECK(tensor.scalar_type() == dtype, op, ": ", name, " must be ", dtype_name(dtype), ", got ",
                    dtype_name(tensor.scalar_type()));
    const auto sizes = tensor.sizes();
    const std::vector<int64_t> got(sizes.begin(), sizes.end());
    STD_TORCH_CHECK(got == shape, op, ": ", name, " must be ", shape_text(shape), ", got ", shape_text(got));
}

void require_terms(const char* op, const std::vector<Tensor>& terms, Sizes& s, ScalarType dtype) {
    const int64_t num_terms = s.M;
    STD_TORCH_CHECK(num_terms >= 1, op, ": num_terms must be at least 1, got ", num_terms);
    const size_t without_halo = terms.size() / 2 * 2;
    STD_TORCH_CHECK(without_halo == kTermTensors || without_halo == kTermTensors + kRecursionTensors, op,
                    ": terms must be six tensors, or fourteen with a recursion, and one more of a divided graph, got ",
                    terms.size());
    int64_t panel_rows[] = {s.N, s.N};
    if (const Tensor* halo = halo_tensor(terms)) {
        require(op, "halo", *halo, ScalarType::Long, {halo->numel()});
        const Tensor whole = torch::stable::contiguous(*halo);
        const auto* numbers = static_cast<const int64_t*>(whole.const_data_ptr());
        const std::string wrong = why_not_halo(numbers, whole.numel(), s.N);
        STD_TORCH_CHECK(wrong.empty(), op, ": halo: ", wrong);
        for (const bool transposed : {false, true})
            panel_rows[transposed] = make_exchange(numbers, transposed, s.N).panel_rows();
        s.panel_nodes = std::max(panel_rows[0], panel_rows[1]);
        s.most_nodes = halo_most_nodes(numbers);
    }
    const auto stack = [&](const std::string& which, size_t first, int64_t rows, int64_t nodes) {
        const Tensor &row_start = terms[first], &column = terms[first + 1], &value = terms[first + 2];
        require(op, which + " row_start", row_start, ScalarType::Int, {rows + 1});
        require(op, which + " column", column, ScalarType::Int, {column.numel()});
        require(op, which + " value", value, dtype, {column.numel()});
        require_stack(op, which, row_start, column, rows, nodes);
    };
    stack("terms:", 0, (num_terms - 1) * s.N, panel_rows[0]);
    stack("transposed terms:", 3, (num_terms - 1) * s.N, panel_rows[1]);
    for (size_t first = kTermTensors; first < without_halo; first += 4) {
        const bool transposed = first > kTermTensors;
        const std::string which = transposed ? "transposed recursion:" : "recursion:";
        const int64_t nodes = panel_rows[transposed], supports = (terms[first + 1].numel() - 1) / nodes;
        stack(which, first + 1, supports * nodes, nodes);
        require(op, which + " steps", terms[first], ScalarType::Int, {terms[first].numel() / 5, 5});
        require_steps(op, which, terms[first], supports, num_terms, transposed);
    }
}

void require_cells(const char* op, const std::string& part, const std::vector<Tensor>& flat, int64_t channels,
                   int64_t units, int64_t num_terms, ScalarType dtype) {
    for (size_t i = 0; i < flat.size(); i += kCellTensors, channels = units) {
        const std::string layer = part + "[" + std::to_string(i / kCellTensors) + "] ";
        const int64_t rows = (channels + units) * num_terms;
        require(op, layer + "gate_weight", flat[i], dtype, {rows, 2 * units});
        require(op, layer + "gate_bias", flat[i + 1], dtype, {2 * units});
        require(op, layer + "candidate_weight", flat[i + 2], dtype, {rows, units});
        require(op, layer + "candidate_bias", flat[i + 3], dtype, {units});
    }
}

ScalarType require_floating(const char* op, const Tensor& x) {
    const ScalarType dtype = x.scalar_type();
    STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double || dtype == ScalarType::BFloat16, op,
                    ": x must be float32, float64 or bfloat16");
    return dtype;
}

void require_saved(const char* op, const Sizes& s, int64_t save, ScalarType dtype, const Tensor* kept) {
    STD_TORCH_CHECK(save >= -1, op, ": save must be -1 (all), 0 (nothing) or the length of a segment, got ", save);
    if (kept == nullptr) return;
    STD_TORCH_CHECK(save != 0, op, ": a backward needs what a forward with save other than 0 returned");
    int64_t numbers = 0;
    with_storage(dtype, [&](auto storage) { numbers = Saved<decltype(storage)>::numbers(s, save); });
    require(op, "saved", *kept, dtype, {numbers});
}

Threads torch_threads() {
    if (forked) return {1, [](int64_t count, const Range& range) { range(0, count); }};
    return {torch::stable::get_num_threads(),
            [](int64_t count, const Range& range) { torch::stable::parallel_for(0, count, 1, range); }};
}

}  // namespace dcrnn
