#pragma once
// Manifests, tags and referrers.

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <support/registry/core.hpp>

namespace registry_test {

inline reply manifest_unknown(quirks const& how, std::string const& reference) {
    return error_reply(how, 404, "MANIFEST_UNKNOWN", "manifest unknown", {{"reference", reference}});
}

inline reply get_manifest(core& c, exchange& x) {
    std::scoped_lock const lock{c.mutex};
    auto const head = x.record.kind == request_kind::head_manifest;
    if (head && c.how.head_manifest_status != 0)
        return error_reply(c.how, c.how.head_manifest_status, "UNSUPPORTED", "HEAD is not supported");
    auto const digest = c.held.resolve(x.record.repository, x.record.reference);
    auto const* const found = c.held.find_manifest(x.record.repository, digest);
    if (found == nullptr) return manifest_unknown(c.how, x.record.reference);
    auto const type = c.how.manifest_content_type.empty() ? found->media_type : c.how.manifest_content_type;
    reply result{.headers = {{"Content-Type", type}}, .body = found->content};
    result.without_length = head && c.how.head_without_length;
    add_digest_header(c.how, result, digest, found->content);
    result.headers.emplace_back("ETag", "\"" + digest + "\"");
    result.delivered = [&c, name = x.record.repository, digest] { c.check.confirm(name, digest); };
    return result;
}

/// The first thing that a manifest needs and the repository does not have, or "". With the mutex held.
inline std::string missing_reference(core const& c, std::string const& name, reference_list const& list) {
    for (auto const& one : list.blobs)
        if (c.held.find_blob(name, one.digest) == nullptr) return one.digest;
    if (c.how.sparse_indexes) return {};
    for (auto const& one : list.manifests)
        if (c.held.find_manifest(name, one.digest) == nullptr) return one.digest;
    return {};
}

/// What is wrong with a tag that shall be `digest`. With the mutex held.
inline std::optional<reply> refuse_tag(core const& c, request_record const& request, std::string const& tag,
                                       std::string const& digest) {
    if (!is_tag(tag)) return error_reply(c.how, 400, "TAG_INVALID", "invalid tag");
    auto const now = c.held.resolve(request.repository, tag);
    if (c.how.immutable_tags && !now.empty())
        return error_reply(c.how, 400, "TAG_INVALID", "the tag already exists, and tags are immutable",
                           {{"tag", tag}, {"same", now == digest}});
    auto const if_match = request.header("If-Match");
    auto const if_none_match = request.header("If-None-Match");
    if ((!if_match.empty() && if_match != "\"" + now + "\"") || (if_none_match == "*" && !now.empty()))
        return error_reply(c.how, 412, "DENIED", "the tag has moved");
    return std::nullopt;
}

/// Switches that make blobs disappear under a manifest. With the mutex held.
inline std::string lose_something(core& c, request_record const& request, reference_list const& list) {
    if (list.blobs.empty()) return {};
    auto const digest = list.blobs.back().digest;
    if (c.how.loses_blobs > 0) {
        --c.how.loses_blobs;
        c.held.repositories[request.repository].blobs.erase(digest);
        return digest;
    }
    if (c.how.blob_unknown_times == 0) return {};
    --c.how.blob_unknown_times;
    return digest;
}

inline reply put_manifest(core& c, exchange& x) {
    auto content = x.body.read_all();
    std::scoped_lock const lock{c.mutex};
    auto const& name = x.record.repository;
    auto const& reference = x.record.reference;
    if (content.size() > std::size_t{4} * 1024 * 1024)
        return error_reply(c.how, 413, "SIZE_INVALID", "manifests are at most 4 MiB");
    reference_list list;
    try {
        list = references_of(content);
    } catch (nlohmann::json::exception const& problem) {
        c.check.note(x.record, std::string{"the manifest is none: "} + problem.what());
        return error_reply(c.how, 400, "MANIFEST_INVALID", "manifest invalid");
    }
    auto const digest = digest_of(content, x.record.by_tag() ? "sha256" : algorithm_of(reference));
    if (!x.record.by_tag() && digest != reference) {
        c.check.note(x.record, "the digest of the manifest is " + digest);
        return error_reply(c.how, 400, "DIGEST_INVALID", "provided digest did not match uploaded content");
    }
    c.check.check_manifest(x.record, digest, list, c.held, c.how.sparse_indexes);
    if (!list.media_type.empty() && x.record.header("Content-Type") != list.media_type)
        return error_reply(c.how, 400, "MANIFEST_INVALID", "Content-Type is not the mediaType");

    auto missing = lose_something(c, x.record, list);
    if (missing.empty()) missing = missing_reference(c, name, list);
    if (!missing.empty()) {
        auto refusal =
            error_reply(c.how, c.how.unknown_blob_is_not_found ? 404 : 400, "MANIFEST_BLOB_UNKNOWN",
                        "manifest blob unknown to registry", {{"digest", missing}});
        refusal.delivered = [&c, name, missing] {
            if (c.held.find_blob(name, missing) == nullptr) c.check.forget(name, missing);
        };
        return refusal;
    }
    auto tags = x.record.by_tag() ? std::vector{reference} : std::vector<std::string>{};
    for (auto const& [key, value] : x.record.query) // several tags with one request, when put by digest
        if (key == "tag" && !x.record.by_tag()) tags.push_back(value);
    for (auto const& tag : tags)
        if (auto refusal = refuse_tag(c, x.record, tag, digest)) return *refusal;

    reply result{.status = 201, .headers = {{"Location", "/v2/" + name + "/manifests/" + digest}}};
    add_digest_header(c.how, result, digest, content);
    if (!list.subject.empty() && c.how.referrers) result.headers.emplace_back("OCI-Subject", list.subject);
    auto const type = x.record.header("Content-Type");
    auto& where = c.held.repositories[name];
    where.manifests[digest] = {std::move(content), type};
    for (auto const& tag : tags) {
        where.tags[tag] = digest;
        if (!x.record.by_tag()) result.headers.emplace_back("OCI-Tag", tag);
    }
    result.delivered = [&c, name, digest, tags] {
        c.check.confirm(name, digest);
        for (auto const& tag : tags) c.check.tag_was_set(name, tag);
    };
    return result;
}

inline reply delete_manifest(core& c, exchange& x) {
    std::scoped_lock const lock{c.mutex};
    auto const found = c.held.repositories.find(x.record.repository);
    if (found == c.held.repositories.end()) return manifest_unknown(c.how, x.record.reference);
    auto& where = found->second;
    if (where.tags.erase(x.record.reference) > 0) return {.status = 202};
    if (where.manifests.erase(x.record.reference) == 0) return manifest_unknown(c.how, x.record.reference);
    std::erase_if(where.tags, [&](auto const& tag) { return tag.second == x.record.reference; });
    c.check.forget(x.record.repository, x.record.reference);
    return {.status = 202};
}

inline reply list_tags(core& c, exchange& x) {
    std::scoped_lock const lock{c.mutex};
    auto const* const where = c.held.find(x.record.repository);
    if (where == nullptr)
        return error_reply(c.how, 404, "NAME_UNKNOWN", "repository name not known to registry");
    auto const asked = parse_number(x.query("n"));
    auto limit = asked.value_or(std::numeric_limits<std::uint64_t>::max());
    if (c.how.tag_page != 0 && asked && *asked > c.how.tag_page)
        return error_reply(c.how, 400, "PAGINATION_NUMBER_INVALID", "n is too large");
    if (c.how.tag_page != 0) limit = std::min(limit, c.how.tag_page);

    auto names = nlohmann::json::array();
    auto more = false;
    for (auto const& [tag, digest] : where->tags) {
        if (auto const last = x.query("last"); !last.empty() && tag <= last) continue;
        more = names.size() == limit;
        if (more) break;
        names.push_back(tag);
    }
    reply result{.headers = {{"Content-Type", "application/json"}}};
    if (more && !names.empty())
        result.headers.emplace_back("Link",
                                    "</v2/" + x.record.repository + "/tags/list?n=" + std::to_string(limit) +
                                        "&last=" + names.back().get<std::string>() + ">; rel=\"next\"");
    result.body = nlohmann::json{{"name", x.record.repository}, {"tags", names}}.dump();
    return result;
}

inline reply list_referrers(core& c, exchange& x) {
    std::scoped_lock const lock{c.mutex};
    if (!c.how.referrers) return error_reply(c.how, 404, "UNSUPPORTED", "no referrers here");
    if (!is_digest(x.record.reference)) return error_reply(c.how, 400, "DIGEST_INVALID", "invalid digest");
    auto const wanted = x.query("artifactType");
    auto found = nlohmann::json::array();
    auto const* const where = c.held.find(x.record.repository);
    for (auto const& [digest, one] :
         where == nullptr ? std::map<std::string, manifest>{} : where->manifests) {
        auto const list = references_of(one.content);
        if (list.subject != x.record.reference || (!wanted.empty() && list.artifact_type != wanted)) continue;
        found.push_back({{"mediaType", one.media_type}, {"digest", digest}, {"size", one.content.size()}});
        if (!list.artifact_type.empty()) found.back()["artifactType"] = list.artifact_type;
        if (!list.annotations.is_null()) found.back()["annotations"] = list.annotations;
    }
    auto const* const type = "application/vnd.oci.image.index.v1+json";
    reply result{.headers = {{"Content-Type", type}}};
    if (!wanted.empty()) result.headers.emplace_back("OCI-Filters-Applied", "artifactType");
    result.body = nlohmann::json{{"schemaVersion", 2}, {"mediaType", type}, {"manifests", found}}.dump();
    return result;
}

} // namespace registry_test
