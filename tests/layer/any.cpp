#include <shiplap/layer/any.hpp>
#include <shiplap/layer/diff.hpp>
#include <shiplap/layer/directory.hpp>
#include <shiplap/layer/existing.hpp>

#include "support/catch.hpp"
#include "support/trees.hpp"

using namespace shiplap;

namespace {

static_assert(layer_source<any_layer_source> && sized_layer<any_layer_source>);
static_assert(!stored_layer<any_layer_source>); // known at run time only
static_assert(std::copyable<any_layer_source>);

struct unsized {
    void write_tar(byte_sink auto& out, layer_context const&) const { out.write(as_bytes("bytes")); }
    [[nodiscard]] std::string description() const { return "unsized"; }
};

struct stored_only {
    layer_blob facts;
    [[nodiscard]] layer_blob const& stored() const { return facts; }
    [[nodiscard]] static span_source reader() { return span_source{"packed"}; }
    [[nodiscard]] static std::string description() { return "stored"; }
};

static_assert(stored_layer<stored_only> && !writes_tar<stored_only>);

} // namespace

TEST_CASE("any layer source gives what its source gives", "[layer][any]") {
    temp_dir temp;
    trees::write(temp / "d/f", "content");
    directory_layer const directory{temp.path()};
    diff_layer const diff{temp / "d", temp.path()};
    std::vector<any_layer_source> const layers{directory, diff};

    CHECK(trees::tar_of(layers[0]) == trees::tar_of(directory));
    CHECK(trees::tar_of(layers[1]) == trees::tar_of(diff));
    CHECK(layers[0].description() == directory.description());
    CHECK(layers[0].estimated_size() == directory.estimated_size());
    CHECK_FALSE(layers[0].is_stored());
    auto const copy = layers[0];
    CHECK(trees::tar_of(copy) == trees::tar_of(directory));
    CHECK(trees::error_of([&] { static_cast<void>(copy.reader()); }).code() == error_code::unsupported);
}

TEST_CASE("the context reaches the source", "[layer][any]") {
    temp_dir temp;
    trees::write(temp / "f", "", 0644, {1'600'000'000, 0});
    clamp_timestamps const clamp{{5, 0}};
    any_layer_source const layer{directory_layer{temp.path()}};
    CHECK(trees::entries_of(layer, {clamp, {}})[0].header.mtime == timestamp{5, 0});
}

TEST_CASE("a source that cannot tell its size has size 0", "[layer][any]") {
    any_layer_source const layer{unsized{}};
    CHECK(layer.estimated_size() == 0);
    CHECK(trees::tar_of(layer) == "bytes");
}

TEST_CASE("a stored layer stays one", "[layer][any]") {
    auto const name = digest::of<sha256>(as_bytes("packed"));
    layer_blob const facts{{name, 6}, name, "", {}, {}, {}};
    any_layer_source const layer{existing_blob{facts, [] { return span_source{"packed"}; }}};
    REQUIRE(layer.is_stored());
    CHECK(trees::error_of([&] {
              static_cast<void>(any_layer_source{unsized{}}.unverified_reader());
          }).code() == error_code::unsupported);
    CHECK(layer.stored()->blob.digest == name);
    auto reader = layer.reader();
    for (int i = 0; i < 2; ++i) {
        string_sink out;
        transfer(reader, out);
        CHECK(out.text == "packed");
        reader.rewind();
    }
    CHECK(trees::error_of([&] { trees::tar_of(layer); }).code() == error_code::format); // "packed" is no tar
}

TEST_CASE("a stored layer that cannot write a tar says so", "[layer][any]") {
    auto const name = digest::of<sha256>(as_bytes("packed"));
    any_layer_source const layer{stored_only{{{name, 6}, name, "zstd", {}, {}, {}}}};
    CHECK(trees::error_of([&] { trees::tar_of(layer); }).code() == error_code::unsupported);
}
