#include <shiplap/codec/estargz.hpp>
#include <shiplap/codec/gzip.hpp>
#include <shiplap/export/exporter.hpp>
#include <shiplap/export/squash.hpp>
#include <shiplap/sink/memory.hpp>

#include "support/catch.hpp"
#include "support/sample_image.hpp"
#include "support/temp.hpp"
#include "support/trees.hpp"

#include <map>

using namespace shiplap;

namespace {

/// Can be read once, as a pipe.
any_layer_source stream(std::vector<tar_member> members) {
    struct owned {
        std::shared_ptr<std::string const> text;
        span_source from{*text};
        std::size_t read(bytes_span into) { return from.read(into); }
    };
    return tar_layer{
        any_byte_source{owned{std::make_shared<std::string const>(make_tar(std::move(members)))}}, "stream"};
}

/// A store that may be far away, and how often each of its blobs was read.
struct watched_store {
    memory_store const& from;
    std::map<digest, int>& reads;
    [[nodiscard]] bool contains(digest const& which) const { return from.contains(which); }
    [[nodiscard]] span_source reader(digest const& which) const {
        ++reads[which];
        return from.reader(which);
    }
};
struct remote_watched_store : watched_store {
    static constexpr bool is_remote = true;
};

platform const arm64{.os = "linux", .architecture = "arm64"};

/// Two layers, layer0 and layer1, and a history of three steps.
sample_image make_base(std::string_view encoding = "gzip") {
    auto image = make_image(table_of<oci_media_types>, encoding);
    auto const rootfs = image.config.substr(image.config.find("\"rootfs\""));
    image.config = R"({"architecture":"arm64","config":{"Env":["A=1"]},"container_config":{},)"
                   R"("created":"2020-01-03T00:00:00Z",)"
                   R"("history":[{"created":"2020-01-01T00:00:00Z","created_by":"ADD"},)"
                   R"({"created":"2020-01-02T00:00:00Z","created_by":"ENV","empty_layer":true},)"
                   R"({"created":"2020-01-03T00:00:00Z","created_by":"RUN"}],"os":"linux",)" +
                   rootfs;
    image.manifest.config = put_text(image.blobs, oci_media_types::config, image.config);
    image.root = put_text(image.blobs, oci_media_types::manifest, to_text(image.manifest));
    return image;
}

std::vector<any_layer_source> new_layers() {
    return {stream({tar_file("a", "1"), tar_file(".wh.layer0", "")}),
            stream({tar_file("b", "2"), tar_file(".wh.a", "")})};
}

struct exported {
    exported_image image;
    image_manifest manifest;
    image_config config;
    std::string text;                            // of the configuration
    std::vector<std::vector<std::string>> names; // in each layer
};

/// What becomes of an image; the layers are packed with gzip.
exported export_it(build_result const& result, export_options const& options = {}) {
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto image = out(result, options);
    auto const& store = out.sink().store();
    auto manifest = parse_manifest(read_blob(store, image.root), "m", image.root.media_type);
    exported all{image, manifest, {}, read_blob(store, image.config), {}};
    all.config = read_config(all.text, "c");
    for (auto const& layer : manifest.layers) {
        string_sink plain;
        auto tar = decode_as(layer_encoding(layer.media_type), any_byte_source{store.reader(layer.digest)});
        transfer(tar, plain);
        all.names.push_back(trees::names_of(trees::read_tar(plain.text)));
    }
    return all;
}

using names = std::vector<std::vector<std::string>>;
default_env env;

} // namespace

TEST_CASE("the layers above a base become one", "[squash]") {
    auto const from = make_base();
    build_result const result{.layers = new_layers(), .base = read_base(from.blobs, from.root)};
    auto const found = export_it(squash(result, squash_scope::above_base, env));
    CHECK(found.names == names{{"layer0"}, {"layer1"}, {".wh.layer0", "b", ".wh.a"}});
    CHECK(found.manifest.layers[0].digest == from.manifest.layers[0].digest);
    CHECK(found.config.diff_ids.size() == 3);
    REQUIRE(found.config.history.size() == 4);
    CHECK(found.config.history[0].created_by == "ADD");
    CHECK_FALSE(found.config.history[2].empty_layer);
    CHECK_FALSE(found.config.history[3].empty_layer);
    CHECK(found.image.warnings.empty());
}

