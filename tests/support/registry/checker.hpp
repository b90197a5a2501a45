#pragma once
// The checks of the client: what it was told, and the sentences about what it should not have done.

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <support/registry/contents.hpp>
#include <support/registry/quirks.hpp>
#include <support/registry/record.hpp>

namespace registry_test {

/// Guarded by the mutex of the registry.
class checker {
  public:
    checks rules{};
    std::vector<std::string> violations{};

    void note(request_record const& request, std::string_view what) {
        violations.push_back("request " + std::to_string(request.number) + ", " + request.text() + ": " +
                             std::string{what});
    }
    void new_push() {
        confirmed_.clear();
        tagged_.clear();
    }

    /// The client was told that this blob or manifest is there.
    void confirm(std::string const& repository, std::string const& digest) {
        confirmed_.emplace(repository, digest);
    }
    /// The client was told that it is not.
    void forget(std::string const& repository, std::string const& digest) {
        confirmed_.erase({repository, digest});
    }
    [[nodiscard]] bool is_confirmed(std::string const& repository, std::string const& digest) const {
        return confirmed_.contains({repository, digest});
    }
    void tag_was_set(std::string const& repository, std::string const& tag) {
        if (!is_referrers_tag(tag)) tagged_.insert(repository);
    }

    /// What every request has to keep to.
    void check_head(request_record const& request, bool needs_length, bool chunked) {
        if (request.header("User-Agent").empty()) note(request, "User-Agent is missing");
        if (request.has_header("Cookie")) note(request, "a cookie came back; registries have no sessions");
        if (needs_length && chunked)
            note(request, "the body comes in chunks; the size is known, and Content-Length has to say it");
        else if (needs_length && !request.has_header("Content-Length"))
            note(request, "Content-Length is missing");
        if (auto const length = request.header("Content-Length"); !length.empty() && !parse_number(length))
            note(request, "Content-Length is no number");
        auto const authorized = request.has_header("Authorization");
        if (request.other_port && authorized && request.kind != request_kind::token)
            note(request, "Authorization reached another origin");
        if (request.kind == request_kind::token &&
            starts_with_text(request.header("Authorization"), "Bearer "))
            note(request, "a token was sent to the token endpoint");
        if (rules.tag_is_last && tagged_.contains(request.repository) && writes_content(request))
            note(request, "comes after the tag was set in this push");
    }

    void transfer_begins(request_record const& request) {
        ++transfers_;
        if (rules.max_transfers != 0 && transfers_ > rules.max_transfers)
            note(request, std::to_string(transfers_) + " transfers at once");
    }
    void transfer_ends() { --transfers_; }

    /// Before the manifest is looked at any further.
    void check_manifest(request_record const& request, std::string const& digest, reference_list const& list,
                        contents const& held, bool sparse_allowed) {
        auto const type = request.header("Content-Type");
        if (type.empty())
            note(request, "Content-Type is missing");
        else if (type.find(';') != std::string::npos)
            note(request, "Content-Type has a parameter: " + type);
        else if (!list.media_type.empty() && type != list.media_type)
            note(request, "Content-Type " + type + " is not the mediaType " + list.media_type);
        if (rules.blobs_confirmed)
            for (auto const* const group : {&list.blobs, &list.manifests})
                for (auto const& one : *group) {
                    auto const child = group == &list.manifests;
                    auto const left_out = child && sparse_allowed &&
                                          held.find_manifest(request.repository, one.digest) == nullptr;
                    if (!left_out && !is_confirmed(request.repository, one.digest))
                        note(request, "before the registry confirmed " + one.digest);
                }
        for (auto const& one : list.blobs)
            if (auto const* const found = held.find_blob(request.repository, one.digest);
                found != nullptr && found->size != one.size)
                note(request, "the size of " + one.digest + " is " + std::to_string(found->size) + ", not " +
                                  std::to_string(one.size));
        if (rules.digest_before_tag && request.by_tag() && !is_referrers_tag(request.reference) &&
            !is_confirmed(request.repository, digest))
            note(request, "the tag is put before the manifest " + digest + " is there by digest");
    }

    /// The request has to use the Location as it was given last, its query included; `digest` is the client's to add.
    /// Returns whether it did.
    bool check_location(request_record const& request, upload const& session) {
        auto const same = [&](std::string const& location) {
            return parts_of(location) == parts_of(request.target);
        };
        if (session.locations.empty()) return true;
        if (std::any_of(session.locations.begin(), session.locations.end(), same)) return true;
        note(request, "is not the latest Location, which was " + session.locations.back());
        return false;
    }

    /// `start` of what is sent to an upload against what the client has been told.
    void check_start(request_record const& request, upload const& session, std::uint64_t start) {
        if (session.offset_unknown && session.size != 0)
            note(request, "sends to an upload that was broken off, without having asked for its offset");
        else if (start != session.size && start != session.told)
            note(request,
                 "starts at " + std::to_string(start) + ", but was told " + std::to_string(session.told));
    }

  private:
    std::set<std::pair<std::string, std::string>> confirmed_{};
    std::set<std::string> tagged_{};
    std::size_t transfers_ = 0;

    /// "sha256-...", where clients keep referrers if the registry has no API for them: put by tag alone, and not last.
    static bool is_referrers_tag(std::string const& tag) {
        return tag.starts_with("sha256-") || tag.starts_with("sha512-");
    }
    static bool writes_content(request_record const& request) {
        switch (request.kind) {
        case request_kind::start_upload:
        case request_kind::mount:
        case request_kind::patch_upload:
        case request_kind::put_upload:
            return true;
        case request_kind::put_manifest:
            return !request.by_tag();
        default:
            return false;
        }
    }
    /// Path, and query without the digest, decoded and in a fixed order: clients may encode in their own way.
    static std::pair<std::string, field_list> parts_of(std::string const& target) {
        auto const mark = std::min(target.find('?'), target.size());
        auto query = parse_query(mark < target.size() ? std::string_view{target}.substr(mark + 1) : "");
        std::erase_if(query, [](field const& one) { return one.first == "digest"; });
        std::sort(query.begin(), query.end());
        return {percent_decoded(target.substr(0, mark)), std::move(query)};
    }
};

} // namespace registry_test
