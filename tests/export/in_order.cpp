#include <shiplap/export/in_order.hpp>

#include "support/catch.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace shiplap;

namespace {

struct pool_env : default_env {
    explicit pool_env(unsigned workers) { executor = shared_pool{workers}; }
};

progress_event sign() {
    progress_event event;
    event.what = progress_event::kind::advanced;
    return event;
}

} // namespace

TEST_CASE("results come in order, however long the work takes") {
    auto const workers = GENERATE(0u, 1u, 2u, 9u);
    pool_env env{workers};
    std::atomic<int> running = 0, most = 0;
    std::vector<int> taken;
    auto take = [&](int result) { taken.push_back(result); };
    {
        detail::in_order<int> lanes{env_ref{env}, 20};
        for (int i = 0; i < 20; ++i)
            lanes.add(
                [&, i](env_ref const&) {
                    int const now = ++running;
                    for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
                    }
                    std::this_thread::sleep_for(std::chrono::milliseconds{i % 3});
                    --running;
                    return i;
                },
                take);
        lanes.finish(take);
    }
    REQUIRE(taken.size() == 20);
    for (int i = 0; i < 20; ++i) CHECK(taken[static_cast<std::size_t>(i)] == i);
    CHECK(most <= (workers < 2 ? 1 : workers < 9 ? 2 : 3));
}

TEST_CASE("each has its share of what may be kept in memory, and a single one all of it") {
    auto const users = [](unsigned workers, std::size_t count) {
        pool_env env{workers};
        unsigned seen = 0;
        auto take = [&](unsigned result) { seen = result; };
        detail::in_order<unsigned> lanes{env_ref{env}, count};
        lanes.add([](env_ref const& lent) { return lent.executor.users(); }, take);
        lanes.finish(take);
        return seen;
    };
    CHECK(users(4, 1) == 1);
    CHECK(users(4, 0) == 1);
    CHECK(users(4, 10) == 2);
    CHECK(users(1, 10) == 1);
    CHECK(users(16, 10) == 4);
}

TEST_CASE("what goes wrong comes out in its turn, and work that is under way ends") {
    pool_env env{3};
    std::vector<int> taken;
    auto take = [&](int result) { taken.push_back(result); };
    std::atomic<bool> begun = false, ended = false;
    auto const run = [&] {
        begun = ended = false;
        taken.clear();
        detail::in_order<int> lanes{env_ref{env}, 3};
        lanes.add([](env_ref const&) { return 1; }, take);
        lanes.add([](env_ref const&) -> int { throw std::runtime_error{"second"}; }, take);
        lanes.add(
            [&](env_ref const& lent) -> int {
                struct on_exit {
                    std::atomic<bool>& flag;
                    ~on_exit() { flag = true; }
                } const end{ended};
                begun = true;
                for (;;) lent.progress(sign());
            },
            take);
        lanes.finish(take);
    };
    for (int round = 0; round < 50; ++round) {
        CHECK_THROWS_WITH(run(), "second");
        CHECK(taken == std::vector{1});
        CHECK(begun == ended); // nothing goes on behind our back
    }
}

TEST_CASE("signs of progress reach the observer") {
    struct counting_env : pool_env {
        using pool_env::pool_env;
        std::shared_ptr<std::atomic<int>> count = std::make_shared<std::atomic<int>>(0);
        struct observer {
            std::atomic<int>* count;
            void operator()(progress_event const&) const { ++*count; }
            static bool wants_totals() { return false; }
        } progress{count.get()};
    } env{2};
    auto take = [](int) {};
    detail::in_order<int> lanes{env_ref{env}, 2};
    for (int i = 0; i < 2; ++i)
        lanes.add(
            [](env_ref const& lent) {
                lent.progress(sign());
                return lent.progress.wants_totals() ? 1 : 0;
            },
            take);
    lanes.finish(take);
    CHECK(*env.count == 2);
}
