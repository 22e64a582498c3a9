// The diffusion of the first layer's input, which has few channels: steps and elements stand side by side, so that rows
// are wide enough for vectors.
#pragma once

#include "csrc/cpu/tile.h"

namespace dcrnn {

template <class T>
class NarrowInput {
  public:
    /// For tiles of up to `elements` elements with `channels` channels, `steps` steps at once at most.
    NarrowInput(Arena& arena, const Sizes& sizes, int64_t elements, int64_t channels, int64_t steps)
        : sizes_(sizes), channels_(channels) {
        constexpr int64_t kWidthWanted = 64;
        chunk_ = std::clamp<int64_t>(kWidthWanted / std::max<int64_t>(elements * channels, 1), 1, steps);
        const int64_t width = padded(chunk_ * elements * channels);
        interleaved_ = arena.take<T>(sizes.N * width);
        terms_ = arena.take<T>((sizes.M - 1) * sizes.N * width);
    }

    /// Steps that one call of load takes.
    int64_t chunk() const { return chunk_; }

    /// source(step, element) gives (N, channels), for `steps` steps.
    template <class Source>
    void load(const Tile<T>& tile, const SparseStack<T>& stack, int64_t steps, const Source& source) {
        elements_ = tile.elements;
        width_ = padded(steps * elements_ * channels_);
        for (int64_t step = 0; step < steps; ++step)
            for (int64_t e = 0; e < elements_; ++e) {
                const T* from = source(step, e);
                T* to = interleaved_ + (step * elements_ + e) * channels_;
                for (int64_t n = 0; n < sizes_.N; ++n)
                    for (int64_t c = 0; c < channels_; ++c) to[n * width_ + c] = from[n * channels_ + c];
            }
        tile.kernels.diffuse(stack, interleaved_, width_, terms_, sizes_.N * width_);
    }

    /// The terms of one loaded step side by side: row e * N + n, column m * channels + c.
    void join(int64_t step, T* joined) const {
        const int64_t columns = sizes_.M * channels_;
        for (int64_t m = 0; m < sizes_.M; ++m) {
            const T* panel = m == 0 ? interleaved_ : terms_ + (m - 1) * sizes_.N * width_;
            for (int64_t e = 0; e < elements_; ++e) {
                const T* from = panel + (step * elements_ + e) * channels_;
                T* to = joined + e * sizes_.N * columns + m * channels_;
                for (int64_t n = 0; n < sizes_.N; ++n)
                    for (int64_t c = 0; c < channels_; ++c) to[n * columns + c] = from[n * width_ + c];
            }
        }
    }

  private:
    const Sizes& sizes_;
    int64_t channels_, chunk_, elements_ = 0, width_ = 0;
    T* interleaved_;
    T* terms_;
};

}  // namespace dcrnn
