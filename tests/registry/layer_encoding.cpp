#include <shiplap/registry/layer_encoding.hpp>

#include "support/catch.hpp"
#include "support/sample_image.hpp"

using namespace shiplap;

TEST_CASE("layers are packed as their media types say", "[registry]") {
    struct row {
        std::string type, encoding;
        bool right;
    };
    auto const [type, encoding, right] = GENERATE(values<row>({
        {"application/vnd.oci.image.layer.v1.tar", "", true},
        {"application/vnd.oci.image.layer.v1.tar", "gzip", false},
        {"application/vnd.oci.image.layer.v1.tar", "zstd", false},
        {"application/vnd.oci.image.layer.v1.tar+gzip", "gzip", true},
        {"application/vnd.oci.image.layer.v1.tar+gzip", "zstd", false},
        {"application/vnd.oci.image.layer.v1.tar+gzip", "", false},
        {"application/vnd.oci.image.layer.v1.tar+zstd", "zstd", true},
        {"application/vnd.oci.image.layer.v1.tar+zstd", "gzip", false},
        {"application/vnd.docker.image.rootfs.diff.tar.gzip", "gzip", true},
        {"application/vnd.docker.image.rootfs.diff.tar.gzip", "zstd", false},
        {"application/vnd.docker.image.rootfs.diff.tar.zstd", "zstd", true},
        {"application/vnd.oci.image.config.v1+json", "gzip", true}, // of no interest
        {"application/x-of-somebody", "zstd", true},
    }));
    INFO(type << " with " << encoding);
    auto const bytes = encoded(encoding, "so many words");
    descriptor const layer{
        .media_type = type, .digest = digest::of<sha256>(as_bytes(bytes)), .size = bytes.size()};
    span_source source{bytes};
    if (right)
        CHECK_NOTHROW(detail::require_encoding(layer, source));
    else
        CHECK_THROWS_AS(detail::require_encoding(layer, source), format_error);
}

TEST_CASE("a layer of a few bytes is packed in no way", "[registry]") {
    span_source source{"abc"};
    descriptor const layer{.media_type = std::string{oci_media_types::layer("gzip")},
                           .digest = digest::of<sha256>(as_bytes("abc")),
                           .size = 3};
    CHECK_NOTHROW(detail::require_encoding(layer, source));
}
