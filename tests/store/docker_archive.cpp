#include <shiplap/sink/copy.hpp>
#include <shiplap/sink/docker_archive.hpp>
#include <shiplap/sink/layout.hpp>
#include <shiplap/sink/memory.hpp>
#include <shiplap/store/docker_archive.hpp>

#include "support/catch.hpp"
#include "support/sample_image.hpp"
#include "support/temp.hpp"

#include <cstdlib>

namespace {

using namespace shiplap;

struct quiet {
    no_progress progress;
};

static_assert(blob_reader_source<docker_archive_store>);

constexpr std::uint64_t no_limit = 1 << 30;

image_name named(std::string_view text) {
    return name_of(reference::parse(text));
}

std::string sha256_of(std::string_view text) {
    return std::string{digest::of<sha256>(as_bytes(text)).encoded()};
}

/// The layers of a sample as tars.
std::vector<std::string> plain_layers(unsigned count = 2) {
    auto const image = make_image(table_of<docker_media_types>, "", count);
    std::vector<std::string> out;
    for (auto const& layer : image.manifest.layers) out.push_back(image.blobs.blobs().at(layer.digest));
    return out;
}

std::string config_for(std::vector<std::string> const& layers, std::string_view os = "linux") {
    std::string ids;
    for (auto const& layer : layers)
        ids += std::string{ids.empty() ? "" : ","} + "\"sha256:" + sha256_of(layer) + "\"";
    return R"({"architecture":"amd64","os":")" + std::string{os} +
           R"(","rootfs":{"type":"layers","diff_ids":[)" + ids + "]}}";
}

/// An archive in a file.
struct archive_file {
    explicit archive_file(std::vector<tar_member> members) : archive_file{make_tar(std::move(members))} {}
    explicit archive_file(std::string const& bytes) { write_file(path, bytes); }
    temp_dir folder;
    std::string path = folder / "test.tar";
};

/// Everything that a store has for `root`, verified.
std::map<digest, std::string> contents(descriptor const& root, docker_archive_store const& store) {
    memory_sink sink;
    quiet env;
    copy(root, {}, store, sink, env);
    return sink.store().blobs();
}

image_manifest manifest_of(descriptor const& root, docker_archive_store const& store) {
    return parse_manifest(read_blob(store, root), "manifest", root.media_type);
}

TEST_CASE("what a docker archive got it gives back") {
    auto const encoding = GENERATE("", "gzip", "zstd");
    auto const image = make_image(table_of<docker_media_types>, encoding);
    temp_dir folder;
    docker_archive_sink sink{folder / "app.tar"};
    quiet env;
    copy(image.root, std::vector{named("app:1"), named("app:2")}, image.blobs, sink, env);

    docker_archive_store const store{folder / "app.tar"};
    CHECK(store.entries().size() == 2);
    CHECK(store.resolve("app:1").digest == image.root.digest);
    CHECK(store.resolve("docker.io/library/app:2").digest == image.root.digest);
    CHECK(contents(store.resolve(""), store) == image.blobs.blobs());
}

