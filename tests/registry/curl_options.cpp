#include <shiplap/registry/curl_options.hpp>

#include <support/catch.hpp>

using namespace shiplap;

TEST_CASE("options have defaults that suit a registry", "[registry][curl]") {
    curl_options const options;
    CHECK(options.connect_timeout == std::chrono::seconds{10});
    CHECK(options.stall_timeout == std::chrono::seconds{60});
    CHECK(options.trusted.empty());
    REQUIRE(options.certificates);
    CHECK(options.certificates({"https", "no-such-host.invalid", 443}).folder.empty());
}
