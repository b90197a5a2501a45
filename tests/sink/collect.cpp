#include <shiplap/sink/collect.hpp>
#include <shiplap/store/remove.hpp>

#include "store/samples.hpp"
#include "support/catch.hpp"
#include "support/temp.hpp"

#include <algorithm>
#include <atomic>
#include <thread>

using namespace samples;
namespace fs = std::filesystem;

namespace {

descriptor add(std::string const& path, std::string const& tag, std::vector<std::string> const& layers) {
    layout_store layout{path};
    auto const root = put_image(layout, layers);
    layout.publish(std::vector{named_entry(root, name(tag))});
    return root;
}

void remove(std::string const& path, std::string const& tag) {
    remove_names(path, std::vector<std::string>{"app:" + tag});
}

void check_whole(std::string const& path) {
    layout_store layout{path};
    for (auto const& entry : layout.entries())
        for (auto const& node : read_graph(entry, layout).contents)
            CHECK(layout.holds({node.what.digest, node.what.size}));
}

} // namespace

TEST_CASE("what no image needs is removed", "[collect]") {
    temp_dir const tmp;
    auto const path = tmp / "store";
    auto const one = add(path, "1", {"shared", "one"});
    add(path, "2", {"shared", "two"});
    CHECK(collect_garbage(path).blobs.empty());
    auto const before = snapshot(path);

    remove(path, "1");
    auto const planned = collect_garbage(path, true);
    CHECK(snapshot(path).size() == before.size());
    auto const found = collect_garbage(path);
    CHECK(found.blobs == planned.blobs);
    CHECK(found.bytes == planned.bytes);
    CHECK(found.bytes == one.size + 3); // the configurations are the same
    CHECK(found.blobs.size() == 2);
    CHECK_FALSE(layout_store{path}.contains(one.digest));
    check_whole(path);
    CHECK(collect_garbage(path).blobs.empty());
    CHECK(snapshot(path).size() == before.size() - 2);
}

TEST_CASE("what is not ours stays, what killed processes have left does not", "[collect]") {
    temp_dir const tmp;
    auto const path = tmp / "store";
    add(path, "1", {"a"});
    for (auto const* file :
         {"blobs/sha256/README", "blobs/sha256/abc", "blobs/other/x", "file", ".shiplap-registries/known"})
        write_text(path + "/" + file, "x");
    auto const files = snapshot(path).size();
    write_text(path + "/blobs/sha256/.shiplap-1-0", "left");
    auto const trees = path + "/.shiplap-unpacked/sha256";
    auto const chain = facts_of("chain").digest;
    write_text(unpacked_path(path, chain) + "/etc/file", "x");
    write_text(trees + "/.shiplap-abc/tree/x", "x");
    write_text(trees + "/.shiplap-old-abc/x", "x");
    {
        // While somebody unpacks, what is half done stays.
        auto const lock = detail::open_file(trees, O_RDONLY);
        REQUIRE(::flock(lock.get(), LOCK_SH) == 0);
        CHECK(collect_garbage(path).trees == std::vector{chain});
        CHECK(fs::exists(trees + "/.shiplap-abc/tree/x"));
    }
    CHECK(collect_garbage(path).trees.empty());
    CHECK(fs::is_empty(trees));
    CHECK(snapshot(path).size() == files + 2);
}

TEST_CASE("the tree of an image stays as long as the image", "[collect]") {
    temp_dir const tmp;
    auto const path = tmp / "store";
    layout_store layout{path};
    auto const id = facts_of("layer").digest;
    image_manifest const manifest{
        .media_type = std::string{oci_media_types::manifest},
        .config = put(layout,
                      R"({"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[")" +
                          id.text() + R"(","sha256:)" + std::string(64, 'a') + "\"]}}",
                      oci_media_types::config)};
    auto const root = put(layout, to_text(manifest), manifest.media_type);
    layout.publish(std::vector{named_entry(root, name("1"))});
    auto const chain = chain_id(std::vector{id, digest::parse("sha256:" + std::string(64, 'a'))});
    write_text(unpacked_path(path, chain) + "/file", "x");
    CHECK(collect_garbage(path).trees.empty());
    CHECK(is_unpacked(path, chain));
    remove(path, "1");
    CHECK(collect_garbage(path, true).trees == std::vector{chain});
    CHECK(is_unpacked(path, chain));
    CHECK(collect_garbage(path).trees == std::vector{chain});
    CHECK_FALSE(is_unpacked(path, chain));
}

TEST_CASE("nothing is removed if a document is damaged", "[collect]") {
    temp_dir const tmp;
    auto const path = tmp / "store";
    auto const root = add(path, "1", {"a"});
    add(path, "2", {"b"});
    remove(path, "2");
    SECTION("damaged") {
        write_text(blob_path(path, root.digest), std::string(root.size, ' '));
    }
    SECTION("missing") {
        fs::remove(blob_path(path, root.digest));
    }
    SECTION("the index") {
        write_text(path + "/index.json", "{");
    }
    auto const before = snapshot(path);
    CHECK_THROWS_AS(collect_garbage(path), error);
    CHECK(snapshot(path) == before);
}

TEST_CASE("an export keeps what it relies on", "[collect]") {
    temp_dir const tmp;
    auto const path = tmp / "store";
    add(path, "1", {"shared"});
    remove(path, "1");
    {
        layout_store under_way{path};
        auto const shared = put(under_way, "staged"); // has no name yet
        CHECK(under_way.holds(facts_of("shared")));
        auto const found = collect_garbage(path);
        CHECK(found.kept == std::vector{facts_of("shared").digest});
        CHECK(found.blobs.size() == 2);
        auto const layer = descriptor{.media_type = std::string{oci_media_types::layer("")},
                                      .digest = facts_of("shared").digest,
                                      .size = 6};
        under_way.publish(std::vector{named_entry(put_manifest(under_way, {layer, shared}, "x"), name("2"))});
    }
    CHECK(collect_garbage(path).blobs.empty());
    check_whole(path);
}

TEST_CASE("exports and garbage collection at the same time", "[collect]") {
    temp_dir const tmp;
    auto const path = tmp / "store";
    add(path, "first", {"shared"});
    std::atomic<int> running = 2;
    std::vector<std::string> failures(2);
    auto const work = [&](int id) {
        try {
            for (int i = 0; i < 40; ++i) {
                layout_store layout{path};
                // As an export does: what is there is relied on, the rest is written.
                std::vector<descriptor> layers;
                for (auto const& text : {std::string{"shared"}, "of both " + std::to_string(i % 3)}) {
                    auto const facts = facts_of(text);
                    if (!layout.holds(facts)) put(layout, text);
                    layers.push_back({.media_type = std::string{oci_media_types::layer("")},
                                      .digest = facts.digest,
                                      .size = facts.size});
                }
                auto const tag = std::to_string(id) + "-" + std::to_string(i % 4);
                auto const root = put_manifest(layout, layers, tag);
                layout.publish(std::vector{named_entry(root, name(tag))});
                if (i % 2 == 0) remove(path, tag);
            }
        } catch (std::exception const& problem) {
            failures[static_cast<std::size_t>(id)] = problem.what();
        }
        --running;
    };
    std::thread one{work, 0}, other{work, 1};
    std::size_t removed = 0;
    while (running != 0) removed += collect_garbage(path).blobs.size();
    one.join();
    other.join();
    CHECK(failures == std::vector<std::string>(2));
    CHECK(removed != 0);
    check_whole(path);
}
