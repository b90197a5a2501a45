#include <shiplap/image/assemble.hpp>

#include "support/catch.hpp"

#include <string>
#include <vector>

using namespace shiplap;

namespace {

// One layer of a tree whose every header field is fixed, exported by BuildKit 0.32.2 with
// compression=uncompressed, source-date-epoch=1500000000 and annotation.k1=v1 on top of this configuration.
std::string const golden_config =
    R"({"architecture":"amd64","os":"linux","author":"me","config":{"Entrypoint":["/bin/app"],"Env":["A=b<>&"],)"
    R"("WorkingDir":"/w","Labels":{"z":"1","a":"2"}},"history":[{"created":"2001-01-01T00:00:00Z",)"
    R"("created_by":"ENV A=b","empty_layer":true},{"created":"2019-01-01T00:00:00.5Z","created_by":"COPY . /",)"
    R"("comment":"by hand"}],"rootfs":{"type":"layers","diff_ids":[]},"x-unknown":{"b":1,"a":2}})";
constexpr std::int64_t golden_epoch = 1500000000;

struct golden {
    media_type_table const* table;
    bool rewritten; ///< times in the layer clamped to the epoch, which BuildKit notes on the layer
    std::uint64_t size;
    char const *layer, *config, *manifest;
};

golden const goldens[] = {
    {&table_of<oci_media_types>, true, 214528,
     "sha256:dbd60ae08aa7d6f93131a20b51fc6c43edafcc0fab4dbec8ae0832d47f742429",
     "sha256:47fab422c6cdd8a9a311fe1f4e173f4a240ed2988cb777311fbc5d4a578bc2bc",
     "sha256:30385110fb89fe5366adafb9fe68e5a34d6e786719e07c2a700444e256aae19d"},
    {&table_of<oci_media_types>, false, 214528,
     "sha256:d8b3c446f713b52dfbad370df9166315d6d269c395ac7b0c3a0a770339897749",
     "sha256:20461d480eb3c6111a6cabe22d3580fe6230d648b41069392a76a9d71dff67fb",
     "sha256:4ee83de8cac6607471241be806efe32ce87653537a7bad88962462ae9236c2d5"},
    {&table_of<docker_media_types>, true, 214528,
     "sha256:dbd60ae08aa7d6f93131a20b51fc6c43edafcc0fab4dbec8ae0832d47f742429",
     "sha256:47fab422c6cdd8a9a311fe1f4e173f4a240ed2988cb777311fbc5d4a578bc2bc",
     "sha256:6776353037a779ed8caa5e02640069c9912f9be6d85e70da9403d145235b4e54"},
    {&table_of<docker_media_types>, false, 214528,
     "sha256:d8b3c446f713b52dfbad370df9166315d6d269c395ac7b0c3a0a770339897749",
     "sha256:20461d480eb3c6111a6cabe22d3580fe6230d648b41069392a76a9d71dff67fb",
     "sha256:0c2deeb786023235d4510da40b85d160b8aec9057ccf899b1a1e4399b8dd021d"},
    {&table_of<oci_media_types>, true, 10752,
     "sha256:49a0e7905d8d4aba06874d356b6b19bc170d25243cb699b1b9f5b635f8932ab7",
     "sha256:688450bdb9e1fa4ab3818a8d277e15238603f8069ad21a18baafdc65ddf2969f",
     "sha256:03ea0d14a52f2c1d4ec1da196b58c9cd6d2194257a4aed541e2e995fc65a90f9"},
    {&table_of<oci_media_types>, false, 10752,
     "sha256:01e859aa09df36050ae921c33509a59de76261f66c333e5095540be1e1a2cf1f",
     "sha256:d555f939621a348b94977ce383cac62b8a4d363e849a28c7beb3711a53640db5",
     "sha256:d466a4f75e65cfbd4b1a0e99685fb55170bc086aae61bbc4c3d78f2ec283141c"},
    {&table_of<docker_media_types>, true, 10752,
     "sha256:49a0e7905d8d4aba06874d356b6b19bc170d25243cb699b1b9f5b635f8932ab7",
     "sha256:688450bdb9e1fa4ab3818a8d277e15238603f8069ad21a18baafdc65ddf2969f",
     "sha256:ee779c7d6fec1daf58db26cc34fcb8ed51fb802190f37aaee9d561313c1698ac"},
    {&table_of<docker_media_types>, false, 10752,
     "sha256:01e859aa09df36050ae921c33509a59de76261f66c333e5095540be1e1a2cf1f",
     "sha256:d555f939621a348b94977ce383cac62b8a4d363e849a28c7beb3711a53640db5",
     "sha256:513fd09e37262c17335db59a2e6bebe7d8fc0cd97ad9f186bc73f1f78be26537"},
};

layer_blob some_layer(std::string const& content, std::string encoding = "") {
    auto const name = digest::of<sha256>(as_bytes(content));
    return {.blob = {name, content.size()},
            .diff_id = name,
            .encoding = std::move(encoding),
            .annotations = {{"toc", content}}};
}

image_options for_linux() {
    return {.platform = platform{.os = "linux", .architecture = "amd64"}};
}

} // namespace

