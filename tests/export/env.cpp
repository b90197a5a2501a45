#include <shiplap/export/env.hpp>

#include "support/catch.hpp"

using namespace shiplap;

namespace {

// One member overridden, the others inherited.
struct my_env : default_env {
    clamp_timestamps timestamps{{.seconds = 100}};
};

struct no_executor {
    no_progress progress;
    keep_timestamps timestamps;
};

static_assert(export_env<default_env> && export_env<my_env> && export_env<env_ref>);
static_assert(!export_env<no_executor>);

} // namespace

TEST_CASE("an env_ref refers to the overriding member", "[env]") {
    my_env env;
    env_ref const ref{env};
    CHECK(ref.timestamps({200, 0}) == timestamp{100, 0});
    CHECK(ref.executor.concurrency() == env.executor.concurrency());
    CHECK(env_ref{}.timestamps({200, 0}) == timestamp{200, 0});
}

TEST_CASE("copies of a shared_pool share its threads, and one worker needs none", "[env]") {
    shared_pool const pool{3};
    auto copy = pool;
    CHECK(copy.concurrency() == 3);
    CHECK(shared_pool{1}.concurrency() == 0);
    CHECK(shared_pool{0}.concurrency() == 0);
    bool ran = false;
    shared_pool{1}.post([&] { ran = true; });
    CHECK(ran);
}
