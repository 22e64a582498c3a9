// What an instruction-set unit provides: one table of functions for each scalar type.
//
// Each unit_*.cpp is compiled for its own instruction set, everything else for the baseline. So that no function
// compiled for a newer instruction set can replace one of the same name elsewhere (the linker keeps one copy of an
// inline function), this header holds plain data only, and units include nothing else but intrinsics.
//
// Matrices are row-major. Widths of panels (`columns`, `width`) are multiples of kLanes; padding columns hold zeros.
#pragma once

#include <stdint.h>

namespace dcrnn {

constexpr int64_t kLanes = 16;

/// A (rows x depth) operand of a product: one diffusion term, say.
template <class T>
struct Panel {
    const T* data;
    int64_t stride;
    int64_t depth;
};

/// One stack of sparse operators in CSR: row m * nodes + n is row n of operator m.
template <class T>
struct SparseStack {
    const int32_t* row_start;
    const int32_t* column;
    const T* value;
    int64_t nodes;
    int64_t operators;
};

template <class T>
struct Kernels {
    const char* name;

    /// Columns of one block of a packed matrix (see pack.h); the last block may be narrower.
    int64_t block_columns;

    /// c = bias + sum over panels of panel * its rows of `packed`. `packed_depth` is the row count of `packed`, of
    /// which the panels may use only the first. No bias: c starts from zero.
    void (*gemm)(const Panel<T>* panels, int64_t count, const T* packed, int64_t packed_depth, const T* bias, T* c,
                 int64_t c_stride, int64_t rows, int64_t columns);

    /// c (a_columns x columns) += transpose of a (rows x a_columns) * b (rows x columns).
    void (*gemm_transposed)(const T* a, int64_t a_stride, int64_t a_columns, const T* b, int64_t b_stride, T* c,
                            int64_t c_stride, int64_t rows, int64_t columns);

    /// Applies every operator to x (nodes x width); operator m writes `out + m * out_panel`.
    void (*diffuse)(const SparseStack<T>& stack, const T* x, int64_t width, T* out, int64_t out_panel);

    /// r = sigmoid(c[:, :width]), u = sigmoid(c[:, width:]), reset = r * h.
    void (*gates)(const T* c, int64_t c_stride, int64_t rows, int64_t width, const T* h, T* r, T* u, T* reset);

    /// candidate = tanh(c), h_after = u * h + (1 - u) * candidate; h_after may be h.
    void (*candidate)(const T* c, int64_t c_stride, int64_t rows, int64_t width, const T* u, const T* h, T* candidate,
                      T* h_after);

    /// The part of a cell's backward before any product, over `count` numbers: the gradients before tanh (d_candidate)
    /// and before the sigmoid of u (d_u); reset = r * h again; dh becomes dh * u.
    void (*backward_blend)(int64_t count, const T* r, const T* u, const T* candidate, const T* h, T* dh, T* d_candidate,
                           T* d_u, T* reset);

    /// c holds the gradient of r * h: d_r before its sigmoid, and dh += c * r.
    void (*backward_reset)(const T* c, int64_t c_stride, int64_t rows, int64_t width, const T* r, const T* h, T* d_r,
                           T* dh);

    /// to += from, (rows x width).
    void (*add)(const T* from, int64_t from_stride, int64_t rows, int64_t width, T* to, int64_t to_stride);

    /// sum += the columns' sums of from (rows x width).
    void (*add_column_sums)(const T* from, int64_t rows, int64_t width, T* sum);

    /// Between T and bfloat16 (round to nearest even); null for float64.
    void (*to_bf16)(const T* from, int64_t count, uint16_t* to);
    void (*from_bf16)(const uint16_t* from, int64_t count, T* to);
};

extern const Kernels<float> kGenericFloat;
extern const Kernels<double> kGenericDouble;
#ifdef DCRNN_X86_UNITS
extern const Kernels<float> kAvx2Float;
extern const Kernels<float> kAvx512Float;
#endif

}  // namespace dcrnn
