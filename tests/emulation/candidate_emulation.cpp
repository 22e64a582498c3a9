// The candidate's CUDA kernels under the emulator: as a library for tests that hold tensors, and as a program that
// reads a case from a file, so that a sanitizer can watch a process of its own.
#include <cinttypes>
#include <fstream>
#include <iostream>
#include <memory>

#include "csrc/cuda/candidate.cu"

namespace {

using dcrnn::cuda::Candidate;
using dcrnn::cuda::CandidateGradient;
using dcrnn::cuda::Precision;
using dcrnn::cuda::TileGraph;

/// What describes a call; the tensors follow in the order of the operator's schema.
struct Sizes {
    int32_t gradient, precision, tiles, slots, terms, batch, units, channels, weight_stride;
};

constexpr int kForwardTensors = 10, kForwardInputs = 8;
constexpr int kGradientTensors = 15, kGradientInputs = 10;

/// Returns an error message, or "".
std::string call(const Sizes& s, void* const* t, int schedule) {
    const auto graph = [&](int first) {
        return TileGraph{static_cast<int32_t*>(t[first]),
                         static_cast<int32_t*>(t[first + 1]),
                         t[first + 2],
                         s.tiles,
                         s.slots,
                         s.terms};
    };
    emulator::machine().schedule = static_cast<emulator::Schedule>(schedule);
    const auto precision = static_cast<Precision>(s.precision);
    try {
        int error;
        if (s.gradient)
            error = launch(CandidateGradient{precision, graph(7), s.batch, s.units, s.channels, s.weight_stride, t[0],
                                             t[1], t[2], t[3], t[4], t[5], t[6], static_cast<float*>(t[11]), t[12],
                                             t[13], s.channels ? static_cast<float*>(t[14]) : nullptr, t[10]},
                           nullptr);
        else
            error = launch(Candidate{precision, graph(5), s.batch, s.units, s.weight_stride, t[0], t[1], t[2],
                                     static_cast<const float*>(t[3]), t[4], t[8], t[9]},
                           nullptr);
        return error ? dcrnn::cuda::error_text(error) : "";
    } catch (const std::exception& failure) {
        return failure.what();
    }
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const char* dcrnn_emulate(const Sizes* sizes, void* const* tensors,
                                                                            int schedule) {
    static std::string error;
    error = call(*sizes, tensors, schedule);
    return error.c_str();
}

#if defined(DCRNN_EMULATION_PROGRAM)
// CASE: Sizes, then for each tensor its number of bytes (int64) and the bytes. RESULT: the same for what was written.
// Every schedule works on fresh copies on the heap, of their exact sizes.
int main(int count, char** words) {
    if (count != 3) {
        std::cerr << "usage: " << words[0] << " CASE RESULT\n";
        return 2;
    }
    std::ifstream file(words[1], std::ios::binary);
    Sizes sizes;
    file.read(reinterpret_cast<char*>(&sizes), sizeof sizes);
    const int tensors = sizes.gradient ? kGradientTensors : kForwardTensors;
    std::vector<std::string> given(tensors), first;
    for (std::string& tensor : given) {
        int64_t bytes;
        file.read(reinterpret_cast<char*>(&bytes), sizeof bytes);
        tensor.resize(bytes);
        file.read(tensor.data(), bytes);
    }
    if (!file) {
        std::cerr << words[1] << " is cut off\n";
        return 2;
    }
    for (int schedule = 0; schedule < emulator::kSchedules; ++schedule) {
        std::vector<std::unique_ptr<void, decltype(&std::free)>> owned;
        std::vector<void*> pointers;
        for (const std::string& tensor : given) {
            // aligned_alloc rounds no size up: the byte behind a tensor is poison under the address sanitizer.
            void* copy = nullptr;
            if (posix_memalign(&copy, 256, std::max<size_t>(tensor.size(), 1))) return 2;
            std::memcpy(copy, tensor.data(), tensor.size());
            owned.emplace_back(copy, &std::free);
            pointers.push_back(copy);
        }
        const std::string error = call(sizes, pointers.data(), schedule);
        if (!error.empty()) {
            std::cerr << "schedule " << schedule << ": " << error << "\n";
            return 3;
        }
        std::vector<std::string> after;
        for (int i = 0; i < tensors; ++i) {
            after.emplace_back(static_cast<const char*>(pointers[i]), given[i].size());
            const bool input = i < (sizes.gradient ? kGradientInputs : kForwardInputs);
            if (input && after[i] != given[i]) {
                std::cerr << "schedule " << schedule << ": input " << i << " was written to\n";
                return 4;
            }
        }
        if (schedule == 0) first = after;
        for (int i = 0; i < tensors; ++i)
            if (after[i] != first[i]) {
                std::cerr << "schedules 0 and " << schedule << " differ in tensor " << i << "\n";
                return 5;
            }
    }
    std::ofstream result(words[2], std::ios::binary);
    for (const std::string& tensor : first) result.write(tensor.data(), static_cast<std::streamsize>(tensor.size()));
    return result ? 0 : 2;
}
#endif
