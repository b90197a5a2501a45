#include <shiplap/image/manifest.hpp>

#include "support/catch.hpp"

#include <string>

using namespace shiplap;

namespace {

std::string const oci = "application/vnd.oci.image.manifest.v1+json";
std::string const docker = "application/vnd.docker.distribution.manifest.v2+json";
std::string const d = R"({"mediaType":"a/b","digest":"sha256:)" + std::string(64, '0') + R"(","size":1})";

descriptor layer(char digit) {
    return {.media_type = "application/vnd.oci.image.layer.v1.tar",
            .digest = digest::parse("sha256:" + std::string(64, digit)),
            .size = 7};
}

std::string document(std::string const& members) {
    return "{" + members + "}";
}

} // namespace

TEST_CASE("manifest: written to the byte as Go writes it") {
    image_manifest const what{.media_type = oci,
                              .config = layer('c'),
                              .layers = {layer('1')},
                              .annotations = {{"k", "<v>"}},
                              .artifact_type = "application/x",
                              .subject = layer('5')};
    auto const item = [](char digit, std::string const& indent) {
        return "{\n" + indent + R"(  "mediaType": "application/vnd.oci.image.layer.v1.tar",)" + "\n" +
               indent + R"(  "digest": "sha256:)" + std::string(64, digit) + "\",\n" + indent +
               "  \"size\": 7\n" + indent + "}";
    };
    CHECK(to_text(what) ==
          "{\n  \"schemaVersion\": 2,\n  \"mediaType\": \"" + oci +
              "\",\n  \"artifactType\": \"application/x\",\n  \"config\": " + item('c', "  ") +
              ",\n  \"layers\": [\n    " + item('1', "    ") + "\n  ],\n  \"subject\": " + item('5', "  ") +
              ",\n  \"annotations\": {\n    \"k\": \"\\u003cv\\u003e\"\n  }\n}");
}

TEST_CASE("manifest: survives writing and reading") {
    auto const media_type = GENERATE(values<std::string>({oci, docker}));
    auto const layers =
        GENERATE(values<std::vector<descriptor>>({{}, {layer('1')}, {layer('1'), layer('2'), layer('1')}}));
    image_manifest const what{.media_type = media_type,
                              .config = layer('c'),
                              .layers = layers,
                              .annotations = {{"a", "1"}, {"A", "2"}}};
    CHECK(parse_manifest(to_text(what), "m") == what);
    CHECK(parse_manifest(to_text(what), "m", media_type) == what);
    CHECK((to_text(what).find("\"layers\": null") != std::string::npos) == layers.empty());
}

TEST_CASE("manifest: the media type comes from the document, the descriptor, or is OCI's") {
    auto const plain = document(R"("schemaVersion":2,"config":)" + d + R"(,"layers":[])");
    CHECK(parse_manifest(plain, "m").media_type == oci);
    CHECK(parse_manifest(plain, "m", docker).media_type == docker);
    auto const told =
        document(R"("schemaVersion":2,"mediaType":")" + docker + R"(","config":)" + d + R"(,"layers":[])");
    CHECK(parse_manifest(told, "m").media_type == docker);
    CHECK_THROWS_WITH(parse_manifest(told, "m", oci),
                      contains(docker) && contains("its descriptor says " + oci));
}

TEST_CASE("manifest: what is none is refused") {
    struct row {
        std::string text, reason;
    };
    auto const start = R"("schemaVersion":2,"config":)" + d;
    auto const [text, reason] = GENERATE_COPY(values<row>({
        {"", "parse error"},
        {"null", "the document"},
        {"[]", "the document must be an object"},
        {"{}", "'/schemaVersion': is missing"},
        {document(R"("schemaVersion":1,"config":)" + d + R"(,"layers":[])"), "'/schemaVersion': must be 2"},
        {document(R"("schemaVersion":"2","config":)" + d + R"(,"layers":[])"), "'/schemaVersion': must be"},
        {document(R"("schemaVersion":2.0,"config":)" + d + R"(,"layers":[])"), "'/schemaVersion': must be"},
        {document(R"("schemaVersion":2,"layers":[])"), "'/config': is missing"},
        {document(R"("schemaVersion":2,"config":null,"layers":[])"), "'/config': is missing"},
        {document(start), "\"layers\""},
        {document(start + R"(,"layers":{})"), "'/layers': must be an array"},
        {document(start + R"(,"layers":[)" + d + ",{}]"), "'/layers/1/mediaType': is missing"},
        {document(start + R"(,"layers":[null])"), "'/layers/0': is missing"},
        {document(start + R"(,"layers":[],"manifests":[])"), "could be read as two things"},
        {document(R"("schemaVersion":2,"layers":null,"manifests":null)"), "could be read as two things"},
        {document(start + R"(,"manifests":[])"), "could be read as two things"},
        {document(start + R"(,"layers":[],"Layers":[])"), "take for the same"},
        {document(start + R"(,"layers":[],"mediaType":"application/vnd.oci.image.index.v1+json")"),
         "index.v1+json"},
        {document(start + R"(,"layers":[],"mediaType":7)"), "'/mediaType': must be a string"},
        {document(start + R"(,"layers":[],"subject":{})"), "'/subject/mediaType': is missing"},
        {document(start + R"(,"layers":[],"annotations":{"a":null})"), "'/annotations'"},
        {document(start + R"(,"layers":[],"artifactType":1)"), "'/artifactType': must be a string"},
    }));
    CAPTURE(text);
    CHECK_THROWS_AS(parse_manifest(text, "m"), format_error);
    CHECK_THROWS_WITH(parse_manifest(text, "m"), contains("'m'") && contains(reason));
}
