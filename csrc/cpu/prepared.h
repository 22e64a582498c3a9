// A graph's operators in a unit's own form, kept from call to call.
#pragma once

#include <cstring>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "csrc/cpu/halo.h"
#include "csrc/cpu/memory.h"
#include "csrc/cpu/problem.h"

namespace dcrnn {

/// A stack and the form that kernels.prepare_stack made of it. It holds copies of the arrays, to recognise the stack.
template <class S>
class PreparedStack {
  public:
    PreparedStack(const Kernels<S>& kernels, const SparseStack<S>& stack)
        : kernels_(&kernels),
          nodes_(stack.nodes),
          operators_(stack.operators),
          row_start_(stack.row_start, stack.row_start + stack.operators * stack.nodes + 1),
          column_(stack.column, stack.column + row_start_.back()),
          value_(stack.value, stack.value + row_start_.back()),
          memory_(kernels.prepared_bytes(stack)),
          start_(memory_.template take<char>(0)) {
        kernels.prepare_stack(stack, start_);
    }

    const void* get() const { return start_; }

    bool is_of(const Kernels<S>& kernels, const SparseStack<S>& stack) const {
        return kernels_ == &kernels && nodes_ == stack.nodes && operators_ == stack.operators &&
               same(row_start_, stack.row_start) && same(column_, stack.column) && same(value_, stack.value);
    }

  private:
    template <class T>
    static bool same(const std::vector<T>& mine, const T* theirs) {
        return mine.empty() || std::memcmp(mine.data(), theirs, mine.size() * sizeof(T)) == 0;
    }

    const Kernels<S>* kernels_;
    int64_t nodes_, operators_;
    std::vector<int32_t> row_start_, column_;
    std::vector<Accumulator<S>> value_;
    Arena memory_;
    char* start_;
};

template <class S>
using Prepared = std::shared_ptr<const PreparedStack<S>>;

/// The stack's own, or one that an earlier call made of the same numbers. Some graphs' operators and their
/// transposes are kept, each up to kMostKeptBytes.
template <class S>
Prepared<S> prepare(const Kernels<S>& kernels, const SparseStack<S>& stack) {
    constexpr size_t kKept = 6;
    constexpr int64_t kMostKeptBytes = int64_t{256} << 20;
    static std::mutex mutex;
    static std::list<Prepared<S>> kept;  // the last used first
    // If the lock is taken, do without: in a child forked while another thread held it, it would never be released.
    if (std::unique_lock lock(mutex, std::try_to_lock); lock) {
        for (auto it = kept.begin(); it != kept.end(); ++it)
            if ((*it)->is_of(kernels, stack)) {
                kept.splice(kept.begin(), kept, it);
                return kept.front();
            }
    }
    const auto made = std::make_shared<const PreparedStack<S>>(kernels, stack);
    if (std::unique_lock lock(mutex, std::try_to_lock); lock && kernels.prepared_bytes(stack) <= kMostKeptBytes) {
        kept.push_front(made);
        if (kept.size() > kKept) kept.pop_back();
    }
    return made;
}

/// A diffusion by whichever of its ways the unit takes, ready for panels of `copies` elements of a divided graph.
template <class S>
class Ready {
  public:
    Ready(const Kernels<S>& kernels, const Diffusion<S>& given, int64_t copies)
        : spread_(by_ways_of(kernels, given), copies), diffusion_(spread_.get()) {
        SparseStack<S>& operators = diffusion_.operators;
        if (diffusion_.count > 0 || kernels.prepare_stack == nullptr || operators.operators == 0) return;
        held_ = prepare(kernels, operators);
        operators.prepared = held_->get();
    }

    const Diffusion<S>& get() const { return diffusion_; }

  private:
    static Diffusion<S> by_ways_of(const Kernels<S>& kernels, Diffusion<S> diffusion) {
        const int64_t nodes = diffusion.operators.nodes;
        if (kernels.diffuse_step == nullptr || nodes < kernels.recursion_from_nodes) diffusion.count = 0;
        plan_sums(diffusion, diffusion.operators.operators + 1);
        return diffusion;
    }

    SideBySide<S> spread_;
    Diffusion<S> diffusion_;
    Prepared<S> held_;
};

}  // namespace dcrnn
