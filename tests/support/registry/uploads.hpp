#pragma once
// Uploads: sessions that are started, fed, asked about, closed and cancelled, and mounts, which replace them.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <support/registry/core.hpp>

namespace registry_test {

/// An upload for the time of one request. What another connection still writes to it is waited for: a client whose
/// connection broke asks at once, and has to hear about all that arrived.
class claimed_upload {
  public:
    claimed_upload(core& c, request_record const& request) : core_{c} {
        std::unique_lock lock{c.mutex};
        auto const id = request.reference;
        auto const free = [&] {
            return c.stopping || !c.held.uploads.contains(id) || !c.held.uploads[id]->claimed;
        };
        c.changed.wait_for(lock, std::chrono::seconds{5}, free);
        auto const found = c.held.uploads.find(id);
        if (found == c.held.uploads.end() || found->second->repository != request.repository) return;
        if (found->second->claimed) {
            c.check.note(request, "the upload is being written by another request");
            return;
        }
        upload_ = found->second;
        upload_->claimed = true;
    }
    claimed_upload(claimed_upload const&) = delete;
    claimed_upload& operator=(claimed_upload const&) = delete;
    ~claimed_upload() {
        if (!upload_) return;
        std::scoped_lock const lock{core_.mutex};
        upload_->claimed = false;
        core_.changed.notify_all();
    }
    explicit operator bool() const { return upload_ != nullptr; }
    upload& operator*() const { return *upload_; }
    upload* operator->() const { return upload_.get(); }
    [[nodiscard]] std::shared_ptr<upload> const& shared() const { return upload_; }

  private:
    core& core_;
    std::shared_ptr<upload> upload_;
};

inline reply upload_unknown(quirks const& how) {
    return error_reply(how, 404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
}

inline std::string range_text(std::uint64_t size) {
    return "0-" + std::to_string(size == 0 ? 0 : size - 1);
}

/// Where the client shall go on, in the form that the switches want. Valid from now on; those before it are no longer
/// once the client has been told. With the mutex held.
inline void add_location(core& c, request_record const& request, std::shared_ptr<upload> const& session,
                         reply& to) {
    auto const path = "/v2/" + session->repository +
                      (c.how.location_singular ? "/blobs/upload/" : "/blobs/uploads/") + session->id;
    std::string query;
    auto const add = [&](std::string const& part) { query += (query.empty() ? "?" : "&") + part; };
    ++session->answers;
    if (c.how.location_state)
        add("_state=s%2B" + std::to_string(session->answers) + "%3D%3D&_n=" + session->id);
    if (c.how.location_digest) add("digest=" + percent_encoded(digest_of("nothing in particular")));
    if (c.how.location_long) add("signature=" + std::string(std::size_t{8} * 1024, 'x'));
    auto const text = path + query + (c.how.location_fragment ? "#part" : "");
    auto const here = (request.other_port ? c.other_port : c.main_port).authority();
    auto const header = [&](std::string const& value) { to.headers.emplace_back("Location", value); };
    switch (c.how.location) {
    case location_form::path:
        header(text);
        break;
    case location_form::relative:
        header(session->id + text.substr(path.size()));
        break;
    case location_form::absolute:
        header("http://" + here + text);
        break;
    case location_form::protocol_relative:
        header("//" + here + text);
        break;
    case location_form::other_port:
        header("http://" + c.other_port.authority() + text);
        break;
    case location_form::missing:
        break;
    case location_form::twice:
        header(text);
        header("http://" + c.other_port.authority() + text);
        break;
    case location_form::scheme:
        header(c.how.location_scheme + "://" + here + text);
        break;
    }
    auto const latest = path + query;
    session->locations.push_back(latest);
    auto const told = session->told;
    session->offset_unknown = true; // until the answer is out
    to.delivered = [before = std::move(to.delivered), session, latest, told, number = request.number] {
        session->locations = {latest};
        session->offset_unknown = false;
        session->told_by = number;
        session->told = told;
        if (before) before();
    };
}

inline reply upload_reply(core& c, request_record const& request, std::shared_ptr<upload> const& session,
                          int status) {
    reply result{.status = status, .headers = {{"Range", range_text(session->told)}}};
    result.headers.emplace_back("Docker-Upload-UUID", session->id);
    if (c.how.chunk_min_length != 0 && request.kind != request_kind::upload_status)
        result.headers.emplace_back("OCI-Chunk-Min-Length", std::to_string(c.how.chunk_min_length));
    add_location(c, request, session, result);
    return result;
}

inline std::shared_ptr<upload> new_upload(core& c, request_record const& request) {
    auto session = std::make_shared<upload>();
    session->id = c.new_id("upload-");
    session->repository = request.repository;
    session->keep_content = c.how.keep_content;
    if (auto const algorithm = query_value(request.query, "digest-algorithm"); !algorithm.empty())
        session->algorithm = algorithm;
    if (auto const digest = query_value(request.query, "digest"); is_digest(digest))
        session->algorithm = algorithm_of(digest);
    session->hash = running_digest{session->algorithm};
    c.held.uploads[session->id] = session;
    return session;
}

/// Takes the body into the session. `limit` is of what is kept: a registry may lose some.
inline void receive_body(core& c, exchange& x, upload& session,
                         std::optional<std::uint64_t> limit = std::nullopt) {
    auto const before_hash = session.hash;
    auto const before_size = session.size;
    std::uint64_t kept = 0;
    try {
        x.body.each([&](std::string_view piece) {
            if (limit)
                piece = piece.substr(
                    0, static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), *limit - kept)));
            kept += piece.size();
            session.append(piece);
        });
    } catch (connection_ended const&) {
        std::scoped_lock const lock{c.mutex};
        session.offset_unknown = true;
        session.told = session.size;
        if (c.how.keep_partial_bodies) throw;
        session.hash = before_hash;
        session.size = before_size;
        if (session.keep_content) session.content.resize(static_cast<std::size_t>(before_size));
        session.told = before_size;
        throw;
    }
}

