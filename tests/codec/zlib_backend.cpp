#include <shiplap/codec/zlib_backend.hpp>

#include "codec/backend_checks.hpp"

using namespace codec_tests;

TEST_CASE("zlib: a backend like any other") {
    check_backend(zlib_backend{});
    check_order(zlib_backend{}, {0, 1, 6, 9});
    check_gzip(zlib_backend{});
}

TEST_CASE("zlib: its own default is level 6") {
    auto chosen = zlib_backend::compressor(default_level), six = zlib_backend::compressor(6);
    CHECK(deflated(chosen, prose(300'000)) == deflated(six, prose(300'000)));
}

TEST_CASE("zlib: parts of different compressors make one stream") {
    auto const content = prose(2 * mebibyte) + noise(300'000);
    detail::zlib_compressor one{6}, other{1};
    std::string packed;
    bool is_ones = true;
    std::size_t const sizes[] = {0, 1, 300'000, 70'001, 0, 1'500'000, content.size()};
    auto rest = as_bytes(content);
    for (auto const size : sizes) {
        auto const part = rest.first(std::min(rest.size(), size));
        rest = rest.subspan(part.size());
        auto& compressor = is_ones ? one : other;
        std::vector<std::byte> room(compressor.bound_of_part(part.size()));
        auto const n = compressor.compress_part(part, room, rest.empty());
        packed += as_text(bytes_view{room}.first(n));
        is_ones = !is_ones;
    }
    CHECK(inflated(packed, content.size()) == content);
}

TEST_CASE("the CRC is that of RFC 1952 and can be continued") {
    CHECK(detail::crc32_of(as_bytes("123456789")) == 0xcbf43926);
    CHECK(detail::crc32_of(as_bytes("6789"), detail::crc32_of(as_bytes("12345"))) == 0xcbf43926);
    CHECK(detail::crc32_of({}) == 0);
    CHECK(detail::joined_crc32(detail::crc32_of(as_bytes("12345")), detail::crc32_of(as_bytes("6789")), 4) ==
          0xcbf43926);
}
