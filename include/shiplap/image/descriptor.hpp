#pragma once
// descriptor: the one currency. Every write yields one, every copy is driven by one (image-spec,
// descriptor.md).

#include <shiplap/codec/concept.hpp>
#include <shiplap/digest/digest.hpp>
#include <shiplap/image/json.hpp>
#include <shiplap/image/json_node.hpp>
#include <shiplap/image/media_types.hpp>
#include <shiplap/image/platform.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace shiplap {

struct descriptor {
    std::string media_type;
    shiplap::digest digest;
    std::uint64_t size = 0; ///< bytes
    annotation_map annotations{};
    std::vector<std::string> urls{};
    std::optional<shiplap::platform> platform{};
    std::string artifact_type{};
    std::string data{}; ///< the content itself as base64, or empty
    friend bool operator==(descriptor const&, descriptor const&) = default;
};

/// Whether it is of a manifest or an index: small, and naming other content.
inline bool is_document(descriptor const& what) noexcept {
    return is_manifest_type(what.media_type) || is_index_type(what.media_type);
}

/// Decodes RFC 4648 base64 with padding; none if `text` is anything else.
inline std::optional<std::string> decode_base64(std::string_view text) {
    static constexpr std::string_view alphabet =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (text.size() % 4 != 0) return std::nullopt;
    auto const padding = text.ends_with("==") ? 2u : text.ends_with('=') ? 1u : 0u;
    text.remove_suffix(padding);

    std::string out;
    std::uint32_t bits = 0;
    unsigned held = 0; // of `bits`, those that are not yet in `out`
    for (char const c : text) {
        auto const value = alphabet.find(c);
        if (value == alphabet.npos) return std::nullopt;
        bits = bits << 6 | static_cast<std::uint32_t>(value);
        held += 6;
        if (held < 8) continue;
        held -= 8;
        out += static_cast<char>(static_cast<unsigned char>(bits >> held & 0xff));
    }
    if ((bits & ((1u << held) - 1)) != 0) return std::nullopt; // two texts for the same bytes
    return out;
}

namespace detail {

inline json to_json(annotation_map const& annotations) {
    auto out = empty_object();
    for (auto const& [key, value] : annotations) add_member(out, key, json_text(value));
    return out;
}

/// Reads the optional member "annotations" of `owner`.
inline annotation_map read_annotations(json_node const& owner) {
    annotation_map out;
    auto const node = owner["annotations"];
    if (!node) return out;
    for (auto const& [key, value] : node.object()) {
        if (!value.is_string()) node.refuse("the value of \"" + key + "\" must be a string");
        out.emplace(key, *value.get_ptr<json::string_t const*>());
    }
    return out;
}

inline std::string read_media_type(json_node const& node) {
    if (!is_media_type(node.text())) node.refuse("must be a media type, as in application/json (RFC 6838)");
    return node.text();
}

inline digest read_digest(json_node const& node) {
    try {
        return digest::parse(node.text());
    } catch (format_error const& wrong) {
        node.refuse(wrong.reason());
    }
}

} // namespace detail

/// In Go's order of members: mediaType, digest, size, urls, annotations, data, platform, artifactType; what
/// is empty is left out.
inline json to_json(descriptor const& what) {
    auto out = detail::empty_object();
    detail::add_member(out, "mediaType", detail::json_text(what.media_type));
    detail::add_member(out, "digest", detail::json_text(what.digest.text()));
    detail::add_member(out, "size", detail::json_number(what.size));
    if (!what.urls.empty()) detail::add_member(out, "urls", detail::json_texts(what.urls));
    if (!what.annotations.empty()) detail::add_member(out, "annotations", detail::to_json(what.annotations));
    detail::add_text(out, "data", what.data);
    if (what.platform) detail::add_member(out, "platform", to_json(*what.platform));
    detail::add_text(out, "artifactType", what.artifact_type);
    return out;
}

/// Reads a descriptor and checks all of it: the grammars of media type and digest, a size from 0 to 2^63-1,
/// and that embedded data are the bytes that digest and size promise. Throws format_error.
inline descriptor read_descriptor(json_node const& node) {
    descriptor out{.media_type = detail::read_media_type(node["mediaType"]),
                   .digest = detail::read_digest(node["digest"]),
                   .size = node["size"].integer(),
                   .annotations = detail::read_annotations(node)};
    out.urls = node["urls"].texts();
    if (auto const where = node["platform"]) out.platform = read_platform(where);
    if (!node.text_of("artifactType").empty())
        out.artifact_type = detail::read_media_type(node["artifactType"]);

    out.data = node.text_of("data");
    if (!out.data.empty()) {
        auto const bytes = decode_base64(out.data);
        if (!bytes) node["data"].refuse("must be base64 with padding (RFC 4648)");
        if (bytes->size() != out.size)
            node["data"].refuse("has " + std::to_string(bytes->size()) + " bytes, \"size\" says " +
                                std::to_string(out.size));
        try {
            verify(as_bytes(*bytes), out.digest);
        } catch (digest_mismatch const& wrong) {
            node["data"].refuse("does not match \"digest\": " + wrong.reason());
        }
    }
    return out;
}

} // namespace shiplap
