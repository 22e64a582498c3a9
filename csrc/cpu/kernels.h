// The interface of an instruction-set unit: one table of functions for each storage type S of the panels.
//
// Each unit_*.cpp is compiled for its own instruction set, everything else for the baseline. So that no function
// compiled for a newer instruction set can replace one of the same name elsewhere (the linker keeps one copy of an
// inline function), this header holds plain data only, and units include nothing else but intrinsics.
//
// Matrices are row-major. S is float, double or bf16; sums, biases and gradients of states are of its Accumulator.
// Widths of panels (`columns`, `width`, `stride`, `depth`) are multiples of kLanes<S>; padding columns hold zeros.
#pragma once

#include <stdint.h>

namespace dcrnn {

struct bf16 {
    uint16_t bits;
};

template <class S>
struct AccumulatorOf {
    using type = S;
};
template <>
struct AccumulatorOf<bf16> {
    using type = float;
};
template <class S>
using Accumulator = typename AccumulatorOf<S>::type;

// A register of the widest unit: 32 bf16 are one AMX tile row.
template <class S>
constexpr int64_t kLanes = 16;
template <>
inline constexpr int64_t kLanes<bf16> = 32;

/// Rows that a product may read and write past the last one: its tiles' rows. Panels and `c` have them allocated.
constexpr int64_t kRowSlack = 32;

/// Rows that a bias's gradient adds one after the other. Sums of so many are added in turn: one float32 sum over all
/// rows of a large graph would lose a digit.
constexpr int64_t kSumRows = 64;

/// A (rows x depth) operand of a product, such as one diffusion term.
template <class S>
struct Panel {
    const S* data;
    int64_t stride;
    int64_t depth;
};

/// One stack of sparse operators in CSR: row m * nodes + n is row n of operator m.
template <class S>
struct SparseStack {
    const int32_t* row_start;
    const int32_t* column;
    const Accumulator<S>* value;
    int64_t nodes;
    int64_t operators;
    const void* prepared = nullptr;  // made of it by the unit's prepare_stack, or null
};

/// A panel of a recursion: numbers as they are stored, or as sums, which keep what bf16 would round. One is null.
template <class S>
struct RowsOf {
    const S* stored;
    const Accumulator<S>* sums;
};

template <class S>
struct Kernels {
    using A = Accumulator<S>;

    const char* name;

    /// Columns of one block of a packed matrix (see pack.h); the last block may be narrower.
    int64_t block_columns;
    /// Consecutive rows of a packed matrix that lie interleaved, element by element: 1, or 2 for dot-product units.
    int64_t depth_group;
    /// Bytes of `scratch` (64-byte aligned, one per thread) that gemm and weight_gradients need. See also
    /// diffuse_scratch_bytes.
    int64_t scratch_bytes;

    /// c = bias + sum over panels of panel * its rows of `packed`. `packed_depth` is the row count of `packed`, of
    /// which the panels may use only the first. No bias: c starts from zero. `far`: panels lie beyond L2, so that rows
    /// that come next are worth asking for.
    void (*gemm)(const Panel<S>* panels, int64_t count, const S* packed, int64_t packed_depth, const A* bias, A* c,
                 int64_t c_stride, int64_t rows, int64_t columns, bool far, void* scratch);

    /// c[l * rights + r] (left.depth x right.depth, dense rows of right.depth) += transpose(left[l]) * right[r], over
    /// `rows` rows (any number; nothing is read past them). Chunks of rows are fixed by the unit, so bits repeat.
    void (*weight_gradients)(const Panel<S>* left, int64_t lefts, const Panel<S>* right, int64_t rights, int64_t rows,
                             A* const* c, void* scratch);

    /// Applies every operator to x (nodes x width); operator m writes `out + m * out_panel`. One call writes about the
    /// rows [first, last): calls whose ranges are a partition of the nodes write every row once.
    void (*diffuse)(const SparseStack<S>& stack, const S* x, int64_t width, S* out, int64_t out_panel, int64_t first,
                    int64_t last, void* scratch);

    /// r = sigmoid(c[:, :width]), u = sigmoid(c[:, width:]), reset = r * h.
    void (*gates)(const A* c, int64_t c_stride, int64_t rows, int64_t width, const S* h, S* r, S* u, S* reset);

