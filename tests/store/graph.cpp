#include <shiplap/store/graph.hpp>

#include "store/samples.hpp"
#include "support/catch.hpp"

#include <set>

using namespace samples;
using Catch::Matchers::Contains;

namespace {

// A store that can lie: it returns what it was told to for a digest.
struct lying_store {
    std::map<digest, std::string> blobs;
    [[nodiscard]] bool contains(digest const& which) const { return blobs.contains(which); }
    [[nodiscard]] span_source reader(digest const& which) const {
        auto const found = blobs.find(which);
        if (found == blobs.end()) throw error{error_code::not_found, "read blob", which.text(), "not here"};
        return span_source{found->second};
    }
};

std::vector<std::string> roles(image_graph const& graph) {
    static std::map<node_role, std::string> const names{{node_role::config, "config"},
                                                        {node_role::layer, "layer"},
                                                        {node_role::manifest, "manifest"},
                                                        {node_role::index, "index"},
                                                        {node_role::blob, "blob"}};
    std::vector<std::string> out;
    for (auto const& node : graph.contents) out.push_back(names.at(node.role));
    return out;
}

template <class Call>
error_code code_of(Call call, std::string const& message) {
    try {
        call();
    } catch (error const& failure) {
        CHECK_THAT(failure.what(), Contains(message));
        return failure.code();
    }
    FAIL("no error, but this was expected: " << message);
    return error_code::option;
}

// Children stand before parents, each content once, the root last.
void check_order(image_graph const& graph) {
    std::set<digest> seen;
    auto const require_seen = [&](descriptor const& what) { CHECK(seen.contains(what.digest)); };
    for (auto const& node : graph.contents) {
        if (node.role == node_role::manifest) {
            auto const& manifest = graph.manifests.at(node.what.digest);
            require_seen(manifest.config);
            for (auto const& layer : manifest.layers) require_seen(layer);
        }
        if (node.role == node_role::index)
            for (auto const& child : graph.indexes.at(node.what.digest).manifests) require_seen(child);
        CHECK(seen.insert(node.what.digest).second);
    }
    REQUIRE_FALSE(graph.contents.empty());
    CHECK(graph.contents.back().what == graph.root);
}

} // namespace

TEST_CASE("the graph of a single manifest", "[graph]") {
    memory_store store;
    auto const root = put_image(store, {"bottom", "top", "bottom"}); // one blob twice
    auto const graph = read_graph(root, store);
    CHECK(graph.root == root);
    CHECK(roles(graph) == std::vector<std::string>{"layer", "layer", "config", "manifest"});
    CHECK(graph.contents[0].what.digest == facts_of("bottom").digest);
    CHECK(graph.contents[1].what.digest == facts_of("top").digest);
    CHECK(graph.manifests.at(root.digest).layers.size() == 3);
    check_order(graph);
}

TEST_CASE("the graph of an index: shared layers, nested indexes, odd entries", "[graph]") {
    memory_store store;
    auto const one = put_image(store, {"shared", "one"});
    auto const two = put_image(store, {"shared", "two"});
    auto const odd = put(store, "odd", "application/x-something-new");
    auto const inner = put_index(store, {on(two, "linux", "arm64"), odd});
    auto const root = put_index(store, {on(one, "linux", "amd64"), inner, on(one, "linux", "386")});
    auto const graph = read_graph(root, store);
    CHECK(roles(graph) == std::vector<std::string>{"layer", "layer", "config", "layer", "blob", "manifest",
                                                   "manifest", "index", "index"});
    CHECK(graph.indexes.size() == 2);
    CHECK(graph.manifests.size() == 2);
    check_order(graph);
}

TEST_CASE("an attestation is an ordinary part of a graph", "[graph]") {
    memory_store store;
    image_manifest attestation{.media_type = std::string{oci_media_types::manifest},
                               .config = put(store, "{}", "application/vnd.oci.empty.v1+json"),
                               .layers = {put(store, R"({"_type":"x"})", "application/vnd.in-toto+json")},
                               .artifact_type = "application/vnd.docker.attestation.manifest.v1+json",
                               .subject = descriptor{.media_type = std::string{oci_media_types::manifest},
                                                     .digest = facts_of("elsewhere").digest,
                                                     .size = 9}};
    auto const image = on(put_image(store, {"a"}), "linux", "amd64");
    auto about = on(put(store, to_text(attestation), oci_media_types::manifest), "unknown", "unknown");
    about.annotations["vnd.docker.reference.type"] = "attestation-manifest";
    auto const graph = read_graph(put_index(store, {image, about}), store);
    CHECK(graph.manifests.size() == 2);
    check_order(graph);
    CHECK(select_platform(graph, {}).root == image); // an attestation is no choice
}

