#include <shiplap/image/media_types.hpp>

#include "support/catch.hpp"

#include <string>

using namespace shiplap;

static_assert(media_types<oci_media_types>);
static_assert(media_types<docker_media_types>);

namespace twins {
struct nameless {
    static constexpr std::string_view manifest = "a/b", config = "a/c";
    static constexpr std::string_view layer(std::string_view) { return {}; }
    static constexpr bool layer_annotations = true;
};
struct xz_media_types : oci_media_types {
    static constexpr std::string_view layer(std::string_view encoding) {
        return encoding == "xz" ? "application/vnd.example.layer.v1.tar+xz"
                                : oci_media_types::layer(encoding);
    }
};
} // namespace twins

using namespace twins;
static_assert(!media_types<nameless>); // no index
static_assert(media_types<xz_media_types>);

TEMPLATE_TEST_CASE("media types: a table as a value says the same as the type", "", oci_media_types,
                   docker_media_types, xz_media_types) {
    auto const& table = table_of<TestType>;
    CHECK(table.index == TestType::index);
    CHECK(table.manifest == TestType::manifest);
    CHECK(table.config == TestType::config);
    CHECK(table.layer_annotations == TestType::layer_annotations);
    for (auto const* encoding : {"", "gzip", "zstd", "xz", "GZIP"})
        CHECK(table.layer(encoding) == TestType::layer(encoding));
    CHECK(table.layer("brotli").empty());

    CHECK(is_index_type(table.index));
    CHECK(is_manifest_type(table.manifest));
    CHECK_FALSE(is_index_type(table.manifest));
    CHECK_FALSE(is_manifest_type(table.index));
    CHECK_FALSE(is_manifest_type(table.config));
    for (auto const type : {table.index, table.manifest, table.config, table.layer("gzip")})
        CHECK(is_media_type(type));
}

TEST_CASE("media types: the grammar of RFC 6838") {
    auto const good = GENERATE(values<std::string>({"a/b", "application/vnd.oci.image.layer.v1.tar+gzip",
                                                    "A0!#$&^_.+-/9", "x/" + std::string(127, 'y')}));
    CAPTURE(good);
    CHECK(is_media_type(good));
    auto const bad =
        GENERATE(values<std::string>({"", "/", "a", "a/", "/b", "a/b/c", "-a/b", "a/.b", "a b/c", "a/b;c=d",
                                      "a/b ", "a/\xc3\xa9", "x/" + std::string(128, 'y')}));
    CAPTURE(bad);
    CHECK_FALSE(is_media_type(bad));
}

TEST_CASE("media types: the encoding of a layer, whatever the family") {
    for (auto const* table : {&table_of<oci_media_types>, &table_of<docker_media_types>})
        for (std::string const encoding : {"", "gzip", "zstd"})
            CHECK(layer_encoding(table->layer(encoding)) == encoding);
    CHECK(layer_encoding("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd") == "zstd");
    CHECK(layer_encoding("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip") == "gzip");
    CHECK(layer_encoding("application/vnd.docker.image.rootfs.foreign.diff.tar").empty());
    auto const other = GENERATE(values<std::string>({"", "text/plain", "application/vnd.in-toto+json",
                                                     "application/vnd.oci.image.layer.v1.tar+xz",
                                                     "application/vnd.oci.image.layer.v1.targzip"}));
    CHECK_THROWS_AS(layer_encoding(other), error);
}

TEST_CASE("media types: non-distributable layers in both families") {
    for (std::string_view const encoding : {"", "gzip", "zstd"})
        for (auto const manifest : {oci_media_types::manifest, docker_media_types::manifest}) {
            auto const type = foreign_layer_type(manifest, encoding);
            CAPTURE(type);
            CHECK(layer_encoding(type) == encoding);
            CHECK(detail::is_foreign_layer(type));
            bool const is_docker = type.find("docker") != type.npos;
            CHECK(is_docker == (manifest == docker_media_types::manifest && encoding != "zstd"));
        }
}
