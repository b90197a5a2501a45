#pragma once
// manifest: one image as its configuration and its layers, bottom layer first (image-spec, manifest.md;
// Docker's "Image Manifest Version 2, Schema 2").
//
// A manifest's digest is that of its bytes: what was read is passed on as it was read, never written anew.
// to_text() is for new ones.

#include <shiplap/image/descriptor.hpp>
#include <shiplap/image/json.hpp>
#include <shiplap/image/json_node.hpp>
#include <shiplap/image/media_types.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shiplap {

struct image_manifest {
    std::string media_type; ///< of either family
    descriptor config;
    std::vector<descriptor> layers{}; ///< bottom first; the same one may occur several times
    annotation_map annotations{};
    std::string artifact_type{};         ///< what it is if not an image, or empty
    std::optional<descriptor> subject{}; ///< the manifest that this one is about
    friend bool operator==(image_manifest const&, image_manifest const&) = default;
};

namespace detail {

/// Checks what manifests and indexes have in common and returns the media type. A document without one has
/// the type under which it was found.
inline std::string read_document_type(json_node const& root, std::string_view expected,
                                      std::string_view fallback, bool (*is_type)(std::string_view)) {
    if (root.has("manifests") &&
        (root.has("layers") || root.has("config"))) // CVE-2021-41190: two readers, two images
        root.refuse("has both \"manifests\" and \"layers\" or \"config\", so it could be read as two things");
    if (root["schemaVersion"].integer() != 2) root["schemaVersion"].refuse("must be 2");

    auto const declared = root["mediaType"];
    std::string type{declared ? std::string_view{declared.text()} : expected.empty() ? fallback : expected};
    if (!is_type(type))
        root.refuse("has the media type " + type + ", must be one such as " + std::string{fallback});
    if (!expected.empty() && type != expected)
        root.refuse("has the media type " + type + ", its descriptor says " + std::string{expected});
    return type;
}

} // namespace detail

/// Reads a manifest and checks all of it. `subject` names the document in messages; `expected`, if not empty,
/// is the media type of the descriptor or the Content-Type under which it was found, and the document must
/// agree with it. Throws format_error.
inline image_manifest parse_manifest(std::string_view text, std::string_view subject,
                                     std::string_view expected = {}) {
    auto const document = parse_json(text, subject);
    json_node const root{document, subject};
    image_manifest out{
        .media_type = detail::read_document_type(root, expected, oci_media_types::manifest, is_manifest_type),
        .config = read_descriptor(root["config"]),
        .annotations = detail::read_annotations(root),
        .artifact_type = root.text_of("artifactType")};
    if (!root.has("layers")) root.refuse("must have a member \"layers\"");
    auto const layers = root["layers"]; // Go writes null for none
    for (std::size_t i = 0; i < layers.length(); ++i) out.layers.push_back(read_descriptor(layers.item(i)));
    if (auto const about = root["subject"]) out.subject = read_descriptor(about);
    return out;
}

/// The document, to the byte as Go writes it: its order of members, two spaces of indentation, no newline at
/// the end; no layers are `null`.
inline std::string to_text(image_manifest const& what) {
    auto out = detail::empty_object();
    detail::add_member(out, "schemaVersion", detail::json_number(2));
    detail::add_text(out, "mediaType", what.media_type);
    detail::add_text(out, "artifactType", what.artifact_type);
    detail::add_member(out, "config", to_json(what.config));
    json layers(what.layers.empty() ? json::value_t::null : json::value_t::array);
    for (auto const& layer : what.layers) detail::add_item(layers, to_json(layer));
    detail::add_member(out, "layers", std::move(layers));
    if (what.subject) detail::add_member(out, "subject", to_json(*what.subject));
    if (!what.annotations.empty()) detail::add_member(out, "annotations", detail::to_json(what.annotations));
    return pretty(out);
}

} // namespace shiplap
