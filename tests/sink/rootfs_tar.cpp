#include <shiplap/codec/zstd.hpp>
#include <shiplap/export/exporter.hpp>
#include <shiplap/layer/diff.hpp>
#include <shiplap/layer/directory.hpp>
#include <shiplap/layer/existing.hpp>
#include <shiplap/sink/rootfs_tar.hpp>
#include <shiplap/store/memory.hpp>

#include "support/catch.hpp"
#include "support/temp.hpp"
#include "support/trees.hpp"

using namespace shiplap;

static_assert(arranging_sink<rootfs_tar_sink>);

namespace {

std::string shown(std::vector<trees::read_entry> const& entries) {
    std::string out;
    for (auto const& [header, content] : entries)
        out += header.name + (content.empty() ? "" : "=" + content) +
               (header.link_name.empty() ? "" : ">" + header.link_name) + " ";
    return out;
}

std::string left_of(temp_dir const& dir, std::vector<any_layer_source> layers) {
    exporter out{zstd{}, oci_media_types{}, sha256{}, rootfs_tar_sink{dir / "out.tar"}};
    out(build_result{.layers = std::move(layers)});
    return shown(trees::read_tar(read_file(dir / "out.tar", 1 << 20)));
}

} // namespace

TEST_CASE("layers become the tar of what they leave", "[rootfs_tar]") {
    temp_dir dir;
    trees::write(dir / "lower/a/gone", "1");
    trees::write(dir / "lower/a/kept", "2");
    trees::write(dir / "lower/b", "3");
    trees::write(dir / "upper/a/kept", "2");
    trees::write(dir / "upper/b", "changed");
    trees::write(dir / "upper/c", "new");
    std::filesystem::create_hard_link(dir / "upper/c", dir / "upper/d");

    CHECK(left_of(dir, {directory_layer{dir / "lower"}}) == "a/ a/gone=1 a/kept=2 b=3 ");
    CHECK(left_of(dir, {directory_layer{dir / "lower"}, diff_layer{dir / "lower", dir / "upper"}}) ==
          "a/ a/kept=2 b=changed c=new d>c ");
    CHECK(left_of(dir, {}).empty());
}

TEST_CASE("a failing export leaves no tar", "[rootfs_tar]") {
    temp_dir dir;
    CHECK_THROWS_AS(left_of(dir, {directory_layer{dir / "missing"}}), error);
    CHECK_FALSE(std::filesystem::exists(dir / "out.tar"));
}

TEST_CASE("layers that are not what the configuration says are refused", "[rootfs_tar]") {
    auto const count = GENERATE(std::size_t{1}, std::size_t{2});
    temp_dir dir;
    trees::write(dir / "tree/a", "1");
    trees::write(dir / "other/b", "2");
    memory_store store;
    default_env env;
    auto const truth = pack<sha256>(directory_layer{dir / "tree"}, zstd{}, store, env);
    auto lie = pack<sha256>(directory_layer{dir / "other"}, zstd{}, store, env);
    lie.diff_id = truth.diff_id;
    memory_store const& stored = store;
    std::vector<any_layer_source> layers{blob_in_store(stored, lie)};
    if (count == 2) layers.insert(layers.begin(), blob_in_store(stored, truth));
    CHECK_THROWS_AS(left_of(dir, layers), digest_mismatch);
    CHECK_FALSE(std::filesystem::exists(dir / "out.tar"));
}
