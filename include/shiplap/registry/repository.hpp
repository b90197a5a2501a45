#pragma once
// repository: the endpoints of distribution-spec v1.1 for one repository, by their names there.
//
//     repository app{transport, host_of("r.io", false), "library/app"};
//     if (!app.has_blob(what.digest)) ...
//
// Redirections of GET and HEAD are followed, five at most, see location.hpp; the transport sends credentials to the
// registry itself alone. Whatever else is not the answer that the specification wants is a registry_error.

#include <shiplap/digest/digest.hpp>
#include <shiplap/error.hpp>
#include <shiplap/image/media_types.hpp>
#include <shiplap/image/reference.hpp>
#include <shiplap/registry/attempts.hpp>
#include <shiplap/registry/concept.hpp>
#include <shiplap/registry/hosts.hpp>
#include <shiplap/registry/location.hpp>
#include <shiplap/registry/manifest_document.hpp>
#include <shiplap/registry/refusal.hpp>
#include <shiplap/registry/upload_session.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {

template <transport T>
class repository {
  public:
    /// `name` without the host. `over` must outlive this and its responses. `use`: what the login is for; who is going
    /// to push says so, and then one token does for all requests.
    repository(T& over, registry_host host, std::string name, char const* use = pull)
        : over_{&over}, host_{std::move(host)}, name_{std::move(name)}, reading_{use} {}

    [[nodiscard]] std::string const& name() const noexcept { return name_; }
    [[nodiscard]] registry_host const& host() const noexcept { return host_; }
    [[nodiscard]] T& over() const noexcept { return *over_; }

    /// The registry itself: the first candidate that answers. Where there are several, the first call asks them; that
    /// is to be over before other threads join in.
    origin const& registry() {
        if (host_.candidates.size() > 1) host_.candidates = {find_registry(*over_, host_)};
        return host_.candidates.front();
    }

    // --- blobs -------------------------------------------------------------------------------------------

    /// end-2: HEAD, and of this size, if one is given. True also where the registry keeps the size to itself. Where HEAD
    /// is not known, a GET says as much.
    bool has_blob(digest const& which, std::optional<std::uint64_t> size) {
        auto found = follow("HEAD", blob_path(which), {});
        if (found.knows_no_head()) found = follow("GET", blob_path(which), {});
        auto& answer = found.what;
        if (answer.status == 404) return false;
        if (answer.status != 200) throw refused("find blob", which.text(), answer, found.by);
        auto const length = detail::parse_number(answer.headers.get("Content-Length"));
        return !length || !size || *length == *size;
    }

    /// end-2: GET. From `offset` on if the registry can; else from the start: see the status, 206 or 200.
    http_response get_blob(digest const& which, std::uint64_t offset) {
        http_headers headers;
        if (offset != 0) headers.add("Range", "bytes=" + std::to_string(offset) + "-");
        auto found = follow("GET", blob_path(which), std::move(headers));
        auto const status = found.what.status;
        if (status != 200 && !(status == 206 && offset != 0))
            throw refused("read blob", which.text(), found.what, found.by);
        auto const range = found.what.headers.get("Content-Range");
        if (status == 206 && !range.empty() && !range.starts_with("bytes " + std::to_string(offset) + "-"))
            throw registry_error{"read blob",
                                 shown(which.text()),
                                 printable(found.by.authority()) + " sends '" + printable(range) +
                                     "' instead of what follows byte " + std::to_string(offset),
                                 {.http_status = status}};
        return std::move(found.what);
    }

    /// end-11: asks for the blob of another repository of this registry. An upload where the registry would rather
    /// have the bytes; nothing if it wants none of it. `from` empty: any repository that it may take it from.
    struct mount_answer {
        bool mounted = false;
        std::optional<upload_session> session{};
    };
    mount_answer mount(digest const& which, std::string const& from) {
        auto target = at("/blobs/uploads/").with_query("mount", which.text());
        auto access = access_for(push);
        if (!from.empty()) {
            target = target.with_query("from", from);
            access.scopes.push_back("repository:" + from + ":pull");
        }
        try {
            // Once: what a mount would save is not worth waiting for.
            auto answer = over_->send(
                {.method = "POST", .target = target, .access = std::move(access), .repeatable = false});
            if (answer.status == 201) return {.mounted = true};
            if (answer.status == 202) return {.session = first_session(target, answer)};
        } catch (
            remote_error const&) { // NOLINT(bugprone-empty-catch): a plain upload will tell what is wrong
        }
        return {};
    }

