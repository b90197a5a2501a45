#pragma once
// result: what goes into an export and what comes out. A build_result is an image for one platform; a list of
// them (a vector, a span) is an image for several, which are joined by an index:
//
//     std::vector<build_result> results{{.layers = {directory_layer{"amd64"}}, .platform = amd64},
//                                       {.layers = {directory_layer{"arm64"}}, .platform = arm64}};
//     auto image = out(results, {.names = {"example.com/app:1.0"}});
//
//   given                                  root
//   a build_result                         its manifest
//   a build_result with attestations       an index: the image, its attestations
//   a list, even of one                    an index: the images in this order, then their attestations

#include <shiplap/export/base.hpp>
#include <shiplap/image/attestation.hpp>
#include <shiplap/image/config_changes.hpp>
#include <shiplap/image/layer_blob.hpp>
#include <shiplap/layer/any.hpp>

#include <concepts>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace shiplap {

/// What an image has that exists already and is exported again. What the export says goes before this.
struct kept_facts {
    annotation_map annotations{};                ///< of its manifest
    annotation_map descriptor_annotations{};     ///< of its manifest's descriptor, in an index
    std::optional<shiplap::platform> platform{}; ///< in an index; none: that of `config`
};

/// What a build made for one platform: the input of an export.
struct build_result {
    std::vector<any_layer_source> layers{};      ///< bottom first; above those of `base`, whose times stay
    std::optional<shiplap::platform> platform{}; ///< none: that of `config`, or else this machine's
    std::optional<std::string> config{}; ///< to start from, JSON; none: that of `base`, or else a minimal one
    config_changes changes{};            ///< applied to the configuration
    std::optional<base_image> base{};    ///< without new layers and changes: that image again
    std::vector<attestation> attestations{}; ///< said about this image
    annotation_map annotations{};            ///< of its manifest, besides those of export_options
    std::vector<std::string> names{};        ///< what an export calls it whose name is `*`
    std::optional<kept_facts> kept{}; ///< this is an image: as long as `config` fits, it stays to the byte
};

/// The results of several platforms, in the order of the index.
template <class R>
concept build_results = std::convertible_to<R const&, std::span<build_result const>>;

/// Annotations for one of several platforms.
struct platform_annotations {
    shiplap::platform platform;
    annotation_map manifest{};
    annotation_map descriptor{}; ///< of the manifest's descriptor in the index
};

struct export_options {
    std::vector<std::string> names{}; ///< references, normalised as Docker does; may be empty
    annotation_map annotations{};     ///< of every manifest
    annotation_map
        descriptor_annotations{}; ///< of every manifest's descriptor: in the index, or in index.json
    std::vector<platform_annotations> for_platforms{}; ///< these go before the ones above
    annotation_map index_annotations{};
    annotation_map index_descriptor_annotations{}; ///< in index.json
    std::optional<std::int64_t> epoch{}; ///< seconds since 1970: no time in config or history is later
    bool force_compression = false;      ///< repack layers that come as blobs with the exporter's codec
    /// Layers that name URLs keep them and a media type that keeps them out of registries; otherwise all whose
    /// bytes are at hand become distributable.
    bool prefer_nondistributable = false;
    bool annotate_created = true;  ///< descriptor annotation org.opencontainers.image.created
    std::string unnamed_as{};      ///< ref.name of an image without names; empty: none
    bool by_digest = false;        ///< names have no tags: the image is known as <name>@<digest>
    std::string dangling_prefix{}; ///< one more name: <prefix>@<digest>; empty: none
    bool canonical_names = false;  ///< stores also know it as <name>@<digest>
    attestation_form attestations_as = attestation_form::image;
    bool attestations_inline = true; ///< attestations that are inline_only count, too
};

/// The image for one platform.
struct exported_platform {
    descriptor manifest; ///< with the platform
    descriptor config;
    std::vector<layer_blob> layers;         ///< bottom first
    std::optional<descriptor> attestations; ///< of the manifest that holds them
};

/// What an export made.
struct exported_image {
    descriptor root;                ///< of the manifest, or of the index
    descriptor config;              ///< of the first platform
    std::vector<layer_blob> layers; ///< of the first platform, bottom first
    std::vector<std::string> names; ///< normalised
    std::vector<std::string> warnings;
    std::vector<exported_platform> platforms; ///< in the order of the results
};

/// What is exported: one result, or a list of them. Refers to it.
struct export_input {
    std::span<build_result const> results;
    bool is_list;

    export_input(build_result const& one) // NOLINT(google-explicit-constructor): both are what is exported
        : results{&one, 1}, is_list{false} {}
    template <build_results R>
    export_input(R const& several) // NOLINT(google-explicit-constructor)
        : results{several}, is_list{true} {}
    export_input(std::span<build_result const> some, bool as_list) : results{some}, is_list{as_list} {}
};

} // namespace shiplap
