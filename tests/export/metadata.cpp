#include <shiplap/codec/uncompressed.hpp>
#include <shiplap/export/metadata.hpp>
#include <shiplap/sink/memory.hpp>

#include "support/catch.hpp"

using namespace shiplap;

TEST_CASE("metadata says what an export made", "[metadata]") {
    exporter out{uncompressed{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const image = out({}, {.names = {"app", "example.com/b:2"}, .descriptor_annotations = {{"k", "v"}}});
    metadata facts;
    facts.add(image);
    auto const object = parse_json(facts.text(), "metadata");
    CHECK(object["containerimage.digest"] == image.root.digest.text());
    CHECK(object["containerimage.config.digest"] == image.config.digest.text());
    CHECK(object["containerimage.descriptor"]["annotations"]["k"] == "v");
    CHECK(object["image.name"] == "docker.io/library/app:latest,example.com/b:2");
}

TEST_CASE("an image without a name has none in the metadata", "[metadata]") {
    exporter out{uncompressed{}, oci_media_types{}, sha256{}, memory_sink{}};
    metadata facts;
    facts.add(out({}));
    CHECK_FALSE(parse_json(facts.text(), "metadata").contains("image.name"));
}

TEST_CASE("of an index there is no single configuration", "[metadata]") {
    exporter out{uncompressed{}, oci_media_types{}, sha256{}, memory_sink{}};
    metadata facts;
    auto const image = out(std::vector<build_result>(1), {.index_descriptor_annotations = {{"k", "v"}}});
    facts.add(image);
    auto const object = parse_json(facts.text(), "metadata");
    CHECK_FALSE(object.contains("containerimage.config.digest"));
    CHECK(object["containerimage.digest"] == image.root.digest.text());
    CHECK(object["containerimage.descriptor"]["mediaType"] == std::string{oci_media_types::index});
    CHECK(object["containerimage.descriptor"]["annotations"]["k"] == "v");
    CHECK_FALSE(object["containerimage.descriptor"].contains("platform"));
}
