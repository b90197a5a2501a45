#include <shiplap/codec/block_queue.hpp>

#include "codec/support.hpp"

#include <chrono>
#include <mutex>
#include <stdexcept>
#include <thread>

using namespace codec_tests;

namespace {

std::atomic<int> running = 0, most_running = 0, runs = 0;

struct squared {
    int number = 0;
    std::size_t bytes = 1;
    int result = 0;
    void run() {
        ++runs;
        int const now = ++running;
        for (int seen = most_running; seen < now && !most_running.compare_exchange_weak(seen, now);) {
        }
        std::this_thread::sleep_for(std::chrono::microseconds{number % 7 * 50});
        result = number * number;
        --running;
        if (number == 13) throw std::runtime_error{"13"};
    }
    [[nodiscard]] std::size_t weight() const { return bytes; }
};

static_assert(parallel_block<squared>);
static_assert(!parallel_block<int>);
static_assert(std::movable<block_queue<squared>>);

/// Keeps the tasks until told.
struct lazy_executor {
    std::vector<std::function<void()>> tasks;
    [[nodiscard]] unsigned concurrency() const { return 2; }
    void post(std::function<void()> task) { tasks.push_back(std::move(task)); }
};

} // namespace

TEST_CASE("blocks come back in order, each run once") {
    auto const workers = GENERATE(0u, 1u, 2u, 5u);
    std::optional<thread_pool> pool;
    if (workers != 0) pool.emplace(workers);
    block_queue<squared> queue{pool ? executor_ref{*pool} : executor_ref{}};
    runs = most_running = 0;
    int next = 14, in_flight = 0, most_in_flight = 0;
    auto const take = [&] {
        CHECK(queue.take().result == next * next);
        ++next;
        --in_flight;
    };
    for (int i = 14; i < 300; ++i) {
        queue.post({i});
        most_in_flight = std::max(most_in_flight, ++in_flight);
        while (queue.full()) take();
    }
    while (!queue.empty()) take();
    CHECK(next == 300);
    CHECK(runs == 286);
    CHECK(most_in_flight <= static_cast<int>(2 * workers + 2));
    CHECK(most_running <= static_cast<int>(workers) + 1); // take() may help
}

TEST_CASE("heavy blocks count for more") {
    lazy_executor executor;
    block_queue<squared> queue{executor};
    int posted = 0;
    while (!queue.full()) queue.post({++posted, 6 * mebibyte});
    CHECK(posted == 6); // 2 workers: 38 MiB
    block_queue<squared> half{executor_ref{executor}.shared_by(2)};
    for (posted = 0; !half.full();) half.post({++posted, 6 * mebibyte});
    CHECK(posted == 3);
    block_queue<squared> alone{executor};
    alone.post({1, 100 * mebibyte});
    CHECK(alone.full());
    CHECK(alone.take().result == 1);
    CHECK_FALSE(alone.full());
}

TEST_CASE("an exception in a block reaches who takes it, and the queue goes on") {
    auto const workers = GENERATE(0u, 3u);
    std::optional<thread_pool> pool;
    if (workers != 0) pool.emplace(workers);
    block_queue<squared> queue{pool ? executor_ref{*pool} : executor_ref{}};
    for (int const i : {12, 13, 14}) queue.post({i});
    CHECK(queue.take().result == 144);
    CHECK_THROWS_WITH(queue.take(), "13");
    CHECK(queue.take().result == 196);
    CHECK(queue.empty());
}

TEST_CASE("take runs a block that nobody has started") {
    lazy_executor busy;
    block_queue<squared> queue{busy};
    runs = 0;
    queue.post({3});
    CHECK(queue.take().result == 9);
    for (auto const& task : busy.tasks) task(); // late: finds nothing to do
    CHECK(runs == 1);
}

TEST_CASE("a queue that goes away starts nothing more, and late tasks are harmless") {
    lazy_executor late;
    runs = 0;
    {
        block_queue<squared> queue{late};
        queue.post({1});
        queue.post({2});
        block_queue<squared> other{late};
        other.post({3});
        other = std::move(queue); // the block of `other` is given up
        CHECK(other.take().result == 1);
    }
    for (auto const& task : late.tasks) task();
    CHECK(runs == 1);
}

TEST_CASE("an abandoned queue has no block that runs") {
    thread_pool pool{2};
    for (int round = 0; round < 50; ++round) {
        running = 0;
        block_queue<squared> queue{pool};
        for (int i = 20; i < 24; ++i) queue.post({i});
        queue.abandon();
        CHECK(running == 0);
        CHECK(queue.empty());
    }
}

TEST_CASE("a queue may go away while its blocks run") {
    thread_pool pool{2};
    for (int round = 0; round < 50; ++round) {
        block_queue<squared> queue{pool};
        for (int i = 20; i < 24; ++i) queue.post({i});
        if (round % 2 != 0) CHECK(queue.take().result == 400);
    }
}

TEST_CASE("encoders that run on the very pool that they use make progress") {
    thread_pool pool{2};
    std::atomic<int> done = 0;
    for (int task = 0; task < 4; ++task)
        pool.post([&] {
            block_queue<squared> queue{pool};
            for (int i = 0; i < 12; ++i) {
                queue.post({i});
                while (queue.full()) static_cast<void>(queue.take());
            }
            while (!queue.empty()) static_cast<void>(queue.take());
            ++done;
            done.notify_all();
        });
    for (int now = done; now != 4; now = done) done.wait(now);
    CHECK(done == 4);
}
