#include <shiplap/codec/gzip.hpp>

#include "codec/support.hpp"

using namespace codec_tests;

namespace {

static_assert(leveled_codec<gzip>);
static_assert(!annotating_encoder<encoder_of<gzip>> && !extending_encoder<encoder_of<gzip>>);

/// Another backend: stored blocks only, as a codec of one's own might be.
struct stored_deflate {
    static constexpr std::string_view name = "stored";
    static constexpr level_range levels{default_level, 0};
    struct packer {
        static constexpr std::size_t most = 65'535;
        [[nodiscard]] static std::size_t bound(std::size_t size) { return size + 5 * (size / most + 1); }
        [[nodiscard]] static std::size_t compress(bytes_view in, bytes_span into) {
            std::string out;
            do {
                auto const piece = in.first(std::min(in.size(), most));
                in = in.subspan(piece.size());
                auto const low = static_cast<char>(piece.size() & 0xff),
                           high = static_cast<char>(piece.size() >> 8);
                out += {static_cast<char>(in.empty()), low, high, static_cast<char>(~low),
                        static_cast<char>(~high)};
                out.append(as_text(piece));
            } while (!in.empty());
            std::memcpy(into.data(), out.data(), out.size());
            return out.size();
        }
    };
    [[nodiscard]] static packer compressor(int) { return {}; }
};

std::size_t members_of(std::string_view packed) {
    std::size_t count = 0;
    for (; !packed.empty(); ++count) { // from one to the next by the sizes that they tell
        REQUIRE(packed.starts_with(detail::gzip_header(6, 4)));
        std::uint32_t size = 0;
        std::memcpy(&size, packed.data() + 16, 4);
        packed.remove_prefix(20 + size + 8);
    }
    return count;
}

} // namespace

TEST_CASE("gzip: what is packed unpacks, at every level") {
    auto const level = GENERATE(range(-1, 10));
    for (auto const& content :
         {std::string{}, std::string{"x"}, prose(2 * mebibyte + 12'345), noise(mebibyte)}) {
        auto const packed = pack(gzip{.level = level}, content, 2);
        CHECK(unpack(gzip::decoder(), packed) == content);
        CHECK(packed[8] == (level == 9 ? 2 : level == 1 ? 4 : 0));
        CHECK(accepted_by("gzip -t", packed));
    }
}

TEST_CASE("gzip: bytes depend on content and level alone") {
    auto const content = prose(5 * mebibyte + 1) + noise(2 * mebibyte);
    auto const level = GENERATE(1, 6);
    auto const expected = pack(gzip{.level = level}, content);
    for (unsigned const workers : {0u, 1u, 2u, 8u})
        for (std::size_t const largest :
             {std::size_t{1000}, 100 * std::size_t{1000}, 3 * mebibyte, 50 * mebibyte})
            CHECK(pack(gzip{.level = level}, content, workers, largest) == expected);
}

TEST_CASE("gzip: one member for every MiB, and one for nothing") {
    auto const [size, members] = GENERATE(table<std::size_t, std::size_t>(
        {{0, 1}, {1, 1}, {mebibyte - 1, 1}, {mebibyte, 1}, {mebibyte + 1, 2}, {3 * mebibyte, 3}}));
    auto const packed = pack(gzip{}, std::string(size, 'a'), 2);
    CHECK(members_of(packed) == members);
    CHECK(unpack(gzip::decoder(), packed).size() == size);
}

TEST_CASE("gzip: nothing is longer than what no level can pack by more than 0.1 %") {
    auto const content = noise(4 * mebibyte);
    CHECK(pack(gzip{.level = 9}, content).size() < content.size() + content.size() / 1000);
}

TEST_CASE("gzip: a level out of range is refused when the encoder is made") {
    auto const level = GENERATE(-2, 10, 22);
    CHECK_THROWS_AS(gzip{.level = level}.encoder({}), option_error);
}

TEST_CASE("gzip: the backend is a policy") {
    auto const content = prose(1'500'000);
    auto const packed = pack(basic_gzip<stored_deflate>{}, content, 2);
    CHECK(packed.size() > content.size());
    CHECK(unpack(gzip::decoder(), packed) == content);
    CHECK(accepted_by("gzip -t", packed));
}

TEST_CASE("gzip: an encoder can be moved and given up in the middle") {
    thread_pool pool{2};
    auto const content = prose(4 * mebibyte);
    string_sink out;
    {
        auto first = gzip{}.encoder(pool);
        first.write(as_bytes(content).first(3'000'000), out);
        auto second = std::move(first);
        second.write(as_bytes(content).subspan(3'000'000), out);
        second.finish(out);
    }
    CHECK(out.text == pack(gzip{}, content));
    auto unfinished = gzip{}.encoder(pool);
    unfinished.write(as_bytes(content), out);
}

TEST_CASE("gzip: an error of the sink comes out, also while blocks are in flight") {
    struct full_disk {
        int left = 2;
        void write(bytes_view) {
            if (left-- == 0) throw system_error{"write", "disk", ENOSPC};
        }
    } out;
    thread_pool pool{2};
    auto encoder = gzip{}.encoder(pool);
    CHECK_THROWS_AS((write_in_pieces(encoder, prose(20 * mebibyte), mebibyte, out), encoder.finish(out)),
                    system_error);
}
