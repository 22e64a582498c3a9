// Launches of the candidate's kernels. nvcc compiles this for GPUs; any C++ compiler does, under the tests' emulator.
#include "csrc/cuda/candidate.cuh"

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#endif

namespace dcrnn::cuda {
namespace {

// Two blocks of 1 KiB more on sm_80's 164 KiB, or one; profiling/codegen_cuda.py counts with the same numbers.
static_assert(Layout<Half<true>>::kBytes == 77824 && Layout<Half<false>>::kBytes == 77824);
static_assert(Layout<Single<true>>::kBytes == 138240 && Layout<Single<false>>::kBytes == 138240);

template <class Math, class Task>
int enqueue(const Task& task, void* stream) {
    constexpr int kBytes = Layout<Math>::kBytes;
    auto* kernel = diffuse_kernel<Math, Task>;
    // More than 48 KiB of shared memory has to be asked for.
    if (const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes))
        return error;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(task.graph.tiles, divide_up(task.batch, kRowsAtOnce));
    config.blockDim = dim3(kThreads);
    config.dynamicSmemBytes = kBytes;
    config.stream = static_cast<cudaStream_t>(stream);
    return cudaLaunchKernelEx(&config, kernel, task);
}

template <template <class> class Task, class Call>
int launch_as(const Call& call, void* stream) {
    switch (call.precision) {
        case Precision::bf16:
            return enqueue<Half<true>>(Task<Half<true>>(call), stream);
        case Precision::fp16:
            return enqueue<Half<false>>(Task<Half<false>>(call), stream);
        case Precision::tf32:
            return enqueue<Single<false>>(Task<Single<false>>(call), stream);
        case Precision::tf32x3:
            return enqueue<Single<true>>(Task<Single<true>>(call), stream);
    }
    return cudaErrorInvalidValue;
}

}  // namespace

const char* why_not(const TileGraph& graph, int batch, int units) {
    if (units % 8 != 0) return "the units are no multiple of 8";
    if (graph.slots % 16 != 0) return "the slots of a tile are no multiple of 16";
    if (divide_up(batch, kRowsAtOnce) > 65535) return "the batch is over 262,140";
    return nullptr;
}

int launch(const Candidate& call, void* stream) { return launch_as<CandidateTask>(call, stream); }
int launch(const CandidateGradient& call, void* stream) { return launch_as<GradientTask>(call, stream); }

const char* error_text(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

}  // namespace dcrnn::cuda
