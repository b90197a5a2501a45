#pragma once
// What was asked: the kinds of requests of the distribution API, and the record that is kept of each request.

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include <support/registry/text.hpp>

namespace registry_test {

enum class request_kind {
    ping,
    head_blob,
    get_blob,
    delete_blob,
    start_upload, ///< POST, also with a body and ?digest=
    mount,        ///< POST with ?mount=
    patch_upload,
    put_upload,
    upload_status,
    cancel_upload,
    head_manifest,
    get_manifest,
    put_manifest, ///< by digest or by tag: see request_record::by_tag()
    delete_manifest,
    list_tags,
    list_referrers,
    token,
    other,
};

inline char const* name_of(request_kind kind) {
    static constexpr char const* names[] = {
        "ping",         "head blob",       "get blob",      "delete blob",    "start upload",  "mount",
        "patch upload", "put upload",      "upload status", "cancel upload",  "head manifest", "get manifest",
        "put manifest", "delete manifest", "list tags",     "list referrers", "token",         "other"};
    return names[static_cast<std::size_t>(kind)];
}

struct request_record {
    std::size_t number = 0; ///< of all requests since the start or the last reset(), from 1
    request_kind kind = request_kind::other;
    std::string method{};
    std::string target{}; ///< as sent
    std::string path{};   ///< decoded
    field_list query{};   ///< decoded
    field_list headers{};
    std::string repository{};
    std::string reference{}; ///< digest, tag or id of the upload

    std::uint64_t body_bytes = 0; ///< received
    bool complete = false;        ///< the body came whole
    int status = 0;               ///< answered; 0 when the request was dropped unanswered
    bool delivered = false;       ///< the answer was sent whole
    bool other_port = false;      ///< reached the second port, which is not the registry's origin
    std::size_t connection = 0;
    std::chrono::steady_clock::time_point at{};

    /// The first header of that name, or "".
    [[nodiscard]] std::string header(std::string_view name) const {
        auto const* const found = find_field(headers, name);
        return found == nullptr ? std::string{} : *found;
    }
    [[nodiscard]] bool has_header(std::string_view name) const {
        return find_field(headers, name) != nullptr;
    }
    /// Of requests on manifests.
    [[nodiscard]] bool by_tag() const { return reference.find(':') == std::string::npos; }
    /// For messages: "PUT /v2/app/manifests/latest".
    [[nodiscard]] std::string text() const { return method + " " + target; }
};

/// What a path asks for.
struct route {
    request_kind kind = request_kind::other;
    std::string repository{};
    std::string reference{};
};

inline route route_of(std::string_view method, std::string_view path, field_list const& query) {
    if (path == "/token") return {request_kind::token};
    if (path == "/v2/" || path == "/v2") return {request_kind::ping};
    if (!path.starts_with("/v2/")) return {};
    path.remove_prefix(4);

    auto const cut = [&](std::string_view middle) -> std::optional<route> {
        auto const at = path.rfind(middle);
        if (at == std::string_view::npos) return std::nullopt;
        return route{request_kind::other, std::string{path.substr(0, at)},
                     std::string{path.substr(at + middle.size())}};
    };
    auto const as = [](std::optional<route> found, request_kind kind) {
        found->kind = kind;
        return *found;
    };
    auto const head = method == "HEAD";
    auto const get = method == "GET";
    auto upload = cut("/blobs/uploads/");
    if (!upload) upload = cut("/blobs/upload/"); // where a quirk sends clients
    if (auto const found = upload) {
        if (found->reference.empty() && method == "POST")
            return as(found,
                      query_value(query, "mount").empty() ? request_kind::start_upload : request_kind::mount);
        if (found->reference.empty()) return *found;
        if (method == "PATCH") return as(found, request_kind::patch_upload);
        if (method == "PUT") return as(found, request_kind::put_upload);
        if (get) return as(found, request_kind::upload_status);
        return method == "DELETE" ? as(found, request_kind::cancel_upload) : *found;
    }
    if (auto const found = cut("/blobs/")) {
        if (head || get) return as(found, head ? request_kind::head_blob : request_kind::get_blob);
        return method == "DELETE" ? as(found, request_kind::delete_blob) : *found;
    }
    if (auto const found = cut("/manifests/")) {
        if (head || get) return as(found, head ? request_kind::head_manifest : request_kind::get_manifest);
        if (method == "PUT") return as(found, request_kind::put_manifest);
        return method == "DELETE" ? as(found, request_kind::delete_manifest) : *found;
    }
    if (auto const found = cut("/referrers/"); found && get) return as(found, request_kind::list_referrers);
    if (auto const found = cut("/tags/list"); found && get && found->reference.empty())
        return as(found, request_kind::list_tags);
    return {};
}

/// Names are lower-case words, joined by . _ __ or dashes, with slashes between.
inline bool is_repository_name(std::string_view name) {
    auto const word = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
    if (name.empty() || name.size() > 255) return false;
    for (auto const& part : split(name, '/')) {
        if (part.empty() || !word(part.front()) || !word(part.back())) return false;
        for (auto const c : part)
            if (!word(c) && c != '.' && c != '_' && c != '-') return false;
        if (part.find("..") != std::string::npos || part.find("___") != std::string::npos) return false;
    }
    return true;
}

inline bool is_tag(std::string_view text) {
    auto const word = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    };
    return !text.empty() && text.size() <= 128 && word(text.front()) &&
           std::all_of(text.begin(), text.end(), [&](char c) { return word(c) || c == '.' || c == '-'; });
}

} // namespace registry_test
