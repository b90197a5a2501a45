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

TEST_CASE("zlib: a stream can be fed in pieces, and wants room when it has none") {
    auto const content = prose(2 * mebibyte);
    detail::zlib_stream stream{6};
    std::string out;
    std::vector<std::byte> space(1000);
    auto const feed = [&](bytes_view in, bool last) {
        for (bool done = false; !done;) {
            bytes_span room{space};
            done = stream.compress(in, room, last);
            out += as_text(bytes_view{space}.first(space.size() - room.size()));
            if (!done) CHECK(room.empty());
        }
        CHECK(in.empty());
    };
    for (std::size_t at = 0; at < content.size(); at += 70'001)
        feed(as_bytes(std::string_view{content}.substr(at, 70'001)), false);
    feed({}, true);
    CHECK(inflated(out, content.size()) == content);
}

TEST_CASE("the CRC is that of RFC 1952 and can be continued") {
    CHECK(detail::crc32_of(as_bytes("123456789")) == 0xcbf43926);
    CHECK(detail::crc32_of(as_bytes("6789"), detail::crc32_of(as_bytes("12345"))) == 0xcbf43926);
    CHECK(detail::crc32_of({}) == 0);
}
