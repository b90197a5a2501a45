#include <shiplap/export/plan.hpp>

#include "support/catch.hpp"

using namespace shiplap;
using namespace shiplap::detail;

namespace {

build_result result_for(std::string_view where) {
    return {.platform = parse_platform(where)};
}

std::vector<build_result> two() {
    return {result_for("linux/amd64"), result_for("linux/arm64")};
}

platform_annotations on(std::string_view where, annotation_map manifest, annotation_map descriptor = {}) {
    return {parse_platform(where), std::move(manifest), std::move(descriptor)};
}

export_plan plan_of(export_input const& input, export_options const& options) {
    return plan_export(input, options, table_of<oci_media_types>);
}

} // namespace

TEST_CASE("a list makes an index, and so do attestations", "[plan]") {
    auto plain = result_for("linux/amd64");
    CHECK_FALSE(plan_of(plain, {}).as_index);
    CHECK(plan_of(std::vector{plain}, {}).as_index);

    auto attested = plain;
    attested.attestations = {{.predicate_type = "urn:a"}};
    CHECK(plan_of(attested, {.attestations_inline = false}).as_index);
    attested.attestations[0].inline_only = true;
    CHECK(plan_of(attested, {}).as_index);
    CHECK_FALSE(plan_of(attested, {.attestations_inline = false}).as_index);
    attested.attestations.push_back({.predicate_type = "urn:b"});
    CHECK(plan_of(attested, {.attestations_inline = false}).as_index);

    CHECK_THROWS_WITH(plan_export(attested, {}, table_of<docker_media_types>),
                      contains("cannot export attestations with \"oci-mediatypes=false\""));
    CHECK_NOTHROW(plan_export(two(), {}, table_of<docker_media_types>));
    CHECK_THROWS_WITH(plan_of(std::vector<build_result>{}, {}),
                      contains("invalid empty platforms index for exporter"));
}

TEST_CASE("what an image has that exists counts where nothing else is said", "[plan]") {
    auto results = two();
    results[0].kept = kept_facts{.annotations = {{"a", "kept"}, {"b", "kept"}},
                                 .descriptor_annotations = {{"c", "kept"}, {"d", "kept"}},
                                 .platform = parse_platform("linux/amd64/v3")};
    export_options const options{.annotations = {{"a", "all"}},
                                 .for_platforms = {on("linux/amd64/v3", {}, {{"c", "v3"}})}};
    auto const plan = plan_of(results, options);
    CHECK(plan.images[0].annotations == annotation_map{{"a", "all"}, {"b", "kept"}});
    CHECK(plan.images[0].descriptor_annotations == annotation_map{{"c", "v3"}, {"d", "kept"}});
    CHECK(plan.images[0].indexed_as == results[0].kept->platform);
    CHECK(plan.images[0].base_history == std::vector<history_entry>{});
    CHECK_FALSE(plan.images[1].base_history);
    CHECK(plan.warnings.empty());

    auto const docker = plan_export(results, {}, table_of<docker_media_types>);
    CHECK(docker.images[0].descriptor_annotations.empty());
    REQUIRE(docker.warnings.size() == 1);
    CHECK_THAT(docker.warnings[0], contains("linux/amd64/v3 in its index"));
}

TEST_CASE("annotations: of all, then of a platform, then of its result", "[plan]") {
    auto results = two();
    results[1].annotations = {{"c", "result"}};
    export_options const options{.annotations = {{"a", "all"}, {"b", "all"}, {"c", "all"}},
                                 .descriptor_annotations = {{"d", "all"}},
                                 .for_platforms = {on("linux/arm64/v8", {{"b", "arm"}, {"c", "arm"}}),
                                                   on("linux/x86_64", {}, {{"d", "amd"}, {"D", "amd"}})}};
    auto const plan = plan_of(results, options);
    REQUIRE(plan.images.size() == 2);
    CHECK(plan.images[0].annotations == annotation_map{{"a", "all"}, {"b", "all"}, {"c", "all"}});
    CHECK(plan.images[0].descriptor_annotations == annotation_map{{"d", "amd"}, {"D", "amd"}});
    CHECK(plan.images[1].annotations == annotation_map{{"a", "all"}, {"b", "arm"}, {"c", "result"}});
    CHECK(plan.images[1].descriptor_annotations == annotation_map{{"d", "all"}});
    CHECK(plan.warnings.empty());
}

TEST_CASE("the platform of a result is that of its configuration", "[plan]") {
    auto results = two();
    results[0] = {.config = R"({"os":"linux","architecture":"arm","variant":"v6"})"};
    auto const plan = plan_of(results, {.for_platforms = {on("linux/arm/v6", {{"k", "v"}})}});
    CHECK(plan.images[0].annotations == annotation_map{{"k", "v"}});
    results[0].platform = parse_platform("linux/amd64");
    CHECK_THROWS_WITH(plan_of(results, {}), contains("is for the platform linux/arm/v6"));
}

TEST_CASE("annotations that have no object", "[plan]") {
    auto const single = result_for("linux/amd64");
    for (auto const& wrong : {export_options{.index_annotations = {{"k", "v"}}},
                              export_options{.index_descriptor_annotations = {{"k", "v"}}}}) {
        CHECK_THROWS_WITH(plan_of(single, wrong),
                          contains("index annotations not supported for single platform export"));
        CHECK_NOTHROW(plan_of(std::vector{single}, wrong));
    }

    export_options const elsewhere{.for_platforms = {on("linux/s390x", {{"k", "v"}})}};
    CHECK_THROWS_WITH(plan_of(two(), elsewhere),
                      contains("invalid annotation: no platform linux/s390x found in source"));
    auto plan =
        plan_of(std::vector{single}, elsewhere); // as in the original, only several can be chosen from
    CHECK(plan.images[0].annotations.empty());
    REQUIRE(plan.warnings.size() == 1);
    CHECK_THAT(plan.warnings[0], contains("linux/s390x") && contains("left out"));

    plan = plan_of(single, {.for_platforms = {on("linux/amd64", {{"k", "v"}})}});
    CHECK(plan.images[0].annotations.empty());
    REQUIRE(plan.warnings.size() == 1);
    CHECK(plan.warnings[0] ==
          "annotation k is for platform linux/amd64 of a multi-platform image; this one has a "
          "single manifest, so it is left out");
}

TEST_CASE("the same platform twice is worth a warning", "[plan]") {
    auto const plan = plan_of(std::vector{result_for("linux/arm64"), result_for("linux/arm64/v8")}, {});
    REQUIRE(plan.warnings.size() == 1);
    CHECK_THAT(plan.warnings[0], contains("linux/arm64 is there twice"));
}

TEST_CASE("what has no platform cannot be told apart", "[plan]") {
    auto results = two();
    results[1].platform.reset();
    CHECK_THROWS_WITH(plan_of(results, {}),
                      contains("unable to export multiple refs, missing platforms mapping") &&
                          contains("result 2"));
    results.pop_back();
    results[0].platform.reset();
    CHECK_NOTHROW(plan_of(results, {})); // that of this machine
    results[0].platform = platform{.os = "linux"};
    CHECK_THROWS_WITH(plan_of(results, {}), contains("invalid platform value"));
    results[0] = {.config = "null"};
    CHECK_THROWS_WITH(plan_of(results[0], {}), contains("invalid null image config for export"));
}