TEST_CASE("all layers become one", "[squash]") {
    auto const from = make_base();
    build_result result{.layers = new_layers(), .base = read_base(from.blobs, from.root)};
    result.changes.env = {"B=2"};
    auto const found = export_it(squash(result, squash_scope::all, env));
    CHECK(found.names == names{{"layer1", "b"}});
    CHECK(found.config.diff_ids.size() == 1);
    CHECK(found.config.platform.architecture == "arm64");
    CHECK_THAT(found.text, contains(R"("Env":["A=1","B=2"])") && !contains("container_config"));
    REQUIRE(found.config.history.size() == 4);
    for (std::size_t i = 0; i < 3; ++i) CHECK(found.config.history[i].empty_layer);
    CHECK(found.config.history[2].created_by == "RUN");
    CHECK(format_rfc3339(*found.config.history[2].created) == "2020-01-03T00:00:00Z");
    CHECK_FALSE(found.config.history[3].empty_layer);
    CHECK(found.image.warnings.empty());
}

TEST_CASE("without anything above a base its own layers are squashed", "[squash]") {
    auto const from = make_base();
    build_result const result{.base = read_base(from.blobs, from.root)};
    auto const found = export_it(squash(result, squash_scope::above_base, env));
    CHECK(found.names == names{{"layer0", "layer1"}});
    CHECK(found.config.history.size() == 4);
}

TEST_CASE("without a base all layers are squashed", "[squash]") {
    build_result result{.layers = new_layers()};
    result.config =
        R"({"architecture":"arm64","config":{},"os":"linux","rootfs":{"type":"layers","diff_ids":[]},)"
        R"("history":[{"created_by":"1"},{"created_by":"2"}]})";
    auto const found = export_it(squash(result, squash_scope::above_base, env));
    CHECK(found.names == names{{"b"}});
    CHECK(found.config.history.size() == 3);
    CHECK(found.image.warnings.empty());
}

TEST_CASE("one layer stays as it is", "[squash]") {
    auto const from = make_base();
    auto const lone = make_image(table_of<oci_media_types>, "gzip", 1);
    auto const above = stream({tar_file("a", "1")});
    auto const base = read_base(from.blobs, from.root), lone_base = read_base(lone.blobs, lone.root);
    auto const kept = squash(build_result{.layers = {above}, .base = base}, squash_scope::above_base, env);
    CHECK((kept.base && kept.layers.size() == 1 && kept.layers[0].is_same_as(above)));
    CHECK(squash(build_result{.layers = {above}}, squash_scope::all, env).layers[0].is_same_as(above));
    CHECK(squash(build_result{.base = lone_base}, squash_scope::all, env).base);
    CHECK(squash(build_result{}, squash_scope::all, env).layers.empty());
}

TEST_CASE("a squashed layer can be exported again and again, the same", "[squash]") {
    auto const from = make_base();
    std::optional<build_result> result;
    {
        build_result const gone{.layers = new_layers(), .base = read_base(from.blobs, from.root)};
        result = squash(gone, squash_scope::all, env);
    }
    CHECK(export_it(*result).image.root.digest == export_it(*result).image.root.digest);
}

