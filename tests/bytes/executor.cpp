#include <shiplap/bytes/executor.hpp>

#include "support/catch.hpp"

#include <atomic>
#include <set>

using namespace shiplap;

static_assert(executor<inline_executor> && executor<thread_pool> && executor<executor_ref>);

TEST_CASE("an inline_executor runs a task before post returns", "[executor]") {
    inline_executor here;
    bool ran = false;
    here.post([&] { ran = true; });
    CHECK(ran);
    CHECK(here.concurrency() == 0);
}

TEST_CASE("a thread_pool runs every task once, and all before it is gone", "[executor]") {
    auto const workers = GENERATE(0U, 1U, 2U, 7U);
    std::vector<std::atomic<int>> runs(1000);
    {
        thread_pool pool{workers};
        CHECK(pool.concurrency() == (workers == 0 ? 1 : workers));
        for (auto& count : runs) pool.post([&count] { ++count; });
    }
    CHECK(std::all_of(runs.begin(), runs.end(), [](auto const& count) { return count == 1; }));
}

TEST_CASE("a thread_pool runs tasks at the same time", "[executor]") {
    std::mutex mutex;
    std::condition_variable changed;
    int met = 0;
    auto const meet = [&] { // returns only if two of them run at once
        std::unique_lock lock{mutex};
        ++met;
        changed.notify_all();
        changed.wait(lock, [&] { return met >= 2; });
    };
    thread_pool pool{2}; // gone before what its tasks refer to
    pool.post(meet);
    pool.post(meet);
    std::unique_lock lock{mutex};
    CHECK(changed.wait_for(lock, std::chrono::seconds{30}, [&] { return met == 2; }));
}

TEST_CASE("an executor_ref forwards, and runs inline by default", "[executor]") {
    bool ran = false;
    executor_ref{}.post([&] { ran = true; });
    CHECK(ran);
    CHECK(executor_ref{}.concurrency() == 0);

    std::atomic<int> count{0};
    {
        thread_pool pool{3};
        executor_ref const ref{pool};
        CHECK(ref.concurrency() == 3);
        ref.post([&] { ++count; });
    }
    CHECK(count == 1);
}
