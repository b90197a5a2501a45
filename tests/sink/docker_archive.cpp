#include <shiplap/sink/copy.hpp>
#include <shiplap/sink/docker_archive.hpp>
#include <shiplap/sink/oci_archive.hpp>

#include "support/catch.hpp"
#include "support/sample_image.hpp"
#include "support/temp.hpp"

#include <cstdlib>

namespace {

using namespace shiplap;

struct quiet {
    no_progress progress;
};

static_assert(arranging_sink<docker_archive_sink>);

constexpr std::uint64_t no_limit = 1 << 30;

image_name named(std::string_view text) {
    return name_of(reference::parse(text));
}

template <class Sink = docker_archive_sink>
std::string archived(descriptor const& root, std::vector<image_name> const& names,
                     memory_store const& blobs) {
    temp_dir folder;
    quiet env;
    Sink sink{folder / "app.tar"};
    copy(root, names, blobs, sink, env);
    return read_file(folder / "app.tar", no_limit);
}

std::string member(std::string const& tar, std::string_view name) {
    for (auto const& [entry, content] : read_tar(tar))
        if (entry.name == name) return content;
    return "(none)";
}

std::string blob_path(digest const& which) {
    return "blobs/" + std::string{which.algorithm()} + "/" + std::string{which.encoded()};
}

std::string manifest_json(image_manifest const& manifest, std::string const& repo_tags) {
    std::string layers;
    for (auto const& layer : manifest.layers)
        layers += std::string{layers.empty() ? "" : ","} + "\"" + blob_path(layer.digest) + "\"";
    return "[{\"Config\":\"" + blob_path(manifest.config.digest) + "\",\"RepoTags\":" + repo_tags +
           ",\"Layers\":[" + layers + "]}]";
}

/// An index of an image and, for each digest in `about`, an attestation.
descriptor put_index(memory_store& blobs, std::vector<descriptor> images, std::vector<digest> const& about) {
    auto attestation = make_image(table_of<oci_media_types>, "", 1, "attestation");
    for (auto const& [which, content] : attestation.blobs.blobs()) {
        auto blob = blobs.open();
        blob.write(as_bytes(content));
        blob.commit({which, content.size()});
    }
    for (auto const& subject : about) {
        attestation.root.annotations = {{"vnd.docker.reference.digest", subject.text()},
                                        {"vnd.docker.reference.type", "attestation-manifest"}};
        images.push_back(attestation.root);
    }
    image_index const index{.media_type = std::string{oci_media_types::index},
                            .manifests = std::move(images)};
    return put_text(blobs, index.media_type, to_text(index));
}

TEST_CASE("a docker archive is an OCI archive with a manifest.json") {
    auto const image = make_image(table_of<docker_media_types>, "gzip");
    std::vector<image_name> const names{named("app:1")};
    auto const docker = archived(image.root, names, image.blobs);
    auto const oci = archived<oci_archive_sink>(image.root, names, image.blobs);

    auto expected = read_tar(oci);
    auto manifest = tar_file("manifest.json", manifest_json(image.manifest, R"(["app:1"])"));
    manifest.entry.size = manifest.content.size();
    expected.insert(expected.end() - 1, manifest);
    auto const actual = read_tar(docker);
    REQUIRE(actual.size() == expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i) {
        CHECK(actual[i].entry == expected[i].entry);
        CHECK(actual[i].content == expected[i].content);
    }
    CHECK(archived(image.root, names, image.blobs) == docker);
}

TEST_CASE("RepoTags are familiar names with a tag") {
    auto const image = make_image();
    auto const at = "@" + image.root.digest.text();
    struct {
        std::vector<image_name> names;
        std::string expected;
    } const cases[] = {
        {{}, "null"},
        {{named("app")}, R"(["app:latest"])"},
        {{named("docker.io/library/app:1")}, R"(["app:1"])"},
        {{named("team/app:1")}, R"(["team/app:1"])"},
        {{named("localhost:5000/app:1"), named("app:2")}, R"(["localhost:5000/app:1","app:2"])"},
        {{named("app:1"), named("app:1")}, R"(["app:1"])"},
        {{named("r.io/app" + at)}, "null"},
        {{named("r.io/app:1" + at), named("r.io/app:1")}, R"(["r.io/app:1"])"},
        {{{"", "v1"}}, "null"},
    };
    for (auto const& [names, expected] : cases)
        CHECK(member(archived(image.root, names, image.blobs), "manifest.json") ==
              manifest_json(image.manifest, expected));

    CHECK_THROWS_AS(archived(image.root, {{"Not A Reference", "1"}}, image.blobs), option_error);
}

TEST_CASE("a docker archive lists layers as often as the manifest, and none if there are none") {
    auto image = make_image();
    auto const layers = GENERATE(std::vector<std::size_t>{}, std::vector<std::size_t>{1, 0, 1});
    image_manifest manifest{.media_type = image.manifest.media_type, .config = image.manifest.config};
    for (auto const i : layers) manifest.layers.push_back(image.manifest.layers[i]);
    auto const root = put_text(image.blobs, manifest.media_type, to_text(manifest));
    CHECK(member(archived(root, {}, image.blobs), "manifest.json") == manifest_json(manifest, "null"));
}

TEST_CASE("a docker archive holds one image") {
    auto image = make_image();
    auto const other = make_image(table_of<oci_media_types>, "", 1, "other");
    for (auto const& [which, content] : other.blobs.blobs()) {
        auto blob = image.blobs.open();
        blob.write(as_bytes(content));
        blob.commit({which, content.size()});
    }
    SECTION("and its attestations, then without manifest.json") {
        auto const root = put_index(image.blobs, {image.root}, {image.root.digest});
        auto const tar = archived(root, {named("app:1")}, image.blobs);
        CHECK(member(tar, "manifest.json") == "(none)");
        CHECK(member(tar, "index.json").find(root.digest.text()) != std::string::npos);
        CHECK(tar == archived<oci_archive_sink>(root, {named("app:1")}, image.blobs));
    }
    SECTION("and no index of images") {
        std::vector<descriptor> const roots{
            put_index(image.blobs, {image.root}, {}),
            put_index(image.blobs, {image.root, other.root}, {}),
            put_index(image.blobs, {image.root, other.root}, {image.root.digest}),
            put_index(image.blobs, {}, {image.root.digest}),
        };
        for (auto const& root : roots) {
            try {
                archived(root, {}, image.blobs);
                FAIL("was accepted");
            } catch (error const& refused) {
                CHECK(refused.code() == error_code::unsupported);
                CHECK(refused.reason() ==
                      "docker exporter does not currently support exporting manifest lists");
            }
        }
    }
}

TEST_CASE("a docker archive is refused if a layer is elsewhere") {
    auto image = make_image();
    auto foreign = image.manifest;
    foreign.layers.push_back({.media_type = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                              .digest = digest::of<sha256>(as_bytes("elsewhere")),
                              .size = 9,
                              .urls = {"https://example.com/layer"}});
    auto const root = put_text(image.blobs, foreign.media_type, to_text(foreign));
    CHECK_NOTHROW(archived<oci_archive_sink>(root, {}, image.blobs));
    CHECK_THROWS_AS(archived(root, {}, image.blobs), error);
}

TEST_CASE("skopeo reads archives", "[interop]") {
    if (std::system("command -v skopeo > /dev/null") != 0) {
        WARN("not checked: skopeo is not installed");
        return;
    }
    auto const encoding = GENERATE("", "gzip");
    auto const image = make_image(table_of<docker_media_types>, encoding);
    temp_dir folder;
    write_file(folder / "docker.tar", archived(image.root, {named("app:1")}, image.blobs));
    auto const oci = make_image(table_of<oci_media_types>, encoding);
    write_file(folder / "oci.tar", archived<oci_archive_sink>(oci.root, {named("app:1")}, oci.blobs));

    auto const run = [&](std::string const& command) {
        return std::system(
            ("cd '" + folder.path().string() + "' && " + command + " > log 2>&1 || { cat log; exit 1; }")
                .c_str());
    };
    CHECK(run("skopeo inspect docker-archive:docker.tar") == 0);
    CHECK(run("skopeo copy docker-archive:docker.tar:app:1 dir:from-docker") == 0);
    CHECK(run("skopeo copy oci-archive:oci.tar:1 dir:from-oci") == 0);
    CHECK(read_file(folder / ("from-docker/" + std::string{image.manifest.config.digest.encoded()}),
                    no_limit) == image.config);
    CHECK(read_file(folder / "from-oci/manifest.json", no_limit) == to_text(oci.manifest));
}

} // namespace
