#include <shiplap/bytes/pipeline.hpp>
#include <shiplap/digest/tap.hpp>

#include "support/catch.hpp"

using namespace shiplap;

static_assert(byte_stage<tap<sha256>> && !byte_sink<tap<sha256>>);

TEST_CASE("a tap changes nothing and knows what passed", "[tap]") {
    tap<sha512> stage;
    string_sink out;
    pipeline pipe{stage, out};
    std::string all;
    for (std::size_t size : {1UL, 511UL, 65'536UL, 1'000'000UL, 0UL, 70'000UL, 3UL}) {
        std::string const piece(size, static_cast<char>('a' + size % 26));
        pipe.write(as_bytes(piece));
        all += piece;
        CHECK(out.text.size() == all.size());
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

TEST_CASE("a copy has seen the same and goes its own way", "[tap]") {
    tap<sha256> stage;
    null_sink nowhere;
    std::string const start(300'000, 'a');
    stage.write(as_bytes(start), nowhere);
    auto other = stage;
    other.write(as_bytes("b"), nowhere);
    stage.write(as_bytes("c"), nowhere);
    CHECK(other.facts().digest == digest::of<sha256>(as_bytes(start + "b")));
    auto const facts = stage.facts();
    CHECK(facts.size == 300'001);
    CHECK(facts.digest == digest::of<sha256>(as_bytes(start + "c")));
}