    /// end-4a, or what it becomes for an algorithm other than sha256.
    upload_session start_upload(digest const& which) {
        auto target = at("/blobs/uploads/");
        if (which.algorithm() != "sha256") target = target.with_query("digest-algorithm", which.algorithm());
        auto answer = over_->send({.method = "POST", .target = target, .access = access_for(push)});
        if (answer.status == 400 && which.algorithm() != "sha256") // a registry from before that parameter
            answer =
                over_->send({.method = "POST", .target = at("/blobs/uploads/"), .access = access_for(push)});
        if (answer.status != 202 && answer.status != 201 && answer.status != 200)
            throw refused("start upload", which.text(), answer);
        return first_session(target, answer);
    }

    /// end-6: the last request of an upload, with all of the blob, or with nothing where pieces have brought it.
    http_response put_upload(upload_session const& session, digest const& which,
                             std::optional<http_body> body, std::chrono::milliseconds patience) {
        // Behind a digest= that the registry put there itself, which may be any.
        return over_->send(
            upload_request("PUT", session.location.with_query("digest", which.text()), body, patience));
    }

    /// end-5: a piece, which starts at byte `offset` of the blob.
    http_response patch_upload(upload_session const& session, http_body piece, std::uint64_t offset) {
        auto request = upload_request("PATCH", session.location, piece, std::chrono::minutes{2});
        request.headers.add("Content-Range",
                            std::to_string(offset) + "-" + std::to_string(offset + piece.size - 1));
        return over_->send(request);
    }

    /// end-13: none if the session is gone.
    std::optional<upload_progress> upload_status(upload_session const& session) {
        auto request = upload_request("GET", session.location, std::nullopt, std::chrono::seconds{30});
        request.repeatable = true;
        auto answer = over_->send(request);
        if (answer.status != 204 && answer.status != 200 && answer.status != 202) return std::nullopt;
        return progress_after(session, answer);
    }

    /// What an answer says about the session that it is about.
    static upload_progress progress_of(upload_session const& before, http_response const& answer) {
        return progress_after(before, answer);
    }

    /// Gives up an upload; whether the registry understands does not matter.
    void cancel_upload(upload_session const& session) noexcept try {
        auto request = upload_request("DELETE", session.location, std::nullopt, std::chrono::seconds{5});
        (void)over_->send(request);
    } catch (...) { // NOLINT(bugprone-empty-catch): the registry forgets unfinished uploads by itself
    }

    // --- manifests ---------------------------------------------------------------------------------------

    /// end-3: HEAD. What tag or digest `name` stands for; none if there is no such manifest. The digest is missing if
    /// the registry does not tell it.
    struct manifest_facts {
        std::optional<shiplap::digest> digest;
    };
    std::optional<manifest_facts> find_manifest(std::string const& name) {
        auto found = follow("HEAD", manifest_path(name), accept_manifests());
        if (found.what.status == 404) return std::nullopt;
        if (found.knows_no_head()) {
            auto const document = get_manifest(name);
            if (!document) return std::nullopt;
            return manifest_facts{document->what.digest};
        }
        if (found.what.status != 200) throw refused("find manifest", name, found.what, found.by);
        try {
            return manifest_facts{digest::parse(found.what.headers.get("Docker-Content-Digest"))};
        } catch (format_error const&) {
            return manifest_facts{}; // no digest is as good as a broken one
        }
    }

    /// end-3: GET. If `name` is a digest, the bytes have that digest; else it is computed from them, as sha256. None if
    /// there is no such manifest.
    std::optional<manifest_document> get_manifest(std::string const& name) {
        return again_if_cut([&]() -> std::optional<manifest_document> {
            auto found = follow("GET", manifest_path(name), accept_manifests());
            if (found.what.status == 404) return std::nullopt;
            if (found.what.status != 200) throw refused("read manifest", name, found.what, found.by);
            return read_manifest_document(name, shown(name), found.what);
        });
    }

    /// end-7: `name` is a tag or the digest.
    http_response put_manifest(std::string const& name, std::string const& media_type,
                               std::string const& text) {
        span_source body{text};
        http_request request{.method = "PUT", .target = at(manifest_path(name)), .access = access_for(push)};
        request.headers.add("Content-Type", media_type);
        request.body = http_body{body, text.size(), 0};
        request.patience = std::chrono::minutes{2};
        return over_->send(request);
    }

