#include <shiplap/codec/gzip.hpp>
#include <shiplap/codec/gzip_decoder.hpp>

#include "codec/support.hpp"

using namespace codec_tests;
using namespace std::string_literals;

namespace {

std::string reason_for_refusal(std::string_view packed) {
    try {
        unpack(gzip_decoder{}, packed);
        return "accepted";
    } catch (format_error const& e) {
        return e.reason();
    }
}

} // namespace

TEST_CASE("gzip_decoder: any cut of input and output gives the same") {
    auto const content = prose(300'000);
    auto const packed = pack(gzip{}, content) + one_member("") + one_member("tail");
    for (std::size_t const piece : {1u, 7u, 4096u, 1'000'000u})
        for (std::size_t const given : {1u, 13u, 70'000u})
            CHECK(unpack(gzip_decoder{}, packed, piece, given) == content + "tail");
}

TEST_CASE("gzip_decoder: 100000 empty members are no problem") {
    std::string packed;
    for (int i = 0; i < 100'000; ++i) packed += one_member("");
    CHECK(unpack(gzip_decoder{}, packed + one_member("x")) == "x");
}

TEST_CASE("gzip_decoder: all optional fields of a header are read") {
    auto const plain = one_member("content");
    auto const body = plain.substr(10);
    auto const header = [](char flags) { return "\x1f\x8b\x08"s + flags + "\0\0\0\0\0\xff"s; };
    CHECK(unpack(gzip_decoder{}, header(4) + "\xff\xff"s + std::string(65'535, 'e') + body) == "content");
    CHECK(unpack(gzip_decoder{}, header(8) + "name\0"s + body) == "content");
    CHECK(unpack(gzip_decoder{}, header(16) + "comment\0"s + body) == "content");
    CHECK(reason_for_refusal(header('\x20') + body).starts_with("unknown header flags set"));
}

TEST_CASE("gzip_decoder: the end is strict") {
    auto const packed = one_member("one") + one_member("two");
    auto const at = std::to_string(packed.size());
    CHECK(reason_for_refusal(packed + "\0"s) ==
          "bytes that are no member follow the last one, at offset " + at);
    CHECK(reason_for_refusal(packed + std::string(512, '\0')) ==
          "bytes that are no member follow the last one, at offset " + at);
    CHECK(reason_for_refusal(packed + "garbage") ==
          "bytes that are no member follow the last one, at offset " + at);
    CHECK(reason_for_refusal(packed + "\x1f").starts_with("truncated"));
    CHECK(reason_for_refusal(packed + "\x1f\x8c").starts_with("incorrect header check"));
    CHECK(reason_for_refusal("").starts_with("it is empty"));
    CHECK(reason_for_refusal("plain text") == "it does not begin with a gzip header");
}

TEST_CASE("gzip_decoder: truncation is seen at every point") {
    auto const packed = one_member(prose(5000)) + one_member("second");
    auto const boundary = one_member(prose(5000)).size();
    for (std::size_t n = 1; n < packed.size(); ++n) {
        if (n == boundary) continue;
        INFO(n);
        REQUIRE(reason_for_refusal(std::string_view{packed}.substr(0, n)).starts_with("truncated"));
    }
}

TEST_CASE("gzip_decoder: a flipped bit is an error or changes nothing") {
    auto const content = prose(3000);
    auto const packed = one_member(content);
    for (std::size_t bit = 0; bit < packed.size() * 8; ++bit) {
        auto damaged = packed;
        damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
        auto const plain = unpack_damaged(gzip_decoder{}, damaged);
        INFO(bit);
        REQUIRE((!plain || *plain == content));
        if (bit / 8 >= packed.size() - 8) REQUIRE_FALSE(plain); // CRC and size
    }
}

TEST_CASE("gzip_decoder: wrong CRC and size are told apart") {
    auto packed = one_member("content");
    ++packed[packed.size() - 1];
    CHECK(reason_for_refusal(packed).starts_with("incorrect length check"));
    --packed[packed.size() - 1];
    ++packed[packed.size() - 5];
    CHECK(reason_for_refusal(packed).starts_with("incorrect data check"));
}

TEST_CASE("gzip_decoder: member by member") {
    std::vector<std::string> const contents{"one", "", prose(200'000), "last"};
    std::string packed;
    std::vector<std::uint64_t> starts;
    for (auto const& content : contents) {
        starts.push_back(packed.size());
        packed += one_member(content);
    }
    gzip_decoder decoder;
    span_source in{packed};
    std::vector<std::byte> space(4096);
    std::vector<std::string> found;
    std::vector<std::uint64_t> offsets;
    CHECK(decoder.read_member(in, space) == 0); // none has begun
    while (decoder.begin_member(in)) {
        offsets.push_back(decoder.member_offset());
        found.emplace_back();
        while (auto const n = decoder.read_member(in, space))
            found.back() += as_text(bytes_view{space}.first(n));
    }
    CHECK(found == contents);
    CHECK(offsets == starts);
}