/// The blob is there from now on, and the session is not. With the mutex held.
inline reply commit_upload(core& c, request_record const& request, upload& session,
                           std::string const& digest) {
    c.held.uploads.erase(session.id);
    auto const real = session.digest(algorithm_of(digest));
    if (real != digest)
        return error_reply(c.how, 400, "DIGEST_INVALID", "provided digest did not match uploaded content",
                           {{"digest", real.value_or("not computed")}, {"size", session.size}});
    blob stored{.size = session.size};
    if (session.keep_content)
        stored.content = std::make_shared<std::string const>(std::move(session.content));
    reply result{.status = 201, .headers = {{"Location", "/v2/" + session.repository + "/blobs/" + digest}}};
    add_digest_header(c.how, result, digest, stored.content ? std::string_view{*stored.content} : "");
    c.held.repositories[session.repository].blobs[digest] = std::move(stored);
    result.delivered = [&c, name = request.repository, digest] { c.check.confirm(name, digest); };
    return result;
}

/// 413 where the body is announced larger than this registry takes. With the mutex held.
inline std::optional<reply> too_large(core const& c, exchange const& x) {
    if (c.how.max_body == 0 || x.body.announced().value_or(0) <= c.how.max_body) return std::nullopt;
    auto result = error_reply(c.how, 413, "SIZE_INVALID", "request entity too large");
    result.close = true;
    return result;
}

inline reply start_upload(core& c, exchange& x) {
    auto const algorithm = x.query("digest-algorithm");
    auto const digest = x.query("digest");
    std::shared_ptr<upload> session;
    {
        std::scoped_lock const lock{c.mutex};
        if (!algorithm.empty() && algorithm != "sha256" && algorithm != "sha512")
            return error_reply(c.how, 400, "DIGEST_INVALID", "unknown digest algorithm");
        if (!digest.empty() && !is_digest(digest))
            return error_reply(c.how, 400, "DIGEST_INVALID", "invalid digest");
        if (auto refusal = too_large(c, x)) return *refusal;
        session = new_upload(c, x.record);
        if (digest.empty() || !c.how.single_post) return upload_reply(c, x.record, session, 202);
        session->claimed = true;
    }
    receive_body(c, x, *session);
    std::scoped_lock const lock{c.mutex};
    return commit_upload(c, x.record, *session, digest);
}

inline reply mount_blob(core& c, exchange& x) {
    std::scoped_lock const lock{c.mutex};
    auto const digest = x.query("mount");
    auto const from = x.query("from");
    auto const refusal = [&](int status, char const* code) {
        return error_reply(c.how, status, code, "mount refused");
    };
    switch (c.how.mount) {
    case mount_answer::unauthorized:
        return refusal(401, "UNAUTHORIZED");
    case mount_answer::forbidden:
        return refusal(403, "DENIED");
    case mount_answer::not_found:
        return refusal(404, "NAME_UNKNOWN");
    case mount_answer::not_allowed:
        return refusal(405, "UNSUPPORTED");
    case mount_answer::bad_request:
        return refusal(400, "NAME_INVALID");
    case mount_answer::server_error:
        return refusal(500, "UNKNOWN");
    case mount_answer::session:
        return upload_reply(c, x.record, new_upload(c, x.record), 202);
    case mount_answer::as_asked:
        break;
    }
    if (from.empty() && c.how.mount_needs_from) return refusal(400, "NAME_INVALID");
    blob const* source = from.empty() ? nullptr : c.held.find_blob(from, digest);
    if (from.empty())
        for (auto const& [name, where] : c.held.repositories)
            if (source == nullptr) source = c.held.find_blob(name, digest);
    if (source == nullptr) return upload_reply(c, x.record, new_upload(c, x.record), 202);
    auto const copy = *source;
    c.held.repositories[x.record.repository].blobs[digest] = copy;
    reply result{.status = 201, .headers = {{"Location", "/v2/" + x.record.repository + "/blobs/" + digest}}};
    add_digest_header(c.how, result, digest, copy.content ? std::string_view{*copy.content} : "");
    result.delivered = [&c, name = x.record.repository, digest] { c.check.confirm(name, digest); };
    return result;
}

} // namespace registry_test
