#include "csrc/cpu/convolution.h"

#include "csrc/cpu/sums.h"

namespace dcrnn {
namespace {

// The facts that a tile needs, with panels of `width` channels.
template <class S>
Sizes panel_sizes(const Convolution<S>& op, int64_t width) {
    Sizes s{};
    s.B = op.B, s.N = op.N, s.H = width, s.M = op.M;
    s.panel_nodes = op.panel_nodes, s.most_nodes = op.most_nodes;
    return s;
}

// A tile with the panels of one tensor: itself, then its M-1 diffusions.
template <class S>
struct ConvolutionTile {
    Tile<S> tile;
    S* panels;

    ConvolutionTile(Arena& arena, const Kernels<S>& kernels, const Sizes& s, int64_t elements, int64_t widest,
                    int64_t sums, const Threads* threads)
        : tile(arena, kernels, s, elements, widest, sums, threads), panels(arena.take_zeros<S>(s.M * tile.pitch)) {}

    // Loads rows of a tensor, diffuses them and makes all terms the operands of the next product.
    void load(const Diffusion<S>& how, const S* from, int64_t elements) {
        const Sizes& s = tile.sizes;
        tile.elements = elements;
        copy_rows(from, s.H, tile.rows(), s.H, panels, tile.width);
        tile.diffuse(how, panels, panels + tile.pitch);
        tile.panels.clear();
        tile.append(panels, panels + tile.pitch);
    }

    void multiply_into(const Packed<S>& packed, const Accumulator<S>* bias, S* to, int64_t columns) {
        tile.multiply(packed, bias, [&](const auto* product, int64_t row, int64_t count) {
            narrow_rows(product, packed.columns, count, columns, to + row * columns, columns);
        });
    }
};

}  // namespace

template <class S>
void convolve(const Convolution<S>& op, const Kernels<S>& kernels, const S* x, S* y, const Threads& threads) {
    if (op.B == 0) return;
    const Sizes s = panel_sizes(op, op.C);
    const int64_t W = padded<S>(op.C), columns = padded<S>(op.O);
    const Tiles tiles(s);
    const Ready<S> ready(kernels, op.terms, tiles.most);
    const Diffusion<S>& terms = ready.get();
    Packed<S> weight;
    Accumulator<S>* bias = nullptr;
    const Arena packed = laid_out([&](Arena& arena) {
        pack(arena, kernels, op.M * W, columns, weight, [&](int64_t k, S* row) {
            if (k % W < op.C) std::copy_n(op.weight + (k % W * op.M + k / W) * op.O, op.O, row);
        });
        bias = arena.take<Accumulator<S>>(columns);
        for (int64_t o = 0; bias != nullptr && o < op.O; ++o) bias[o] = widened(op.bias[o]);
    });
    over_tiles(
        threads, tiles, tiles.count,
        [&](Arena& arena, const Threads* crew) {
            return ConvolutionTile<S>(arena, kernels, s, tiles.most, columns, terms.sums, crew);
        },
        [&](ConvolutionTile<S>& run, int64_t first, int64_t last) {
            for (int64_t tile = first; tile < last; ++tile) {
                const int64_t row = tiles.first(tile) * op.N;
                run.load(terms, x + row * op.C, tiles.elements(tile));
                run.multiply_into(weight, bias, y + row * op.O, op.O);
            }
        });
}

template <class S>
void convolve_backward(const Convolution<S>& op, const Kernels<S>& kernels, const S* dy, const S* x, S* dx,
                       Accumulator<S>* d_weight, Accumulator<S>* d_bias, const Threads& threads) {
    using A = Accumulator<S>;
    if (op.B == 0) return;
    const Sizes s = panel_sizes(op, op.O);
    const int64_t W = padded<S>(op.O), columns = padded<S>(op.C);
    const Tiles tiles(s);
    const Ready<S> ready(kernels, op.transposed, tiles.most);
    const Diffusion<S>& transposed = ready.get();
    Packed<S> weight;
    const Arena packed = laid_out([&](Arena& arena) {
        pack(arena, kernels, op.M * W, columns, weight, [&](int64_t k, S* row) {
            for (int64_t c = 0; k % W < op.O && c < op.C; ++c) row[c] = op.weight[(c * op.M + k / W) * op.O + k % W];
        });
    });
    const int64_t partitions = partition_count(tiles.count), weight_sums = op.M * columns * W,
                  all_sums = weight_sums + W;
    const auto take_sums = [=](Arena& arena) { return arena.take<A>(all_sums); };
    Arena counter;
    take_sums(counter);
    SumTree<S> tree(kernels, counter.used());
    struct Workspace {
        ConvolutionTile<S> gradient;
        S* input;  // x with padded channels
    };
    over_tiles(
        threads, tiles, partitions,
        [&](Arena& arena, const Threads* crew) {
            return Workspace{ConvolutionTile<S>(arena, kernels, s, tiles.most, columns, transposed.sums, crew),
                             arena.take_zeros<S>(tiles.most * op.N * columns)};
        },
        [&](Workspace& run, int64_t first, int64_t last) {
            Tile<S>& tile = run.gradient.tile;
            tree.add(first, last, [&](int64_t p, Arena& arena) {
                A* sums = take_sums(arena);
                for (int64_t i = p * tiles.count / partitions; i < (p + 1) * tiles.count / partitions; ++i) {
                    const int64_t row = tiles.first(i) * op.N;
                    run.gradient.load(transposed, dy + row * op.O, tiles.elements(i));
                    if (dx != nullptr) run.gradient.multiply_into(weight, nullptr, dx + row * op.C, op.C);
                    kernels.add_column_sums(run.gradient.panels, W, tile.rows(), W, sums + weight_sums);
                    copy_rows(x + row * op.C, op.C, tile.rows(), op.C, run.input, columns);
                    std::vector<A*> results;
                    for (int64_t m = 0; m < op.M; ++m) results.push_back(sums + m * columns * W);
                    tile.add_weight_gradients({{run.input, columns, columns}}, tile.panels, results);
                }
            });
        });
    Arena& total = tree.total(threads);
    total.rewind();
    const A* sums = take_sums(total);
    for (int64_t m = 0; m < op.M; ++m)
        for (int64_t c = 0; c < op.C; ++c)
            std::copy_n(sums + (m * columns + c) * W, op.O, d_weight + (c * op.M + m) * op.O);
    std::copy_n(sums + weight_sums, op.O, d_bias);
}

template void convolve(const Convolution<float>&, const Kernels<float>&, const float*, float*, const Threads&);
template void convolve(const Convolution<double>&, const Kernels<double>&, const double*, double*, const Threads&);
template void convolve(const Convolution<bf16>&, const Kernels<bf16>&, const bf16*, bf16*, const Threads&);
template void convolve_backward(const Convolution<float>&, const Kernels<float>&, const float*, const float*, float*,
                                float*, float*, const Threads&);
template void convolve_backward(const Convolution<double>&, const Kernels<double>&, const double*, const double*,
                                double*, double*, double*, const Threads&);
template void convolve_backward(const Convolution<bf16>&, const Kernels<bf16>&, const bf16*, const bf16*, bf16*, float*,
                                float*, const Threads&);

}  // namespace dcrnn