TEST_CASE("an image manifest is made up where there is only manifest.json") {
    auto const encoding = GENERATE("", "gzip", "zstd");
    auto const layers = plain_layers();
    auto const config = config_for(layers);
    archive_file const file{{
        tar_file(sha256_of(config) + ".json", config),
        tar_file("one/layer.tar", encoded(encoding, layers[0])),
        tar_file("two.tar", encoded(encoding, layers[1])),
        tar_file("manifest.json",
                 R"([{"Config":")" + sha256_of(config) +
                     R"(.json","RepoTags":["app:1","localhost:5000/app:2"],)"
                     R"("Layers":["one/layer.tar","two.tar"],"Parent":"","LayerSources":{}}])"),
    }};
    docker_archive_store const store{file.path};

    CHECK(store.entries().size() == 2);
    auto const root = store.resolve("app:1");
    CHECK(store.resolve("localhost:5000/app:2").digest == root.digest);
    CHECK(root.media_type == docker_media_types::manifest);
    CHECK(root.platform == platform{.os = "linux", .architecture = "amd64"});
    auto const manifest = manifest_of(root, store);
    CHECK(manifest.config.digest.encoded() == sha256_of(config));
    CHECK(manifest.config.media_type == docker_media_types::config);
    REQUIRE(manifest.layers.size() == 2);
    for (std::size_t i = 0; i < 2; ++i) {
        auto const packed = encoded(encoding, layers[i]);
        CHECK(manifest.layers[i].media_type == docker_media_types::layer(encoding));
        CHECK(manifest.layers[i].digest.encoded() == sha256_of(packed));
        CHECK(manifest.layers[i].size == packed.size());
        CHECK(read_blob(store, manifest.layers[i]) == packed);
    }
    CHECK(contents(root, store).size() == 4);
    CHECK(docker_archive_store{file.path}.resolve("").digest == root.digest);
}

TEST_CASE("images share layers, and layers are links") {
    auto const layers = plain_layers(3);
    std::vector<std::string> const first{layers[0], layers[1]}, second{layers[0], layers[2], layers[0]};
    auto const a = config_for(first), b = config_for(second);
    archive_file const file{{
        tar_file("manifest.json",
                 R"([{"Config":"a.json","RepoTags":["a:1"],"Layers":["1/layer.tar","2/layer.tar"]},)"
                 R"({"Config":"b.json","RepoTags":null,"Layers":["3/layer.tar","4.tar","5.tar"]}])"),
        tar_file("a.json", a),
        tar_file("b.json", b),
        tar_file("1/layer.tar", layers[0]),
        tar_file("2/layer.tar", layers[1]),
        tar_link("3/layer.tar", "../1/layer.tar", entry_type::symbolic_link),
        tar_file("4.tar", layers[2]),
        tar_link("5.tar", "1/layer.tar", entry_type::hard_link),
    }};
    docker_archive_store const store{file.path};
    REQUIRE(store.entries().size() == 2);
    CHECK(store.resolve("a:1") == store.entries()[0]);
    CHECK_THROWS_WITH(store.resolve(""), contains("several") && contains("docker.io/library/a:1"));
    CHECK_THROWS_WITH(store.resolve("b:1"), contains("docker.io/library/a:1"));

    auto const nameless = store.resolve(store.entries()[1].digest.text());
    CHECK(name_of_entry(nameless) == image_name{});
    auto const manifest = manifest_of(nameless, store);
    REQUIRE(manifest.layers.size() == 3);
    CHECK(manifest.layers[0] == manifest.layers[2]);
    CHECK(contents(nameless, store).size() == 4);
    CHECK(contents(store.entries()[0], store).size() == 4);
}

TEST_CASE("images without layers, with null for none, and with sha512 diff_ids") {
    auto const layers = plain_layers(1);
    auto const empty = config_for({});
    auto sha512_config = config_for(layers);
    auto const id = "sha256:" + sha256_of(layers[0]);
    sha512_config.replace(sha512_config.find(id), id.size(), digest::of<sha512>(as_bytes(layers[0])).text());
    archive_file const file{{
        tar_file("empty.json", empty),
        tar_file("512.json", sha512_config),
        tar_file("layer", encoded("gzip", layers[0])),
        tar_file("manifest.json", R"([{"Config":"empty.json","RepoTags":["empty:1"],"Layers":null},)"
                                  R"({"Config":"512.json","RepoTags":[],"Layers":["layer"]}])"),
    }};
    docker_archive_store const store{file.path};
    CHECK(manifest_of(store.resolve("empty:1"), store).layers.empty());
    REQUIRE(store.entries().size() == 2);
    CHECK(manifest_of(store.entries()[1], store).layers.size() == 1);
}

