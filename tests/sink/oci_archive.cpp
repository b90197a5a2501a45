#include <shiplap/sink/copy.hpp>
#include <shiplap/sink/oci_archive.hpp>

#include "support/catch.hpp"
#include "support/sample_image.hpp"
#include "support/temp.hpp"

#include <tuple>

namespace {

using namespace shiplap;

struct quiet {
    no_progress progress;
};

static_assert(arranging_sink<oci_archive_sink>);

std::string archived(descriptor const& root, std::vector<image_name> const& names,
                     memory_store const& blobs) {
    temp_dir folder;
    quiet env;
    oci_archive_sink sink{folder / "app.tar"};
    copy(root, names, blobs, sink, env);
    return read_file(folder / "app.tar", 1 << 30);
}

std::vector<std::string> expected_names(memory_store const& blobs) {
    std::vector<std::string> names{"blobs/", "index.json", "oci-layout"};
    for (auto const& [which, content] : blobs.blobs()) {
        auto const folder = "blobs/" + std::string{which.algorithm()} + "/";
        names.push_back(folder);
        names.push_back(folder + std::string{which.encoded()});
    }
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    return names;
}

void check_form(std::string const& tar, memory_store const& blobs) {
    std::vector<std::string> names;
    for (auto const& [entry, content] : read_tar(tar)) {
        CAPTURE(entry.name);
        names.push_back(entry.name);
        bool const is_folder = entry.name.ends_with('/');
        tar_entry plain;
        plain.name = entry.name;
        plain.type = is_folder ? entry_type::directory : entry_type::regular;
        plain.mode = is_folder ? 0755 : entry.name == "index.json" ? 0644 : 0444;
        plain.size = content.size();
        CHECK(entry == plain); // so it belongs to 0:0, has no names, and is of 1970
        if (!is_folder && entry.name.starts_with("blobs/")) {
            auto const which = digest::parse(entry.name.substr(6, 6) + ":" + entry.name.substr(13));
            CHECK(blobs.blobs().at(which) == content);
        }
        if (entry.name == "oci-layout") CHECK(content == R"({"imageLayoutVersion":"1.0.0"})");
    }
    CHECK(names == expected_names(blobs));

    CHECK(tar.size() % 512 == 0);
    CHECK(tar.ends_with(std::string(1024, '\0')));
    CHECK(tar.substr(257, 8) == std::string("ustar\0"
                                            "00",
                                            8));
    // One header a member, and two more where a sha512 name needs PAX.
    std::size_t blocks = 2;
    for (auto const& [entry, content] : read_tar(tar))
        blocks += (entry.name.size() > 120 ? 3 : 1) + (content.size() + 511) / 512;
    CHECK(tar.size() == blocks * 512);
}

std::string index_of(std::string const& tar) {
    for (auto const& [entry, content] : read_tar(tar))
        if (entry.name == "index.json") return content;
    return {};
}

TEST_CASE("an OCI archive is a sorted image layout") {
    auto const encoding = GENERATE("", "gzip", "zstd");
    auto const image = make_image(table_of<oci_media_types>, encoding);
    auto const tar = archived(image.root, {}, image.blobs);
    check_form(tar, image.blobs);
    CHECK(archived(image.root, {}, image.blobs) == tar);
}

TEST_CASE("an OCI archive holds sha512 images in a folder of their own") {
    auto const image = make_image<sha512>();
    auto const tar = archived(image.root, {}, image.blobs);
    check_form(tar, image.blobs);
    CHECK(tar.find("blobs/sha512/") != std::string::npos);
    CHECK(tar.find("blobs/sha256/") == std::string::npos);
}

TEST_CASE("an OCI archive holds both algorithms, the same layer once, and images without layers") {
    auto image = make_image();
    auto const other = make_image<sha512>();
    for (auto const& [which, content] : other.blobs.blobs()) {
        auto blob = image.blobs.open();
        blob.write(as_bytes(content));
        blob.commit({which, content.size()});
    }
    image_manifest empty{.media_type = image.manifest.media_type, .config = image.manifest.config};
    auto twice = image.manifest;
    twice.layers.push_back(twice.layers[0]);
    image_index const index{.media_type = std::string{oci_media_types::index},
                            .manifests = {image.root, other.root,
                                          put_text(image.blobs, empty.media_type, to_text(empty)),
                                          put_text(image.blobs, twice.media_type, to_text(twice))}};
    auto const root = put_text(image.blobs, index.media_type, to_text(index));
    check_form(archived(root, {}, image.blobs), image.blobs);
}

TEST_CASE("index.json has an entry for each name") {
    auto image = make_image();
    auto const head =
        R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[)";
    auto const named = [](std::string_view text) { return name_of(reference::parse(text)); };
    auto const pinned = "app:1@" + image.root.digest.text(),
               digest_only = "r.io/app@" + image.root.digest.text();

    struct {
        std::vector<image_name> names;
        std::vector<std::pair<std::string, std::string>> expected; // containerd's and the spec's
    } const cases[] = {
        {{}, {{"", ""}}},
        {{named("app")}, {{"docker.io/library/app:latest", "latest"}}},
        {{named("r.io:5000/team/app:1.0"), named("app:2")},
         {{"r.io:5000/team/app:1.0", "1.0"}, {"docker.io/library/app:2", "2"}}},
        {{named("app:1"), named("docker.io/library/app:1")}, {{"docker.io/library/app:1", "1"}}},
        {{named(pinned)}, {{"docker.io/library/" + pinned, "1@" + image.root.digest.text()}}},
        {{named(digest_only)}, {{digest_only, digest_only}}},
        {{{"", "v1"}}, {{"", "v1"}}},
    };
    for (auto const& [names, expected] : cases) {
        std::string entries;
        for (auto const& [full, ref_name] : expected) {
            std::string annotations;
            if (!full.empty()) annotations += R"("io.containerd.image.name":")" + full + "\"";
            if (!ref_name.empty())
                annotations += std::string{annotations.empty() ? "" : ","} +
                               R"("org.opencontainers.image.ref.name":")" + ref_name + "\"";
            entries += std::string{entries.empty() ? "" : ","} +
                       R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")" +
                       image.root.digest.text() + R"(","size":)" + std::to_string(image.root.size) +
                       (annotations.empty() ? "" : ",\"annotations\":{" + annotations + "}") + "}";
        }
        CHECK(index_of(archived(image.root, names, image.blobs)) == head + entries + "]}");
    }
}

TEST_CASE("index.json keeps what the root's descriptor says and is OCI's even for Docker's images") {
    auto image = make_image(table_of<docker_media_types>);
    image.root.platform = platform{.os = "linux", .architecture = "arm64"};
    image.root.annotations = {{"org.opencontainers.image.created", "2024-01-01T00:00:00Z"},
                              {"org.opencontainers.image.ref.name", "of its source"}};
    auto const index = parse_layout_index(index_of(archived(image.root, {{"", "1"}}, image.blobs)), "index");
    REQUIRE(index.size() == 1);
    CHECK(index[0].media_type == docker_media_types::manifest);
    CHECK(index[0].platform == image.root.platform);
    CHECK(index[0].annotations == annotation_map{{"org.opencontainers.image.created", "2024-01-01T00:00:00Z"},
                                                 {"org.opencontainers.image.ref.name", "1"}});
}

} // namespace
