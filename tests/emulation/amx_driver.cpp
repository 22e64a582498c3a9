// The AMX units without torch: linked with the objects that the shared object is made of, run on any machine. Prints
// which units there are, and of every case the distance from float64 and a digest of all bits that came out, which
// must be the same on a processor and on its emulations. Ends with 1 where AMX is lacking or a result is too far off.
//
// Legend: B batch, P past and F future steps, N nodes, C input and O output channels, H units, L layers, M terms.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>

#include "csrc/cpu/scalar.h"
#include "csrc/cpu/select.h"
#include "csrc/cpu/seq2seq.h"

namespace dcrnn {
namespace {

struct Case {
    const char* name;
    Sizes sizes;
    double density;
};

// Exact in bf16, the same everywhere: multiples of 1/64 within [-1, 1], times a power of two.
class Numbers {
  public:
    uint64_t next() {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return state_ >> 33;
    }
    double one(double scale) { return (static_cast<double>(next() % 129) - 64) / 64 * scale; }

  private:
    uint64_t state_ = 12345;
};

struct Csr {
    std::vector<int32_t> row_start{0}, column;
    std::vector<double> value;
};

template <class S>
std::vector<S> as(const std::vector<double>& from) {
    std::vector<S> to;
    for (const double x : from) to.push_back(narrowed<S>(static_cast<Accumulator<S>>(x)));
    return to;
}

// One problem in float64, of which every storage type gets a copy.
struct Problem {
    Sizes s;
    Csr terms, transposed;
    std::vector<double> x, labels, projection_weight, projection_bias, dy;
    std::vector<std::vector<double>> cells;  // of the encoder, then of the decoder: 4 each
    std::unique_ptr<bool[]> feed_label;

