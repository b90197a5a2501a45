#include <shiplap/fwd.hpp>

// What a user's header may do with it.
shiplap::descriptor const& first(shiplap::image_manifest const& manifest);

#include <shiplap/shiplap.hpp>

#include "support/catch.hpp"

namespace {

template <class... Types>
constexpr std::size_t complete = (sizeof(Types) + ...); // an error for a type that was renamed or removed

using namespace shiplap;
static_assert(
    complete<error, executor_ref, thread_pool, progress_event, progress_ref, shiplap::digest, content_facts,
             sha256, sha512, timestamp, tar_entry, uncompressed, zstd, descriptor, shiplap::platform,
             reference, image_name, oci_media_types, docker_media_types, config_changes, image_config,
             image_manifest, image_index, layer_blob, attestation, memory_store, scratch_store, layout_store,
             image_graph, directory_layer, diff_layer, tar_layer, any_layer_source, memory_sink, layout_sink,
             oci_archive_sink, docker_archive_sink, filesystem_sink, default_env, build_result,
             existing_image, export_options, exported_image, export_spec> > 0);

} // namespace

shiplap::descriptor const& first(shiplap::image_manifest const& manifest) {
    return manifest.layers.front();
}

TEST_CASE("a forward declaration is the type that the library defines") {
    descriptor const layer{"x", digest::of<sha256>({})};
    image_manifest const manifest{"", layer, {layer}};
    CHECK(first(manifest).media_type == "x");
}
