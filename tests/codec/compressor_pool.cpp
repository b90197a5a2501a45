#include <shiplap/codec/compressor_pool.hpp>

#include "codec/support.hpp"

#include <stdexcept>

using namespace codec_tests;

namespace {

std::atomic<int> made = 0;

struct numbered {
    int number;
};
struct maker {
    numbered operator()() const { return {++made}; }
};

} // namespace

TEST_CASE("a compressor is lent again and again") {
    made = 0;
    detail::compressor_pool pool{maker{}};
    for (int i = 0; i < 5; ++i) CHECK(pool.lend([](numbered& one) { return one.number; }) == 1);
    CHECK(pool.lend([&](numbered& outer) {
        return outer.number * 10 + pool.lend([](numbered& inner) { return inner.number; });
    }) == 12);
    CHECK(made == 2);
}

TEST_CASE("one that was in use when something went wrong is not lent again") {
    made = 0;
    detail::compressor_pool pool{maker{}};
    CHECK_THROWS(pool.lend([](numbered&) -> int { throw std::runtime_error{"broken"}; }));
    CHECK(pool.lend([](numbered& one) { return one.number; }) == 2);
}

TEST_CASE("there are no more than are in use at the same time") {
    made = 0;
    detail::compressor_pool pool{maker{}};
    {
        thread_pool threads{3};
        for (int i = 0; i < 200; ++i)
            threads.post([&] {
                pool.lend([](numbered& one) {
                    std::this_thread::yield();
                    return one.number;
                });
            });
    }
    CHECK(made >= 1);
    CHECK(made <= 3);
}
