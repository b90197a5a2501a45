#include <shiplap/image/index.hpp>

#include "support/catch.hpp"

#include <string>

using namespace shiplap;

namespace {

std::string const oci = "application/vnd.oci.image.index.v1+json";
std::string const docker = "application/vnd.docker.distribution.manifest.list.v2+json";

descriptor entry(char digit, std::string const& architecture) {
    return {.media_type = "application/vnd.oci.image.manifest.v1+json",
            .digest = digest::parse("sha256:" + std::string(64, digit)),
            .size = 9,
            .platform = platform{.os = "linux", .architecture = architecture}};
}

} // namespace

TEST_CASE("index: written to the byte as Go writes it") {
    image_index const what{
        .media_type = oci, .manifests = {entry('1', "amd64")}, .annotations = {{"k", "v"}}};
    std::string const compact_form =
        R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":)"
        R"("application/vnd.oci.image.manifest.v1+json","digest":"sha256:)" +
        std::string(64, '1') +
        R"(","size":9,"platform":{"architecture":"amd64","os":"linux"}}],"annotations":{"k":"v"}})";
    CHECK(compact(to_json(what)) == compact_form);
    CHECK(to_text(what) == pretty(parse_json(compact_form, "i")));
    CHECK(to_text(image_index{.media_type = oci}) ==
          "{\n  \"schemaVersion\": 2,\n  \"mediaType\": \"" + oci + "\",\n  \"manifests\": []\n}");
}

TEST_CASE("index: survives writing and reading") {
    auto const media_type = GENERATE(values<std::string>({oci, docker}));
    auto const entries = GENERATE(values<std::vector<descriptor>>(
        {{}, {entry('1', "amd64")}, {entry('1', "amd64"), entry('2', "arm64"), entry('1', "amd64")}}));
    image_index const what{.media_type = media_type,
                           .manifests = entries,
                           .annotations = {{"b", ""}, {"a", "\n"}},
                           .artifact_type = "application/x",
                           .subject = entry('3', "s390x")};
    CHECK(parse_index(to_text(what), "i") == what);
    CHECK(parse_index(to_text(what), "i", media_type) == what);
    CHECK(parse_index(compact(to_json(what)), "i") == what);
}

TEST_CASE("index: what other tools write") {
    CHECK(parse_index(R"({"schemaVersion":2,"manifests":null})", "i") ==
          image_index{.media_type = oci}); // umoci
    CHECK(parse_index(R"({"manifests":[],"schemaVersion":2,"x":1})", "i", docker).media_type == docker);
}

TEST_CASE("index: what is none is refused") {
    struct row {
        std::string text, reason;
    };
    auto const [text, reason] = GENERATE(values<row>({
        {"{}", "'/schemaVersion': is missing"},
        {R"({"schemaVersion":2})", "\"manifests\""},
        {R"({"schemaVersion":1,"manifests":[]})", "must be 2"},
        {R"({"schemaVersion":2,"manifests":{}})", "'/manifests': must be an array"},
        {R"({"schemaVersion":2,"manifests":[{}]})", "'/manifests/0/mediaType': is missing"},
        {R"({"schemaVersion":2,"manifests":[],"layers":[]})", "could be read as two things"},
        {R"({"schemaVersion":2,"manifests":[],"config":{}})", "could be read as two things"},
        {R"({"schemaVersion":2,"manifests":[],"config":null})", "could be read as two things"},
        {R"({"schemaVersion":2,"manifests":[],"Manifests":[]})", "take for the same"},
        {R"({"schemaVersion":2,"manifests":[],"mediaType":"application/vnd.oci.image.manifest.v1+json"})",
         "manifest.v1+json"},
    }));
    CAPTURE(text);
    CHECK_THROWS_AS(parse_index(text, "i"), format_error);
    CHECK_THROWS_WITH(parse_index(text, "i"), contains(reason));
    CHECK_THROWS_WITH(
        parse_index(R"({"schemaVersion":2,"mediaType":")" + docker + R"(","manifests":[]})", "i", oci),
        contains("its descriptor says " + oci));
}
