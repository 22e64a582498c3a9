// The arguments of the candidate's CUDA kernels in plain C++: no torch, no CUDA header.
//
// Shape legend: N nodes in tile order (16 to a tile, N = 16 * tiles), B batch, H units, C input channels, M diffusion
// terms (the first is the identity and is not stored), U slots of a tile's union of neighbours.
#pragma once

#include <cstdint>

namespace dcrnn::cuda {

/// How float32 meets the tensor cores, and the 16-bit types that they take as they are.
enum class Precision { bf16, fp16, tf32, tf32x3 };

/// One direction's diffusion terms by tiles: y_m[16 t + s] = sum over j of coefficient[t][m-1][s][j] x[index[t][j]].
struct TileGraph {
    const int32_t* index;     // (tiles, U)
    const int32_t* count;     // (tiles): how many slots are real; rows of the others are not read
    const void* coefficient;  // (tiles, M-1, 16, U)
    int tiles, slots, terms;
};

/// c = tanh(pre[..., 2H:] + sum over m of (P_m reset) W_m), next = u h + (1 - u) c.
struct Candidate {
    Precision precision;
    TileGraph graph;
    int batch, units;
    int weight_stride;          // elements from row to row, for rows that are part of longer ones
    const void *reset, *h, *u;  // (N, B, H)
    const float* pre;           // (N, B, 3H)
    const void* weight;         // (M, H, H): term, from, to
    void *c, *next;             // (N, B, H)
};

/// q_m = P_mT dpre; d_reset = sum q_m W_mT; dx = sum q_m V_mT; and from d_reset the gradients before r's and u's
/// sigmoid and of the state.
struct CandidateGradient {
    Precision precision;
    TileGraph graph;  // of the transposed terms
    int batch, units, channels;
    int weight_stride;                 // of both weights
    const void *dpre, *h, *r, *u, *c;  // (N, B, H)
    const void* input_weight;          // (M, C, H): V
    const void* state_weight;          // (M, H, H): W
    float* dh;                         // (N, B, H), in place
    void *dr_pre, *du_pre;             // (N, B, H)
    float* dx;                         // (N, B, C), or null
    void* q;                           // (N, B, 3, M, H); the last of the three is written
};

/// Why these sizes cannot be launched, or null.
const char* why_not(const TileGraph& graph, int batch, int units);

/// Each enqueues one kernel on a CUDA stream and returns the runtime's error code, 0 for success.
int launch(const Candidate& call, void* stream);
int launch(const CandidateGradient& call, void* stream);

const char* error_text(int error);

}  // namespace dcrnn::cuda
