#include <shiplap/export/policies.hpp>

#include "support/catch.hpp"

using namespace shiplap;

TEST_CASE("a name becomes a policy of that name", "[policies]") {
    for (std::string const name : {"uncompressed", "gzip", "estargz", "zstd"}) {
        auto const found = builtin_codecs::named(name);
        REQUIRE(found);
        CHECK(std::visit([](auto const& codec) { return std::string{codec.name}; }, *found) == name);
    }
    CHECK(std::holds_alternative<sha512>(*builtin_digests::named("sha512")));
    CHECK_FALSE(builtin_codecs::named("Gzip"));
    CHECK_FALSE(builtin_codecs::named(""));
    CHECK(builtin_digests::names() == "sha256, sha512");
}
