#include <shiplap/codec/deflate.hpp>

#include "codec/support.hpp"

using namespace codec_tests;

namespace {

struct nameless {
    using compressor = zlib_deflate::compressor;
};

struct without_levels {
    static constexpr std::string_view name = "none";
    struct compressor {
        void compress(bytes_view, std::string&) {}
    };
};

static_assert(deflate_backend<zlib_deflate>);
static_assert(!deflate_backend<nameless>);
static_assert(!deflate_backend<without_levels>);

/// Inflates one raw deflate stream that must fill `packed` exactly.
std::string inflated(std::string_view packed, std::size_t size) {
    std::string out(size + 1, '\0');
    z_stream z{};
    REQUIRE(::inflateInit2(&z, -15) == Z_OK);
    z.next_in = const_cast<Bytef*>(reinterpret_cast<Bytef const*>(packed.data()));
    z.avail_in = static_cast<uInt>(packed.size());
    z.next_out = reinterpret_cast<Bytef*>(out.data());
    z.avail_out = static_cast<uInt>(out.size());
    CHECK(::inflate(&z, Z_FINISH) == Z_STREAM_END);
    CHECK(z.avail_in == 0);
    out.resize(z.total_out);
    ::inflateEnd(&z);
    return out;
}

} // namespace

TEST_CASE("a compressor appends one complete stream for each block and keeps nothing") {
    auto const level = GENERATE(0, 1, 6, 9);
    zlib_deflate::compressor compressor{level};
    for (auto const& content :
         {std::string{}, std::string{"x"}, noise(100'000), prose(3 * mebibyte), prose(7)}) {
        std::string out{"before"}, again;
        compressor.compress(as_bytes(content), out);
        CHECK(out.starts_with("before"));
        CHECK(inflated(out.substr(6), content.size()) == content);
        zlib_deflate::compressor{level}.compress(as_bytes(content), again);
        CHECK(again == out.substr(6));
    }
}

TEST_CASE("a compressor can be moved") {
    zlib_deflate::compressor first{6};
    std::string out;
    first.compress(as_bytes("one"), out);
    auto second = std::move(first);
    out.clear();
    second.compress(as_bytes("two"), out);
    CHECK(inflated(out, 3) == "two");
}

TEST_CASE("a stream can be fed in pieces") {
    auto const content = prose(2 * mebibyte);
    detail::zlib_stream stream{6};
    std::string out;
    for (std::size_t at = 0; at < content.size(); at += 70'001)
        stream.compress(as_bytes(std::string_view{content}.substr(at, 70'001)), out, false);
    stream.compress({}, out, true);
    CHECK(inflated(out, content.size()) == content);
}

TEST_CASE("the CRC is that of RFC 1952 and can be continued") {
    CHECK(detail::crc32_of(as_bytes("123456789")) == 0xcbf43926);
    CHECK(detail::crc32_of(as_bytes("6789"), detail::crc32_of(as_bytes("12345"))) == 0xcbf43926);
    CHECK(detail::crc32_of({}) == 0);
}
