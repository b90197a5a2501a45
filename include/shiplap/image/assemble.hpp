#pragma once
// assemble: packed layers -> the documents of an image. A pure function: no store, no clock, no environment.
//
//     layers (layer_blob) --+
//     image_options --------+--> config text, manifest text, and the descriptor of each
//     media types ----------+
//
// Who calls it stores the two texts under the digests of their descriptors and passes the root on to copy().
// assemble_index() does the same one level up, for several images under one name.
//
// The bytes are those that BuildKit's exporters write for the same input, so are the digests.

#include <shiplap/image/config.hpp>
#include <shiplap/image/config_changes.hpp>
#include <shiplap/image/descriptor.hpp>
#include <shiplap/image/index.hpp>
#include <shiplap/image/layer_blob.hpp>
#include <shiplap/image/manifest.hpp>
#include <shiplap/image/media_types.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace shiplap {

struct image_options {
    std::optional<shiplap::platform> platform{}; ///< none: that of `config`, or else the host's
    std::optional<std::string> config{};         ///< JSON text; none: default_config()
    config_changes changes{};
    annotation_map annotations{};            ///< inside the manifest
    annotation_map descriptor_annotations{}; ///< on the descriptor of the manifest
    std::optional<std::int64_t> epoch{};     ///< latest time in the configuration, seconds since 1970
    timestamp now{};                         ///< time of layers that have none
    /// `config` is that of an image, with this history of its base, which no epoch changes. As long as it fits
    /// the layers, it stays to the byte.
    std::optional<std::vector<history_entry>> base_history{};
    std::optional<shiplap::platform> indexed_as{}; ///< on the descriptor, as it is; none: that of `config`
};

/// The documents of one image.
struct assembled_image {
    std::string config, manifest;
    descriptor config_descriptor;
    descriptor root; ///< of the manifest, with the platform
    std::vector<std::string> warnings;
};

/// The document of several images.
struct assembled_index {
    std::string index;
    descriptor root;
};

namespace detail {

using digest_function = digest (*)(bytes_view);

inline descriptor describe(std::string_view media_type, std::string_view text, digest_function digest_of) {
    return {.media_type = std::string{media_type}, .digest = digest_of(as_bytes(text)), .size = text.size()};
}

/// The platform of the image: that of the configuration. Asking for another one is an error, since an index
/// would promise what the configuration denies.
inline platform checked_platform(std::string_view config, std::optional<platform> const& asked) {
    auto found = normalised(platform_of_config(config, "image configuration"));
    if (asked && format(normalised(*asked)) != format(found))
        throw option_error{"assemble image", format(*asked),
                           "the image configuration is for the platform " + format(found)};
    return found;
}

inline std::string layer_type(layer_blob const& layer, media_type_table const& table) {
    return layer.distributable ? std::string{table.layer(layer.encoding)}
                               : foreign_layer_type(table.manifest, layer.encoding);
}

/// All of assemble() that does not depend on the digest algorithm.
inline assembled_image assemble_with(digest_function digest_of, std::span<layer_blob const> layers,
                                     image_options const& options, media_type_table const& table) {
    constexpr std::string_view subject = "image configuration";
    auto const given = options.config
                           ? *options.config
                           : default_config(normalised(options.platform.value_or(host_platform())));
    std::vector<std::string> warnings;
    auto config = finish_config(apply_changes(given, subject, options.changes), subject, layers, options.now,
                                options.epoch, warnings, options.base_history);
    auto config_descriptor = describe(table.config, config, digest_of);

    image_manifest manifest{.media_type = std::string{table.manifest},
                            .config = config_descriptor,
                            .annotations = options.annotations};
    for (auto const& layer : layers) {
        auto const media_type = layer_type(layer, table);
        if (media_type.empty())
            throw error{error_code::unsupported, "assemble image", layer.encoding,
                        "the family of " + std::string{table.manifest} +
                            " has no media type for a layer in this encoding"};
        manifest.layers.push_back(
            {.media_type = media_type,
             .digest = layer.blob.digest,
             .size = layer.blob.size,
             .annotations = table.layer_annotations ? layer.annotations : annotation_map{},
             .urls = layer.urls});
    }
    auto text = to_text(manifest);
    auto root = describe(table.manifest, text, digest_of);
    root.annotations = options.descriptor_annotations;
    root.platform = checked_platform(config, options.platform);
    if (options.indexed_as) root.platform = options.indexed_as;
    return {std::move(config), std::move(text), std::move(config_descriptor), std::move(root),
            std::move(warnings)};
}

} // namespace detail

/// Makes the configuration and the manifest of an image out of its layers, bottom first. Throws option_error
/// for options that contradict each other, format_error for a configuration that is none, error{unsupported}
/// for a layer that the media types have no name for.
template <digest_algorithm D>
assembled_image assemble(std::span<layer_blob const> layers, image_options const& options,
                         media_type_table const& table) {
    return detail::assemble_with(&digest::of<D>, layers, options, table);
}

/// Makes the index of several images (the `root` of each, in this order).
template <digest_algorithm D>
assembled_index assemble_index(std::span<descriptor const> images, annotation_map annotations,
                               annotation_map descriptor_annotations, media_type_table const& table) {
    auto text = to_text(image_index{.media_type = std::string{table.index},
                                    .manifests = {images.begin(), images.end()},
                                    .annotations = std::move(annotations)});
    auto root = detail::describe(table.index, text, &digest::of<D>);
    root.annotations = std::move(descriptor_annotations);
    return {std::move(text), std::move(root)};
}

} // namespace shiplap
