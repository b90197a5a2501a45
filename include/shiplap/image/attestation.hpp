#pragma once
// attestation: a statement about an image, kept beside it: what is in it (SBOM), how it was made (provenance).
//
//     index -+- image manifest                        what runs
//            +- attestation manifest                  platform unknown/unknown; an annotation names the image
//                 layers: in-toto statements          subject: the image; predicate: what is said of it
//
// A statement is JSON in the form of in-toto (attestation/spec/v1/statement.md). The manifest comes in the two
// forms that BuildKit has: as an image that nobody can run, which every registry takes, and as an artifact with
// the image as its subject (image-spec, manifest.md, "Guidelines for Artifact Usage").

#include <shiplap/image/assemble.hpp>
#include <shiplap/image/reference.hpp>

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace shiplap {

inline constexpr std::string_view spdx_predicate = "https://spdx.dev/Document";
inline constexpr std::string_view provenance_predicate = "https://slsa.dev/provenance/v1";
inline constexpr std::string_view provenance_v02_predicate = "https://slsa.dev/provenance/v0.2";

inline constexpr std::string_view in_toto_media_type = "application/vnd.in-toto+json";
/// Says what an entry of an index is beside the image that `reference_digest_annotation` names.
inline constexpr std::string_view reference_type_annotation = "vnd.docker.reference.type";
inline constexpr std::string_view reference_digest_annotation = "vnd.docker.reference.digest";

/// Bytes of the largest attestation.
inline constexpr std::size_t max_attestation_size = 40 * 1024 * 1024;

/// Something that a statement is about: a name, and digests in hexadecimal by algorithm.
struct attestation_subject {
    std::string name{};                           ///< empty: "_"
    std::map<std::string, std::string> digests{}; ///< empty: that of the image
    friend bool operator==(attestation_subject const&, attestation_subject const&) = default;
};

struct attestation {
    std::string predicate_type;                  ///< a URI
    std::string predicate{};                     ///< a JSON object, or empty
    std::vector<attestation_subject> subjects{}; ///< none: the image, under each of its names
    bool inline_only = false; ///< alone, it makes an index only where attestations belong to the image anyway
};

enum class attestation_form {
    image,    ///< with a configuration for the platform unknown/unknown
    artifact, ///< with an artifactType and a subject
};

/// The documents of all that is said about one image.
struct assembled_attestations {
    std::vector<std::string> statements;
    std::vector<descriptor> layers; ///< of the statements
    std::string config, manifest;
    descriptor config_descriptor;
    descriptor root; ///< of the manifest, as the index names it
};

/// The predicate type that a word stands for: "sbom", "provenance", or a URI. Throws option_error.
inline std::string predicate_type_named(std::string_view word) {
    if (word == "sbom") return std::string{spdx_predicate};
    if (word == "provenance") return std::string{provenance_predicate};
    if (word.find(':') == word.npos || word.find_first_of(" \t\r\n") != word.npos)
        throw option_error{"attestation", "unknown attestation type \"" + printable(word) +
                                              "\"; known are sbom, provenance and any URI"};
    return std::string{word};
}

namespace detail {

/// "a/b:c" -> "a%2Fb%3Ac", but for characters in `kept`.
inline std::string percent_encoded(std::string_view text, std::string_view kept) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string out;
    for (char const c : text) {
        auto const byte = static_cast<unsigned char>(c);
        if (is_alphanumeric(c) || kept.find(c) != kept.npos) {
            out += c;
        } else {
            out += '%';
            out += digits[byte >> 4];
            out += digits[byte & 15];
        }
    }
    return out;
}

} // namespace detail

/// A reference as a package URL (github.com/package-url/purl-spec):
/// "pkg:docker/example.com/app@1.0?platform=linux%2Famd64".
inline std::string purl_of(reference const& image, std::optional<platform> const& where) {
    auto name = image.familiar();
    name.resize(name.size() - (image.tag().empty() ? 0 : image.tag().size() + 1) -
                (image.digest() ? image.digest()->text().size() + 1 : 0));
    auto const tag = image.with_default_tag().tag();
    auto out = "pkg:docker/" + detail::percent_encoded(name, "/-._~") + (tag.empty() ? "" : "@" + tag);
    char separator = '?';
    auto const qualify = [&](std::string_view key, std::string const& value, std::string_view kept) {
        out += separator + std::string{key} + "=" + detail::percent_encoded(value, kept);
        separator = '&';
    };
    if (image.digest()) qualify("digest", image.digest()->text(), "-._~:");
    if (where) qualify("platform", format(*where), "-._~");
    return out;
}