TEST_CASE("assemble: the digests that BuildKit gives") {
    for (auto const& expected : goldens) {
        auto const layer_digest = digest::parse(expected.layer);
        layer_blob layer{.blob = {layer_digest, expected.size}, .diff_id = layer_digest};
        if (expected.rewritten)
            layer.annotations = {{"buildkit/rewritten-timestamp", std::to_string(golden_epoch)}};
        auto const image = assemble<sha256>(
            {&layer, 1}, {.config = golden_config, .annotations = {{"k1", "v1"}}, .epoch = golden_epoch},
            *expected.table);
        CAPTURE(image.config, image.manifest);
        CHECK(image.config_descriptor.digest.text() == expected.config);
        CHECK(image.root.digest.text() == expected.manifest);
        CHECK(image.warnings.empty());
    }
}

TEMPLATE_TEST_CASE("assemble: the documents and their descriptors agree", "", sha256, sha512) {
    auto const* table = GENERATE(&table_of<oci_media_types>, &table_of<docker_media_types>);
    auto const layers =
        std::vector<layer_blob>{some_layer("a"), some_layer("b", "gzip"), some_layer("c", "zstd")};
    auto options = for_linux();
    options.annotations = {{"in", "manifest"}};
    options.descriptor_annotations = {{"on", "descriptor"}};
    auto const image = assemble<TestType>(layers, options, *table);

    CHECK(image.root.media_type == table->manifest);
    CHECK(image.root.digest == digest::of<TestType>(as_bytes(image.manifest)));
    CHECK(image.root.size == image.manifest.size());
    CHECK(image.root.annotations == options.descriptor_annotations);
    CHECK(image.root.platform == options.platform);
    CHECK(image.config_descriptor.media_type == table->config);
    CHECK(image.config_descriptor.digest == digest::of<TestType>(as_bytes(image.config)));
    CHECK(image.config_descriptor.size == image.config.size());

    auto const manifest = parse_manifest(image.manifest, "m", table->manifest);
    CHECK(to_text(manifest) == image.manifest);
    CHECK(manifest.config == image.config_descriptor);
    CHECK(manifest.annotations == options.annotations);
    auto const config = read_config(image.config, "c");
    REQUIRE(manifest.layers.size() == layers.size());
    REQUIRE(config.diff_ids.size() == layers.size());
    REQUIRE(config.history.size() == layers.size());
    for (std::size_t i = 0; i < layers.size(); ++i) {
        CHECK(manifest.layers[i].media_type == table->layer(layers[i].encoding));
        CHECK(manifest.layers[i].digest == layers[i].blob.digest);
        CHECK(manifest.layers[i].size == layers[i].blob.size);
        CHECK(manifest.layers[i].annotations ==
              (table->layer_annotations ? layers[i].annotations : annotation_map{}));
        CHECK(config.diff_ids[i] == layers[i].diff_id);
    }
}

