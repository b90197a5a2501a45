#pragma once
// in_order: work on several layers side by side, whose results are taken in the order in which it was given.
//
//     in_order<ready_layer> lanes{env, layers.size()};
//     for (auto const& layer : layers) lanes.add([&, layer](env_ref lent) { return make(layer, lent); }, take);
//     lanes.finish(take);
//
// So small layers, each of which is a block or two, keep all processors busy. Two at a time, and one more for every eight
// workers: each may keep blocks in memory, of which a share of the usual amount is left for it.

#include <shiplap/bytes/progress.hpp>
#include <shiplap/codec/block_queue.hpp>
#include <shiplap/export/env.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <functional>
#include <optional>
#include <utility>

namespace shiplap::detail {

template <class Result>
class in_order {
  public:
    /// Lends of `env`, which outlives it, for work on `count` layers.
    in_order(env_ref env, std::size_t count)
        : lanes_{lanes_for(env.executor.concurrency(), count)},
          told_{env.progress, &stopped_},
          env_{env},
          queue_{env.executor} {
        env_.executor = env.executor.shared_by(lanes_);
        env_.progress = progress_ref{told_};
    }
    in_order(in_order const&) = delete; // observers refer to it
    in_order& operator=(in_order const&) = delete;
    /// Work that is under way ends at its next sign of progress.
    ~in_order() {
        stopped_ = true;
        queue_.abandon();
    }

    /// Has `work(env)` done, somewhere and some time. `take(result)` is called, here, for what is done by then; both may
    /// throw, and what `work` throws comes out in its turn.
    template <class Take>
    void add(std::function<Result(env_ref)> work, Take& take) {
        if (queue_.size() == lanes_) take(next());
        queue_.post({std::move(work), env_, std::nullopt});
        if (lanes_ == 1) take(next());
    }

    template <class Take>
    void finish(Take& take) {
        while (!queue_.empty()) take(next());
    }

  private:
    struct job {
        std::function<Result(env_ref)> work;
        env_ref env;
        std::optional<Result> result;
        void run() { result.emplace(work(env)); }
        [[nodiscard]] static std::size_t weight() noexcept { return 0; }
    };

    /// Passes on what happens, until that is of no use any more.
    struct stoppable_observer {
        progress_ref to;
        std::atomic<bool> const* stopped;
        void operator()(progress_event const& event) const {
            if (*stopped) throw error{error_code::source_changed, "pack", "layer", "another layer failed"};
            to(event);
        }
        [[nodiscard]] bool wants_totals() const noexcept { return to.wants_totals(); }
    };

    static unsigned lanes_for(unsigned workers, std::size_t count) noexcept {
        return workers < 2 ? 1 : static_cast<unsigned>(std::clamp<std::size_t>(count, 1, 2 + workers / 8));
    }

    Result next() { return std::move(*queue_.take().result); }

    unsigned lanes_;
    std::atomic<bool> stopped_ = false;
    stoppable_observer told_;
    env_ref env_;
    block_queue<job> queue_;
};

} // namespace shiplap::detail
