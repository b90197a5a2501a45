#include <shiplap/codec/deflate.hpp>
#include <shiplap/codec/zlib_backend.hpp>

#include "codec/support.hpp"

using namespace codec_tests;

namespace {

struct nameless {
    [[maybe_unused]] static constexpr level_range levels{0, 0};
    [[nodiscard]] static auto compressor(int level) { return zlib_backend::compressor(level); }
};

struct without_levels {
    static constexpr std::string_view name = "none";
    [[nodiscard]] static auto compressor(int level) { return zlib_backend::compressor(level); }
};

struct boundless {
    static constexpr std::string_view name = "none";
    static constexpr level_range levels{0, 0};
    struct packer {
        static std::size_t compress(bytes_view, bytes_span) { return 0; }
    };
    [[nodiscard]] static packer compressor(int) { return {}; }
};

static_assert(deflate_backend<zlib_backend>);
static_assert(!deflate_backend<nameless>);
static_assert(!deflate_backend<without_levels>);
static_assert(!deflate_backend<boundless>);
static_assert(!checksummer<detail::zlib_compressor>);

} // namespace

TEST_CASE("a range of levels holds both its ends") {
    constexpr level_range levels{-1, 9};
    CHECK(levels.contains(default_level));
    CHECK(levels.contains(9));
    CHECK_FALSE(levels.contains(-2));
    CHECK_FALSE(levels.contains(10));
}
