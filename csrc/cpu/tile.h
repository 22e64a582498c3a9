// A tile: a few elements of the batch that go through all steps and layers together.
//
// Rows of a tile are its elements' nodes, element after element; panels are (rows x W), with kRowSlack rows allocated
// past them. The M terms of a tensor are the tensor itself (`self`) and M-1 panels of a pitch that all of a tile's
// panels share (`others`).
#pragma once

#include <algorithm>

#include "csrc/cpu/halo.h"
#include "csrc/cpu/pack.h"
#include "csrc/cpu/prepared.h"
#include "csrc/cpu/scalar.h"

namespace dcrnn {

// Rows of one product before its epilogue, at most: 48 x 128 float32 results wait in L1.
constexpr int64_t kRowBlock = 48;

// Operands of a product that are larger lie beyond L2, which has 1 or 2 MiB.
constexpr int64_t kFarBytes = int64_t{4} << 20;

// Columns of the panel that diffuses an input of few channels, if there are steps enough.
constexpr int64_t kColumnsWanted = 64;

/// Elements of a tile, from the shapes alone: the bits of the weights' gradients depend on it.
inline int64_t tile_elements(const Sizes& s) {
    constexpr int64_t kRowsWanted = 448;
    // All ranks of a divided graph take the same tiles.
    return std::clamp<int64_t>(kRowsWanted / std::max<int64_t>(s.divided() ? s.most_nodes : s.N, 1), 1, 8);
}

/// A batch in tiles.
struct Tiles {
    explicit Tiles(const Sizes& s)
        : batch(s.B),
          most(std::min(tile_elements(s), std::max<int64_t>(s.B, 1))),
          count((s.B + most - 1) / most),
          divided(s.divided()) {}

    const int64_t batch, most, count;
    const bool divided;

    int64_t first(int64_t tile) const { return tile * most; }
    int64_t elements(int64_t tile) const { return std::min(most, batch - first(tile)); }
};

/// Calls body(run, first, last) on ranges of [0, count), each with a run of its own that make(arena, threads) returns;
/// count: the tiles, or partitions of them. With fewer tiles than threads, all threads work on each tile, and make gets
/// them; else a thread takes complete tiles, and make gets nullptr. Tiles of a divided graph come one after the other,
/// on this thread, which exchanges their rows.
template <class Make, class Body>
void over_tiles(const Threads& threads, const Tiles& tiles, int64_t count, const Make& make, const Body& body) {
    const bool together = tiles.divided || tiles.count < threads.count;
    // Of a divided graph's panels some rows and columns stay as they are, and meet weights of zero.
    const auto fill = tiles.divided ? Arena::Fill::kZeros : Arena::Fill::kNothing;
    const Range in_memory = [&](int64_t first, int64_t last) {
        with_memory([&](Arena& arena) { return make(arena, together ? &threads : nullptr); },
                    [&](auto& run) { body(run, first, last); }, fill);
    };
    if (together)
        in_memory(0, count);
    else
        threads.parallel(count, in_memory);
}

/// Columns of that panel. Where it is larger than the cache, wider rows gain nothing and take memory.
template <class S>
int64_t columns_wanted(const Sizes& s, int64_t elements) {
    // All ranks of a divided graph exchange the same columns at once.
    const int64_t rows = elements * (s.divided() ? s.most_nodes : s.N);
    const int64_t panel = rows * kColumnsWanted * static_cast<int64_t>(sizeof(S));
    return panel < kFarBytes / 2 ? kColumnsWanted : kLanes<S>;
}

/// The widest panel that diffuses inputs of few channels, for tiles of `elements`: see FewChannels.
template <class S>
int64_t few_channels_width(const Sizes& s, int64_t elements) {
    return padded<S>(std::max(kColumnsWanted, elements * std::max(s.C, s.decoder_channels())));
}

/// The workers on a tile: one thread, or (given `threads`) several that divide each phase among them.
template <class S>
class Crew {
  public:
    using A = Accumulator<S>;

    struct Member {
        A* product;  // (kRowBlock + kRowSlack) x the widest result
        void* scratch;
        std::vector<Panel<S>> panels;
        std::vector<A*> results;
    };

    Crew(Arena& arena, const Kernels<S>& kernels, int64_t widest, int64_t scratch_bytes, const Threads* threads)
        : kernels_(kernels), threads_(threads) {
        for (int64_t i = 0; i < (threads ? threads->count : 1); ++i)
            members_.push_back(
                {arena.take<A>((kRowBlock + kRowSlack) * widest), arena.take<char>(scratch_bytes), {}, {}});
    }

    bool alone() const { return members_.size() == 1; }

    /// Calls phase(member, first, last) on pieces of [0, count) that start at multiples of `grain`, and waits.
    template <class Phase>
    void divide(int64_t count, int64_t grain, const Phase& phase) {
        const int64_t grains = (count + grain - 1) / grain;
        const int64_t pieces = std::min<int64_t>(members_.size(), grains);
        if (pieces == 1) run(phase, members_[0], 0, count);
        if (pieces <= 1) return;
        threads_->parallel(pieces, [&](int64_t first, int64_t last) {
            for (int64_t p = first; p < last; ++p)
                run(phase, members_[p], p * grains / pieces * grain,
                    std::min(count, (p + 1) * grains / pieces * grain));
        });
    }

