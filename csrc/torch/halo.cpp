#include "csrc/torch/halo.h"

#include <atomic>
#include <stdexcept>

namespace dcrnn {
namespace {

using Start = int (*)(int64_t, int32_t, const void*, void*, int64_t);
using Finish = int (*)(int64_t);
std::atomic<Start> start_exchange{nullptr};
std::atomic<Finish> finish_exchange{nullptr};

// The numbers: name, most nodes of a part, partners G; forward: rows of a panel, rows sent to each of G, rows received
// from each; the same of the transposed operators; then the own rows that are sent, forward and transposed.
constexpr int64_t kHeader = 3;

struct Layout {
    int64_t panel_rows;
    std::vector<int64_t> sent, received;
    const int64_t* sent_row;
};

int64_t sum(const int64_t* from, int64_t count) {
    int64_t total = 0;
    for (int64_t i = 0; i < count; ++i) total += from[i];
    return total;
}

Layout layout(const int64_t* numbers, bool transposed) {
    const int64_t partners = numbers[2], one = 1 + 2 * partners;
    const int64_t *forward = numbers + kHeader, *route = forward + (transposed ? one : 0);
    const int64_t before = transposed ? sum(forward + 1, partners) : 0;
    return {route[0],
            {route + 1, route + 1 + partners},
            {route + 1 + partners, route + 1 + 2 * partners},
            forward + 2 * one + before};
}

void check(int failed) {
    if (failed) throw std::runtime_error("the exchange of rows between partners failed");
}

}  // namespace

void set_exchange(uintptr_t start, uintptr_t finish) {
    start_exchange = reinterpret_cast<Start>(start);
    finish_exchange = reinterpret_cast<Finish>(finish);
}

const torch::stable::Tensor* halo_tensor(const std::vector<torch::stable::Tensor>& terms) {
    return terms.size() % 2 ? &terms.back() : nullptr;
}

std::string why_not_halo(const int64_t* numbers, int64_t count, int64_t nodes) {
    if (start_exchange == nullptr || finish_exchange == nullptr) return "nothing exchanges rows (set_exchange)";
    if (count < kHeader || numbers[2] < 1 || numbers[2] > count) return "it is too short";
    const int64_t partners = numbers[2], one = 1 + 2 * partners;
    if (count < kHeader + 2 * one) return "it is too short";
    int64_t sent = 0;
    for (const bool transposed : {false, true}) {
        const int64_t* route = numbers + kHeader + (transposed ? one : 0);
        for (int64_t i = 0; i < one; ++i)
            if (route[i] < 0 || route[i] > INT32_MAX) return "a number of rows is out of range";
        sent += sum(route + 1, partners);
        if (route[0] < nodes + sum(route + 1 + partners, partners)) return "its panels lack room for received rows";
    }
    if (count != kHeader + 2 * one + sent) return "its length is not that of the rows that it sends";
    for (int64_t i = kHeader + 2 * one; i < count; ++i)
        if (numbers[i] < 0 || numbers[i] >= nodes) return "it sends a row that is not there";
    return numbers[1] < nodes ? "the largest part has fewer nodes than this one" : "";
}

int64_t halo_most_nodes(const int64_t* numbers) { return numbers[1]; }

Exchange make_exchange(const int64_t* numbers, bool transposed, int64_t nodes) {
    Layout of = layout(numbers, transposed);
    const int64_t name = numbers[0];
    return Exchange(
        nodes, of.panel_rows - nodes, of.sent_row, std::move(of.sent), std::move(of.received),
        [name, transposed](const char* send, char* receive, int64_t row_bytes) {
            check(start_exchange.load()(name, transposed, send, receive, row_bytes));
        },
        [name] { check(finish_exchange.load()(name)); });
}

}  // namespace dcrnn
