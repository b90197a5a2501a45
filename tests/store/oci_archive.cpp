#include <shiplap/sink/copy.hpp>
#include <shiplap/sink/memory.hpp>
#include <shiplap/sink/oci_archive.hpp>
#include <shiplap/store/oci_archive.hpp>

#include "support/catch.hpp"
#include "support/sample_image.hpp"
#include "support/temp.hpp"

namespace {

using namespace shiplap;

struct quiet {
    no_progress progress;
};

static_assert(blob_reader_source<oci_archive_store>);

constexpr std::uint64_t no_limit = 1 << 30;

image_name named(std::string_view text) {
    return name_of(reference::parse(text));
}

std::string archived(sample_image const& image, std::vector<image_name> const& names) {
    temp_dir folder;
    quiet env;
    oci_archive_sink sink{folder / "app.tar"};
    copy(image.root, names, image.blobs, sink, env);
    return read_file(folder / "app.tar", no_limit);
}

/// Everything that a store has for `root`.
std::map<digest, std::string> contents(descriptor const& root, oci_archive_store const& store) {
    memory_sink sink;
    quiet env;
    copy(root, {}, store, sink, env);
    return sink.store().blobs();
}

TEST_CASE("what an OCI archive got it gives back") {
    auto const encoding = GENERATE("", "gzip", "zstd");
    auto const image = GENERATE(0, 1, 2) == 0 ? make_image(table_of<docker_media_types>, encoding)
                                              : make_image<sha512>(table_of<oci_media_types>, encoding);
    temp_dir folder;
    write_file(folder / "app.tar", archived(image, {named("app:1")}));
    oci_archive_store const store{folder / "app.tar"};
    auto const root = store.resolve("app:1");
    CHECK(root.digest == image.root.digest);
    CHECK(root.media_type == image.root.media_type);
    CHECK(contents(root, store) == image.blobs.blobs());
    CHECK_FALSE(store.contains(digest::of<sha256>(as_bytes("something else"))));
    CHECK_THROWS_AS(store.reader(digest::of<sha256>(as_bytes("something else"))), error);
}

TEST_CASE("the order of members, \"./\" and compression make no difference") {
    auto const image = make_image();
    auto members = read_tar(archived(image, {}));
    auto const variant = GENERATE(0, 1, 2, 3);
    if (variant == 1) std::reverse(members.begin(), members.end());
    if (variant == 2)
        for (auto& [entry, content] : members) entry.name.insert(0, "./");
    auto bytes = make_tar(members);
    if (variant == 3) bytes = encoded("gzip", bytes);
    temp_dir folder;
    write_file(folder / "app.tar", bytes);
    oci_archive_store const store{folder / "app.tar"};
    CHECK(contents(store.resolve(""), store) == image.blobs.blobs());
}

TEST_CASE("an image of an OCI archive is found by its names") {
    auto const image = make_image();
    temp_dir folder;
    write_file(folder / "app.tar", archived(image, {named("app:1"), named("r.io/team/app:2"), {"", "odd"}}));
    oci_archive_store const store{folder / "app.tar"};
    CHECK(store.entries().size() == 3);
    for (auto const* name : {"", "app:1", "docker.io/library/app:1", "1", "r.io/team/app:2", "2", "odd"}) {
        CAPTURE(name);
        CHECK(store.resolve(name).digest == image.root.digest);
    }
    CHECK(store.resolve(image.root.digest.text()).digest == image.root.digest);
    for (auto const* name : {"app", "app:2", "3", "Odd"}) {
        CAPTURE(name);
        try {
            (void)store.resolve(name);
            FAIL("was found");
        } catch (error const& refused) {
            CHECK(refused.code() == error_code::not_found);
            CHECK(refused.reason().find("docker.io/library/app:1") != std::string::npos);
        }
    }
}

TEST_CASE("damaged content of an OCI archive is found when it is copied") {
    auto const image = make_image();
    auto members = read_tar(archived(image, {}));
    for (auto& [entry, content] : members)
        if (entry.name.ends_with(std::string{image.manifest.layers[0].digest.encoded()})) content[600] ^= 1;
    temp_dir folder;
    write_file(folder / "app.tar", make_tar(members));
    oci_archive_store const store{folder / "app.tar"};
    CHECK_THROWS_AS(contents(store.resolve(""), store), digest_mismatch);
}

TEST_CASE("what is no OCI archive is refused") {
    auto const layout = tar_file("oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
    auto const index = tar_file("index.json", R"({"schemaVersion":2,"manifests":[]})");
    struct {
        std::vector<tar_member> members;
        std::string expected; // in the message
    } const cases[] = {
        {{}, "no OCI archive"},
        {{index}, "no file 'oci-layout'"},
        {{tar_file("manifest.json", "[]")}, "is a docker archive"},
        {{layout}, "no file 'index.json'"},
        {{tar_file("oci-layout", R"({"imageLayoutVersion":"2.0.0"})"), index}, "1.0.0"},
        {{tar_file("oci-layout", "{}"), index}, "imageLayoutVersion"},
        {{layout, tar_file("index.json", "{")}, "index.json"},
        {{layout, tar_file("index.json", "[]")}, "index.json"},
        {{layout, index, index}, "several members called 'index.json'"},
        {{layout, tar_file("index.json", std::string(max_document_size + 1, ' '))}, "at most"},
        {{layout, tar_link("index.json", "/etc/passwd", entry_type::symbolic_link)}, "leads out of it"},
    };
    for (auto const& [members, expected] : cases) {
        CAPTURE(expected);
        temp_dir folder;
        write_file(folder / "app.tar", make_tar(members));
        CHECK_THROWS_WITH(oci_archive_store{folder / "app.tar"}, contains(expected));
        CHECK_THROWS_AS(oci_archive_store{folder / "app.tar"}, error);
    }
    temp_dir folder;
    write_file(folder / "app.tar", make_tar({layout, index}));
    CHECK_THROWS_WITH(oci_archive_store{folder / "app.tar"}.resolve(""), contains("no image"));
}

TEST_CASE("an OCI archive that skopeo made is read", "[interop]") {
    if (std::system("command -v skopeo > /dev/null") != 0) {
        WARN("not checked: skopeo is not installed");
        return;
    }
    auto const image = make_image(table_of<oci_media_types>, "gzip", 3);
    temp_dir folder;
    write_file(folder / "ours.tar", archived(image, {named("app:1")}));
    auto const command = "cd '" + folder.path().string() +
                         "' && skopeo copy oci-archive:ours.tar:1 oci-archive:theirs.tar:v1 > log 2>&1";
    REQUIRE(std::system(command.c_str()) == 0);
    oci_archive_store const store{folder / "theirs.tar"};
    CHECK(store.resolve("v1").digest == image.root.digest);
    CHECK(contents(store.resolve("v1"), store) == image.blobs.blobs());
}

} // namespace
