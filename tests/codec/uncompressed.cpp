#include <shiplap/codec/uncompressed.hpp>

#include "codec/support.hpp"

using namespace codec_tests;

static_assert(leveled_codec<uncompressed>);
static_assert(std::same_as<encoder_of<uncompressed>, identity_stage>);

TEST_CASE("uncompressed changes nothing, whatever its level") {
    auto const content = noise(300'000);
    auto const level = GENERATE(0, 22, 1000);
    CHECK(pack(uncompressed{.level = level}, content, 2, 7000) == content);
    CHECK(unpack(uncompressed::decoder(), content, 999) == content);
    CHECK(pack(uncompressed{}, "").empty());
}
