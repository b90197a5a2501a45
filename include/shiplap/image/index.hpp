#pragma once
// index: several manifests under one name, such as one for each platform (image-spec, image-index.md;
// Docker's "manifest list"). The index.json of an OCI layout has the same form.

#include <shiplap/image/descriptor.hpp>
#include <shiplap/image/json.hpp>
#include <shiplap/image/json_node.hpp>
#include <shiplap/image/manifest.hpp>
#include <shiplap/image/media_types.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shiplap {

struct image_index {
    std::string media_type; ///< of either family
    std::vector<descriptor> manifests{};
    annotation_map annotations{};
    std::string artifact_type{};         ///< or empty
    std::optional<descriptor> subject{}; ///< the manifest that this one is about
    friend bool operator==(image_index const&, image_index const&) = default;
};

/// Reads an index and checks all of it; parameters and errors as of parse_manifest().
inline image_index parse_index(std::string_view text, std::string_view subject,
                               std::string_view expected = {}) {
    auto const document = parse_json(text, subject);
    json_node const root{document, subject};
    image_index out{.media_type =
                        detail::read_document_type(root, expected, oci_media_types::index, is_index_type),
                    .annotations = detail::read_annotations(root),
                    .artifact_type = root.text_of("artifactType")};
    if (!root.has("manifests")) root.refuse("must have a member \"manifests\"");
    auto const manifests = root["manifests"]; // umoci writes null for none
    for (std::size_t i = 0; i < manifests.length(); ++i)
        out.manifests.push_back(read_descriptor(manifests.item(i)));
    if (auto const about = root["subject"]) out.subject = read_descriptor(about);
    return out;
}

/// The document as a value, in Go's order of members; pretty() it for an index that is pushed, compact() it
/// for the index.json of a layout.
inline json to_json(image_index const& what) {
    auto out = detail::empty_object();
    detail::add_member(out, "schemaVersion", detail::json_number(2));
    detail::add_text(out, "mediaType", what.media_type);
    detail::add_text(out, "artifactType", what.artifact_type);
    auto manifests = detail::empty_array();
    for (auto const& manifest : what.manifests) detail::add_item(manifests, to_json(manifest));
    detail::add_member(out, "manifests", std::move(manifests));
    if (what.subject) detail::add_member(out, "subject", to_json(*what.subject));
    if (!what.annotations.empty()) detail::add_member(out, "annotations", detail::to_json(what.annotations));
    return out;
}

/// The document, to the byte as Go writes it: two spaces of indentation, no newline at the end.
inline std::string to_text(image_index const& what) {
    return pretty(to_json(what));
}

} // namespace shiplap
