#include <shiplap/registry/error.hpp>

#include <support/catch.hpp>

using namespace shiplap;

TEST_CASE("errors of registries tell whether trying again may help", "[registry]") {
    failure_facts facts;
    facts.retryable = true;
    facts.http_status = 503;
    try {
        throw registry_error{"PUT", "https://r.io/v2/", "is busy", facts};
    } catch (remote_error const& failure) {
        CHECK(failure.facts().retryable);
        CHECK(failure.facts().http_status == 503);
        CHECK(failure.facts().attempts == 1);
        CHECK(failure.code() == error_code::registry);
        CHECK(std::string{failure.what()} == "PUT 'https://r.io/v2/': is busy");
    }
    transport_error const cut{transport_failure::cut, "GET", "x", "cut", {}};
    CHECK(cut.kind() == transport_failure::cut);
    CHECK(cut.code() == error_code::network);
    CHECK_FALSE(cut.facts().retryable);
}
