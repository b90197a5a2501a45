#pragma once
// What the registry holds, for tests: to prepare it, and to see what a client has made of it.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <support/registry/contents.hpp>
#include <support/registry/core.hpp>
#include <support/registry/hash.hpp>

namespace registry_test {

class holdings {
  public:
    explicit holdings(core& of) : core_{of} {}

    // --- what it holds

    [[nodiscard]] bool has_blob(std::string const& repository, std::string const& digest) const {
        std::scoped_lock const lock{core_.mutex};
        return core_.held.find_blob(repository, digest) != nullptr;
    }
    /// "" also for a blob of which only hash and size were kept.
    [[nodiscard]] std::optional<std::string> blob(std::string const& repository,
                                                  std::string const& digest) const {
        std::scoped_lock const lock{core_.mutex};
        auto const* const found = core_.held.find_blob(repository, digest);
        if (found == nullptr) return std::nullopt;
        return found->content ? *found->content : std::string{};
    }
    [[nodiscard]] std::optional<std::uint64_t> blob_size(std::string const& repository,
                                                         std::string const& digest) const {
        std::scoped_lock const lock{core_.mutex};
        auto const* const found = core_.held.find_blob(repository, digest);
        return found == nullptr ? std::nullopt : std::optional{found->size};
    }
    [[nodiscard]] std::size_t blob_count(std::string const& repository) const {
        std::scoped_lock const lock{core_.mutex};
        auto const* const found = core_.held.find(repository);
        return found == nullptr ? 0 : found->blobs.size();
    }
    /// By tag or digest.
    [[nodiscard]] std::optional<std::string> manifest(std::string const& repository,
                                                      std::string const& reference) const {
        std::scoped_lock const lock{core_.mutex};
        auto const* const found = core_.held.find_manifest(repository, reference);
        return found == nullptr ? std::nullopt : std::optional{found->content};
    }
    [[nodiscard]] std::optional<std::string> media_type(std::string const& repository,
                                                        std::string const& reference) const {
        std::scoped_lock const lock{core_.mutex};
        auto const* const found = core_.held.find_manifest(repository, reference);
        return found == nullptr ? std::nullopt : std::optional{found->media_type};
    }
    [[nodiscard]] std::optional<std::string> tag(std::string const& repository,
                                                 std::string const& name) const {
        std::scoped_lock const lock{core_.mutex};
        auto const* const found = core_.held.find(repository);
        if (found == nullptr || !found->tags.contains(name)) return std::nullopt;
        return found->tags.at(name);
    }
    /// Uploads that were started, and neither closed nor cancelled.
    [[nodiscard]] std::size_t open_uploads() const {
        std::scoped_lock const lock{core_.mutex};
        return core_.held.uploads.size();
    }

    // --- preparing it; these return the digest

    std::string put_blob(std::string const& repository, std::string content,
                         std::string_view algorithm = "sha256") {
        auto digest = digest_of(content, algorithm);
        std::scoped_lock const lock{core_.mutex};
        auto const size = content.size();
        core_.held.repositories[repository].blobs[digest] = {
            std::make_shared<std::string const>(std::move(content)), size};
        return digest;
    }
    std::string put_manifest(std::string const& repository, std::string content,
                             std::string media_type = {}) {
        auto digest = digest_of(content);
        if (media_type.empty()) media_type = guessed_media_type(content);
        std::scoped_lock const lock{core_.mutex};
        core_.held.repositories[repository].manifests[digest] = {std::move(content), std::move(media_type)};
        return digest;
    }
    void set_tag(std::string const& repository, std::string const& name, std::string const& digest) {
        std::scoped_lock const lock{core_.mutex};
        core_.held.repositories[repository].tags[name] = digest;
    }
    void delete_blob(std::string const& repository, std::string const& digest) {
        std::scoped_lock const lock{core_.mutex};
        core_.held.repositories[repository].blobs.erase(digest);
    }
    void delete_tag(std::string const& repository, std::string const& name) {
        std::scoped_lock const lock{core_.mutex};
        core_.held.repositories[repository].tags.erase(name);
    }

  protected:
    core& core_;
};

/// First base of the registry, so that the others find it made.
struct core_owner {
    core_owner(quirks how, checks rules) : owned{std::move(how), rules} {}
    core owned;
};

} // namespace registry_test
