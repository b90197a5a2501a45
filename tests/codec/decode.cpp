#include <shiplap/codec/decode.hpp>
#include <shiplap/codec/estargz.hpp>
#include <shiplap/codec/gzip.hpp>
#include <shiplap/codec/uncompressed.hpp>

#include "codec/support.hpp"

using namespace codec_tests;
using namespace std::string_literals;

namespace {

std::string read_all(any_byte_source source) {
    string_sink out;
    transfer(source, out);
    return out.text;
}

any_byte_source source_of(std::string_view bytes) {
    return span_source{bytes};
}

std::string tar_of(std::string const& content) {
    string_sink out;
    tar_writer tar{out};
    tar_entry entry;
    entry.name = "file";
    entry.size = content.size();
    tar.entry(entry);
    tar.write(as_bytes(content));
    tar.finish();
    return out.text;
}

} // namespace

TEST_CASE("sniff_encoding knows gzip and zstd by their first bytes") {
    auto const [head, encoding] = GENERATE(table<std::string, std::string>({
        {"\x1f\x8b\x08\0"s, "gzip"},
        {"\x1f\x8b\x09\0"s, ""},
        {"\x1f\x8b", ""},
        {"\x28\xb5\x2f\xfd", "zstd"},
        {"\x50\x2a\x4d\x18", "zstd"},
        {"\x5f\x2a\x4d\x18", "zstd"},
        {"\x60\x2a\x4d\x18", ""},
        {"\x28\xb5\x2f", ""},
        {"etc/passwd", ""},
        {"", ""},
    }));
    CHECK(sniff_encoding(as_bytes(head)) == encoding);
}

TEST_CASE("every codec's output is decoded by name and by sniffing") {
    auto const tar = tar_of(prose(100'000));
    for (auto const& [encoding, packed] : {std::pair{""s, pack(uncompressed{}, tar)},
                                           {"gzip"s, pack(gzip{}, tar)},
                                           {"zstd"s, pack(zstd{}, tar)}}) {
        CHECK(read_all(decode_as(encoding, source_of(packed))) == tar);
        CHECK(read_all(decode_any(source_of(packed))) == tar);
    }
    CHECK(read_all(decode_any(source_of(pack(estargz{}, tar)))).starts_with(tar));
}

TEST_CASE("a layer whose bytes are packed otherwise than it says is refused") {
    auto const tar = tar_of("x");
    auto const gz = pack(gzip{}, tar), zst = pack(zstd{}, tar);
    CHECK_THROWS_WITH(decode_as("gzip", source_of(zst)),
                      "unpack 'layer': its media type says gzip, its bytes are zstd");
    CHECK_THROWS_WITH(decode_as("zstd", source_of(gz)),
                      "unpack 'layer': its media type says zstd, its bytes are gzip");
    CHECK_THROWS_WITH(decode_as("", source_of(gz)),
                      "unpack 'layer': its media type says not packed, its bytes are gzip");
    CHECK_THROWS_WITH(decode_as("gzip", source_of(tar)),
                      "unpack 'layer': its media type says gzip, its bytes are neither gzip nor zstd");
    CHECK_THROWS_AS(decode_as("zstd", source_of("")), format_error);
    CHECK_THROWS_WITH(decode_as("xz", source_of(tar)), Catch::Contains("'xz': no such encoding"));
}

TEST_CASE("decode_any refuses what it knows and cannot unpack, and passes the rest") {
    CHECK_THROWS_WITH(decode_any(source_of("\xfd"
                                           "7zXZ\0\0\4"s)),
                      "unpack 'xz': a tar may be plain or packed with gzip or zstd");
    CHECK_THROWS_WITH(decode_any(source_of("BZh91AY&SY\x12")), Catch::Contains("'bzip2'"));
    CHECK_THROWS_WITH(decode_any(source_of("BZh9\x17rE8P\x90")), Catch::Contains("'bzip2'"));
    for (auto const& plain : {"BZh9/file"s, "text"s, ""s, noise(100'000)})
        CHECK(read_all(decode_any(source_of(plain))) == plain);
}

TEST_CASE("a decoded source reports damage when it is reached") {
    auto const packed = pack(gzip{}, noise(3 * mebibyte));
    auto source = decode_any(source_of(std::string_view{packed}.substr(0, packed.size() - 1)));
    CHECK_THROWS_AS(read_all(std::move(source)), format_error);
}