  private:
    template <class Phase>
    void run(const Phase& phase, Member& member, int64_t first, int64_t last) const {
        if (kernels_.enter) kernels_.enter();
        phase(member, first, last);
        if (kernels_.leave) kernels_.leave();
    }

    const Kernels<S>& kernels_;
    const Threads* threads_;
    std::vector<Member> members_;
};

/// Step i of a recursion, rows [first, last) of panels of which the numbers at `at` are the first. stored(p): panel p,
/// or null: it is kept as sums only; the panels of `sums` have a pitch.
template <class S, class Stored>
void diffusion_step(const Kernels<S>& kernels, const Diffusion<S>& how, int64_t i, const Stored& stored,
                    Accumulator<S>* sums, int64_t pitch, int64_t at, int64_t width, int64_t first, int64_t last) {
    const DiffusionStep& s = how.steps[i];
    const auto kept = [&](int32_t panel) -> Accumulator<S>* {
        return how.kept_sums[panel] < 0 ? nullptr : sums + how.kept_sums[panel] * pitch + at;
    };
    const auto rows = [&](int32_t panel) -> RowsOf<S> {
        if (panel < 0) return {nullptr, nullptr};
        if (auto* from = kept(panel)) return {nullptr, from};
        return {stored(panel) + at, nullptr};
    };
    S* target = const_cast<S*>(stored(s.target));  // never panel 0, the one that is diffused
    kernels.diffuse_step(how.supports, s.support, Accumulator<S>(s.scale), rows(s.source), rows(s.minus), width,
                         target == nullptr ? nullptr : target + at, kept(s.target), first, last);
}

template <class S>
class Tile {
  public:
    using A = Accumulator<S>;

    /// For up to `most` elements. `widest` is the widest result of a product, `sums_` the most panels of sums that a
    /// diffusion keeps.
    Tile(Arena& arena, const Kernels<S>& kernels_, const Sizes& s, int64_t most, int64_t widest, int64_t sums_,
         const Threads* threads)
        : kernels(kernels_),
          sizes(s),
          width(padded<S>(s.H)),
          pitch((most * s.panel_rows() + kRowSlack) * width + 5 * kLine),
          most_elements(most),
          elements(most),
          crew(arena, kernels_, widest, scratch_bytes(kernels_, s, most), threads),
          sums_pitch(std::max(pitch, s.panel_rows() * few_channels_width<S>(s, most))),
          sums(arena.take<A>(sums_ * sums_pitch)) {}

    const Kernels<S>& kernels;
    const Sizes& sizes;
    const int64_t width, pitch;  // of a panel of H channels; between panels, which is also the room of one
    const int64_t most_elements;
    int64_t elements;
    Crew<S> crew;
    const int64_t sums_pitch;
    A* const sums;                   // the panels of sums of a recursion
    std::vector<Panel<S>> panels{};  // the operands of the next product

    int64_t rows() const { return elements * sizes.N; }

    /// Not initialised; zeros.
    S* take_panel(Arena& arena) const { return arena.take<S>(pitch); }
    S* take_zero_panel(Arena& arena) const { return arena.take_zeros<S>(pitch); }

    /// phase(member, first, last) on ranges of rows.
    template <class Phase>
    void divide_rows(const Phase& phase) {
        crew.divide(rows(), kRowBlock, phase);
    }

    /// Diffuses a panel of width W into the M-1 others.
    void diffuse(const Diffusion<S>& how, S* self, S* others) {
        begin_exchange(how, self);
        diffuse_begun(how, self, others);
    }

    /// On a divided graph, begins to exchange a panel's rows: what does not touch it may come between this and
    /// diffuse_begun, which waits for the first that was begun.
    void begin_exchange(const Diffusion<S>& how, S* self) {
        if (how.exchange != nullptr && sizes.M > 1) how.exchange->begin(self, width, sizes.H, elements, most_elements);
    }

    void diffuse_begun(const Diffusion<S>& how, const S* self, S* others) {
        if (sizes.M == 1) return;
        if (how.exchange != nullptr) how.exchange->finish();
        // The elements of a divided graph are one graph, side by side.
        const int64_t nodes = how.operators.nodes, count = how.exchange ? nodes : rows();
        const auto each_element = [&](int64_t first, int64_t last, const auto& run) {
            for (int64_t e = first / nodes; e * nodes < last; ++e)
                run(e * nodes * width, std::max<int64_t>(first - e * nodes, 0), std::min(last - e * nodes, nodes));
        };
        if (how.count == 0)
            return crew.divide(count, kRowBlock, [&](auto& member, int64_t first, int64_t last) {
                each_element(first, last, [&](int64_t at, int64_t from, int64_t to) {
                    kernels.diffuse(how.operators, self + at, width, others + at, pitch, from, to, member.scratch);
                });
            });
        const auto stored = [&](int64_t i) { return i == 0 ? self : i < sizes.M ? others + (i - 1) * pitch : nullptr; };
        const auto step = [&](int64_t i, int64_t at, int64_t from, int64_t to) {
            diffusion_step(kernels, how, i, stored, sums, sums_pitch, at, width, from, to);
        };
        // Alone: an element takes all steps while it is in cache. Together: a step reads rows of every member.
        if (crew.alone())
            return crew.divide(count, kRowBlock, [&](auto&, int64_t first, int64_t last) {
                each_element(first, last, [&](int64_t at, int64_t from, int64_t to) {
                    for (int64_t i = 0; i < how.count; ++i) step(i, at, from, to);
                });
            });
        for (int64_t i = 0; i < how.count; ++i)
            crew.divide(count, kRowBlock, [&](auto&, int64_t first, int64_t last) {
                each_element(first, last, [&](int64_t at, int64_t from, int64_t to) { step(i, at, from, to); });
            });
    }