TEST_CASE("a layout that is not whole gives way to manifest.json") {
    auto const image = make_image(table_of<docker_media_types>);
    temp_dir folder;
    docker_archive_sink sink{folder / "app.tar"};
    quiet env;
    copy(image.root, std::vector{named("app:1")}, image.blobs, sink, env);
    auto members = read_tar(read_file(folder / "app.tar", no_limit));
    auto const without = [&](std::string const& name) {
        auto rest = members;
        std::erase_if(rest, [&](auto const& member) { return member.entry.name.ends_with(name); });
        return rest;
    };
    auto const expected = image.manifest.config.digest;
    for (auto const& missing :
         {std::string{"oci-layout"}, std::string{"index.json"}, std::string{image.root.digest.encoded()}}) {
        CAPTURE(missing);
        archive_file const file{without(missing)};
        docker_archive_store const store{file.path};
        CHECK(manifest_of(store.resolve("app:1"), store).config.digest == expected);
    }
    archive_file const only_layout{without("manifest.json")};
    docker_archive_store const store{only_layout.path};
    CHECK(store.resolve("app:1").digest == image.root.digest);

    // What both need is missing.
    archive_file const nothing{without(std::string{image.manifest.layers[1].digest.encoded()})};
    CHECK_THROWS_WITH(docker_archive_store{nothing.path}, contains("has no file 'blobs/sha256/"));
}

