#include <shiplap/codec/gzip_decoder.hpp>
#include <shiplap/codec/long_gzip_member.hpp>

#include "codec/support.hpp"

#include <algorithm>

using namespace codec_tests;

namespace {

std::string packed(std::string_view content, int level, unsigned workers, std::size_t write_size) {
    thread_pool pool{std::max(1u, workers)};
    string_sink out;
    detail::long_gzip_member member{out, workers == 0 ? executor_ref{} : executor_ref{pool}, level};
    for (auto rest = content; !rest.empty(); rest.remove_prefix(std::min(rest.size(), write_size)))
        member.write(as_bytes(rest.substr(0, write_size)));
    member.finish();
    CHECK(member.size() == content.size());
    return out.text;
}

} // namespace

TEST_CASE("long_gzip_member: one member of any length, the same whoever makes it", "[codec]") {
    constexpr std::size_t part = 256 * 1024;
    for (auto const size :
         {std::size_t{0}, std::size_t{1}, part - 1, part, part + 1, 4 * part, 13 * part + 77}) {
        auto const content = prose(size / 2) + noise(size - size / 2);
        auto const expected = packed(content, 6, 0, mebibyte);
        span_source in{expected};
        gzip_decoder decoder;
        CHECK(expected.starts_with(detail::gzip_header(6)));
        CHECK(unpack(gzip_decoder{}, expected) == content);
        // One member, not one for each part.
        std::vector<std::byte> space(size + 1);
        REQUIRE(decoder.begin_member(in));
        std::size_t seen = 0;
        while (auto const n = decoder.read_member(in, space)) seen += n;
        CHECK(seen == size);
        CHECK_FALSE(decoder.begin_member(in));
        for (unsigned const workers : {1u, 2u, 8u})
            for (std::size_t const write_size : {1000u, 300'000u, 9'000'000u})
                CHECK(packed(content, 6, workers, write_size) == expected);
    }
}

TEST_CASE("long_gzip_member: takes the nearest level that zlib has", "[codec]") {
    auto const content = prose(600'000);
    for (auto const& [level, same] : {std::pair{12, 9}, {-1, 6}})
        CHECK(packed(content, level, 0, mebibyte).substr(10) ==
              packed(content, same, 0, mebibyte).substr(10));
    CHECK(packed(content, 9, 0, mebibyte).size() < packed(content, 1, 0, mebibyte).size());
}
