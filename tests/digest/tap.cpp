#include <shiplap/bytes/pipeline.hpp>
#include <shiplap/digest/tap.hpp>

#include "support/catch.hpp"

#include <stdexcept>

using namespace shiplap;

static_assert(!byte_sink<tap<sha256>>);

TEST_CASE("a tap changes nothing and knows what passed, with and without threads", "[tap]") {
    auto const workers = GENERATE(0U, 1U, 4U);
    thread_pool pool{workers};
    tap<sha512> stage{workers == 0 ? executor_ref{} : executor_ref{pool}};
    string_sink out;
    pipeline pipe{stage, out};
    std::string all;
    for (std::size_t size : {1UL, 511UL, 65'536UL, 1'000'000UL, 0UL, 70'000UL, 3UL, 3'000'000UL, 200'000UL}) {
        std::string const piece(size, static_cast<char>('a' + size % 26));
        pipe.write(as_bytes(piece));
        all += piece;
    }
    pipe.finish();
    auto const facts = stage.facts();
    CHECK(out.text == all);
    CHECK(facts.size == all.size());
    CHECK(facts.digest == digest::of<sha512>(as_bytes(all)));
}

TEST_CASE("nothing passed: the digest of nothing", "[tap]") {
    tap<sha256> stage;
    auto const facts = stage.facts();
    CHECK(facts.size == 0);
    CHECK(facts.digest == digest::of<sha256>({}));
}

TEST_CASE("a tap outlives the task that it posted, also when the next stage throws", "[tap]") {
    struct {
        void write(bytes_view) { throw std::runtime_error{"full"}; }
    } full;
    thread_pool pool{1};
    for (int i = 0; i < 50; ++i) {
        std::string const large(200'000, 'x'); // gone as soon as write() has thrown
        tap<sha256> stage{executor_ref{pool}};
        CHECK_THROWS_AS(stage.write(as_bytes(large), full), std::runtime_error);
    }
}

TEST_CASE("a fork has seen the same and goes its own way", "[tap]") {
    thread_pool pool{2};
    tap<sha256> stage{executor_ref{pool}};
    null_sink nowhere;
    std::string const start(300'000, 'a');
    stage.write(as_bytes(start), nowhere);
    auto other = stage.fork();
    other.write(as_bytes("b"), nowhere);
    stage.write(as_bytes("c"), nowhere);
    CHECK(other.facts().digest == digest::of<sha256>(as_bytes(start + "b")));
    CHECK(stage.fork().facts().size == 300'001);
    CHECK(stage.facts().digest == digest::of<sha256>(as_bytes(start + "c")));
}