TEST_CASE("a docker archive that breaks its own rules is refused") {
    auto const layers = plain_layers(1);
    auto const config = config_for(layers), other = config_for({layers[0] + "x"});
    auto const good_config = tar_file("c.json", config), layer = tar_file("l.tar", layers[0]);
    auto const manifest = [](std::string const& text) { return tar_file("manifest.json", text); };
    auto const image = [&](std::string const& config_name, std::string const& layer_list,
                           std::string const& tags = "null") {
        return manifest(R"([{"Config":")" + config_name + R"(","RepoTags":)" + tags + R"(,"Layers":)" +
                        layer_list + "}]");
    };
    auto const valid = image("c.json", R"(["l.tar"])");
    auto const packed = encoded("gzip", layers[0]);

    struct {
        std::vector<tar_member> members;
        error_code code;
        std::string expected; // in the message
    } const cases[] = {
        {{good_config, layer}, error_code::format, "no file 'manifest.json'"},
        {{good_config, layer, manifest("{}")}, error_code::format, "must be an array"},
        {{good_config, layer, manifest("[")}, error_code::format, "manifest.json"},
        {{good_config, layer, manifest("[1]")}, error_code::format, "must be an object"},
        {{good_config, layer, manifest(R"([{"Layers":[]}])")}, error_code::format, "Config"},
        {{good_config, layer, manifest(R"([{"Config":1,"Layers":[]}])")},
         error_code::format,
         "must be a string"},
        {{good_config, layer, image("c.json", R"("l.tar")")}, error_code::format, "must be an array"},
        {{good_config, layer, image("c.json", "[1]")}, error_code::format, "must be a string"},
        {{good_config, layer, manifest(R"([{"Config":"c.json","Config":"c.json","Layers":["l.tar"]}])")},
         error_code::format,
         "Config"},
        {{good_config, layer, valid, valid}, error_code::format, "several members called 'manifest.json'"},
        {{good_config, layer, manifest(std::string(max_document_size + 1, ' '))},
         error_code::format,
         "at most"},
        {{good_config, layer, image("c.json", R"(["l.tar"])", R"(["app"])")},
         error_code::format,
         "must be a name with a tag"},
        {{good_config, layer,
          image("c.json", R"(["l.tar"])", R"(["app:1@sha256:)" + sha256_of("") + R"("])")},
         error_code::format,
         "without a digest"},
        {{good_config, layer, image("c.json", R"(["l.tar"])", R"(["App:1"])")},
         error_code::format,
         "lowercase"},
        {{good_config, layer, image("c.json", R"(["l.tar"])", R"("app:1")")},
         error_code::format,
         "must be an array"},
        {{layer, valid}, error_code::not_found, "no file 'c.json'"},
        {{good_config, valid}, error_code::not_found, "no file 'l.tar'"},
        {{good_config, layer, image("../c.json", R"(["l.tar"])")}, error_code::unsafe_entry, "outside"},
        {{good_config, layer, image("/etc/passwd", R"(["l.tar"])")}, error_code::unsafe_entry, "outside"},
        {{good_config, layer, image("c.json", R"(["../../l.tar"])")}, error_code::unsafe_entry, "outside"},
        {{good_config, tar_link("l.tar", "/dev/zero", entry_type::symbolic_link), valid},
         error_code::unsafe_entry,
         "leads out"},
        {{good_config, layer, layer, valid}, error_code::format, "several members called 'l.tar'"},
        {{good_config, layer, image("c.json", "[]")}, error_code::format, "has 0 layers"},
        {{good_config, layer, image("c.json", R"(["l.tar","l.tar"])")}, error_code::format, "has 1 diff_ids"},
        {{tar_file("c.json", other), layer, valid}, error_code::digest_mismatch, sha256_of(layers[0])},
        {{tar_file("c.json", "not JSON"), layer, valid}, error_code::format, "c.json"},
        {{tar_file("c.json", "{}"), layer, valid}, error_code::format, "c.json"},
        {{tar_file(sha256_of("x") + ".json", config), layer, image(sha256_of("x") + ".json", R"(["l.tar"])")},
         error_code::digest_mismatch,
         sha256_of(config)},
        {{good_config, tar_file("l.tar", packed.substr(0, packed.size() - 9)), valid},
         error_code::format,
         "layer 'l.tar'"},
        {{good_config, tar_file("l.tar", packed + "rubbish"), valid}, error_code::format, "layer 'l.tar'"},
        {{good_config, tar_file("l.tar", encoded("gzip", layers[0] + "x")), valid},
         error_code::digest_mismatch,
         sha256_of(layers[0])},
    };
    for (auto const& [members, code, expected] : cases) {
        archive_file const file{members};
        try {
            docker_archive_store const store{file.path};
            CAPTURE(expected);
            FAIL("was accepted");
        } catch (error const& refused) {
            CHECK(refused.code() == code);
            CHECK_THAT(refused.what(), contains(expected));
        }
    }
    archive_file const file{{good_config, layer, valid}};
    CHECK_NOTHROW(docker_archive_store{file.path});
    archive_file const none{{manifest("[]")}};
    CHECK_THROWS_WITH(docker_archive_store{none.path}.resolve(""), contains("no image"));
}

TEST_CASE("an archive that skopeo made is read", "[interop]") {
    if (std::system("command -v skopeo > /dev/null") != 0) {
        WARN("not checked: skopeo is not installed");
        return;
    }
    auto const encoding = GENERATE("", "gzip");
    auto const image = make_image(table_of<oci_media_types>, encoding, 3);
    temp_dir folder;
    quiet env;
    layout_sink layout{folder / "layout"};
    copy(image.root, std::vector{image_name{"", "1"}}, image.blobs, layout, env);
    auto const command = "cd '" + folder.path().string() +
                         "' && skopeo copy oci:layout:1 docker-archive:app.tar:example.com/app:1 > log 2>&1";
    REQUIRE(std::system(command.c_str()) == 0);

    docker_archive_store const store{folder / "app.tar"};
    auto const root = store.resolve("example.com/app:1");
    auto const manifest = manifest_of(root, store);
    CHECK(manifest.config.digest == image.manifest.config.digest);
    auto const config = read_config(image.config, "config");
    REQUIRE(manifest.layers.size() == 3);
    for (std::size_t i = 0; i < 3; ++i)
        CHECK(manifest.layers[i].digest == config.diff_ids[i]); // it unpacks them
    CHECK(contents(root, store).size() == 5);
}

} // namespace