    /// candidate = tanh(c), h_after = u * h + (1 - u) * candidate; h_after may be h.
    void (*candidate)(const A* c, int64_t c_stride, int64_t rows, int64_t width, const S* u, const S* h, S* candidate,
                      S* h_after);

    /// The part of a cell's backward before any product, over `count` numbers: the gradients before tanh (d_candidate)
    /// and before the sigmoid of u (d_u); reset = r * h again; dh becomes dh * u.
    void (*backward_blend)(int64_t count, const S* r, const S* u, const S* candidate, const S* h, A* dh, S* d_candidate,
                           S* d_u, S* reset);

    /// c holds the gradient of r * h: d_r before its sigmoid, and dh += c * r.
    void (*backward_reset)(const A* c, int64_t c_stride, int64_t rows, int64_t width, const S* r, const S* h, S* d_r,
                           A* dh);

    /// to += from, (rows x width).
    void (*add)(const A* from, int64_t from_stride, int64_t rows, int64_t width, A* to, int64_t to_stride);

    /// sum += the columns' sums of from (rows x width).
    void (*add_column_sums)(const S* from, int64_t stride, int64_t rows, int64_t width, A* sum);

    /// Between float32 and S = bf16 (round to nearest even); null if S is not bf16.
    void (*narrow)(const float* from, int64_t count, S* to);
    void (*widen)(const S* from, int64_t count, float* to);

    /// Rows of one product that suit the unit; any number is allowed.
    int64_t row_block = 48;

    /// Size of a number in a packed matrix, in halves of an S: see finish_packed.
    int64_t packed_halves = 2;

    /// A unit leaves the following null if it does not need them.

    /// A thread calls enter before its first product or diffusion and leave after its last one; the pairs do not nest.
    void (*enter)() = nullptr;
    void (*leave)() = nullptr;

    /// Turns a packed matrix, in place, into the form that gemm reads; it has packed_halves / 2 times its room.
    void (*finish_packed)(S* packed, int64_t depth, int64_t columns) = nullptr;

    /// Makes `prepared` of a stack, in prepared_bytes(stack) bytes, which are 64-byte aligned.
    int64_t (*prepared_bytes)(const SparseStack<S>& stack) = nullptr;
    void (*prepare_stack)(const SparseStack<S>& stack, void* memory) = nullptr;

    /// scale * (operator `which` of the stack applied to x) - minus (both null: nothing), rows [first, last) of panels
    /// (nodes x width), goes to `out` and to `sums`, of which one may be null. A unit without it diffuses by the
    /// precomputed operators.
    void (*diffuse_step)(const SparseStack<S>& stack, int64_t which, A scale, const RowsOf<S>& x,
                         const RowsOf<S>& minus, int64_t width, S* out, A* sums, int64_t first, int64_t last) = nullptr;

    /// Graphs with fewer nodes diffuse by the operators, whose blocks are faster while all lies in L2.
    int64_t recursion_from_nodes = 0;

    /// Bytes of the scratch that diffuse needs for panels (nodes x width).
    int64_t (*diffuse_scratch_bytes)(int64_t nodes, int64_t width) = nullptr;
};

extern const Kernels<float> kGenericFloat;
extern const Kernels<double> kGenericDouble;
extern const Kernels<bf16> kGenericBf16;
#ifdef DCRNN_UNIT_AVX2
extern const Kernels<float> kAvx2Float;
extern const Kernels<bf16> kAvx2Bf16;
#endif
#ifdef DCRNN_UNIT_AVX512
extern const Kernels<float> kAvx512Float;
extern const Kernels<bf16> kAvx512Bf16;
#endif
#ifdef DCRNN_UNIT_AVX512_BF16
extern const Kernels<bf16> kAvx512DotBf16;
#endif
#ifdef DCRNN_UNIT_AMX
extern const Kernels<bf16> kAmxBf16;
#endif
#ifdef DCRNN_UNIT_AMX_BF16X3
/// Another unit provides the functions that are null here. Six products each are as good as float32; three are for many
/// rows.
extern const Kernels<float> kAmxBf16x6Products, kAmxBf16x3Products;
#endif

}  // namespace dcrnn
