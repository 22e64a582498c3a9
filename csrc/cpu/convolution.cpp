#include "csrc/cpu/convolution.h"

#include "csrc/cpu/sums.h"
#include "csrc/cpu/tile.h"

namespace dcrnn {
namespace {

// What a tile needs to know, with panels of `width` channels.
template <class T>
Sizes panel_sizes(const Convolution<T>& op, int64_t width) {
    Sizes s{};
    s.B = op.B, s.N = op.N, s.H = width, s.M = op.M;
    return s;
}

// A tile with the panels of one tensor: itself, then its M-1 diffusions.
template <class T>
struct ConvolutionTile {
    Tile<T> tile;
    T* panels;

    ConvolutionTile(Arena& arena, const Kernels<T>& kernels, const Sizes& s, int64_t elements, int64_t product_columns)
        : tile{kernels, s, elements, tile_pitch(s, elements), arena.take<T>(kRowBlock * product_columns)},
          panels(arena.take<T>(s.M * tile.pitch)) {}

    // Loads rows of a tensor, diffuses them and makes all terms the operands of the next product.
    void load(const SparseStack<T>& stack, const T* from, int64_t elements) {
        const Sizes& s = tile.sizes;
        tile.elements = elements;
        copy_rows(from, s.H, tile.rows(), s.H, panels, s.width());
        tile.diffuse(stack, panels, panels + tile.pitch);
        tile.panels.clear();
        tile.append({panels, panels + tile.pitch});
    }

    void multiply_into(const Packed<T>& packed, const T* bias, T* to, int64_t columns) {
        tile.multiply(packed, bias, [&](int64_t row, int64_t count) {
            copy_rows(tile.product, packed.columns, count, columns, to + row * columns, columns);
        });
    }
};

}  // namespace

template <class T>
void convolve(const Convolution<T>& op, const Kernels<T>& kernels, const T* x, T* y, const Parallel& parallel) {
    if (op.B == 0) return;
    const Sizes s = panel_sizes(op, op.C);
    const int64_t columns = padded(op.O);
    Packed<T> weight;
    T* bias = nullptr;
    const Arena packed = laid_out([&](Arena& arena) {
        pack(arena, kernels.block_columns, op.M * op.C, columns, weight,
             [&](int64_t k, T* row) { std::copy_n(op.weight + (k % op.C * op.M + k / op.C) * op.O, op.O, row); });
        bias = arena.take<T>(columns);
        if (bias != nullptr) std::copy_n(op.bias, op.O, bias);
    });
    const int64_t elements = std::min(tile_elements(s), op.B), tiles = (op.B + elements - 1) / elements;
    parallel(tiles, [&](int64_t first, int64_t last) {
        Arena count;
        ConvolutionTile<T>(count, kernels, s, elements, columns);
        Arena arena(count.used());
        ConvolutionTile<T> run(arena, kernels, s, elements, columns);
        for (int64_t tile = first; tile < last; ++tile) {
            const int64_t row = tile * elements * op.N;
            run.load(op.terms, x + row * op.C, std::min(elements, op.B - tile * elements));
            run.multiply_into(weight, bias, y + row * op.O, op.O);
        }
    });
}

template <class T>
void convolve_backward(const Convolution<T>& op, const Kernels<T>& kernels, const T* dy, const T* x, T* dx, T* d_weight,
                       T* d_bias, const Parallel& parallel) {
    if (op.B == 0) return;
    const Sizes s = panel_sizes(op, op.O);
    const int64_t W = s.width(), columns = padded(op.C);
    Packed<T> weight;
    const Arena packed = laid_out([&](Arena& arena) {
        pack(arena, kernels.block_columns, op.M * op.O, columns, weight, [&](int64_t k, T* row) {
            for (int64_t c = 0; c < op.C; ++c) row[c] = op.weight[(c * op.M + k / op.O) * op.O + k % op.O];
        });
    });
    const int64_t elements = std::min(tile_elements(s), op.B), tiles = (op.B + elements - 1) / elements;
    const int64_t partitions = partition_count(tiles), weight_sums = op.M * op.C * W, all_sums = weight_sums + W;
    std::vector<Arena> memory;
    for (int64_t p = 0; p < partitions; ++p) memory.emplace_back(all_sums * static_cast<int64_t>(sizeof(T)));
    parallel(partitions, [&](int64_t first, int64_t last) {
        Arena count;
        ConvolutionTile<T>(count, kernels, s, elements, columns);
        Arena arena(count.used());
        ConvolutionTile<T> run(arena, kernels, s, elements, columns);
        for (int64_t p = first; p < last; ++p)
            for (int64_t tile = p * tiles / partitions; tile < (p + 1) * tiles / partitions; ++tile) {
                const int64_t row = tile * elements * op.N;
                run.load(op.transposed, dy + row * op.O, std::min(elements, op.B - tile * elements));
                if (dx != nullptr) run.multiply_into(weight, nullptr, dx + row * op.C, op.C);
                T* sums = memory[p].template numbers<T>();
                const int64_t rows = run.tile.rows();
                kernels.add_column_sums(run.panels, rows, W, sums + weight_sums);
                for (int64_t m = 0; m < op.M; ++m)
                    kernels.gemm_transposed(x + row * op.C, op.C, op.C, run.panels + m * run.tile.pitch, W,
                                            sums + m * op.C * W, W, rows, W);
            }
    });
    add_partitions(kernels, memory, all_sums, parallel);
    const T* sums = memory[0].template numbers<T>();
    for (int64_t m = 0; m < op.M; ++m)
        for (int64_t c = 0; c < op.C; ++c)
            std::copy_n(sums + (m * op.C + c) * W, op.O, d_weight + (c * op.M + m) * op.O);
    std::copy_n(sums + weight_sums, op.O, d_bias);
}

template void convolve(const Convolution<float>&, const Kernels<float>&, const float*, float*, const Parallel&);
template void convolve(const Convolution<double>&, const Kernels<double>&, const double*, double*, const Parallel&);
template void convolve_backward(const Convolution<float>&, const Kernels<float>&, const float*, const float*, float*,
                                float*, float*, const Parallel&);
template void convolve_backward(const Convolution<double>&, const Kernels<double>&, const double*, const double*,
                                double*, double*, double*, const Parallel&);

}  // namespace dcrnn