    /// An answer that is not what was hoped for, as an error.
    registry_error refused(std::string operation, std::string const& subject, http_response& answer) {
        return refused(std::move(operation), subject, answer, registry());
    }

    /// "r.io/library/app".
    [[nodiscard]] std::string full_name() const { return host_.name + "/" + name_; }
    /// "r.io/library/app@sha256:..." or "r.io/library/app:tag": for messages.
    [[nodiscard]] std::string shown(std::string const& what) const {
        return full_name() + (what.find(':') == std::string::npos ? ":" : "@") + what;
    }

    static constexpr char const *pull = "pull", *push = "pull,push";

    [[nodiscard]] registry_access access_for(char const* actions) {
        return {.registry = registry(),
                .name = host_.name,
                .repository = name_,
                .scopes = {"repository:" + name_ + ":" + actions},
                .insecure = host_.insecure};
    }

  private:
    url at(std::string const& path) { return url::parse(registry().text() + "/v2/" + name_ + path); }

    static std::string blob_path(digest const& which) { return "/blobs/" + which.text(); }
    /// Throws format_error for what is neither tag nor digest: it could lead out of the repository.
    static std::string manifest_path(std::string const& name) {
        if (name.find(':') != name.npos)
            (void)digest::parse(name);
        else if (!detail::is_tag(name))
            throw format_error{"find manifest", name, "is neither a tag nor a digest"};
        return "/manifests/" + name;
    }

    static http_headers accept_manifests() {
        http_headers headers;
        headers.add("Accept", std::string{oci_media_types::index} + ", " +
                                  std::string{oci_media_types::manifest} + ", " +
                                  std::string{docker_media_types::index} + ", " +
                                  std::string{docker_media_types::manifest} + ", */*;q=0.1");
        return headers;
    }

    // What comes in pieces, and not all of them, is asked for again if the transport is one that does so.
    template <class Work>
    auto again_if_cut(Work const& work) {
        for (auto attempts = detail::attempts_at(*over_, registry());;) {
            try {
                return work();
            } catch (transport_error const& failure) {
                if (!failure.facts().retryable || failure.facts().attempts > 1)
                    throw; // the transport has tried hard already
                attempts.failed(failure);
            }
        }
    }

    registry_error refused(std::string operation, std::string const& subject, http_response& answer,
                           origin const& by) {
        return refusal(std::move(operation), shown(subject), access_for(reading_), by, answer);
    }

    /// An answer, and whose it is in the end.
    struct found_answer {
        http_response what;
        origin by;

        // Addresses that are signed for GET are forbidden to HEAD; and without a body, a rate limit looks like a
        // denial.
        [[nodiscard]] bool knows_no_head() const {
            return what.status == 405 || what.status == 400 || what.status == 501 || what.status == 403;
        }
    };

    // GET and HEAD may be sent elsewhere: registries keep blobs in the storage of others.
    found_answer follow(std::string const& method, std::string const& path, http_headers headers) {
        http_request request{.method = method,
                             .target = at(path),
                             .access = access_for(reading_),
                             .headers = std::move(headers)};
        for (int hops = 0;; ++hops) {
            auto answer = over_->send(request);
            bool const elsewhere = answer.status == 301 || answer.status == 302 || answer.status == 303 ||
                                   answer.status == 307 || answer.status == 308;
            auto next = elsewhere ? location_of(request.target, answer) : std::nullopt;
            if (!next) return {std::move(answer), request.target.from()};
            if (hops == 5)
                throw registry_error{method,
                                     request.target.shown(),
                                     "we were sent from place to place five times, and now again",
                                     {.http_status = answer.status}};
            request.addresses = rule_for(*next, registry());
            request.target = std::move(*next);
        }
    }

    http_request upload_request(std::string method, url target, std::optional<http_body> body,
                                std::chrono::milliseconds patience) {
        http_request request{
            .method = std::move(method), .target = std::move(target), .access = access_for(push)};
        if (body) request.headers.add("Content-Type", "application/octet-stream");
        request.body = body;
        request.patience = patience;
        request.repeatable = false;
        request.addresses = rule_for(request.target, registry());
        return request;
    }

    T* over_;
    registry_host host_;
    std::string name_;
    char const* reading_; // what the scope of tokens for HEAD and GET allows
};

} // namespace shiplap
