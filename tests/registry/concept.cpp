#include <shiplap/registry/concept.hpp>

#include <support/catch.hpp>

using namespace shiplap;

namespace {

// The exemplar of registry/concept.hpp.
struct deaf_registry {
    http_response send(http_request const&) { return {404, {}, any_byte_source{null_source{}}}; }
};

struct mute_registry {
    void send(http_request const&) {}
};
struct pinned_registry : deaf_registry {
    pinned_registry(pinned_registry&&) = delete;
};

static_assert(transport<deaf_registry>);
static_assert(!transport<mute_registry> && !transport<pinned_registry> && !transport<null_source>);

} // namespace

TEST_CASE("a transport answers requests", "[registry]") {
    deaf_registry registry;
    auto const target = url::parse("https://r.io/v2/");
    auto response = registry.send({"GET", target, {target.from()}});
    CHECK(response.status == 404);
    CHECK(read_text(response, 10).empty());
}