TEST_CASE("what is far away is read once", "[squash]") {
    auto const from = make_base();
    std::map<digest, int> reads;
    auto const& layers = from.manifest.layers;
    auto const far = std::make_shared<remote_watched_store>(remote_watched_store{{from.blobs, reads}});
    auto const near = std::make_shared<watched_store>(watched_store{from.blobs, reads});
    auto const reads_of = [&](base_image base) {
        auto const result =
            squash(build_result{.layers = new_layers(), .base = std::move(base)}, squash_scope::all, env);
        reads.clear();
        export_it(result);
        return reads[layers[0].digest] + reads[layers[1].digest];
    };
    CHECK(reads_of(read_base(far, from.root)) == 0);
    CHECK(reads_of(read_base(near, from.root)) == 2); // and not copied
}

TEST_CASE("platforms may have a stream in common", "[squash]") {
    auto const common = stream({tar_file("common", "1")});
    std::vector<build_result> results{
        {.layers = {common}, .platform = parse_platform("linux/amd64")},
        {.layers = {common, stream({tar_file("own", "2")})}, .platform = arm64},
        {.layers = {common, stream({tar_file("own", "3")})}, .platform = parse_platform("linux/arm/v7")}};
    auto const squashed = squash(results, squash_scope::all, env);
    exporter out{gzip{}, oci_media_types{}, sha256{}, memory_sink{}};
    auto const image = out(squashed);
    REQUIRE(image.platforms.size() == 3);
    for (auto const& platform : image.platforms) CHECK(platform.layers.size() == 1);
    CHECK_NOTHROW(read_graph(image.root, out.sink().store()));
}

TEST_CASE("the table of contents of eStargz is no part of a squashed layer", "[squash]") {
    memory_store store;
    memory_store const& stored = store;
    auto const source = stream({tar_file("a", "1")});
    auto facts = pack<sha256>(source, estargz{}, store, env);
    auto const remote = GENERATE(false, true);
    facts.is_remote = remote;
    build_result result{.layers = {blob_in_store(stored, facts), stream({tar_file("b", "2")})}};
    if (remote) {
        base_image base{.root = {.media_type = {}, .digest = facts.blob.digest},
                        .config = default_config(arm64)};
        base.layers = {result.layers.front()};
        result.layers.erase(result.layers.begin());
        result.base = std::move(base);
    }
    CHECK(export_it(squash(result, squash_scope::all, env)).names == names{{"a", "b"}});
}

TEST_CASE("a history that was given keeps its steps, of which those that were squashed made no layer",
          "[squash]") {
    auto const from = make_base();
    memory_store const& stored = from.blobs;
    build_result result{.layers = {stream({tar_file("b", "2")}), stream({tar_file("c", "3")})},
                        .base = read_base(stored, from.root)};
    result.config =
        R"({"os":"linux","architecture":")" + read_config(result.base->config, "").platform.architecture +
        R"(","history":[{"created_by":"1"},{"created_by":"2"},{"created_by":"b"},{"created_by":"c"}]})";
    REQUIRE(result.base->layers.size() == 2);
    auto const squashed = squash(result, squash_scope::above_base, env);
    auto const document = parse_json(*squashed.config, "config");
    auto const history = read_history(json_node{document, "config"}["history"]);
    std::vector<bool> empty;
    for (auto const& entry : history) empty.push_back(entry.empty_layer);
    CHECK(empty == std::vector<bool>{false, false, true, true});
}

TEST_CASE("layers that cannot be squashed", "[squash]") {
    auto const from = make_base();
    memory_store const& stored = from.blobs;
    auto const facts = [&] { return *read_base(stored, from.root).layers[0].stored(); };
    struct row {
        char const* text;
        any_layer_source layer;
    };
    auto named = facts(), other = facts();
    named.only_named = true;
    other.encoding = "xz";
    for (auto const& [text, layer] : std::vector<row>{{"only says where", blob_in_store(stored, named)},
                                                      {"xz", blob_in_store(stored, other)}}) {
        CAPTURE(text);
        build_result const result{.layers = {layer, stream({tar_file("b", "2")})}};
        auto const problem = trees::error_of([&] { squash(result, squash_scope::all, env); });
        CHECK_THAT(problem.what(), contains(text) && contains("layer 1 (blob:"));
    }
}
