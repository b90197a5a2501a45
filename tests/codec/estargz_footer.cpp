#include <shiplap/codec/estargz_footer.hpp>
#include <shiplap/codec/gzip_decoder.hpp>

#include "codec/support.hpp"

using namespace codec_tests;
using namespace std::string_literals;

TEST_CASE("the footer is an empty gzip member that holds the offset") {
    auto const footer = estargz_footer(0x12ab);
    CHECK(footer == "\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0"
                    "00000000000012abSTARGZ\x01\0\0\xff\xff\0\0\0\0\0\0\0\0"s);
    CHECK(footer.size() == estargz_footer_size);
    CHECK(unpack(gzip_decoder{}, footer).empty());
}

TEST_CASE("the footer of stargz has no subfield") {
    auto const footer = stargz_footer(0x12ab);
    CHECK(footer == "\x1f\x8b\x08\x04\0\0\0\0\0\xff\x16\0"
                    "00000000000012abSTARGZ\x01\0\0\xff\xff\0\0\0\0\0\0\0\0"s);
    CHECK(footer.size() == stargz_footer_size);
    CHECK(unpack(gzip_decoder{}, footer).empty());
}

TEST_CASE("a footer can say that the table of contents is elsewhere") {
    auto const footer = external_toc_footer();
    CHECK(footer == "\x1f\x8b\x08\x04\0\0\0\0\0\xff\x15\0SG\x11\0"
                    "STARGZEXTERNALTOC\x01\0\0\xff\xff\0\0\0\0\0\0\0\0"s);
    CHECK(footer.size() == 46);
    CHECK(unpack(gzip_decoder{}, footer).empty());
}

TEST_CASE("the offset can be read back, and only from a footer") {
    auto const offset =
        GENERATE(std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{0x123456789abcdef0}, ~std::uint64_t{0});
    bool const is_old = GENERATE(false, true);
    auto const footer = is_old ? stargz_footer(offset) : estargz_footer(offset);
    std::size_t const digits = is_old ? 12 : 16;
    CHECK(estargz_toc_offset(as_bytes(footer)) == offset);
    for (std::size_t i = 0; i < footer.size(); ++i) {
        auto damaged = footer;
        damaged[i] = static_cast<char>(damaged[i] ^ 0x20); // an upper-case digit, or worse
        auto const seen = estargz_toc_offset(as_bytes(damaged));
        INFO(i);
        CHECK(seen != offset);
        if (i < digits || i >= digits + 16) CHECK_FALSE(seen);
    }
    CHECK_FALSE(estargz_toc_offset(as_bytes(footer.substr(1))));
    CHECK_FALSE(estargz_toc_offset({}));
}
