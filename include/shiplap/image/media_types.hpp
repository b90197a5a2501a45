#pragma once
// media types: the two families of names, each a constexpr table. One image uses one family throughout.
//
//   expression               meaning
//   M::index                 media type of an index (Docker: manifest list)
//   M::manifest, M::config   of an image manifest and its configuration
//   M::layer(encoding)       of a layer in this encoding ("", "gzip", "zstd"); empty if there is none
//   M::layer_annotations     whether layer descriptors may carry annotations
//
// Sources: image-spec, media-types.md; Docker's "Image Manifest Version 2, Schema 2". Docker's zstd type is
// not in Docker's specification: containerd reads it, skopeo refuses it.
//
// To name the layers of a codec of your own, inherit a table and override layer(); examples/06_own_codec.cpp
// does.

#include <shiplap/error.hpp>

#include <concepts>
#include <string>
#include <string_view>

namespace shiplap {

template <class M>
concept media_types = requires(std::string_view encoding) {
    { M::index } -> std::convertible_to<std::string_view>;
    { M::manifest } -> std::convertible_to<std::string_view>;
    { M::config } -> std::convertible_to<std::string_view>;
    { M::layer(encoding) } -> std::convertible_to<std::string_view>;
    { M::layer_annotations } -> std::convertible_to<bool>;
};

struct oci_media_types {
    static constexpr std::string_view name = "oci";
    static constexpr std::string_view index = "application/vnd.oci.image.index.v1+json";
    static constexpr std::string_view manifest = "application/vnd.oci.image.manifest.v1+json";
    static constexpr std::string_view config = "application/vnd.oci.image.config.v1+json";
    static constexpr bool layer_annotations = true;

    static constexpr std::string_view layer(std::string_view encoding) noexcept {
        if (encoding.empty()) return "application/vnd.oci.image.layer.v1.tar";
        if (encoding == "gzip") return "application/vnd.oci.image.layer.v1.tar+gzip";
        if (encoding == "zstd") return "application/vnd.oci.image.layer.v1.tar+zstd";
        return {};
    }
};

struct docker_media_types {
    static constexpr std::string_view name = "docker";
    static constexpr std::string_view index = "application/vnd.docker.distribution.manifest.list.v2+json";
    static constexpr std::string_view manifest = "application/vnd.docker.distribution.manifest.v2+json";
    static constexpr std::string_view config = "application/vnd.docker.container.image.v1+json";
    static constexpr bool layer_annotations = false;

    static constexpr std::string_view layer(std::string_view encoding) noexcept {
        if (encoding.empty()) return "application/vnd.docker.image.rootfs.diff.tar";
        if (encoding == "gzip") return "application/vnd.docker.image.rootfs.diff.tar.gzip";
        if (encoding == "zstd") return "application/vnd.docker.image.rootfs.diff.tar.zstd";
        return {};
    }
};

/// A table as a value, for code that decides the family at run time.
struct media_type_table {
    std::string_view index, manifest, config;
    std::string_view (*layer)(std::string_view encoding);
    bool layer_annotations;
};

template <media_types M>
inline constexpr media_type_table table_of{
    M::index, M::manifest, M::config,
    [](std::string_view encoding) { return std::string_view{M::layer(encoding)}; }, M::layer_annotations};

/// Whether `text` is a media type without parameters: type "/" subtype, each a restricted-name of RFC 6838,
/// section 4.2.
constexpr bool is_media_type(std::string_view text) noexcept {
    constexpr std::string_view alphanumeric =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    constexpr std::string_view marks = "!#$&^_.+-";
    auto const restricted_name = [=](std::string_view name) {
        if (name.empty() || name.size() > 127 || alphanumeric.find(name[0]) == name.npos) return false;
        for (char const c : name)
            if (alphanumeric.find(c) == name.npos && marks.find(c) == name.npos) return false;
        return true;
    };
    auto const slash = text.find('/');
    return slash != text.npos && restricted_name(text.substr(0, slash)) &&
           restricted_name(text.substr(slash + 1));
}

/// Whether a document of this media type lists manifests, in either family.
constexpr bool is_index_type(std::string_view media_type) noexcept {
    return media_type == oci_media_types::index || media_type == docker_media_types::index;
}

/// Whether a document of this media type is the manifest of one image or artifact, in either family.
constexpr bool is_manifest_type(std::string_view media_type) noexcept {
    return media_type == oci_media_types::manifest || media_type == docker_media_types::manifest;
}

namespace detail {

/// Layers that may be named without being there (image-spec, media-types.md; Docker's schema 2).
constexpr bool is_foreign_layer(std::string_view media_type) noexcept {
    return media_type.find(".nondistributable.") != media_type.npos ||
           media_type.find(".foreign.") != media_type.npos;
}

} // namespace detail

/// The media type of a non-distributable layer in a manifest of type `manifest` (image-spec, layer.md,
/// "Non-Distributable Layers"); Docker has none for zstd and gets OCI's.
inline std::string foreign_layer_type(std::string_view manifest, std::string_view encoding) {
    if (manifest == docker_media_types::manifest && encoding != "zstd")
        return "application/vnd.docker.image.rootfs.foreign.diff.tar" +
               (encoding.empty() ? "" : "." + std::string{encoding});
    return "application/vnd.oci.image.layer.nondistributable.v1.tar" +
           (encoding.empty() ? "" : "+" + std::string{encoding});
}

/// The encoding of a layer of this media type, in either family: "", "gzip" or "zstd". Non-distributable
/// layers count too (image-spec, layer.md, "Non-Distributable Layers"). Throws error{unsupported} for
/// anything else.
inline std::string_view layer_encoding(std::string_view media_type) {
    for (std::string_view const encoding : {"", "gzip", "zstd"})
        if (media_type == oci_media_types::layer(encoding) ||
            media_type == docker_media_types::layer(encoding))
            return encoding;
    for (std::string_view const base : {"application/vnd.oci.image.layer.nondistributable.v1.tar",
                                        "application/vnd.docker.image.rootfs.foreign.diff.tar"}) {
        if (!media_type.starts_with(base)) continue;
        auto const suffix = media_type.substr(base.size());
        if (suffix.empty()) return "";
        if (suffix == "+gzip" || suffix == ".gzip") return "gzip";
        if (suffix == "+zstd") return "zstd";
    }
    throw error{error_code::unsupported, "read layer", std::string{media_type},
                "is no media type of a layer in tar, gzip or zstd"};
}

} // namespace shiplap
