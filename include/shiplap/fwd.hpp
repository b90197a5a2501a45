#pragma once
// Names of the main types, for headers that only pass them on. Costs nothing to include.
//
// Not here: the exporter, gzip and estargz. They are templates over concepts, and whoever names a concept has
// to include it.

namespace shiplap {

// bytes, digest
class error;
class executor_ref;
class thread_pool;
struct progress_event;
class progress_ref;
class digest;
struct content_facts;
struct sha256;
struct sha512;

// tar, codec
struct timestamp;
struct tar_entry;
struct uncompressed;
struct zstd;

// image
struct descriptor;
struct platform;
class reference;
struct image_name;
struct oci_media_types;
struct docker_media_types;
struct config_changes;
struct image_config;
struct image_manifest;
struct image_index;
struct layer_blob;
struct attestation;

// store, layer, sink
class memory_store;
class scratch_store;
class layout_store;
struct image_graph;
struct directory_layer;
struct diff_layer;
class tar_layer;
class any_layer_source;
class memory_sink;
class layout_sink;
class oci_archive_sink;
class docker_archive_sink;
class filesystem_sink;

// export
struct default_env;
struct base_image;
struct existing_image;
struct build_result;
struct export_options;
struct exported_image;
struct export_spec;

} // namespace shiplap