/// The text of the statement of `what` about the image whose manifest is `image`. Throws format_error if the
/// predicate is no JSON object.
inline std::string statement_of(attestation const& what, descriptor const& image,
                                std::span<reference const> names) {
    std::string predicate = "null";
    if (!what.predicate.empty()) {
        auto const subject = "predicate of type " + what.predicate_type;
        auto const value = parse_json(what.predicate, subject, {max_attestation_size, true});
        static_cast<void>(json_node{value, subject}.object());
        predicate = detail::compact_text(what.predicate);
    }
    std::map<std::string, std::string> const of_image{
        {std::string{image.digest.algorithm()}, std::string{image.digest.encoded()}}};
    auto subjects = what.subjects;
    if (subjects.empty())
        for (auto const& name : names) subjects.push_back({purl_of(name, image.platform), of_image});

    auto list = detail::empty_array();
    for (auto const& [name, digests] : subjects) {
        auto entry = detail::empty_object();
        detail::add_text(entry, "name", name.empty() ? "_" : name);
        detail::add_member(entry, "digest", detail::to_json(digests.empty() ? of_image : digests));
        detail::add_item(list, std::move(entry));
    }
    auto head = detail::empty_object();
    detail::add_text(head, "_type", "https://in-toto.io/Statement/v1");
    detail::add_member(head, "predicateType", detail::json_text(what.predicate_type));
    detail::add_member(head, "subject", std::move(list));
    auto text = compact(head);
    text.pop_back();
    return text + ",\"predicate\":" + predicate +
           "}"; // to the byte as it is: numbers are not read and written anew
}

namespace detail {

inline std::string unknown_config(std::span<descriptor const> statements) {
    auto ids = empty_array();
    for (auto const& statement : statements) add_item(ids, json_text(statement.digest.text()));
    auto rootfs = empty_object();
    add_text(rootfs, "type", "layers");
    add_member(rootfs, "diff_ids", std::move(ids));
    auto out = empty_object();
    add_text(out, "architecture", "unknown");
    add_text(out, "os", "unknown");
    add_member(out, "config", empty_object());
    add_member(out, "rootfs", std::move(rootfs));
    return compact(out);
}

inline assembled_attestations
assemble_attestations_with(digest_function digest_of, std::span<attestation const> what,
                           descriptor const& image, std::span<reference const> names, attestation_form form) {
    std::vector<std::string> statements;
    std::vector<descriptor> layers;
    for (auto const& one : what) {
        statements.push_back(statement_of(one, image, names));
        layers.push_back(describe(in_toto_media_type, statements.back(), digest_of));
        layers.back().annotations = {{"in-toto.io/predicate-type", one.predicate_type}};
    }
    bool const as_artifact = form == attestation_form::artifact;
    std::string config = as_artifact ? "{}" : unknown_config(layers);
    auto config_descriptor = describe(
        as_artifact ? "application/vnd.oci.empty.v1+json" : oci_media_types::config, config, digest_of);
    if (as_artifact) config_descriptor.data = "e30="; // {}

    image_manifest manifest{
        .media_type = std::string{oci_media_types::manifest}, .config = config_descriptor, .layers = layers};
    if (as_artifact) {
        manifest.artifact_type = "application/vnd.docker.attestation.manifest.v1+json";
        manifest.subject =
            descriptor{.media_type = image.media_type, .digest = image.digest, .size = image.size};
    }
    auto text = to_text(manifest);
    auto root = describe(manifest.media_type, text, digest_of);
    root.annotations = {{std::string{reference_digest_annotation}, image.digest.text()},
                        {std::string{reference_type_annotation}, "attestation-manifest"}};
    root.platform = platform{.os = "unknown", .architecture = "unknown"};
    return {std::move(statements),        std::move(layers), std::move(config), std::move(text),
            std::move(config_descriptor), std::move(root)};
}

} // namespace detail

/// Makes the statements about an image, and the manifest that holds them, for the index beside it. `names` are
/// those of the image. Throws format_error for a predicate that is no JSON object.
template <digest_algorithm D>
assembled_attestations assemble_attestations(std::span<attestation const> what, descriptor const& image,
                                             std::span<reference const> names, attestation_form form) {
    return detail::assemble_attestations_with(&digest::of<D>, what, image, names, form);
}

} // namespace shiplap
