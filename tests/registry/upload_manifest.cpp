#include <shiplap/registry/upload_manifest.hpp>

#include "registry/rig.hpp"
#include "support/catch.hpp"

using namespace rig;
using registry_test::always;
using registry_test::quirks;

TEST_CASE("what a manifest names", "[registry]") {
    memory_store store;
    auto foreign = samples::put(store, "far", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
    foreign.urls = {"https://example.com/far"};
    auto const near = samples::put(store, "near", oci_media_types::layer(""));
    auto const one = samples::put_manifest(store, {near, foreign}, "x");
    auto const both = samples::put_index(store, {samples::on(one, "linux", "amd64")});
    auto const parts = detail::parts_of_manifest(one, store.blobs().at(one.digest));
    REQUIRE(parts.size() == 2); // the layer, the configuration
    CHECK(parts[0].digest == near.digest);
    auto const children = detail::parts_of_manifest(both, store.blobs().at(both.digest));
    REQUIRE(children.size() == 1);
    CHECK(children[0].digest == one.digest);
}

TEST_CASE("a manifest goes where it belongs, or it is told why not", "[registry]") {
    memory_store store;
    auto const root = put_layers(store, {100, 200});
    auto const& text = store.blobs().at(root.digest);
    auto const layers = read_graph(root, store).contents;
    struct row {
        std::string name;
        quirks how;
        std::size_t lost = 0; // blobs that are not there
        std::string says{};   // empty: it ends well
    };
    auto const one = GENERATE_COPY(values<row>({
        {"all is there", {}},
        {"all is there, which takes it time", {.blob_unknown_times = 4}},
        {"all is there, but it never says so", {.blob_unknown_times = always}, 0, "MANIFEST_BLOB_UNKNOWN"},
        {"one is lost", {}, 1, "1 of its contents"},
        {"all are lost", {}, 3, "3 of its contents"},
        {"one is lost, 400", {.unknown_blob_is_not_found = false}, 1, layers[0].what.digest.text()},
        {"one is lost, no words", {.errors = registry_test::error_form::empty}, 1, "1 of its contents"},
        {"a wrong digest", {.digest_headers = digest_header::wrong}, 0, "the registry says that it has"},
        {"read-only", {.read_only = true}, 0, "405"},
    }));
    INFO(one.name);
    test_registry registry{one.how, {.blobs_confirmed = false}};
    for (std::size_t i = one.lost; i < 3; ++i)
        registry.put_blob("app", store.blobs().at(layers[i].what.digest));
    auto over = open_way();
    auto to = repository_in(registry, over);
    if (one.says.empty()) {
        upload_manifest(to, root.digest.text(), root, text);
        upload_manifest(to, "1", root, text);
        CHECK(registry.manifest("app", "1") == text);
        CHECK(registry.media_type("app", "1") == root.media_type);
    } else if (one.lost != 0) {
        try {
            upload_manifest(to, root.digest.text(), root, text);
            FAIL("no error");
        } catch (content_missing const& failure) {
            CHECK(failure.what_is_missing().size() == one.lost);
            CHECK_THAT(failure.what(), contains(one.says));
        }
    } else {
        CHECK_THROWS_WITH(upload_manifest(to, root.digest.text(), root, text), contains(one.says));
    }
    CHECK(misdeeds(registry) == "");
}
