#pragma once
// What holds for every deflate_backend.

#include <shiplap/codec/deflate.hpp>
#include <shiplap/codec/gzip.hpp>

#include "codec/support.hpp"

#include <zlib.h>

namespace codec_tests {

/// Inflates one raw deflate stream that must fill `packed` exactly.
inline std::string inflated(std::string_view packed, std::size_t size) {
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

/// One block, packed by `compressor` into exactly the room that it asks for.
template <block_compressor C>
std::string deflated(C& compressor, std::string_view block) {
    std::vector<std::byte> room(compressor.bound(block.size()));
    room.resize(compressor.compress(as_bytes(block), room));
    return std::string{as_text(room)};
}

/// Bytes of which a few are frequent and many rare: what Huffman codes have the longest words for.
inline std::string lopsided(std::size_t size) {
    std::mt19937 random{7};
    std::string out(size, '\0');
    for (auto& c : out) c = static_cast<char>(random() >> (random() % 32) & 0xff);
    return out;
}

inline std::vector<std::string> const& blocks() {
    static std::vector<std::string> const all{"",
                                              "x",
                                              noise(100'000),
                                              noise(mebibyte),
                                              lopsided(mebibyte),
                                              prose(3 * mebibyte),
                                              std::string(mebibyte, '\0'),
                                              std::string(mebibyte, 'a'),
                                              prose(7)};
    return all;
}

template <deflate_backend B>
void check_backend(B const& backend) {
    for (int level = backend.levels.lowest; level <= backend.levels.highest; ++level) {
        INFO(backend.name << " at level " << level);
        auto compressor = backend.compressor(level);
        for (auto const& block : blocks()) {
            auto const packed = deflated(compressor, block);
            CHECK(inflated(packed, block.size()) == block);
            auto fresh = backend.compressor(level); // nothing is kept from the block before
            CHECK(deflated(fresh, block) == packed);
        }
        for (std::size_t size = 10; size < 200'000; size += size / 3) { // the files of an estargz
            auto const small = lopsided(size / 2) + prose(size / 2, static_cast<unsigned>(size));
            auto fresh = backend.compressor(level);
            CHECK(deflated(compressor, small) == deflated(fresh, small));
        }
        auto moved = std::move(compressor);
        CHECK(inflated(deflated(moved, "moved"), 5) == "moved");
        CHECK(detail::checksum(moved, as_bytes("123456789")) == 0xcbf43926);
        CHECK(detail::checksum(moved, {}) == 0);
    }
    for (int const level : {backend.levels.lowest - 1, backend.levels.highest + 1}) {
        basic_gzip<B> const how{.level = level, .backend = backend};
        CHECK_THROWS_AS(how.encoder({}), option_error);
        CHECK_THROWS_WITH(how.encoder({}),
                          Catch::Matchers::Contains("by " + std::string{backend.name}) &&
                              Catch::Matchers::Contains(std::to_string(backend.levels.highest)));
    }
}

/// Larger levels pack further.
template <deflate_backend B>
void check_order(B const& backend, std::initializer_list<int> levels) {
    auto const block = prose(mebibyte) + noise(50'000);
    auto before = block.size() * 2;
    for (auto const level : levels) {
        auto compressor = backend.compressor(level);
        auto const size = deflated(compressor, block).size();
        INFO(backend.name << " at level " << level);
        CHECK(size < before);
        before = size;
    }
}

/// Whole layers: the same bytes for any number of workers and any cut, and every reader takes them.
template <deflate_backend B>
void check_gzip(B const& backend) {
    auto const content = prose(2 * mebibyte + 77) + noise(mebibyte);
    basic_gzip<B> const how{.backend = backend};
    auto const expected = pack(how, content);
    CHECK(unpack(gzip::decoder(), expected) == content);
    CHECK(accepted_by("gzip -q -t", expected));
    CHECK(accepted_by("pigz -q -t", expected));
    for (unsigned const workers : {1u, 2u, 3u, 8u})
        for (std::size_t const largest : {std::size_t{5000}, 3 * mebibyte})
            CHECK(pack(how, content, workers, largest) == expected);
}

} // namespace codec_tests
