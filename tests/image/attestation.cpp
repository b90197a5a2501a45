#include <shiplap/image/attestation.hpp>

#include "support/catch.hpp"

using namespace shiplap;

namespace {

std::string const hex(64, 'a');

descriptor image_for(std::string_view where) {
    return {.media_type = std::string{oci_media_types::manifest},
            .digest = digest::parse("sha256:" + hex),
            .size = 7,
            .annotations = {{"k", "v"}},
            .platform = parse_platform(where)};
}

} // namespace

TEST_CASE("an image is known by package URLs", "[attestation]") {
    struct row {
        std::string name, where, purl;
    };
    auto const& [name, where, purl] = GENERATE(values<row>({
        {"app", "linux/amd64", "pkg:docker/app@latest?platform=linux%2Famd64"},
        {"docker.io/library/app:1.0", "linux/amd64", "pkg:docker/app@1.0?platform=linux%2Famd64"},
        {"team/app:1", "linux/arm/v7", "pkg:docker/team/app@1?platform=linux%2Farm%2Fv7"},
        {"localhost:5000/app", "linux/arm64/v8",
         "pkg:docker/localhost%3A5000/app@latest?platform=linux%2Farm64"},
        {"example.com/a/b_c.d@sha256:" + hex, "linux/amd64",
         "pkg:docker/example.com/a/b_c.d?digest=sha256:" + hex + "&platform=linux%2Famd64"},
        {"example.com/a:1@sha256:" + hex, "linux/amd64",
         "pkg:docker/example.com/a@1?digest=sha256:" + hex + "&platform=linux%2Famd64"},
    }));
    CHECK(purl_of(reference::parse(name), parse_platform(where)) == purl);
}

TEST_CASE("a statement is compact JSON about the image under each of its names", "[attestation]") {
    std::vector<reference> const names{reference::parse("app:1"), reference::parse("r.io/app")};
    auto const image = image_for("linux/amd64");
    std::string const head =
        R"({"_type":"https://in-toto.io/Statement/v1","predicateType":"urn:t","subject":)";
    std::string const digest_member = R"("digest":{"sha256":")" + hex + R"("}})";

    // Numbers and escapes of the predicate stay as they are, and names that differ in case are two names.
    CHECK(statement_of(
              {"urn:t", "{ \"v\" : 1.50, \"big\":123456789012345678901234567890,\n\"V\":\"<\\u00e9\" }"},
              image, names) ==
          head + R"([{"name":"pkg:docker/app@1?platform=linux%2Famd64",)" + digest_member +
              R"(,{"name":"pkg:docker/r.io/app@latest?platform=linux%2Famd64",)" + digest_member +
              R"(],"predicate":{"v":1.50,"big":123456789012345678901234567890,"V":"\u003c\u00e9"}})");
    CHECK(statement_of({"urn:t"}, image, {}) == head + R"([],"predicate":null})");
    CHECK(
        statement_of({"urn:t", "{}", {{"", {{"sha1", "cd"}}}, {"x", {{"sha256", "ab"}}}}}, image, names) ==
        head +
            R"([{"name":"_","digest":{"sha1":"cd"}},{"name":"x","digest":{"sha256":"ab"}}],"predicate":{}})");
    CHECK(statement_of({"urn:t", "{}", {{"x", {}}, {"y", {{"sha1", "cd"}}}}}, image, names) ==
          head + R"([{"name":"x",)" + digest_member +
              R"(,{"name":"y","digest":{"sha1":"cd"}}],"predicate":{}})");
}

TEST_CASE("a predicate is one JSON object", "[attestation]") {
    for (auto const* text : {"[]", "1", "{", "{}{}", " ", "{\"a\":1,\"a\":2}"}) {
        CAPTURE(text);
        CHECK_THROWS_WITH(statement_of({"urn:t", text}, image_for("linux/amd64"), {}),
                          contains("predicate of type urn:t"));
    }
}

TEST_CASE("attestation manifests of both forms", "[attestation]") {
    std::vector<attestation> const what{{std::string{spdx_predicate}, "{}"},
                                        {std::string{provenance_predicate}, R"({"a":1})"}};
    auto const image = image_for("linux/arm64");
    auto const form = GENERATE(attestation_form::image, attestation_form::artifact);
    auto const made = assemble_attestations<sha256>(what, image, {}, form);

    CHECK(made.root.platform == platform{.os = "unknown", .architecture = "unknown"});
    CHECK(made.root.annotations == annotation_map{{"vnd.docker.reference.digest", "sha256:" + hex},
                                                  {"vnd.docker.reference.type", "attestation-manifest"}});
    CHECK(made.root.artifact_type.empty());
    CHECK_NOTHROW(verify(as_bytes(made.manifest), made.root.digest));
    CHECK_NOTHROW(verify(as_bytes(made.config), made.config_descriptor.digest));

    auto const manifest = parse_manifest(made.manifest, "manifest", oci_media_types::manifest);
    CHECK(manifest.layers == made.layers);
    CHECK(manifest.config == made.config_descriptor);
    CHECK(manifest.annotations.empty());
    REQUIRE(made.statements.size() == 2);
    for (std::size_t i = 0; i < 2; ++i) {
        CHECK(manifest.layers[i].media_type == "application/vnd.in-toto+json");
        CHECK(manifest.layers[i].annotations ==
              annotation_map{{"in-toto.io/predicate-type", what[i].predicate_type}});
        CHECK_NOTHROW(verify(as_bytes(made.statements[i]), manifest.layers[i].digest));
    }
    if (form == attestation_form::artifact) {
        CHECK(manifest.artifact_type == "application/vnd.docker.attestation.manifest.v1+json");
        CHECK(manifest.subject ==
              descriptor{.media_type = image.media_type, .digest = image.digest, .size = 7});
        CHECK_THAT(made.manifest, contains(R"("data": "e30=")"));
        CHECK(made.config_descriptor.digest.text() ==
              "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    } else {
        CHECK(manifest.artifact_type.empty());
        CHECK_FALSE(manifest.subject);
        CHECK(made.config ==
              R"({"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers",)"
              R"("diff_ids":[")" +
                  manifest.layers[0].digest.text() + R"(",")" + manifest.layers[1].digest.text() + R"("]}})");
    }
}

TEST_CASE("predicate types by word", "[attestation]") {
    CHECK(predicate_type_named("sbom") == "https://spdx.dev/Document");
    CHECK(predicate_type_named("provenance") == "https://slsa.dev/provenance/v1");
    CHECK(predicate_type_named(provenance_v02_predicate) == "https://slsa.dev/provenance/v0.2");
    CHECK(predicate_type_named("urn:x") == "urn:x");
    for (auto const* none : {"", "spdx", "a b:c"})
        CHECK_THROWS_WITH(predicate_type_named(none),
                          contains("unknown attestation type \"" + std::string{none}));
}
