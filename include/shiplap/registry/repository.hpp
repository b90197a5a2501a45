#pragma once
// repository: the endpoints of distribution-spec v1.1 for one repository, by their names there.
//
//     repository app{transport, host_of("r.io", false), "library/app"};
//     if (!app.has_blob(what.digest)) ...
//
// Redirections of GET and HEAD are followed, five at most, never from https to http; the transport sends credentials
// to the registry itself alone. Whatever else is not the answer that the specification wants is a registry_error.

#include <shiplap/digest/digest.hpp>
#include <shiplap/image/descriptor.hpp>
#include <shiplap/image/json.hpp>
#include <shiplap/image/media_types.hpp>
#include <shiplap/registry/concept.hpp>
#include <shiplap/registry/hosts.hpp>
#include <shiplap/registry/refusal.hpp>
#include <shiplap/store/concept.hpp>

#include <charconv>
#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {

/// A place that takes one blob. Each answer of the registry may give it another location, and only the latest counts.
struct upload_session {
    url location;
    std::uint64_t min_chunk =
        0; ///< pieces, but for the last one, must be this long at least (OCI-Chunk-Min-Length)
};

/// How far an upload got, as the registry sees it.
struct upload_progress {
    upload_session session;
    std::optional<std::uint64_t> received; ///< bytes from the start on; none: it does not say
};

/// A manifest or index as it was received: its bytes are never made anew.
struct manifest_document {
    descriptor what;
    std::string text;
};

template <transport T>
class repository {
  public:
    /// `name` without the host. `over` must outlive this and its responses.
    repository(T& over, registry_host host, std::string name)
        : over_{&over}, host_{std::move(host)}, name_{std::move(name)} {}

    [[nodiscard]] std::string const& name() const noexcept { return name_; }
    [[nodiscard]] registry_host const& host() const noexcept { return host_; }
    [[nodiscard]] T& over() const noexcept { return *over_; }

    /// The registry itself: the first candidate that answers.
    origin const& registry() {
        if (host_.candidates.size() > 1) choose_origin();
        return host_.candidates.front();
    }

    // --- blobs -------------------------------------------------------------------------------------------

    /// end-2: HEAD, and of this size, if one is given. True also where the registry keeps the size to itself, or knows no HEAD and answers a GET.
    bool has_blob(digest const& which, std::optional<std::uint64_t> size) {
        auto answer = follow("HEAD", blob_path(which), {}, pull);
        if (answer.status == 405 || answer.status == 400) answer = follow("GET", blob_path(which), {}, pull);
        if (answer.status == 404) return false;
        if (answer.status != 200) throw refused("find blob", which.text(), answer);
        auto const length = number(answer.headers.get("Content-Length"));
        return !length || !size || *length == *size;
    }

