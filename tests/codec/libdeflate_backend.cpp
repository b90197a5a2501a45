#include <shiplap/codec/libdeflate_backend.hpp>

#include "codec/backend_checks.hpp"

using namespace codec_tests;

TEST_CASE("libdeflate: a backend like any other") {
    check_backend(libdeflate_backend{});
    check_order(libdeflate_backend{}, {0, 1, 3, 6, 12});
    check_gzip(libdeflate_backend{});
}

TEST_CASE("libdeflate: by default text is searched harder than anything else") {
    struct {
        std::string block;
        int level;
    } const cases[] = {
        {prose(300'000), 6},
        {prose(64 * 1024 + 1), 6},
        {prose(64 * 1024), 5},
        {noise(64 * 1024), 4},
        {prose(300'000) + std::string(900'000, '\0'), 6}, // the padding of a tar says nothing
        {prose(300'000) + noise(8'000), 6},
        {prose(300'000) + noise(60'000), 4},
        {noise(300'000), 4},
        {lopsided(300'000), 4},
        {std::string(300'000, '\0'), 6},
    };
    auto chosen = libdeflate_backend::compressor(default_level);
    for (auto const& [block, level] : cases) {
        INFO("expected: level " << level);
        auto fixed = libdeflate_backend::compressor(level),
             other = libdeflate_backend::compressor(10 - level);
        CHECK(deflated(chosen, block) == deflated(fixed, block));
        if (block.front() != '\0' && level == 7) CHECK(deflated(chosen, block) != deflated(other, block));
    }
    CHECK(detail::is_mostly_text({}));
}
