#include <shiplap/registry/curl.hpp>

#include <support/catch.hpp>

TEST_CASE("one include has all that needs libcurl", "[registry][curl]") {
    STATIC_REQUIRE(shiplap::transport<shiplap::curl_transport>);
}
