// A rank's part of a graph that is divided among several: the rows that it exchanges before a diffusion, and its
// operators over panels that hold them.
//
// A panel has the own rows of all elements of a tile first, then for each element the rows that come from the partners
// and those that only a recursion computes ("others"). All elements are diffused at once, by operators that lie side by
// side: one block for each element.
#pragma once

#include <cstring>
#include <deque>
#include <functional>
#include <vector>

#include "csrc/cpu/problem.h"

namespace dcrnn {

/// The rows that travel before a diffusion in one direction, and those that carry them. Used by one thread.
class Exchange {
  public:
    /// Sends and receives: for each partner, its rows of `row_bytes` one after the other.
    using Start = std::function<void(const char* send, char* receive, int64_t row_bytes)>;

    /// `own` rows of an element and `others`; own rows that are sent, for partner after partner; how many are sent to
    /// and received from each. finish() waits for the first exchange that was started and not finished.
    Exchange(int64_t own, int64_t others, const int64_t* sent_row, std::vector<int64_t> sent,
             std::vector<int64_t> received, Start start, std::function<void()> finish)
        : own_(own),
          others_(others),
          sent_row_(sent_row),
          sent_(std::move(sent)),
          received_(std::move(received)),
          start_(std::move(start)),
          finish_(std::move(finish)) {}

    Exchange(Exchange&&) = default;

    /// After a failure a connection may still read and write the memory of exchanges that were begun: it stays.
    ~Exchange() {
        if (!travels_.empty()) new std::deque<Travel>(std::move(travels_));
    }

    int64_t own() const { return own_; }
    int64_t panel_rows() const { return own_ + others_; }

    /// Begins to exchange the rows of a panel of `elements` (of `most` that it has room for) with rows of `width`
    /// numbers, of which `columns` travel.
    template <class S>
    void begin(S* panel, int64_t width, int64_t columns, int64_t elements, int64_t most) {
        const int64_t bytes = columns * static_cast<int64_t>(sizeof(S));
        travels_.push_back({});
        Travel& travel = travels_.back();
        travel.send.resize(total(sent_) * elements * bytes);
        travel.receive.resize(total(received_) * elements * bytes);
        char* to = travel.send.data();
        each_row(sent_, elements, [&](int64_t i, int64_t e) {
            std::memcpy(to, panel + (e * own_ + sent_row_[i]) * width, bytes);
            to += bytes;
        });
        travel.unpack = [this, panel, width, bytes, elements, most](const char* from) {
            each_row(received_, elements, [&](int64_t i, int64_t e) {
                std::memcpy(panel + (most * own_ + e * others_ + i) * width, from, bytes);
                from += bytes;
            });
        };
        start_(travel.send.data(), travel.receive.data(), elements * bytes);
    }

    /// Waits for the first one that was begun; its panel then holds the partners' rows.
    void finish() {
        finish_();
        travels_.front().unpack(travels_.front().receive.data());
        travels_.pop_front();
    }

  private:
    struct Travel {
        std::vector<char> send, receive;
        std::function<void(const char*)> unpack;
    };

    static int64_t total(const std::vector<int64_t>& rows) {
        int64_t sum = 0;
        for (const int64_t count : rows) sum += count;
        return sum;
    }

    // visit(row, element) in the order of a message: for each partner, element after element.
    template <class Visit>
    static void each_row(const std::vector<int64_t>& rows, int64_t elements, const Visit& visit) {
        int64_t first = 0;
        for (const int64_t count : rows) {
            for (int64_t e = 0; e < elements; ++e)
                for (int64_t i = 0; i < count; ++i) visit(first + i, e);
            first += count;
        }
    }

    int64_t own_, others_;
    const int64_t* sent_row_;
    std::vector<int64_t> sent_, received_;
    Start start_;
    std::function<void()> finish_;
    std::deque<Travel> travels_;
};

/// A diffusion over panels of `copies` elements; of a complete graph the diffusion itself.
template <class S>
class SideBySide {
  public:
    SideBySide(const Diffusion<S>& one, int64_t copies) : diffusion_(one), copies_(copies) {
        if (one.exchange == nullptr) return;
        own_ = one.exchange->own(), rows_ = one.exchange->panel_rows();
        if (one.count > 0)
            spread(diffusion_.supports, supports_);
        else
            spread(diffusion_.operators, operators_);
        diffusion_.operators.nodes = copies * rows_;
    }
    SideBySide(const SideBySide&) = delete;

    const Diffusion<S>& get() const { return diffusion_; }

  private:
    struct Arrays {
        std::vector<int32_t> row_start, column;
        std::vector<Accumulator<S>> value;
    };

    // Of a stack with the own rows, or with all of a panel: rows that it lacks are empty.
    void spread(SparseStack<S>& stack, Arrays& to) {
        if (copies_ == 1 && stack.nodes == rows_) return;
        const int64_t nodes = copies_ * rows_, others = rows_ - own_;
        to.row_start.assign(stack.operators * nodes + 1, 0);
        const auto place = [&](int64_t e, int64_t i) {
            return static_cast<int32_t>(i < own_ ? e * own_ + i : copies_ * own_ + e * others + i - own_);
        };
        int64_t at = 0;
        for (int64_t m = 0; m < stack.operators; ++m)
            for (int64_t row = 0; row < nodes; ++row) {
                const bool own = row < copies_ * own_;
                const int64_t behind = row - copies_ * own_;
                const int64_t e = own ? row / own_ : behind / others, i = own ? row % own_ : own_ + behind % others;
                if (i < stack.nodes)
                    for (int64_t k = stack.row_start[m * stack.nodes + i]; k < stack.row_start[m * stack.nodes + i + 1];
                         ++k, ++at) {
                        to.column.push_back(place(e, stack.column[k]));
                        to.value.push_back(stack.value[k]);
                    }
                to.row_start[m * nodes + row + 1] = static_cast<int32_t>(at);
            }
        stack.row_start = to.row_start.data(), stack.column = to.column.data(), stack.value = to.value.data();
        stack.nodes = nodes;
    }

    Diffusion<S> diffusion_;
    int64_t copies_, own_ = 0, rows_ = 0;
    Arrays operators_, supports_;
};

}  // namespace dcrnn
