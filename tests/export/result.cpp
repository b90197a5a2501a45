#include <shiplap/export/result.hpp>

#include "support/catch.hpp"

#include <array>

using namespace shiplap;

static_assert(build_results<std::vector<build_result>>);
static_assert(build_results<std::span<build_result const>>);
static_assert(build_results<std::span<build_result>>);
static_assert(build_results<std::array<build_result, 2>>);
static_assert(!build_results<build_result>);

TEST_CASE("one result is an image, a list of one is an index", "[result]") {
    std::vector<build_result> const list(1);
    export_input const one{list[0]}, several{list};
    CHECK_FALSE(one.is_list);
    CHECK(several.is_list);
    CHECK(one.results.data() == several.results.data());
    CHECK(one.results.size() == several.results.size());
}
