#pragma once
// upload_manifest: puts a manifest or index into a repository, by digest or as what a tag stands for.
//
//     upload_manifest(app, what.digest.text(), what, text);
//     upload_manifest(app, "latest", what, text);
//
// A registry that says that something of it is missing is asked for each part. What it has, it may need a moment to
// notice, and the manifest is put again; what it has lost must be uploaded again: content_missing.

#include <shiplap/error.hpp>
#include <shiplap/image/descriptor.hpp>
#include <shiplap/image/index.hpp>
#include <shiplap/image/manifest.hpp>
#include <shiplap/image/media_types.hpp>
#include <shiplap/registry/attempts.hpp>
#include <shiplap/registry/error.hpp>
#include <shiplap/registry/repository.hpp>
#include <shiplap/sink/concept.hpp>

#include <string>
#include <utility>
#include <vector>

namespace shiplap {

namespace detail {

/// What `text` names, but for what is to be fetched from elsewhere.
inline std::vector<descriptor> parts_of_manifest(descriptor const& what, std::string const& text) {
    auto const subject = what.digest.text();
    std::vector<descriptor> parts;
    if (is_index_type(what.media_type)) {
        parts = parse_index(text, subject, what.media_type).manifests;
    } else {
        auto manifest = parse_manifest(text, subject, what.media_type);
        parts = std::move(manifest.layers);
        parts.push_back(std::move(manifest.config));
    }
    std::erase_if(parts, [](descriptor const& part) {
        return is_foreign_layer(part.media_type) && !part.urls.empty();
    });
    return parts;
}

/// Throws content_missing unless the registry has all parts. Asks for each, whatever was known.
template <transport T>
void require_parts(repository<T>& in, descriptor const& what, std::string const& text) {
    auto missing = parts_of_manifest(what, text);
    std::erase_if(missing, [&](descriptor const& part) {
        return is_document(part) ? in.find_manifest(part.digest.text()).has_value()
                                 : in.has_blob(part.digest, part.size);
    });
    if (!missing.empty()) throw content_missing{in.shown(what.digest.text()), std::move(missing)};
}

/// Whether a refusal says that something is missing. Proxies may have taken the words away.
inline bool speaks_of_missing_parts(failure_facts const& refusal, descriptor const& what) {
    auto const& code = refusal.registry_code;
    return code == "MANIFEST_BLOB_UNKNOWN" || code == "BLOB_UNKNOWN" ||
           (code == "MANIFEST_UNKNOWN" && is_index_type(what.media_type)) ||
           (code.empty() && refusal.http_status == 404);
}

} // namespace detail

/// `name`: a tag, or the digest of `text`, which `what` describes. Throws remote_error, content_missing.
template <transport T>
void upload_manifest(repository<T>& to, std::string const& name, descriptor const& what,
                     std::string const& text) {
    auto attempts = detail::attempts_at(to.over(), to.registry());
    for (unsigned round = 0;; ++round) {
        auto answer = to.put_manifest(name, what.media_type, text);
        if (answer.status >= 200 && answer.status < 300) {
            auto const told = answer.headers.get("Docker-Content-Digest");
            if (!told.starts_with(std::string{what.digest.algorithm()} + ":") || told == what.digest.text())
                return;
            throw registry_error{"put manifest",
                                 to.shown(name),
                                 "the registry says that it has " + printable(told) + " now, not " +
                                     what.digest.text(),
                                 {.http_status = answer.status}};
        }
        auto const failure = to.refused("put manifest", name, answer);
        if (!detail::speaks_of_missing_parts(failure.facts(), what) || round == 5) throw failure;
        detail::require_parts(to, what, text);
        auto facts = failure.facts();
        facts.retryable = true;
        attempts.failed(registry_error{failure.operation(), failure.subject(), failure.reason(), facts});
    }
}

} // namespace shiplap
