#include <shiplap/codec/zstd.hpp>

#include "codec/support.hpp"

using namespace codec_tests;
using namespace std::string_literals;

namespace {

static_assert(leveled_codec<zstd>);

std::string reason_for_refusal(std::string_view packed) {
    try {
        unpack(zstd_decoder{}, packed);
        return "accepted";
    } catch (format_error const& e) {
        return e.reason();
    }
}

std::string skippable_frame(std::string_view content) {
    auto const size = static_cast<char>(content.size());
    return "\x5a\x2a\x4d\x18"s + size + "\0\0\0"s + std::string{content};
}

} // namespace

TEST_CASE("zstd: what is packed unpacks, at every level") {
    auto const level = GENERATE(0, 1, 3, 9, 19, 22);
    for (auto const& content :
         {std::string{}, std::string{"x"}, prose(2 * mebibyte + 12'345), noise(mebibyte)}) {
        auto const packed = pack(zstd{.level = level}, content, 2);
        CHECK(unpack(zstd::decoder(), packed) == content);
        CHECK(accepted_by("zstd -q -t", packed));
    }
}

TEST_CASE("zstd: bytes depend on content and level alone") {
    auto const frame = zstd_encoder::frame_size;
    auto const size = GENERATE_COPY(std::size_t{0}, std::size_t{1}, frame - 1, frame, frame + 1, 3 * frame);
    auto const content = prose(size);
    auto const expected = pack(zstd{}, content);
    CHECK(unpack(zstd::decoder(), expected) == content);
    for (unsigned const workers : {1u, 2u, 3u, 8u})
        for (std::size_t const largest : {300 * std::size_t{1000}, 50 * mebibyte})
            CHECK(pack(zstd{}, content, workers, largest) == expected);
    CHECK(pack(zstd{.level = 3}, content) == expected);
}

TEST_CASE("zstd: a context that has packed before gives the same frames as a new one") {
    auto const level = GENERATE(1, 3, 6, 9, 12, 16, 19);
    std::vector<std::byte> room(::ZSTD_compressBound(2 * mebibyte)), other(room.size());
    detail::zstd_compressor used{level};
    for (unsigned seed = 1; seed < 5; ++seed) {
        auto const content = prose(seed * 400'000, seed) + noise(1000, seed);
        detail::zstd_compressor fresh{level};
        auto const size = used.compress(as_bytes(content), room);
        REQUIRE(size == fresh.compress(as_bytes(content), other));
        CHECK(std::equal(room.begin(), room.begin() + static_cast<std::ptrdiff_t>(size), other.begin()));
    }
}

TEST_CASE("zstd: frames tell their size, have a checksum, and need no more than 8 MiB to be read") {
    auto const level = GENERATE(0, 19, 22);
    auto const content = prose(zstd_encoder::frame_size + 4 * mebibyte);
    auto const packed = pack(zstd{.level = level}, content, 1);
    std::string_view rest{packed};
    for (auto const size : {zstd_encoder::frame_size, 4 * mebibyte}) {
        CHECK(::ZSTD_getFrameContentSize(rest.data(), rest.size()) == size);
        auto const descriptor = static_cast<unsigned>(rest[4]);
        CHECK((descriptor & 0x04) != 0); // checksum
        CHECK((descriptor & 0x20) != 0); // a single segment: the window is the content
        rest.remove_prefix(::ZSTD_findFrameCompressedSize(rest.data(), rest.size()));
    }
    CHECK(rest.empty());
    CHECK(accepted_by("zstd -q -t --memory=8MB", packed));
    auto damaged = packed;
    ++damaged.back();
    CHECK(reason_for_refusal(damaged).find("checksum") != std::string::npos);
}

TEST_CASE("zstd: a level out of range is refused when the encoder is made") {
    auto const level = GENERATE(-1, 23);
    CHECK_THROWS_AS(zstd{.level = level}.encoder({}), option_error);
}

TEST_CASE("zstd: an encoder can be moved and given up in the middle") {
    auto const content = prose(4 * mebibyte);
    string_sink out;
    auto first = zstd{}.encoder({});
    first.write(as_bytes(content).first(3'000'000), out);
    auto second = std::move(first);
    second.write(as_bytes(content).subspan(3'000'000), out);
    second.finish(out);
    CHECK(out.text == pack(zstd{}, content));
    auto unfinished = zstd{}.encoder({});
    unfinished.write(as_bytes(content), out);
}

TEST_CASE("zstd decoder: frames follow each other, skippable ones anywhere, in any cut") {
    auto const content = prose(300'000);
    auto const packed = skippable_frame("note") + pack(zstd{}, content) + skippable_frame("") +
                        pack(zstd{}, "") + pack(zstd{}, "tail") + skippable_frame("end");
    for (std::size_t const piece : {1u, 7u, 4096u, 1'000'000u})
        for (std::size_t const given : {1u, 13u, 70'000u})
            CHECK(unpack(zstd_decoder{}, packed, piece, given) == content + "tail");
}

TEST_CASE("zstd decoder: the end is strict") {
    auto const packed = pack(zstd{}, "one") + pack(zstd{}, "two");
    auto const at = std::to_string(packed.size());
    CHECK(reason_for_refusal(packed + "\0"s) == "bytes that are no frame are left at offset " + at);
    CHECK(reason_for_refusal(packed + std::string(512, '\0')) == "there is no frame at offset " + at);
    CHECK(reason_for_refusal(packed + "\x28\xb5\x2f\xfd").starts_with("truncated"));
    CHECK(reason_for_refusal("").starts_with("it is empty"));
    CHECK(reason_for_refusal("plain text") == "there is no frame at offset 0");
    CHECK(reason_for_refusal("\x28\xb5") == "bytes that are no frame are left at offset 0");
}

TEST_CASE("zstd decoder: windows beyond 128 MiB and dictionaries are refused") {
    // A frame header: descriptor, window of 2^31 bytes; then: dictionary 1, window of 1 KiB.
    CHECK(reason_for_refusal("\x28\xb5\x2f\xfd\x04\xa8" + std::string(100, '\0')).find("memory") !=
          std::string::npos);
    CHECK(reason_for_refusal("\x28\xb5\x2f\xfd\x05\x01\x01" + std::string(100, '\0')).find("Dictionary") !=
          std::string::npos);
}

TEST_CASE("zstd decoder: truncation is seen at every point") {
    auto const packed = pack(zstd{}, prose(5000)) + pack(zstd{}, "second");
    auto const boundary = pack(zstd{}, prose(5000)).size();
    for (std::size_t n = 1; n < packed.size(); ++n) {
        if (n == boundary) continue;
        INFO(n);
        REQUIRE(reason_for_refusal(std::string_view{packed}.substr(0, n)) != "accepted");
    }
}

TEST_CASE("zstd decoder: a flipped bit is an error or changes nothing") {
    auto const content = prose(3000);
    auto const packed = pack(zstd{}, content);
    for (std::size_t bit = 0; bit < packed.size() * 8; ++bit) {
        auto damaged = packed;
        damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
        // Without the bit that announces it, the checksum would be garbage behind the frame.
        auto const plain = unpack_damaged(zstd_decoder{}, damaged);
        INFO(bit);
        REQUIRE((!plain || *plain == content));
    }
}
