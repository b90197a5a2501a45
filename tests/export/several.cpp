#include <shiplap/export/several.hpp>
#include <shiplap/tar/writer.hpp>

#include "far_registries.hpp"
#include "support/catch.hpp"
#include "support/temp.hpp"

using namespace shiplap;
using namespace shiplap_test;

namespace {

/// Counts how often it is read.
struct counted_layer {
    std::shared_ptr<int> reads = std::make_shared<int>(0);
    bool fails = false;
    std::string name = "hello";
    void write_tar(byte_sink auto& out, layer_context const& context) const {
        ++*reads;
        tar_writer tar{out};
        tar.entry({.name = name, .mode = 0644, .size = 5, .mtime = context.time({2'000, 0})});
        tar.write(as_bytes("hello"));
        if (fails) throw error{error_code::source_changed, "read", "hello", "changed"};
        tar.finish();
    }
    [[nodiscard]] std::string description() const { return "counted"; }
};

std::vector<export_spec> parse(std::vector<std::string> const& texts, temp_dir const& dir) {
    std::vector<export_spec> specs;
    for (auto const& text : texts) {
        auto& spec = specs.emplace_back(export_spec::from(parse_attributes(text)));
        if (!spec.destination.empty()) spec.destination = dir / spec.destination;
        spec.store = dir / "store";
    }
    return specs;
}

} // namespace

TEST_CASE("several outputs share one reading and are as each alone", "[several]") {
    struct row {
        std::vector<std::string> outputs;
        int reads;
    };
    auto const& [outputs, reads] = GENERATE(values<row>({
        {{"type=oci,dest=a.tar"}, 1},
        {{"type=oci,dest=a.tar", "type=docker,dest=b.tar"}, 1},
        {{"type=oci,dest=a.tar", "type=oci,dest=b.tar,compression=zstd",
          "type=oci,tar=false,dest=c,compression=estargz", "type=docker,dest=d.tar,compression=uncompressed",
          "type=local,dest=e", "type=tar,dest=f.tar", "type=image,name=r.io/app",
          "type=oci,dest=g.tar,compression-level=1"},
         1},
        // Other times are other bytes.
        {{"type=oci,dest=a.tar", "type=oci,dest=b.tar,rewrite-timestamp=true,source-date-epoch=1000",
          "type=oci,dest=c.tar,source-date-epoch=1000"},
         2},
        {{"type=registry,name=r.io/app", "type=oci,dest=a.tar", "type=registry,store=false,name=r.io/b:2"},
         1},
    }));
    temp_dir dir, other;
    std::vector<counted_layer> layers;
    build_result result;
    for (auto const& name : {"one", "two", "three", "four", "five"})
        result.layers.emplace_back(layers.emplace_back(counted_layer{.name = name}));
    far_away place;
    env_with_registries env{{}, {&place}};
    env.executor = shared_pool{4};
    auto const specs = parse(outputs, dir), alone = parse(outputs, other);
    auto const images = export_images(specs, result, env);
    for (auto const& layer : layers) CHECK(*layer.reads == reads);
    REQUIRE(images.size() == specs.size());
    for (std::size_t i = 0; i < specs.size(); ++i) {
        CAPTURE(outputs[i]);
        auto const expected = export_image(alone[i], result, env);
        CHECK(images[i].root.digest == expected.root.digest);
        CHECK(images[i].root.annotations == expected.root.annotations);
        CHECK(images[i].names == expected.names);
        if (specs[i].tar && !specs[i].destination.empty() && specs[i].type != output_type::local)
            CHECK(read_file(specs[i].destination, 1 << 20) == read_file(alone[i].destination, 1 << 20));
        if (specs[i].push) CHECK(place.there.store().contains(images[i].root.digest));
    }
}

TEST_CASE("layers that platforms share are packed once for all outputs", "[several]") {
    temp_dir dir;
    counted_layer const common, own;
    any_layer_source const shared{common};
    std::vector<build_result> const results{
        {.layers = {shared}, .platform = parse_platform("linux/amd64")},
        {.layers = {shared, own}, .platform = parse_platform("linux/arm64")}};
    default_env env;
    auto const specs = parse({"type=oci,dest=a.tar", "type=oci,dest=b.tar,compression=zstd"}, dir);
    auto const images = export_images(specs, results, env);
    CHECK(*common.reads == 1);
    CHECK(*own.reads == 1);
    CHECK(images[0].platforms.size() == 2);
}

TEST_CASE("nothing is pushed if another output fails", "[several]") {
    struct row {
        std::string output, reason;
        bool layer_fails;
    };
    auto const& [output, reason, layer_fails] = GENERATE(values<row>({
        {"type=oci,dest=a.tar", "layer 1 (counted)", true},
        {"type=oci,dest=missing/folder/a.tar", "output 2", false},
        {"type=oci,dest=a.tar,annotation-index.a=b", "index annotations not supported", false},
    }));
    temp_dir dir;
    far_away place;
    env_with_registries env{{}, {&place}};
    auto specs = parse({"type=registry,name=r.io/app,store=false", output}, dir);
    CHECK_THROWS_WITH(
        export_images(specs, build_result{.layers = {counted_layer{.fails = layer_fails}}}, env),
        Catch::Matchers::Contains(reason));
    CHECK(place.committed == 0);
    CHECK(place.there.store().blobs().empty());
    CHECK_FALSE(std::filesystem::exists(dir / "a.tar"));
}

TEST_CASE("no tag moves unless every registry takes the content", "[several]") {
    auto const refused = GENERATE(std::string{}, std::string{"r.io/a"}, std::string{"r.io/b"});
    temp_dir dir;
    far_away place{.refused = refused};
    env_with_registries env{{}, {&place}};
    auto const specs = parse(
        {"type=registry,name=r.io/a:1", "type=oci,dest=a.tar", "type=registry,name=*,store=false"}, dir);
    build_result const result{.layers = {counted_layer{}}, .names = {"r.io/b:2"}};
    if (refused.empty()) {
        export_images(specs, result, env);
        CHECK(place.tags == std::vector<std::string>{"r.io/a:1", "r.io/b:2"});
    } else {
        CHECK_THROWS_WITH(export_images(specs, result, env), Catch::Matchers::Contains(refused));
        CHECK(place.tags.empty());
    }
}

TEST_CASE("two outputs do not overwrite each other", "[several]") {
    temp_dir dir;
    default_env env;
    build_result const result{.layers = {counted_layer{}}};
    CHECK_THROWS_WITH(
        export_images(parse({"type=oci,dest=a.tar", "type=docker,dest=./a.tar"}, dir), result, env),
        Catch::Matchers::Contains("outputs 1 and 2"));
    CHECK_NOTHROW(export_images(
        parse({"type=oci,tar=false,dest=a,name=a", "type=oci,tar=false,dest=a,name=b"}, dir), result, env));
    CHECK(layout_store{dir / "a"}.entries().size() == 2);
}

TEST_CASE("without a way to registries several outputs do nothing either", "[several]") {
    temp_dir dir;
    default_env env;
    counted_layer const layer;
    auto const specs = parse({"type=oci,dest=a.tar", "type=registry,name=r.io/app"}, dir);
    CHECK_THROWS_WITH(export_images(specs, build_result{.layers = {layer}}, env),
                      Catch::Matchers::Contains("no way to registries"));
    CHECK(*layer.reads == 0);
    CHECK_FALSE(std::filesystem::exists(dir / "a.tar"));
}

TEST_CASE("a base is packed once for all outputs that force another compression", "[several]") {
    temp_dir dir;
    memory_store images;
    default_env env;
    auto const lower = pack<sha256>(counted_layer{}, gzip{}, images, env);
    auto const made = assemble<sha256>(std::array{lower}, {}, table_of<oci_media_types>);
    for (auto const& text : {made.config, made.manifest}) {
        auto blob = images.open();
        blob.write(as_bytes(text));
        blob.commit({digest::of<sha256>(as_bytes(text)), text.size()});
    }
    counted_layer const layer;
    build_result const result{.layers = {layer}, .base = read_base(images, made.root)};
    auto const specs = parse({"type=oci,dest=a.tar,compression=zstd,force-compression=true",
                              "type=oci,dest=b.tar,compression=zstd", "type=oci,dest=c.tar"},
                             dir);
    auto const several = export_images(specs, result, env);
    CHECK(*layer.reads == 1);
    CHECK(several[0].layers[0].encoding == "zstd");
    CHECK(several[1].layers[0].blob.digest == lower.blob.digest);
    for (std::size_t i = 0; i < specs.size(); ++i)
        CHECK(several[i].root.digest == export_image(specs[i], result, env).root.digest);
}
