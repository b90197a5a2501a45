#include <shiplap/codec/level.hpp>

#include "support/catch.hpp"

namespace {
struct some_codec {
    static constexpr std::string_view name = "some";
    [[nodiscard]] static constexpr shiplap::level_range levels() { return {2, 5}; }
    int level;
};
} // namespace

TEST_CASE("a level is checked against the range of its codec") {
    CHECK_NOTHROW(shiplap::detail::check_level(some_codec{2}));
    CHECK_NOTHROW(shiplap::detail::check_level(some_codec{5}));
    auto const level = GENERATE(-1, 1, 6, 1000);
    CHECK_THROWS_AS(shiplap::detail::check_level(some_codec{level}), shiplap::option_error);
    try {
        shiplap::detail::check_level(some_codec{level});
    } catch (shiplap::option_error const& e) {
        CHECK(std::string{e.what()} == "option 'compression-level': " + std::to_string(level) +
                                           " is no level of some: it must be between 2 and 5");
    }
}