TEST_CASE("what is missing is named with its platform", "[graph]") {
    memory_store complete;
    auto const amd = put_image(complete, {"shared", "for amd"});
    auto const arm = put_image(complete, {"shared", "for arm"});
    auto const root = put_index(complete, {on(amd, "linux", "amd64"), on(arm, "linux", "arm64", "v9")});
    auto const arm_config = parse_manifest(complete.blobs().at(arm.digest), "arm").config.digest;
    auto const lost = GENERATE_COPY(values<digest>({facts_of("for arm").digest, arm.digest, arm_config}));

    lying_store store{complete.blobs()};
    store.blobs.erase(lost);
    // Both images have the same configuration: the first one misses it.
    auto const who = lost == arm_config ? "platform linux/amd64" : "platform linux/arm64/v9";
    CHECK(code_of([&] { (void)read_graph(root, store); }, who) == error_code::not_found);
    CHECK(code_of([&] { (void)read_graph(root, store); }, lost.text()) == error_code::not_found);
}

TEST_CASE("a layer that may not be distributed may be missing, if it says where to get it", "[graph]") {
    struct row {
        std::string media_type;
        bool has_urls, is_there, accepted;
        std::size_t contents;
    };
    static std::string const foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    static std::string const restricted = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    static std::string const plain = "application/vnd.oci.image.layer.v1.tar+gzip";
    auto const c = GENERATE(values<row>({{foreign, true, true, true, 3},
                                         {foreign, true, false, true, 2},
                                         {foreign, false, false, false, 0},
                                         {restricted, true, false, true, 2},
                                         {restricted, false, true, true, 3},
                                         {plain, true, false, false, 0},
                                         {plain, true, true, true, 3}}));
    memory_store store;
    memory_store elsewhere;
    auto layer = put(c.is_there ? store : elsewhere, "foreign", c.media_type);
    if (c.has_urls) layer.urls = {"https://example.com/layer"};
    auto const root = put_manifest(store, {layer}, "someone");
    if (c.accepted)
        CHECK(read_graph(root, store).contents.size() == c.contents);
    else
        CHECK(code_of([&] { (void)read_graph(root, store); }, "layer 1") == error_code::not_found);
}

TEST_CASE("a manifest is what its descriptor promises", "[graph]") {
    memory_store good;
    auto const root = put_image(good, {"a"});
    lying_store store{good.blobs()};
    auto asked = root;
    auto expected = error_code::digest_mismatch;
    auto const message = root.digest.text();

    SECTION("another byte") {
        store.blobs[root.digest][5] ^= 1;
    }
    SECTION("a longer one") {
        store.blobs[root.digest] += "\n";
    }
    SECTION("a shorter one") {
        store.blobs[root.digest].pop_back();
    }
    SECTION("a size lie: smaller") {
        --asked.size;
    }
    SECTION("a size lie: larger") {
        ++asked.size;
    }
    SECTION("a size over the limit is not even read") {
        asked.size = max_document_size + 1;
        expected = error_code::format;
    }
    SECTION("another media type of its own kind") {
        asked.media_type = docker_media_types::manifest;
        expected = error_code::format;
    }
    SECTION("an index that is a manifest") {
        asked.media_type = oci_media_types::index;
        expected = error_code::format;
    }
    SECTION("a root that is no image") {
        asked.media_type = "application/octet-stream";
        expected = error_code::unsupported;
    }
    CHECK(code_of([&] { (void)read_graph(asked, store); }, message) == expected);
}

TEST_CASE("one content cannot be described in two ways", "[graph]") {
    memory_store store;
    auto const layer = put(store, "a", oci_media_types::layer(""));
    SECTION("two sizes") {
        auto other = layer;
        other.size = 2;
        auto const root = put_manifest(store, {layer, other}, "x");
        CHECK(code_of([&] { (void)read_graph(root, store); }, "once with 1 and once with 2 bytes") ==
              error_code::format);
    }
    SECTION("a layer and a manifest") {
        auto const inner = put_image(store, {"a"});
        auto as_layer = inner;
        as_layer.media_type = oci_media_types::layer("");
        auto const outer = put_manifest(store, {as_layer}, "x");
        auto const order = GENERATE(0, 1);
        auto const root = put_index(store, order ? std::vector{inner, outer} : std::vector{outer, inner});
        CHECK(code_of([&] { (void)read_graph(root, store); }, "different media types") == error_code::format);
    }
    SECTION("two layer types are fine: Docker and OCI images share blobs") {
        auto other = layer;
        other.media_type = docker_media_types::layer("");
        CHECK(read_graph(put_manifest(store, {layer, other}, "x"), store).contents.size() == 3);
    }
}

TEST_CASE("the depth of indexes is limited", "[graph]") {
    memory_store store;
    auto root = put_image(store, {"a"});
    for (unsigned depth = 0; depth < max_index_depth; ++depth) root = put_index(store, {root});
    CHECK(read_graph(root, store).indexes.size() == max_index_depth);
    root = put_index(store, {root});
    CHECK(code_of([&] { (void)read_graph(root, store); }, "indexes inside each other") == error_code::format);
}

TEST_CASE("an index that repeats itself costs nothing", "[graph]") {
    memory_store store; // 100^7 paths lead to the image
    auto root = put_image(store, {"a"});
    for (unsigned depth = 0; depth + 1 < max_index_depth; ++depth)
        root = put_index(store, std::vector<descriptor>(100, on(root, "linux", "amd64")));
    auto const graph = read_graph(root, store);
    CHECK(graph.contents.size() == 3 + max_index_depth - 1);
    CHECK_THROWS_AS(select_platform(graph, platform{.os = "linux", .architecture = "s390x"}), error);
}

