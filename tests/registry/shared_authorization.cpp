#include <shiplap/registry/shared_authorization.hpp>

#include "support/catch.hpp"

#include <atomic>
#include <thread>
#include <vector>

using namespace shiplap;
using namespace std::chrono_literals;

namespace {

using time_point = detail::authorization::time;

/// Makes "1", "2", ... of ten hours each, on a clock that stands still.
struct maker {
    time_point now{};
    int made = 0;
    detail::authorization operator()() {
        ++made;
        return {secret{std::to_string(made)}, now + 8h, now + 10h};
    }
};

} // namespace

TEST_CASE("an authorization is kept until it is refused or old", "[shared_authorization]") {
    detail::shared_authorization shared;
    maker make;
    auto const get = [&](std::uint64_t refused) {
        return shared
            .get(
                refused, [&] { return make.now; }, make)
            .what.header.reveal();
    };
    CHECK(get(0) == "1");
    CHECK(get(0) == "1");
    CHECK(get(1) == "2");
    CHECK(get(1) == "2"); // a thread that comes late with the same refusal
    make.now += 8h - 1ns;
    CHECK(get(0) == "2");
    make.now += 1ns;
    CHECK(get(0) == "3");
}

TEST_CASE("what came for a refused one and was never taken is hopeless", "[shared_authorization]") {
    detail::shared_authorization shared;
    maker make;
    auto const get = [&](std::uint64_t refused) {
        return shared
            .get(
                refused, [&] { return make.now; }, make)
            .serial;
    };
    auto const first = get(0);
    CHECK_FALSE(shared.is_hopeless(first));
    auto const second = get(first);
    CHECK(shared.is_hopeless(second));
    CHECK_FALSE(shared.is_hopeless(first));
    shared.accepted(first); // an answer that comes late
    CHECK(shared.is_hopeless(second));
    shared.accepted(second);
    CHECK_FALSE(shared.is_hopeless(second));
}

TEST_CASE("one thread renews, the others wait or go on with the old one", "[shared_authorization]") {
    detail::shared_authorization shared;
    maker make;
    auto const clock = [&] { return make.now; };
    static_cast<void>(shared.get(0, clock, make));
    make.now += 9h;

    std::atomic<bool> started = false, let_go = false;
    std::thread renewing{[&] {
        static_cast<void>(shared.get(0, clock, [&] {
            started = true;
            while (!let_go) std::this_thread::yield();
            return make();
        }));
    }};
    while (!started) std::this_thread::yield();
    CHECK(shared.get(0, clock, make).what.header.reveal() == "1");
    std::string after;
    std::thread waiting{[&] { after = shared.get(1, clock, make).what.header.reveal(); }};
    let_go = true;
    renewing.join();
    waiting.join();
    CHECK(after == "2");
    CHECK(make.made == 2);
}

TEST_CASE("a failure reaches all who wait, as its own type", "[shared_authorization]") {
    detail::shared_authorization shared;
    auto const clock = [] { return time_point{}; };
    std::atomic<int> waiting = 0, got = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i)
        threads.emplace_back([&] {
            ++waiting;
            try {
                static_cast<void>(shared.get(0, clock, [&]() -> detail::authorization {
                    while (waiting != 8) std::this_thread::yield();
                    throw credential_error{"ask", "x", "no"};
                }));
            } catch (credential_error& failure) {
                failure.within("here");
                got += failure.what() == std::string{"here: ask 'x': no"};
            }
        });
    for (auto& one : threads) one.join();
    CHECK(got == 8);
    CHECK_THROWS_AS(shared.get(0, clock, []() -> detail::authorization { throw 1; }), int);
    CHECK(shared.get(0, clock, [] { return detail::authorization{secret{"good"}}; }).what.header.reveal() ==
          "good");
}
