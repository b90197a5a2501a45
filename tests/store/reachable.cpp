#include <shiplap/store/reachable.hpp>

#include "store/samples.hpp"
#include "support/catch.hpp"

using namespace samples;
using Catch::Matchers::Contains;

namespace {

template <blob_store S>
descriptor put_config(S& store, std::string const& architecture, std::vector<std::string> const& diff_ids) {
    std::string ids;
    for (auto const& id : diff_ids) ids += (ids.empty() ? "\"" : ",\"") + facts_of(id).digest.text() + "\"";
    return put(store,
               R"({"architecture":")" + architecture +
                   R"(","os":"linux","rootfs":{"type":"layers","diff_ids":[)" + ids + "]}}",
               oci_media_types::config);
}

template <blob_store S>
descriptor put_runnable(S& store, descriptor const& config, std::vector<descriptor> layers) {
    image_manifest const manifest{
        .media_type = std::string{oci_media_types::manifest}, .config = config, .layers = std::move(layers)};
    return put(store, to_text(manifest), manifest.media_type);
}

descriptor of_text(std::string_view text, std::string_view type) {
    auto const facts = facts_of(text);
    return {.media_type = std::string{type}, .digest = facts.digest, .size = facts.size};
}

} // namespace

TEST_CASE("what an image needs", "[reachable]") {
    memory_store store;
    auto const layer = put(store, "layer", oci_media_types::layer(""));
    auto const config = put_config(store, "x86_64", {"layer"});
    auto const manifest = put_runnable(store, config, {layer});
    put(store, "unrelated");
    auto const found = find_reachable(std::vector{manifest, manifest}, store);
    CHECK(found.blobs == std::map<digest, std::uint64_t>{{layer.digest, layer.size},
                                                         {config.digest, config.size},
                                                         {manifest.digest, manifest.size}});
    REQUIRE(found.images.size() == 1);
    CHECK(format(found.images[0].platform) == "linux/amd64");
    CHECK(found.images[0].chain == facts_of("layer").digest);
}

TEST_CASE("an index with parts that are not there", "[reachable]") {
    memory_store store;
    auto const config = put_config(store, "amd64", {});
    auto const here = put_runnable(store, config, {of_text("missing layer", oci_media_types::layer(""))});
    auto const elsewhere = of_text("missing manifest", oci_media_types::manifest);
    auto const configless = put_runnable(store, of_text("missing config", oci_media_types::config), {});
    auto statement = put_runnable(store, put_config(store, "unknown", {}), {});
    statement.annotations["vnd.docker.reference.type"] = "attestation-manifest";
    auto const other = put(store, "something", "text/plain");
    auto const inner = put_index(store, {here, elsewhere, statement});
    auto const outer = put_index(store, {inner, configless, other});
    auto const found = find_reachable(std::vector{outer}, store);
    for (auto const& what : {config, here, elsewhere, configless, statement, other, inner, outer})
        CHECK(found.blobs.contains(what.digest));
    for (auto const* text : {"missing layer", "missing config"})
        CHECK(found.blobs.contains(facts_of(text).digest));
    CHECK(found.images.size() == 1);
}

TEST_CASE("a damaged document is no guess", "[reachable]") {
    memory_store store;
    auto const config = put_config(store, "amd64", {});
    SECTION("a root that is not there") {
        CHECK_THROWS_WITH(find_reachable(std::vector{of_text("no", oci_media_types::manifest)}, store),
                          Contains("not in the store"));
    }
    SECTION("no JSON") {
        auto const bad = put(store, "{\"layers\":", oci_media_types::manifest);
        CHECK_THROWS_AS(find_reachable(std::vector{bad}, store), format_error);
        CHECK_THROWS_AS(find_reachable(std::vector{put_index(store, {bad})}, store), format_error);
    }
    SECTION("other bytes than promised") {
        auto const manifest = of_text("promised", oci_media_types::manifest);
        auto writer = store.open();
        writer.write(as_bytes("damaged!"));
        writer.commit({manifest.digest, manifest.size});
        CHECK_THROWS_AS(find_reachable(std::vector{manifest}, store), digest_mismatch);
    }
    SECTION("a configuration") {
        auto bad = of_text("promised", oci_media_types::config);
        auto writer = store.open();
        writer.write(as_bytes("damaged!"));
        writer.commit({bad.digest, bad.size});
        auto const manifest = put_runnable(store, bad, {});
        CHECK_THROWS_AS(find_reachable(std::vector{manifest}, store), digest_mismatch);
    }
    SECTION("a configuration that is none, but no image depends on that") {
        auto const manifest = put_runnable(store, put(store, "{}", oci_media_types::config), {});
        auto const found = find_reachable(std::vector{manifest}, store);
        CHECK(found.images.empty());
        CHECK(found.blobs.size() == 2);
    }
    SECTION("too deep") {
        auto root = put_runnable(store, config, {});
        for (unsigned i = 0; i < max_index_depth; ++i) root = put_index(store, {root});
        CHECK_THROWS_WITH(find_reachable(std::vector{root}, store), Contains("inside each other"));
    }
}
