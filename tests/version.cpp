#include <shiplap/version.hpp>

#include "support/catch.hpp"

#include <string>

TEST_CASE("the version is the same as text and as numbers") {
    CHECK(std::to_string(SHIPLAP_VERSION_MAJOR) + "." + std::to_string(SHIPLAP_VERSION_MINOR) + "." +
              std::to_string(SHIPLAP_VERSION_PATCH) ==
          shiplap::version);
}
