#include <shiplap/shiplap.hpp>

#include "support/catch.hpp"

TEST_CASE("the umbrella brings every folder") {
    STATIC_REQUIRE(shiplap::byte_sink<shiplap::null_sink>);
    STATIC_REQUIRE(shiplap::digest_algorithm<shiplap::sha256>);
    STATIC_REQUIRE(shiplap::timestamp_policy<shiplap::clamp_timestamps>);
    STATIC_REQUIRE(shiplap::codec<shiplap::gzip>);
    STATIC_REQUIRE(shiplap::media_types<shiplap::docker_media_types>);
    STATIC_REQUIRE(shiplap::blob_store<shiplap::memory_store>);
    STATIC_REQUIRE(shiplap::layer_source<shiplap::directory_layer>);
    STATIC_REQUIRE(shiplap::image_sink<shiplap::layout_sink>);
    STATIC_REQUIRE(shiplap::export_env<shiplap::default_env>);
}
