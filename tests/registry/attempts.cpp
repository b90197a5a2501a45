#include <shiplap/registry/attempts.hpp>
#include <shiplap/registry/retry.hpp>

#include "support/catch.hpp"

using namespace shiplap;

namespace {

struct deaf {
    http_response send(http_request const&) { return {404, {}, any_byte_source{span_source{""}}}; }
};

} // namespace

TEST_CASE("a transport that retries says how often, any other tries once", "[registry]") {
    auto const host = url::parse("http://r.io/").from();
    registry_error const busy{"push", "app", "busy", {.retryable = true}};

    deaf once;
    auto single = detail::attempts_at(once, host);
    single.wait_for_host();
    single.progressed();
    CHECK_THROWS_AS(single.failed(busy), registry_error);

    retrying<deaf> often{deaf{}, {.first_pause = std::chrono::milliseconds{1}}};
    auto several = detail::attempts_at(often, host);
    several.wait_for_host();
    CHECK_NOTHROW(several.failed(busy));
}
