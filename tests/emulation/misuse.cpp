// Kernels that misuse CUDA, one by number: the emulator must say so. Prints what it says.
#include <iostream>

namespace {

using dcrnn::cuda::copy_async;
using dcrnn::cuda::dynamic_shared;

__global__ void nothing() {}

__global__ void half_at_the_barrier() {
    if (threadIdx.x % 32 < 16) __syncthreads();
}

__global__ void two_barriers() {
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
}

__global__ void shuffle_from_outside() {
    if (threadIdx.x < 16) __shfl_sync(0xffffu, 1, 20);
}

__global__ void not_in_its_mask() { __shfl_sync(0xffffu, 1, 0); }

__global__ void copy_in_flight() {
    alignas(16) static const float from[4] = {};
    copy_async(dynamic_shared(), from, true);
}

__global__ void copy_behind_the_end() {
    alignas(16) static const float from[4] = {};
    copy_async(dynamic_shared() + 1024, from, true);
}

__global__ void misaligned_copy() {
    alignas(16) static const float from[4] = {};
    copy_async(dynamic_shared() + 8, from, true);
}

// Right under lock-step, wrong when a warp runs ahead.
__global__ void race(int* out) {
    auto* shared = reinterpret_cast<int*>(dynamic_shared());
    shared[threadIdx.x] = static_cast<int>(threadIdx.x);
    __syncwarp();
    out[threadIdx.x] = shared[63 - threadIdx.x];
}

template <class... Parameters, class... Arguments>
void run(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, Arguments... arguments) {
    cudaLaunchConfig_t config{grid, block, shared, nullptr};
    cudaLaunchKernelEx(&config, kernel, arguments...);
}

void choose(int number) {
    switch (number) {
        case 0:
            return run(nothing, 1, 1025, 0);
        case 1:
            return run(nothing, dim3(1, 65536), 32, 0);
        case 2:
            return run(nothing, 1, 32, 227 * 1024 + 1);
        case 3:
            return run(half_at_the_barrier, 1, 32, 0);
        case 4:
            return run(two_barriers, 1, 64, 0);
        case 5:
            return run(shuffle_from_outside, 1, 32, 0);
        case 6:
            return run(not_in_its_mask, 1, 32, 0);
        case 7:
            return run(copy_in_flight, 1, 32, 1024);
        case 8:
            return run(copy_behind_the_end, 1, 32, 1024);
        case 9:
            return run(misaligned_copy, 1, 32, 1024);
    }
}

}  // namespace

int main() {
    for (int number = 0; number < 10; ++number) {
        try {
            choose(number);
            std::cout << "nothing\n";
        } catch (const emulator::Error& error) {
            std::cout << error.what() << "\n";
        }
    }
    for (int schedule = 0; schedule < emulator::kSchedules; ++schedule) {
        emulator::machine().schedule = static_cast<emulator::Schedule>(schedule);
        int out[64], wrong = 0;
        run(race, 1, 64, 256, static_cast<int*>(out));
        for (int i = 0; i < 64; ++i) wrong += out[i] != 63 - i;
        std::cout << "race: " << (wrong ? "seen" : "not seen") << "\n";
    }
}
