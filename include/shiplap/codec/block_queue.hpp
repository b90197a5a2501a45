#pragma once
// block_queue: blocks of work that run on an executor and come back in order.
//
//     queue.post(std::move(block));                         // block.run() will be called once, somewhere
//     while (queue.full()) emit(queue.take());              // oldest first; rethrows what its run() threw
//     while (!queue.empty()) emit(queue.take());
//
// What is in flight is bounded twice: by number (a few blocks for every worker, so that none idles) and by
// weight (6.5 MiB a worker and 28 MiB, of which each user of the executor has a share). With an executor without
// workers run() is called inside post() and at most one block exists.
//
// A block that nobody has started when its turn comes is run by take() itself. So an encoder makes progress
// even where all workers are busy with something that waits for this very encoder.

#include <shiplap/bytes/executor.hpp>

#include <atomic>
#include <concepts>
#include <cstddef>
#include <exception>
#include <list>
#include <memory>
#include <utility>

namespace shiplap {

/// Work that owns all it needs: run() may be called on any thread, weight() is the bytes of memory it takes.
template <class B>
concept parallel_block = std::movable<B> && requires(B& block, B const& same) {
    block.run();
    { same.weight() } -> std::convertible_to<std::size_t>;
};

template <parallel_block Block>
class block_queue {
  public:
    explicit block_queue(executor_ref executor) noexcept : executor_{executor} {}
    block_queue(block_queue&&) noexcept = default;
    block_queue& operator=(block_queue&& other) noexcept {
        cancel();
        executor_ = other.executor_;
        slots_ = std::exchange(other.slots_, {});
        weight_ = std::exchange(other.weight_, 0);
        last_weight_ = other.last_weight_;
        return *this;
    }
    /// Blocks that have not started never will. Those that run finish on their own: each is kept alive by its
    /// task and refers to nothing else. For blocks that do there is abandon().
    ~block_queue() { cancel(); }

    /// Hands `block` to the executor.
    void post(Block block) {
        auto const weight = block.weight();
        auto const work = std::make_shared<slot>(std::move(block), weight);
        slots_.push_back(work);
        weight_ += weight;
        last_weight_ = weight;
        executor_.post([work] { work->run(); });
    }

    [[nodiscard]] bool empty() const noexcept { return slots_.empty(); }

    [[nodiscard]] std::size_t size() const noexcept { return slots_.size(); }

    /// True if a block must be taken before the next one is posted, which is expected to weigh what the last one did.
    [[nodiscard]] bool full() const noexcept {
        std::size_t const workers = executor_.concurrency();
        if (workers == 0) return !empty();
        auto const most = (base_weight + workers * weight_per_worker) / executor_.users();
        return slots_.size() > 2 * workers + 1 || (!empty() && weight_ + last_weight_ > most);
    }

    /// Waits for the oldest block; rethrows what its run() threw. Not for an empty queue.
    [[nodiscard]] Block take() {
        auto const work = std::move(slots_.front());
        slots_.pop_front();
        weight_ -= work->weight;
        work->run();
        work->state.wait(running);
        if (work->failure) std::rethrow_exception(work->failure);
        return std::move(work->block);
    }

    /// Blocks that have not started never will; waits for those that run.
    void abandon() noexcept {
        cancel();
        for (auto const& work : slots_) work->state.wait(running);
        slots_.clear();
        weight_ = 0;
    }

  private:
    static constexpr std::size_t base_weight = 28 * 1024 * 1024, weight_per_worker = 13 * 512 * 1024;
    enum progress { waiting, running, done };

    struct slot {
        slot(Block what, std::size_t bytes) : block{std::move(what)}, weight{bytes} {}

        /// Runs the block unless somebody else has begun to.
        void run() noexcept {
            auto expected = waiting;
            if (!state.compare_exchange_strong(expected, running)) return;
            try {
                block.run();
            } catch (...) {
                failure = std::current_exception();
            }
            state = done;
            state.notify_all();
        }

        Block block;
        std::size_t weight;
        std::exception_ptr failure;
        std::atomic<progress> state{waiting};
    };

    void cancel() noexcept {
        for (auto const& work : slots_) {
            auto expected = waiting;
            work->state.compare_exchange_strong(expected, done);
        }
    }

    executor_ref executor_;
    std::list<std::shared_ptr<slot>> slots_;
    std::size_t weight_ = 0, last_weight_ = 0;
};

} // namespace shiplap
