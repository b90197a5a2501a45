#include <shiplap/codec/isal_backend.hpp>

#include "codec/backend_checks.hpp"

using namespace codec_tests;

TEST_CASE("isal: a backend like any other") {
    check_backend(isal_backend{});
    check_order(isal_backend{}, {0, 3});
    check_gzip(isal_backend{});
}

TEST_CASE("isal: its own default is level 3, as are those that are not to be relied on") {
    auto three = isal_backend::compressor(3);
    auto const expected = deflated(three, prose(300'000));
    for (int const level : {default_level, 1, 2}) {
        auto chosen = isal_backend::compressor(level);
        CHECK(deflated(chosen, prose(300'000)) == expected);
    }
}

TEST_CASE("isal: a block without room is an error, not a short stream") {
    auto compressor = isal_backend::compressor(1);
    std::vector<std::byte> little(1000);
    CHECK_THROWS_AS(compressor.compress(as_bytes(noise(100'000)), little), error);
}
