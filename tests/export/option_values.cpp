#include <shiplap/export/option_values.hpp>

#include "support/catch.hpp"

using namespace shiplap;
using namespace shiplap::detail;

TEST_CASE("booleans are spelt as in Go", "[option_values]") {
    for (auto const* yes : {"1", "t", "T", "TRUE", "true", "True"})
        CHECK(parse_bool("k", yes, empty_bool::is_error));
    for (auto const* no : {"0", "f", "F", "FALSE", "false", "False"})
        CHECK_FALSE(parse_bool("k", no, empty_bool::is_error));
    for (auto const* neither : {"yes", "tRUE", " true", "2"})
        CHECK_THROWS_WITH(parse_bool("push", neither, empty_bool::means_true),
                          contains("non-bool value specified for push"));
    CHECK(parse_bool("k", "", empty_bool::means_true));
    CHECK_THROWS_AS(parse_bool("k", "", empty_bool::is_error), option_error);
}

TEST_CASE("integers are decimal and fit 64 bits", "[option_values]") {
    CHECK(parse_integer("-9223372036854775808") == INT64_MIN);
    CHECK(parse_integer("+7") == 7);
    for (auto const* none : {"", "-", "1.0", "0x1", "9223372036854775808", " 1", "1 "})
        CHECK_FALSE(parse_integer(none));
}

TEST_CASE("annotation keys", "[option_values]") {
    auto const parsed = parse_annotation_key("annotation-manifest-descriptor[linux/arm/v7].org.Some.Key");
    REQUIRE(parsed);
    CHECK(parsed->type == "manifest-descriptor");
    CHECK(parsed->platform == "linux/arm/v7");
    CHECK(parsed->key == "org.Some.Key");
    CHECK(parse_annotation_key("annotation.a")->type == "manifest");
    for (auto const* none :
         {"annotation", "annotation.", "annotation.a b", "annotation[].a", "annotation[a b].c",
          "annotation[x.y", "annotations.a", "annotation-.a", "annotation-Index.a", "name"})
        CHECK_FALSE(parse_annotation_key(none));
}

TEST_CASE("edit distance", "[option_values]") {
    CHECK(edit_distance("", "") == 0);
    CHECK(edit_distance("abc", "") == 3);
    CHECK(edit_distance("kitten", "sitting") == 3);
}
