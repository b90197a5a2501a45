#include <shiplap/sink/unpacked.hpp>

#include "store/samples.hpp"
#include "support/catch.hpp"
#include "support/sample_image.hpp"
#include "support/temp.hpp"

using namespace samples;
namespace fs = std::filesystem;

namespace {

platform const arm64{.os = "linux", .architecture = "arm64"}, amd64{.os = "linux", .architecture = "amd64"};

// All that belongs to a sample, under a tag; it is for arm64.
descriptor import(std::string const& path, sample_image& image, std::string const& tag) {
    layout_store layout{path};
    for (auto const& node : read_graph(image.root, image.blobs).contents) {
        auto from = image.blobs.reader(node.what.digest);
        store_blob(layout, {node.what.digest, node.what.size}, from);
    }
    layout.publish(std::vector{named_entry(image.root, name(tag))});
    return image.root;
}

} // namespace

TEST_CASE("an image is unpacked once, whatever it is packed with", "[unpacked]") {
    temp_dir const tmp;
    auto const path = tmp / "store";
    auto plain = make_image(), packed = make_image(table_of<docker_media_types>, "gzip");
    auto const one = import(path, plain, "1"), two = import(path, packed, "2");
    layout_store const store{path};

    auto const first = unpack_image(store, one, arm64);
    REQUIRE(first);
    CHECK_FALSE(first->reused);
    CHECK(read_text(first->path + "/layer0") == "hello0");
    CHECK(read_text(first->path + "/layer1") == "hello1");
    auto const chain = chain_id(read_config(plain.config, "config").diff_ids);
    CHECK(first->path == path + "/.shiplap-unpacked/sha256/" + std::string{chain.encoded()});
    CHECK(is_unpacked(path, chain));
    CHECK(mode_of(first->path) == 0755);

    fs::last_write_time(first->path + "/layer0", fs::file_time_type{});
    auto const second = unpack_image(store, two, arm64);
    REQUIRE(second);
    CHECK(second->reused);
    CHECK(second->path == first->path);
    CHECK(fs::last_write_time(first->path + "/layer0") == fs::file_time_type{}); // as it was
    CHECK(layout_store{path}.entries().size() == 2);                             // still a layout
}

TEST_CASE("nothing is unpacked for another platform", "[unpacked]") {
    temp_dir const tmp;
    auto const path = tmp / "store";
    auto image = make_image();
    auto const root = import(path, image, "1");
    CHECK_FALSE(unpack_image(layout_store{path}, root, amd64));

    layout_store layout{path};
    auto const index = put_index(layout, {on(root, "linux", "arm64")});
    layout.publish(std::vector{index});
    CHECK_FALSE(unpack_image(layout, index, amd64));
    CHECK_FALSE(fs::exists(path + "/.shiplap-unpacked"));
    CHECK(unpack_image(layout, index, arm64));
}

TEST_CASE("a tree that cannot be unpacked is not there", "[unpacked]") {
    temp_dir const tmp;
    auto const path = tmp / "store";
    auto image = make_image();
    auto const root = import(path, image, "1");
    layout_store const store{path};
    auto const& layer = image.manifest.layers[1];
    SECTION("a layer that is missing") {
        fs::remove(blob_path(path, layer.digest));
    }
    SECTION("a layer that is damaged") {
        write_text(blob_path(path, layer.digest), std::string(layer.size, 'x'));
    }
    CHECK_THROWS_AS(unpack_image(store, root, arm64), error);
    auto const folder = path + "/.shiplap-unpacked/sha256";
    CHECK((!fs::exists(folder) || fs::is_empty(folder)));
}
