#pragma once
// base: an image to build upon. Its layers lie below the new ones, its configuration is what changes start
// from, its history goes on.
//
//     layout_store images{"images"};
//     build_result result{.layers = {directory_layer{"app"}},
//                         .base = read_base(images, images.resolve("debian:12"))};
//
// Only manifest and configuration are read here. The layers are named by their descriptors, and each is
// opened when somebody reads it: a sink that has it already never does. So the store must outlive the base
// and every export of it; or pass it as a shared_ptr, which the layers then hold.

#include <shiplap/error.hpp>
#include <shiplap/image/config.hpp>
#include <shiplap/image/layer_blob.hpp>
#include <shiplap/image/media_types.hpp>
#include <shiplap/image/platform.hpp>
#include <shiplap/layer/any.hpp>
#include <shiplap/layer/existing.hpp>
#include <shiplap/store/graph.hpp>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {

/// What read_base() returns. The layers are stored_layers, with their diff_ids as the configuration says.
struct base_image {
    descriptor root;                        ///< of the manifest
    std::string config;                     ///< JSON, as it is written
    std::vector<history_entry> history{};   ///< what `config` says
    std::vector<any_layer_source> layers{}; ///< bottom first
    annotation_map annotations{};           ///< of the manifest
};

namespace detail {

/// Those of a base layer's annotations that are true of the blob, wherever it is, and that exporters make.
inline void drop_foreign_annotations(layer_blob& layer) {
    static constexpr std::array<std::string_view, 5> known{
        toc_digest_annotation, "io.containers.estargz.uncompressed-size", rewritten_annotation,
        "containerd.io/snapshot/overlaybd/blob-digest", "containerd.io/snapshot/overlaybd/blob-size"};
    std::erase_if(layer.annotations, [](auto const& one) {
        return std::find(known.begin(), known.end(), one.first) == known.end();
    });
}

/// Throws unless a base with this configuration is one for the platform that was asked for. One of a
/// configuration that does not tell its variant, as of many old images for arm, is.
inline void check_base_platform(platform found, platform wanted, std::string const& subject) {
    auto const text = format(normalised(found));
    if (found.variant.empty()) wanted.variant.clear();
    found = normalised(found);
    wanted = normalised(wanted);
    if (found.os != wanted.os || found.architecture != wanted.architecture || found.variant != wanted.variant)
        throw error{error_code::not_found, "select platform", format(wanted),
                    "the " + subject + " is for " + text};
}

inline layer_blob base_layer_facts(descriptor const& layer, digest const& diff_id,
                                   std::optional<zoned_time> const& created) {
    layer_blob facts{.blob = {layer.digest, layer.size},
                     .diff_id = diff_id,
                     .encoding = std::string{layer_encoding(layer.media_type)},
                     .annotations = layer.annotations,
                     .created_by = "layer of the base image",
                     .distributable = !is_foreign_layer(layer.media_type),
                     .urls = layer.urls};
    if (created) facts.created = created->at;
    return facts;
}

/// `store` or what it points to.
template <class S>
S const& pointee(S const& store) {
    return store;
}
template <class S>
S const& pointee(std::shared_ptr<S const> const& store) {
    return *store;
}

/// Reads the image that was found. Its configuration must be for `wanted`, if that is given. `contains` tells
/// which layers the store has.
template <class Store, class Contains>
base_image read_found_image(Store const& store, selected_image const& image,
                            std::optional<platform> const& wanted, Contains contains) {
    auto const& from = pointee(store);
    auto const subject = "configuration " + image.manifest.config.digest.text() + " of the base image";
    base_image out{.root = image.root,
                   .config = read_blob(from, image.manifest.config),
                   .annotations = image.manifest.annotations};
    auto const config = read_config(out.config, subject);
    out.history = config.history;
    if (wanted) check_base_platform(config.platform, *wanted, subject);

    auto const& layers = image.manifest.layers;
    if (layers.size() != config.diff_ids.size())
        throw format_error{"read base image", image.root.digest.text(),
                           "has " + std::to_string(layers.size()) + " layers, but the " + subject + " has " +
                               std::to_string(config.diff_ids.size()) + " diff_ids"};
    for (std::size_t i = 0; i < layers.size(); ++i) {
        auto facts = base_layer_facts(layers[i], config.diff_ids[i], config.created);
        facts.only_named = !contains(layers[i].digest);
        facts.is_remote = remote_source<std::remove_cvref_t<decltype(from)>>;
        if (facts.only_named && (facts.distributable || facts.urls.empty()))
            throw error{error_code::not_found, "read base image", layers[i].digest.text(),
                        "the source does not have this layer " + std::to_string(i + 1)};
        out.layers.emplace_back(blob_in_store(store, std::move(facts)));
    }
    return out;
}

template <class Store>
base_image read_base_from(Store const& store, descriptor const& root, std::optional<platform> const& wanted) {
    auto const& from = pointee(store);
    return read_found_image(store, find_image(root, from, wanted ? *wanted : host_platform()), wanted,
                            [&](digest const& layer) { return from.contains(layer); });
}

} // namespace detail

/// Reads the image `root` as a base: a manifest or, of an index, the one for `wanted`, by default this
/// machine's platform. `store` must outlive the base. Throws error{not_found} that lists the platforms there
/// are, or names what is missing; format_error for a configuration that does not fit the manifest;
/// digest_mismatch.
template <blob_reader_source S>
base_image read_base(S const& store, descriptor const& root, std::optional<platform> const& wanted = {}) {
    return detail::read_base_from(store, root, wanted);
}

template <blob_reader_source S>
base_image read_base(S const&& store, descriptor const& root,
                     std::optional<platform> const& wanted = {}) = delete; // its layers would dangle

/// The same; the layers share `store`.
template <blob_reader_source S>
base_image read_base(std::shared_ptr<S> store, descriptor const& root,
                     std::optional<platform> const& wanted = {}) {
    return detail::read_base_from(std::shared_ptr<S const>{std::move(store)}, root, wanted);
}

} // namespace shiplap
