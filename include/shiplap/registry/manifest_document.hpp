#pragma once
// manifest_document: a manifest or index as a registry sends it, verified.

#include <shiplap/digest/digest.hpp>
#include <shiplap/error.hpp>
#include <shiplap/image/descriptor.hpp>
#include <shiplap/image/json.hpp>
#include <shiplap/image/media_types.hpp>
#include <shiplap/registry/http.hpp>
#include <shiplap/registry/refusal.hpp>

#include <string>
#include <utility>

namespace shiplap {

/// A manifest or index as it was received: its bytes are never made anew.
struct manifest_document {
    descriptor what;
    std::string text;
};

namespace detail {

/// A document and its Content-Type must not disagree, lest two readers see two images (CVE-2021-41190).
inline std::string media_type_of(std::string const& text, std::string const& subject,
                                 std::string content_type) {
    content_type = lower_case(content_type.substr(0, content_type.find_first_of("; \t")));
    bool const known = is_index_type(content_type) || is_manifest_type(content_type);
    auto const document = parse_json(text, subject);
    auto const own = document.find("mediaType");
    if (own != document.end() && own->is_string()) {
        auto said = own->template get<std::string>();
        if (known && said != content_type)
            throw format_error{"read manifest", subject,
                               "came as '" + printable(content_type) + "' and says of itself that it is '" +
                                   printable(said) + "'"};
        return said;
    }
    // OCI documents may leave it out, and plain file servers do not know what they send.
    bool const vague = content_type.empty() || content_type == "application/json" ||
                       content_type == "application/octet-stream" || content_type.starts_with("text/");
    if (vague && document.contains("manifests")) return std::string{oci_media_types::index};
    if (vague && document.contains("layers")) return std::string{oci_media_types::manifest};
    return content_type;
}

} // namespace detail

/// The document that was asked for as `name`, a tag or a digest. If that is a digest, the bytes have it; else it is
/// computed from them, as sha256: what the headers say does not count.
inline manifest_document read_manifest_document(std::string const& name, std::string const& subject,
                                                http_response& answer) {
    auto text = read_text(answer, max_document_size + 1);
    if (text.size() > max_document_size)
        throw format_error{"read manifest", subject,
                           "is larger than " + std::to_string(max_document_size) + " bytes"};
    auto which =
        name.find(':') == std::string::npos ? digest::of<sha256>(as_bytes(text)) : digest::parse(name);
    verify(as_bytes(text), which);
    auto type = detail::media_type_of(text, subject, answer.headers.get("Content-Type"));
    auto const size = text.size();
    return {{std::move(type), std::move(which), size}, std::move(text)};
}

} // namespace shiplap
