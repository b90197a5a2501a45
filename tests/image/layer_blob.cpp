#include <shiplap/image/layer_blob.hpp>

#include "support/catch.hpp"

using namespace shiplap;

TEST_CASE("layer_blob: two digests and a size are enough") {
    auto const name = digest::of<sha256>(as_bytes("x"));
    layer_blob const layer{.blob = {name, 1}, .diff_id = name};
    CHECK(layer.encoding.empty());
    CHECK(layer.annotations.empty());
    CHECK(layer.created_by.empty());
    CHECK_FALSE(layer.created);
}
