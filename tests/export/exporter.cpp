#include <shiplap/codec/estargz.hpp>
#include <shiplap/codec/gzip.hpp>
#include <shiplap/codec/zstd.hpp>
#include <shiplap/export/exporter.hpp>
#include <shiplap/layer/directory.hpp>
#include <shiplap/layer/existing.hpp>
#include <shiplap/sink/layout.hpp>
#include <shiplap/sink/memory.hpp>

#include "support/catch.hpp"
#include "support/temp.hpp"
#include "support/trees.hpp"

#include <stdexcept>

using namespace shiplap;

namespace {

build_result sample(temp_dir const& dir) {
    trees::write(dir / "tree/a/x", "content of x");
    trees::write(dir / "tree/y", std::string(300'000, 'y'));
    return {.layers = {directory_layer{.path = dir / "tree", .owners = root_owned}},
            .platform = platform{.os = "linux", .architecture = "amd64"}};
}

struct failing_layer {
    void write_tar(byte_sink auto& out, layer_context const&) const {
        out.write(as_bytes("half a layer"));
        throw error{error_code::source_changed, "read", "the-path", "changed while it was read"};
    }
    static std::string description() { return "failing"; }
};

struct stop_before_publishing {
    void operator()(progress_event const& event) const {
        if (event.what == progress_event::kind::publishing) throw std::runtime_error{"stopped"};
    }
};

struct stopping_env {
    shared_pool executor{};
    stop_before_publishing progress{};
    keep_timestamps timestamps{};
};

} // namespace

TEST_CASE("an export is whole: everything that its root names is in the sink, under its name", "[exporter]") {
    temp_dir dir;
    auto const result = sample(dir);
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const image = out(result, {.names = {"app:1", "example.com/app"}, .annotations = {{"k", "v"}}});

    CHECK(image.names == std::vector<std::string>{"docker.io/library/app:1", "example.com/app:latest"});
    auto const& sink = out.sink();
    REQUIRE(sink.images().size() == 2);
    CHECK(sink.images()[1].name.full == "example.com/app:latest");
    auto const graph = read_graph(image.root, sink.store());
    auto const& manifest = graph.manifests.at(image.root.digest);
    CHECK(manifest.annotations == annotation_map{{"k", "v"}});
    CHECK(manifest.config.digest == image.config.digest);
    REQUIRE(manifest.layers.size() == 1);
    CHECK(manifest.layers[0].media_type == "application/vnd.oci.image.layer.v1.tar+gzip");
    CHECK(manifest.layers[0].digest == image.layers[0].blob.digest);
    CHECK_THAT(read_blob(sink.store(), manifest.config), contains(image.layers[0].diff_id.text()));
}

TEST_CASE("the epoch, or else the newest entry, is when an image was created", "[exporter]") {
    temp_dir dir;
    auto result = sample(dir);
    for (auto const& path : {"tree/a", "tree"}) trees::set_time(dir / path, {1'500'000'000, 0});
    exporter out{uncompressed{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const created = [&](export_options const& options) {
        return out(result, options).root.annotations["org.opencontainers.image.created"];
    };
    CHECK(created({}) == "2020-09-13T12:26:40Z"); // the files' 1'600'000'000
    CHECK(created({.epoch = 0}) == "1970-01-01T00:00:00Z");
    CHECK(created({.annotate_created = false}).empty());
    CHECK(created({.descriptor_annotations = {{"org.opencontainers.image.created", "mine"}}}) == "mine");
}

TEST_CASE("what fails names the layer and leaves no trace", "[exporter]") {
    temp_dir dir;
    auto result = sample(dir);
    result.layers.emplace_back(failing_layer{});
    exporter out{gzip{}, oci_media_types{}, sha256{}, layout_sink{dir / "out"}};
    CHECK_THROWS_WITH(out(result), contains("layer 2 (failing)") && contains("the-path"));
    CHECK_FALSE(std::filesystem::exists(dir / "out"));
}

// A signal, say, may be noticed only when all work is done on other threads.
TEST_CASE("who observes can stop an export until it becomes visible", "[exporter]") {
    temp_dir dir;
    auto const result = sample(dir);
    exporter out{gzip{}, oci_media_types{}, sha256{}, layout_sink{dir / "out"}, stopping_env{}};
    CHECK_THROWS_WITH(out(result), contains("stopped"));
    CHECK_FALSE(std::filesystem::exists(dir / "out"));
}

TEST_CASE("a wrong name is found before anything is read", "[exporter]") {
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    build_result result;
    result.layers.emplace_back(failing_layer{});
    CHECK_THROWS_AS(out(result, {.names = {"Not/Valid"}}), option_error);
}

TEST_CASE("a stored layer is used as it is, unless forced into another encoding", "[exporter]") {
    temp_dir dir;
    memory_store store;
    default_env env;
    auto const stored = pack<sha256>(
        directory_layer{.path = (sample(dir), dir / "tree"), .owners = root_owned}, gzip{}, store, env);
    build_result const result{.layers = {blob_in_store(store, stored)}};

    exporter same{zstd{}, oci_media_types{}, sha256{}, memory_sink{}};
    CHECK(same(result).layers[0].blob.digest == stored.blob.digest);

    exporter to_zstd{zstd{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const forced = to_zstd(result, {.force_compression = true}).layers[0];
    CHECK(forced.encoding == "zstd");
    CHECK(forced.diff_id == stored.diff_id);

    exporter to_gzip{gzip{.level = 1}, oci_media_types{}, sha256{}, memory_sink{}};
    CHECK(to_gzip(result, {.force_compression = true}).layers[0].blob.digest ==
          stored.blob.digest); // the level does not count

    exporter to_estargz{estargz{}, oci_media_types{}, sha256{}, memory_sink{}};
    CHECK(to_estargz(result, {.force_compression = true})
              .layers[0]
              .annotations.contains(toc_digest_annotation));
}

TEST_CASE("an image without layers is one", "[exporter]") {
    exporter out{gzip{}, docker_media_types{}, sha512{}, memory_sink{}};
    auto const image = out({});
    CHECK(image.root.digest.algorithm() == "sha512");
    CHECK_THAT(read_blob(out.sink().store(), image.root), contains("\"layers\": null"));
}

TEST_CASE("several platforms make an index, in the order given", "[exporter]") {
    temp_dir dir;
    auto amd64 = sample(dir), arm64 = amd64; // which share a layer
    arm64.platform = parse_platform("linux/arm64");
    trees::write(dir / "arm/bin/app", "for arm64");
    arm64.layers.emplace_back(directory_layer{.path = dir / "arm", .owners = root_owned});
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const image =
        out(std::vector{arm64, amd64}, {.names = {"app:1"},
                                        .for_platforms = {{.platform = parse_platform("linux/arm64"),
                                                           .manifest = {{"m", "arm"}},
                                                           .descriptor = {{"d", "arm"}}}},
                                        .index_annotations = {{"i", "1"}},
                                        .index_descriptor_annotations = {{"id", "2"}}});
    auto const& store = out.sink().store();
    CHECK(image.root.media_type == oci_media_types::index);
    CHECK(image.root.annotations.at("id") == "2");
    CHECK(image.root.annotations.contains("org.opencontainers.image.created"));
    CHECK_FALSE(image.root.platform);
    auto const index = parse_index(read_blob(store, image.root), "index");
    CHECK(index.annotations == annotation_map{{"i", "1"}});
    REQUIRE(index.manifests.size() == 2);
    REQUIRE(image.platforms.size() == 2);
    CHECK(index.manifests[0] == image.platforms[0].manifest);
    CHECK(index.manifests[1] == image.platforms[1].manifest);
    CHECK(format(*index.manifests[0].platform) == "linux/arm64");
    CHECK(index.manifests[0].annotations == annotation_map{{"d", "arm"}});
    CHECK(index.manifests[1].annotations.empty());

    auto const graph = read_graph(image.root, store);
    CHECK(graph.manifests.at(index.manifests[0].digest).annotations == annotation_map{{"m", "arm"}});
    CHECK(graph.manifests.at(index.manifests[0].digest).layers.size() == 2);
    CHECK(image.config == image.platforms[0].config);
    CHECK(image.layers.size() == 2);
    CHECK(image.platforms[1].layers[0].blob.digest == image.layers[0].blob.digest);

    exporter alone{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    CHECK(alone(amd64).root.digest == index.manifests[1].digest); // it is the same image as on its own

    exporter docker{gzip{}, docker_media_types{}, sha512{}, memory_sink{}};
    auto const list = docker(std::vector{amd64});
    CHECK(list.root.media_type == docker_media_types::index);
    CHECK(parse_index(read_blob(docker.sink().store(), list.root), "list").manifests.size() == 1);
}

TEST_CASE("what platforms share is read once", "[exporter]") {
    struct one_time_layer {
        bool* read;
        void write_tar(byte_sink_ref out, layer_context const&) const {
            if (std::exchange(*read, true))
                throw error{error_code::source_changed, "read", "pipe", "is gone"};
            out.write(as_bytes(std::string(1024, '\0')));
        }
        static std::string description() { return "one time"; }
    };
    bool read = false;
    any_layer_source const shared{one_time_layer{&read}};
    exporter out{gzip{}, oci_media_types{}, sha256{}, layout_sink{temp_dir{} / "out"}};
    auto const image =
        out(std::vector<build_result>{{.layers = {shared}, .platform = parse_platform("linux/amd64")},
                                      {.layers = {shared}, .platform = parse_platform("linux/arm64")}});
    CHECK(image.platforms[0].layers[0].blob.digest == image.platforms[1].layers[0].blob.digest);
}

TEST_CASE("attestations stand behind the images that they are about", "[exporter]") {
    temp_dir dir;
    auto amd64 = sample(dir), arm64 = amd64, riscv = amd64;
    arm64.platform = parse_platform("linux/arm64");
    riscv.platform = parse_platform("linux/riscv64");
    amd64.attestations = {{std::string{spdx_predicate}, "{}"}, {std::string{provenance_predicate}, "{}"}};
    riscv.attestations = {{std::string{spdx_predicate}, "{\"a\":1}"}};
    auto const form = GENERATE(attestation_form::image, attestation_form::artifact);
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const image = out(std::vector{amd64, arm64, riscv}, {.names = {"app:1"}, .attestations_as = form});
    auto const graph = read_graph(image.root, out.sink().store());
    auto const& entries = graph.indexes.at(image.root.digest).manifests;
    REQUIRE(entries.size() == 5);
    CHECK(entries[3] == image.platforms[0].attestations);
    CHECK_FALSE(image.platforms[1].attestations);
    CHECK(entries[4] == image.platforms[2].attestations);
    CHECK(entries[4].annotations.at("vnd.docker.reference.digest") == entries[2].digest.text());
    auto const& statements = graph.manifests.at(entries[3].digest).layers;
    REQUIRE(statements.size() == 2);
    CHECK_THAT(read_blob(out.sink().store(), statements[0]),
               contains("pkg:docker/app@1?platform=linux%2Famd64") &&
                   contains(std::string{entries[0].digest.encoded()}));
    CHECK(select_platform(graph, parse_platform("linux/riscv64")).root == entries[2]);
    CHECK_THROWS_WITH(select_platform(graph, parse_platform("unknown/unknown")),
                      contains("choose one of these: linux/amd64, linux/arm64, linux/riscv64"));

    exporter single{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const one = single(amd64, {.names = {"app:1"}, .attestations_as = form});
    CHECK(parse_index(read_blob(single.sink().store(), one.root), "index").manifests ==
          std::vector{entries[0], entries[3]});
}

TEST_CASE("what fails names the platform", "[exporter]") {
    temp_dir dir;
    auto amd64 = sample(dir), arm64 = amd64;
    arm64.platform = parse_platform("linux/arm64");
    arm64.layers.emplace_back(failing_layer{});
    exporter out{gzip{}, oci_media_types{}, sha256{}, layout_sink{dir / "out"}};
    CHECK_THROWS_WITH(out(std::vector{amd64, arm64}),
                      contains("platform linux/arm64") && contains("layer 2"));
    CHECK_FALSE(std::filesystem::exists(dir / "out"));
}