TEST_CASE("assemble: an image without layers") {
    auto const image = assemble<sha256>({}, for_linux(), table_of<oci_media_types>);
    CHECK_THAT(image.manifest, contains("\"layers\": null"));
    CHECK_THAT(image.config,
               contains("\"diff_ids\":null") && contains("\"history\":null") && contains("\"created\":null"));
    CHECK(parse_manifest(image.manifest, "m").layers.empty());
}

TEST_CASE("assemble: changes and times reach the configuration") {
    auto options = for_linux();
    options.changes.user = "me";
    options.now = {60, 0};
    auto const layer = some_layer("a");
    CHECK_THAT(assemble<sha256>({&layer, 1}, options, table_of<oci_media_types>).config,
               contains(R"("User":"me")") && contains(R"("created":"1970-01-01T00:01:00Z","history")"));
    options.epoch = 30;
    CHECK_THAT(assemble<sha256>({&layer, 1}, options, table_of<oci_media_types>).config,
               contains(R"("created":"1970-01-01T00:00:30Z","history")"));
    options.config = R"({"os":"linux","architecture":"amd64","history":[{},{}]})";
    CHECK(assemble<sha256>({&layer, 1}, options, table_of<oci_media_types>).warnings.size() == 1);
}

TEST_CASE("assemble: the platform is that of the configuration") {
    image_options options;
    CHECK(assemble<sha256>({}, options, table_of<oci_media_types>).root.platform == host_platform());
    options.config = R"({"os":"linux","architecture":"arm64","variant":"v8"})";
    CHECK(assemble<sha256>({}, options, table_of<oci_media_types>).root.platform ==
          platform{.os = "linux", .architecture = "arm64"});
    options.platform = platform{.os = "linux", .architecture = "aarch64"};
    CHECK_NOTHROW(assemble<sha256>({}, options, table_of<oci_media_types>));
    options.platform = platform{.os = "linux", .architecture = "amd64"};
    CHECK_THROWS_AS(assemble<sha256>({}, options, table_of<oci_media_types>), option_error);
    CHECK_THROWS_WITH(assemble<sha256>({}, options, table_of<oci_media_types>),
                      contains("linux/amd64") && contains("linux/arm64"));
}

TEST_CASE("assemble: an encoding without a name is refused") {
    auto const layer = some_layer("a", "brotli");
    CHECK_THROWS_AS(assemble<sha256>({&layer, 1}, for_linux(), table_of<oci_media_types>), error);
    CHECK_THROWS_WITH(assemble<sha256>({&layer, 1}, for_linux(), table_of<oci_media_types>),
                      contains("'brotli'") && contains("media type"));
}

TEST_CASE("assemble_index: several images under one name") {
    auto options = for_linux();
    auto const amd64 = assemble<sha256>({}, options, table_of<oci_media_types>);
    options.platform->architecture = "arm64";
    auto const arm64 = assemble<sha256>({}, options, table_of<oci_media_types>);
    auto const roots = std::vector<descriptor>{amd64.root, arm64.root};
    auto const whole =
        assemble_index<sha256>(roots, {{"in", "index"}}, {{"on", "it"}}, table_of<oci_media_types>);

    auto const index = parse_index(whole.index, "i", oci_media_types::index);
    CHECK(index.manifests == roots);
    CHECK(index.annotations == annotation_map{{"in", "index"}});
    CHECK(whole.root.media_type == oci_media_types::index);
    CHECK(whole.root.digest == digest::of<sha256>(as_bytes(whole.index)));
    CHECK(whole.root.size == whole.index.size());
    CHECK(whole.root.annotations == annotation_map{{"on", "it"}});
    CHECK_FALSE(whole.root.platform);
}

TEST_CASE("assemble: a non-distributable layer stays one, in the family of the image") {
    auto layer = some_layer("a", "gzip");
    layer.distributable = false;
    layer.urls = {"https://example.com/layer"};
    auto const written = [&](media_type_table const& table) {
        auto const image = assemble<sha256>({&layer, 1}, for_linux(), table);
        return parse_manifest(image.manifest, "m").layers.at(0);
    };
    CHECK(written(table_of<oci_media_types>).media_type ==
          "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
    CHECK(written(table_of<docker_media_types>).media_type ==
          "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    CHECK(written(table_of<docker_media_types>).urls == layer.urls);
}