    /// Adds a panel and its M-1 others to the operands of the next product.
    void append(const S* self, const S* others) {
        panels.push_back({self, width, width});
        for (int64_t m = 1; m < sizes.M; ++m) panels.push_back({others + (m - 1) * pitch, width, width});
    }

    /// Multiplies `panels` with b; epilogue(product, row, count) reads the results of `count` rows, which are b.columns
    /// wide.
    template <class Epilogue>
    void multiply(const Packed<S>& b, const A* bias, const Epilogue& epilogue) {
        int64_t depth = 0;
        for (const Panel<S>& panel : panels) depth += panel.depth;
        const bool far = rows() * depth * static_cast<int64_t>(sizeof(S)) > kFarBytes;
        divide_rows([&](auto& member, int64_t first, int64_t last) {
            auto& here = member.panels;
            here.resize(panels.size());
            for (int64_t row = first; row < last; row += kernels.row_block) {
                const int64_t count = std::min(kernels.row_block, last - row);
                for (size_t p = 0; p < panels.size(); ++p)
                    here[p] = {panels[p].data + row * panels[p].stride, panels[p].stride, panels[p].depth};
                kernels.gemm(here.data(), here.size(), b.data, b.depth, bias, member.product, b.columns, count,
                             b.columns, far, member.scratch);
                epilogue(member.product, row, count);
            }
        });
    }

    /// The gradient of every (left, right) pair of panels is added to results[l * rights + r].
    void add_weight_gradients(const std::vector<Panel<S>>& left, const std::vector<Panel<S>>& right,
                              const std::vector<A*>& results) {
        const int64_t rights = right.size();
        int64_t depth = 0;
        for (const Panel<S>& panel : left) depth += panel.depth;
        // Dealt by columns of the left side, so that the shares are even also where there are few panels.
        crew.divide(rights * depth, kLanes<S>, [&](auto& member, int64_t first, int64_t last) {
            for (int64_t r = first / depth; r * depth < last;) {
                const int64_t from = std::max<int64_t>(first - r * depth, 0), to = std::min(last - r * depth, depth);
                // Complete ones together.
                const int64_t count = from == 0 && to == depth ? last / depth - r : 1;
                member.panels.clear(), member.results.clear();
                int64_t start = 0;
                for (size_t l = 0; l < left.size(); start += left[l++].depth) {
                    const int64_t a = std::max(from - start, int64_t{0}), b = std::min(to - start, left[l].depth);
                    if (a >= b) continue;
                    member.panels.push_back({left[l].data + a, left[l].stride, b - a});
                    for (int64_t i = r; i < r + count; ++i)
                        member.results.push_back(results[l * rights + i] + a * right[i].depth);
                }
                kernels.weight_gradients(member.panels.data(), member.panels.size(), right.data() + r, count, rows(),
                                         member.results.data(), member.scratch);
                r += count;
            }
        });
    }

  private:
    static int64_t scratch_bytes(const Kernels<S>& kernels, const Sizes& s, int64_t most) {
        if (kernels.diffuse_scratch_bytes == nullptr) return kernels.scratch_bytes;
        const int64_t widest = std::max(padded<S>(s.H), few_channels_width<S>(s, most));
        return std::max(kernels.scratch_bytes,
                        kernels.diffuse_scratch_bytes(s.divided() ? most * s.panel_rows() : s.N, widest));
    }

    // Panels of equal size must not start at the same offset of a page: see Arena.
    static constexpr int64_t kLine = 64 / sizeof(S);
};

/// Copies rows between arrays of different widths.
template <class S>
void copy_rows(const S* from, int64_t from_stride, int64_t rows, int64_t width, S* to, int64_t to_stride) {
    for (int64_t i = 0; i < rows; ++i) std::copy_n(from + i * from_stride, width, to + i * to_stride);
}

/// The same, from sums to storage.
template <class S>
void narrow_rows(const Accumulator<S>* from, int64_t from_stride, int64_t rows, int64_t width, S* to,
                 int64_t to_stride) {
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < width; ++j) to[i * to_stride + j] = narrowed<S>(from[i * from_stride + j]);
}

}  // namespace dcrnn
