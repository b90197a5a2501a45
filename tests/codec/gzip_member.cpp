#include <shiplap/codec/gzip_decoder.hpp>
#include <shiplap/codec/gzip_member.hpp>
#include <shiplap/digest/digest.hpp>

#include "codec/support.hpp"

using namespace codec_tests;
using namespace std::string_literals;

TEST_CASE("a header has no name, no time, an unknown system, and tells the effort as Go does") {
    CHECK(detail::gzip_header(6) == "\x1f\x8b\x08\0\0\0\0\0\0\xff"s);
    CHECK(detail::gzip_header(9) == "\x1f\x8b\x08\0\0\0\0\0\x02\xff"s);
    CHECK(detail::gzip_header(1) == "\x1f\x8b\x08\0\0\0\0\0\x04\xff"s);
    CHECK(detail::gzip_header(0) == detail::gzip_header(6));
    CHECK(detail::gzip_trailer(0x12345678, 0x1'0000'0002) == "\x78\x56\x34\x12\x02\0\0\0"s);
}

TEST_CASE("a block packs its members one behind the other") {
    auto const content = prose(100'000);
    bool const tells_sizes = GENERATE(false, true);
    detail::gzip_block<zlib_backend> block{
        std::make_shared<detail::gzip_workshop<zlib_backend>>(zlib_backend{}, 6, tells_sizes)};
    for (int round = 0; round < 2; ++round) {
        block.plain = content;
        block.members.resize(3);
        block.members[0].plain_size = 60'000;
        block.members[1].plain_size = 30'000;
        block.members[1].hashed_size = 29'000;
        block.members[2].plain_size = 10'000;
        CHECK(block.weight() >= content.size());
        block.prepare();
        block.run();
        auto packed = as_text(std::as_const(block).packed.bytes());
        std::string_view plain{content};
        for (auto const& member : block.members) {
            if (tells_sizes) { // header, extra field and trailer around what it tells
                CHECK(packed.substr(10, 6) == "\x08\0MZ\x04\0"s);
                CHECK(packed.substr(16, 4) ==
                      detail::little_endian_32(static_cast<std::uint32_t>(member.packed_size - 28)));
            }
            CHECK(unpack(gzip_decoder{}, packed.substr(0, member.packed_size)) ==
                  plain.substr(0, member.plain_size));
            packed.remove_prefix(member.packed_size);
            plain.remove_prefix(member.plain_size);
        }
        CHECK(packed.empty());
        CHECK(plain.empty());
        CHECK(block.members[0].digest.empty());
        CHECK(digest::from_raw<sha256>(block.members[1].digest) ==
              digest::of<sha256>(as_bytes(content).subspan(60'000, 29'000)));
        block.reuse();
        CHECK(block.plain.empty());
        CHECK(block.members.empty());
    }
}
