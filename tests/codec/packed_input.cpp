#include <shiplap/codec/packed_input.hpp>

#include "codec/support.hpp"

using namespace codec_tests;

TEST_CASE("packed_input keeps what is not consumed and knows its offset") {
    auto const content = noise(200'000);
    span_source in{content};
    detail::packed_input packed;
    CHECK(packed.bytes().empty());
    std::string seen;
    for (std::size_t step = 1; packed.fill(in, step); step = 1 + step * 3 % 5000) {
        CHECK(packed.offset() == seen.size());
        REQUIRE(packed.bytes().size() >= step);
        seen.append(as_text(packed.bytes().first(step)));
        packed.consume(step);
    }
    seen.append(as_text(packed.bytes()));
    CHECK(seen == content);
}

TEST_CASE("packed_input says when the source has too little") {
    span_source in{std::string_view{"abc"}};
    detail::packed_input packed;
    CHECK_FALSE(packed.fill(in, 4));
    CHECK(as_text(packed.bytes()) == "abc");
    CHECK(packed.fill(in, 3));
}