TEST_CASE("the number of contents is limited", "[graph]") {
    memory_store store;
    std::vector<descriptor> layers;
    for (std::size_t i = 0; i + 2 < max_image_contents; ++i)
        layers.push_back(put(store, "layer " + std::to_string(i), oci_media_types::layer("")));
    CHECK(read_graph(put_manifest(store, layers, "x"), store).contents.size() == max_image_contents);
    layers.push_back(put(store, "one more", oci_media_types::layer("")));
    auto const root = put_manifest(store, layers, "x");
    CHECK(code_of([&] { (void)read_graph(root, store); }, "more than 10000") == error_code::format);
}

TEST_CASE("read_blob reads verified bytes up to its limit", "[graph]") {
    memory_store store;
    auto const what = put(store, "hello");
    CHECK(read_blob(store, what) == "hello");
    CHECK(read_blob(store, what, 5) == "hello");
    CHECK_THROWS_AS(read_blob(store, what, 4), format_error);
    CHECK(read_blob(store, put(store, "")).empty());
    lying_store wrong{{{what.digest, "hellO"}}};
    CHECK_THROWS_AS(read_blob(wrong, what), digest_mismatch);
    wrong.blobs[what.digest] = "hello and more";
    CHECK_THROWS_AS(read_blob(wrong, what), digest_mismatch);
    wrong.blobs[what.digest] = "hell";
    CHECK_THROWS_AS(read_blob(wrong, what), digest_mismatch);
}

TEST_CASE("an image is chosen by its platform", "[graph]") {
    memory_store store;
    auto const amd = on(put_image(store, {"amd"}), "linux", "amd64");
    auto const arm7 = on(put_image(store, {"arm7"}), "linux", "arm", "v7");
    auto const arm64 = on(put_image(store, {"arm64"}), "linux", "arm64", "v8");
    auto const second = on(put_image(store, {"second"}), "linux", "amd64");
    auto const inner = put_index(store, {arm64});
    auto const graph = read_graph(put_index(store, {amd, arm7, inner, second}), store);

    auto const choose = [&](platform const& wanted) { return select_platform(graph, wanted).root; };
    CHECK(choose({.os = "linux", .architecture = "amd64"}) == amd);   // the first one of two
    CHECK(choose({.os = "linux", .architecture = "arm64"}) == arm64); // v8 is what arm64 means
    CHECK(choose({.os = "linux", .architecture = "arm"}) == arm7);
    CHECK(select_platform(graph, arm7.platform).manifest.layers[0].digest == facts_of("arm7").digest);
    CHECK(code_of([&] { choose({.os = "linux", .architecture = "s390x"}); },
                  "linux/amd64, linux/arm/v7, linux/arm64/v8, linux/amd64") == error_code::not_found);
    CHECK(code_of([&] { (void)select_platform(graph, {}); }, "choose one of these") == error_code::not_found);

    auto const single = read_graph(put_image(store, {"alone"}), store);
    CHECK(select_platform(single, {}).root == single.root);
    CHECK(select_platform(single, platform{.os = "linux", .architecture = "s390x"}).root == single.root);
    auto const one = read_graph(put_index(store, {amd}), store);
    CHECK(select_platform(one, {}).root == amd);
}

TEST_CASE("finding an image reads nothing of the others, which may be missing", "[graph]") {
    memory_store store;
    auto const amd = on(put_image(store, {"amd"}), "linux", "amd64");
    auto missing = on(amd, "linux", "s390x");
    missing.digest = facts_of("not there").digest;
    auto attestation = amd;
    attestation.annotations["vnd.docker.reference.type"] = "attestation-manifest";
    auto const inner = put_index(store, {amd});
    auto const root = put_index(store, {missing, attestation, inner});

    platform const wanted{.os = "linux", .architecture = "amd64"};
    auto const found = find_image(root, store, wanted);
    CHECK(found.root == amd);
    CHECK(found.manifest.layers[0].digest == facts_of("amd").digest);
    CHECK(code_of([&] { (void)find_image(root, store, {.os = "linux", .architecture = "arm64"}); },
                  "choose one of these: linux/s390x, linux/amd64") == error_code::not_found);
    CHECK(find_image(inner, store, wanted).root == amd);
    CHECK(find_image(put_image(store, {"alone"}), store, missing.platform.value()).root.digest ==
          put_image(store, {"alone"}).digest); // a manifest is taken as it is
    CHECK(code_of([&] { (void)find_image(put_index(store, {}), store, wanted); },
                  "no image that can be run") == error_code::not_found);

    auto deep = put_image(store, {"deep"});
    for (unsigned depth = 0; depth <= max_index_depth; ++depth) deep = put_index(store, {deep});
    CHECK(code_of([&] { (void)find_image(deep, store, wanted); }, "indexes inside each other") ==
          error_code::format);
}