    explicit Problem(const Case& a) : s(a.sizes) {
        Numbers numbers;
        const auto fill = [&](std::vector<double>& to, int64_t count, double scale) {
            for (int64_t i = 0; i < count; ++i) to.push_back(numbers.one(scale));
        };
        std::vector<double> dense;
        const double size = std::exp2(-std::floor(std::log2(1 + a.density * static_cast<double>(s.N)) / 2));
        for (int64_t i = 0; i < (s.M - 1) * s.N * s.N; ++i) {
            const bool there = static_cast<double>(numbers.next() % 1000) < 1000 * a.density;
            dense.push_back(there ? numbers.one(size) : 0);
        }
        for (int64_t m = 0; m + 1 < s.M; ++m)
            for (int64_t i = 0; i < s.N; ++i) {
                for (int64_t j = 0; j < s.N; ++j) {
                    const double *matrix = dense.data() + m * s.N * s.N, there = matrix[i * s.N + j];
                    const double over = matrix[j * s.N + i];
                    if (there != 0) terms.column.push_back(static_cast<int32_t>(j)), terms.value.push_back(there);
                    if (over != 0)
                        transposed.column.push_back(static_cast<int32_t>(j)), transposed.value.push_back(over);
                }
                terms.row_start.push_back(static_cast<int32_t>(terms.column.size()));
                transposed.row_start.push_back(static_cast<int32_t>(transposed.column.size()));
            }
        fill(x, s.B * s.P * s.N * s.C, 1), fill(labels, s.B * s.F * s.N * s.O, 1);
        fill(projection_weight, s.O * s.H, 0.125), fill(projection_bias, s.O, 1);
        fill(dy, s.B * s.F * s.N * s.O, 1);
        feed_label = std::make_unique<bool[]>(static_cast<size_t>(s.F));
        for (int64_t t = 0; t < s.F; ++t) feed_label[static_cast<size_t>(t)] = t % 2 == 0;
        for (int64_t l = 0; l < 2 * s.L; ++l) {
            const int64_t rows = ((l % s.L ? s.H : l < s.L ? s.C : s.O) + s.H) * s.M;
            const double scale = std::exp2(-std::floor(std::log2(static_cast<double>(rows)) / 2));
            for (const int64_t count : {rows * 2 * s.H, 2 * s.H, rows * s.H, s.H})
                fill(cells.emplace_back(), count, scale);
        }
    }
};

// The forecast and the gradients, each as float64.
template <class S>
std::vector<std::vector<double>> run(const Problem& p, const Kernels<S>& kernels) {
    using A = Accumulator<S>;
    const Sizes& s = p.s;
    std::vector<std::vector<S>> parameters;
    for (const auto& one : p.cells) parameters.push_back(as<S>(one));
    std::vector<A> values, transposed;
    for (const double v : p.terms.value) values.push_back(static_cast<A>(v));
    for (const double v : p.transposed.value) transposed.push_back(static_cast<A>(v));
    const auto x = as<S>(p.x), labels = as<S>(p.labels), weight = as<S>(p.projection_weight);
    const auto bias = as<S>(p.projection_bias), dy = as<S>(p.dy);
    Model<S> model{s,
                   {{p.terms.row_start.data(), p.terms.column.data(), values.data(), s.N, s.M - 1}},
                   {{p.transposed.row_start.data(), p.transposed.column.data(), transposed.data(), s.N, s.M - 1}},
                   {},
                   {},
                   {},
                   weight.data(),
                   bias.data()};
    Gradients<S> gradients;
    std::vector<std::vector<A>> wide;
    wide.reserve(p.cells.size() + 2);
    const auto room = [&](size_t count) { return wide.emplace_back(count).data(); };
    for (size_t l = 0; l < parameters.size(); l += 4) {
        const bool encodes = l < parameters.size() / 2;
        const size_t layer = l / 4 % static_cast<size_t>(s.L);
        const auto* w = &parameters[l];
        (encodes ? model.encoder : model.decoder)
            .push_back({layer     ? s.H
                        : encodes ? s.C
                                  : s.O,
                        w[0].data(), w[1].data(), w[2].data(), w[3].data()});
        A* to[4];
        for (size_t i = 0; i < 4; ++i) to[i] = room(w[i].size());
        (encodes ? gradients.encoder : gradients.decoder).push_back({to[0], to[1], to[2], to[3]});
    }
    gradients.projection_weight = room(weight.size());
    gradients.projection_bias = room(bias.size());
    std::vector<S> prediction(dy.size()), dx(x.size()), d_labels(labels.size());
    gradients.of.prediction = dy.data(), gradients.x = dx.data(), gradients.labels = d_labels.data();
    const auto numbers = static_cast<size_t>(Saved<S>::numbers(s, Saved<S>::kSaveAll));
    const std::unique_ptr<void, void (*)(void*)> kept(std::aligned_alloc(64, (numbers * sizeof(S) + 63) / 64 * 64),
                                                      free);
    const Saved<S> saved{static_cast<S*>(kept.get()), Saved<S>::kSaveAll};
    const Threads threads{1, [](int64_t count, const Range& range) { range(0, count); }};
    const Batch<S> batch{x.data(), nullptr, labels.data(), p.feed_label.get()};
    forward(model, kernels, batch, Outputs<S>{prediction.data()}, saved, threads);
    backward(model, kernels, batch, prediction.data(), saved, gradients, threads);
    std::vector<std::vector<double>> results;
    for (const auto* narrow : {&prediction, &dx, &d_labels}) {
        results.emplace_back();
        for (const S v : *narrow) results.back().push_back(widened(v));
    }
    for (const auto& one : wide) results.emplace_back(one.begin(), one.end());
    return results;
}

uint64_t digest(const std::vector<std::vector<double>>& results) {
    uint64_t hash = 14695981039346656037u;
    for (const auto& one : results)
        for (const double v : one) {
            unsigned char bytes[8];
            std::memcpy(bytes, &v, 8);
            for (const unsigned char byte : bytes) hash = (hash ^ byte) * 1099511628211u;
        }
    return hash;
}

// The largest of max|got - truth| / max|truth| over results [first, last).
double worst(const std::vector<std::vector<double>>& got, const std::vector<std::vector<double>>& truth, size_t first,
             size_t last) {
    double error = 0;
    for (size_t i = first; i < last; ++i) {
        double off = 0, size = 1e-30;
        for (size_t k = 0; k < got[i].size(); ++k) {
            // A NaN must not pass.
            const double here = std::fabs(got[i][k] - truth[i][k]);
            off = here <= off ? off : here, size = std::fmax(size, std::fabs(truth[i][k]));
        }
        error = off / size <= error ? error : off / size;
    }
    return error;
}

bool report(const char* storage, const char* unit, const Case& a, const std::vector<std::vector<double>>& got,
            const std::vector<std::vector<double>>& truth, double forecast_bound, double gradient_bound) {
    const double forecast = worst(got, truth, 0, 1), gradients = worst(got, truth, 1, got.size());
    const bool good = forecast <= forecast_bound && gradients <= gradient_bound;
    std::printf("%-6s %-10s %-24s forecast %.1e gradients %.1e bits %016llx %s\n", storage, unit, a.name, forecast,
                gradients, static_cast<unsigned long long>(digest(got)), good ? "ok" : "TOO FAR");
    std::fflush(stdout);
    return good;
}

int drive() {
    for (const auto& unit : unit_states())
        std::printf("%s: %s\n", unit.name.c_str(), unit.why_not.empty() ? "runs" : unit.why_not.c_str());
    std::fflush(stdout);
    if (!unit_states().back().why_not.empty()) return 1;
    // What fills no tile; rows and columns of several tiles; a graph dense enough for tiles; sums as deep as are split.
    const Case cases[] = {{"nothing_divides_a_tile", {3, 4, 3, 33, 3, 2, 17, 3, 3}, 0.5},
                          {"published_width", {2, 3, 2, 71, 2, 1, 64, 2, 5}, 0.05},
                          {"dense", {1, 2, 2, 67, 2, 1, 33, 1, 3}, 0.9},
                          {"deep", {1, 1, 1, 5, 2, 1, 240, 2, 5}, 0.5}};
    bool good = true;
    for (const Case& a : cases) {
        const Problem p(a);
        const auto truth = run(p, choose_kernels<double>());
        const auto& low = choose_kernels<bf16>();
        const auto& split = choose_split_kernels(a.sizes.B * a.sizes.steps() * a.sizes.N);
        good &= report("bf16", low.name, a, run(p, low), truth, 2e-2, 5e-2);
        good &= report("bf16x3", split.name, a, run(p, split), truth, 1e-5, 1e-5);
    }
    return good ? 0 : 1;
}

}  // namespace
}  // namespace dcrnn

int main() { return dcrnn::drive(); }