    /// end-2: GET. From `offset` on if the registry can; else from the start: see the status, 206 or 200.
    http_response get_blob(digest const& which, std::uint64_t offset) {
        http_headers headers;
        if (offset != 0) headers.add("Range", "bytes=" + std::to_string(offset) + "-");
        auto answer = follow("GET", blob_path(which), std::move(headers), pull);
        if (answer.status != 200 && answer.status != 206) throw refused("read blob", which.text(), answer);
        return answer;
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
            remote_error const&) { // a token for both repositories may be refused, or anything else go wrong
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

    /// end-6: the last request of an upload, with what is left of the blob, or with nothing.
    http_response put_upload(upload_session const& session, digest const& which,
                             std::optional<http_body> body, std::chrono::milliseconds patience) {
        auto target = session.location;
        // Some registries put it there themselves.
        if (target.query().find("digest=") == std::string::npos)
            target = target.with_query("digest", which.text());
        return over_->send(upload_request("PUT", std::move(target), std::move(body), patience));
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
        return progress_of(session, answer);
    }

    /// What an answer says about the session that it is about.
    static upload_progress progress_of(upload_session const& before, http_response& answer) {
        upload_progress now{next_session(before.location, answer, before), std::nullopt};
        auto range = answer.headers.get("Range");
        if (range.starts_with("bytes=")) range.erase(0, 6);
        if (auto const dash = range.find('-'); dash != std::string::npos)
            if (auto const last = number(range.substr(dash + 1)); last && number(range.substr(0, dash)) == 0)
                now.received = *last == 0 ? 0 : *last + 1; // "0-0" is what nothing looks like
        return now;
    }

    // --- manifests ---------------------------------------------------------------------------------------

    /// end-3: HEAD. What tag or digest `name` stands for; none if there is no such manifest. The digest is missing if
    /// the registry does not tell it.
    struct manifest_facts {
        std::optional<shiplap::digest> digest;
    };
    std::optional<manifest_facts> find_manifest(std::string const& name, char const* actions = pull) {
        auto answer = follow("HEAD", "/manifests/" + name, accept_manifests(), actions);
        if (answer.status == 404) return std::nullopt;
        if (answer.status == 405 || answer.status == 400) {
            auto const document = get_manifest(name);
            if (!document) return std::nullopt;
            return manifest_facts{document->what.digest};
        }
        if (answer.status != 200) throw refused("find manifest", name, answer);
        try {
            return manifest_facts{digest::parse(answer.headers.get("Docker-Content-Digest"))};
        } catch (format_error const&) {
            return manifest_facts{}; // no digest is as good as a broken one
        }
    }

    /// end-3: GET. If `name` is a digest, the bytes have that digest; else it is computed from them, as sha256. None if
    /// there is no such manifest.
    std::optional<manifest_document> get_manifest(std::string const& name) {
        auto answer = follow("GET", "/manifests/" + name, accept_manifests(), pull);
        if (answer.status == 404) return std::nullopt;
        if (answer.status != 200) throw refused("read manifest", name, answer);
        return document(name, answer);
    }

    /// end-7: `name` is a tag or the digest.
    http_response put_manifest(std::string const& name, std::string const& media_type,
                               std::string const& text) {
        span_source body{text};
        http_request request{.method = "PUT", .target = at("/manifests/" + name), .access = access_for(push)};
        request.headers.add("Content-Type", media_type);
        request.body = http_body{body, text.size(), 0};
        request.patience = std::chrono::minutes{2};
        return over_->send(request);
    }

    /// An answer that is not what was hoped for, as an error.
    registry_error refused(std::string operation, std::string const& subject, http_response& answer) {
        return refusal(std::move(operation), shown(subject), registry(), answer);
    }

    /// "r.io/library/app@sha256:..." or "r.io/library/app:tag": for messages.
    [[nodiscard]] std::string shown(std::string const& what) const {
        return host_.name + "/" + name_ + (what.find(':') == std::string::npos ? ":" : "@") + what;
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

    static http_headers accept_manifests() {
        http_headers headers;
        headers.add("Accept", std::string{oci_media_types::index} + ", " +
                                  std::string{oci_media_types::manifest} + ", " +
                                  std::string{docker_media_types::index} + ", " +
                                  std::string{docker_media_types::manifest} + ", */*;q=0.1");
        return headers;
    }

    static std::optional<std::uint64_t> number(std::string const& text) {
        std::uint64_t value = 0;
        auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (text.empty() || problem != std::errc{} || end != text.data() + text.size()) return std::nullopt;
        return value;
    }

    // GET and HEAD may be sent elsewhere: registries keep blobs in the storage of others.
    http_response follow(std::string const& method, std::string const& path, http_headers headers,
                         char const* actions) {
        http_request request{.method = method,
                             .target = at(path),
                             .access = access_for(actions),
                             .headers = std::move(headers)};
        for (int hops = 0;; ++hops) {
            auto answer = over_->send(request);
            bool const elsewhere = answer.status == 301 || answer.status == 302 || answer.status == 303 ||
                                   answer.status == 307 || answer.status == 308;
            auto const* const location = answer.headers.find("Location");
            if (!elsewhere || location == nullptr || hops == 5) return answer;
            auto next = request.target.resolve(*location);
            if (request.target.from().is_https() && !next.from().is_https())
                throw registry_error{method,
                                     request.target.shown(),
                                     "the registry sends us from https to http",
                                     {.http_status = answer.status}};
            if (next.from() != registry()) request.addresses = address_rule::public_only;
            request.target = std::move(next);
        }
    }

    http_request upload_request(std::string method, url target, std::optional<http_body> body,
                                std::chrono::milliseconds patience) {
        http_request request{
            .method = std::move(method), .target = std::move(target), .access = access_for(push)};
        if (body) request.headers.add("Content-Type", "application/octet-stream");
        request.body = std::move(body);
        request.patience = patience;
        request.repeatable = false;
        if (request.target.from() != registry()) request.addresses = address_rule::public_only;
        return request;
    }

  public:
    /// Gives up an upload; whether the registry understands does not matter.
    void cancel_upload(upload_session const& session) noexcept try {
        auto request = upload_request("DELETE", session.location, std::nullopt, std::chrono::seconds{5});
        (void)over_->send(request);
    } catch (...) { // NOLINT(bugprone-empty-catch): the registry forgets unfinished uploads by itself
    }

  private:
    static upload_session first_session(url const& asked, http_response& answer) {
        if (answer.headers.find("Location") == nullptr)
            throw registry_error{"upload",
                                 asked.shown(),
                                 "the registry starts an upload, but gives no Location for it",
                                 {.http_status = answer.status}};
        return next_session(asked, answer, {asked});
    }

    // The latest Location counts, verbatim; an answer without one leaves it as it was.
    static upload_session next_session(url const& asked, http_response& answer, upload_session next) {
        auto const locations = answer.headers.all("Location");
        if (locations.size() > 1)
            throw registry_error{
                "upload", asked.shown(), "the registry gave two Locations", {.http_status = answer.status}};
        if (!locations.empty()) {
            next.location = asked.resolve(locations.front());
            if (asked.from().is_https() && !next.location.from().is_https())
                throw registry_error{"upload",
                                     asked.shown(),
                                     "the registry sends us from https to http",
                                     {.http_status = answer.status}};
            if (next.location.has_user())
                throw registry_error{"upload",
                                     asked.shown(),
                                     "the Location of the registry names a user",
                                     {.http_status = answer.status}};
        }
        if (auto const least = number(answer.headers.get("OCI-Chunk-Min-Length"))) next.min_chunk = *least;
        return next;
    }

    manifest_document document(std::string const& name, http_response& answer) {
        auto text = read_text(answer, max_document_size + 1);
        if (text.size() > max_document_size)
            throw format_error{"read manifest", shown(name),
                               "is larger than " + std::to_string(max_document_size) + " bytes"};
        auto which =
            name.find(':') == std::string::npos ? digest::of<sha256>(as_bytes(text)) : digest::parse(name);
        verify(as_bytes(text), which);
        auto const size = text.size();
        return {{media_type_of(name, text, answer.headers.get("Content-Type")), std::move(which), size},
                std::move(text)};
    }

    // A document and its Content-Type must not disagree, lest two readers see two images (CVE-2021-41190).
    std::string media_type_of(std::string const& name, std::string const& text, std::string content_type) {
        content_type = content_type.substr(0, content_type.find_first_of("; "));
        auto const document = parse_json(text, shown(name));
        auto const own = document.find("mediaType");
        if (own == document.end() || !own->is_string()) return content_type;
        auto said = own->template get<std::string>();
        if (said != content_type && (is_index_type(content_type) || is_manifest_type(content_type)))
            throw format_error{"read manifest", shown(name),
                               "came as '" + printable(content_type) + "' and says of itself that it is '" +
                                   printable(said) + "'"};
        return said;
    }

    void choose_origin() {
        auto const candidates = host_.candidates;
        for (std::size_t i = 0; i < candidates.size(); ++i) {
            try {
                (void)over_->send(
                    {.method = "GET",
                     .target = url::parse(candidates[i].text() + "/v2/"),
                     .access = {.registry = candidates[i], .name = host_.name, .insecure = true},
                     .repeatable = false});
                host_.candidates = {candidates[i]};
                return;
            } catch (transport_error const&) {
                if (i + 1 == candidates.size()) throw;
            }
        }
    }

    T* over_;
    registry_host host_;
    std::string name_;
};

} // namespace shiplap
