#pragma once
// What the registry holds: per repository its blobs, manifests and tags, and the uploads that are under way.

#include <nlohmann/json.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <support/registry/hash.hpp>
#include <support/registry/quirks.hpp>
#include <support/registry/text.hpp>

namespace registry_test {

struct blob {
    std::shared_ptr<std::string const> content{}; ///< null when only size and hash were kept
    std::uint64_t size = 0;
};

struct manifest {
    std::string content{};
    std::string media_type{};
};

struct repository {
    std::map<std::string, blob> blobs{};
    std::map<std::string, manifest> manifests{};
    std::map<std::string, std::string> tags{}; ///< to digests
};

/// An upload under way. The request that has claimed it is the only one to touch its content.
struct upload {
    std::string id{};
    std::string repository{};
    std::string algorithm = "sha256";
    bool keep_content = true;
    std::string content{};
    running_digest hash{};
    std::uint64_t size = 0; ///< received, and kept
    bool claimed = false;   ///< a request is being served

    unsigned patches = 0;
    std::uint64_t told = 0;               ///< as the last answer had it: quirks tell what is not so
    std::uint64_t told_first = 0;         ///< after the first PATCH: where a stuck range stays
    bool short_chunk = false;             ///< a chunk below the minimum came: it has to be the last
    std::size_t told_by = 0;              ///< the request whose answer that was
    bool offset_unknown = false;          ///< a request was cut or its answer was: the client has to ask
    unsigned answers = 0;                 ///< number of the Location
    std::vector<std::string> locations{}; ///< path and query that the client may use, the latest at the end

    void append(std::string_view data) {
        size += data.size();
        if (keep_content)
            content.append(data);
        else
            hash.update(data);
    }
    /// Nothing when the algorithm is not the one that was hashed while the bytes passed.
    [[nodiscard]] std::optional<std::string> digest(std::string_view wanted_algorithm) const {
        if (keep_content) return digest_of(content, wanted_algorithm);
        if (hash.algorithm() != wanted_algorithm) return std::nullopt;
        return hash.text();
    }
};

/// What a manifest names, and so needs.
struct reference_list {
    struct entry {
        std::string digest;
        std::uint64_t size;
    };
    std::vector<entry> blobs{};
    std::vector<entry> manifests{};
    std::string subject{};
    std::string media_type{};
    std::string artifact_type{};
    nlohmann::json annotations{};
};

/// Layers that are to be fetched from elsewhere need not be here.
inline bool is_foreign(nlohmann::json const& descriptor) {
    auto const type = descriptor.value("mediaType", "");
    return type.find("nondistributable") != std::string::npos || type.find("foreign") != std::string::npos;
}

/// Throws nlohmann's exceptions for what is no manifest.
inline reference_list references_of(std::string_view content) {
    auto const document = nlohmann::json::parse(content);
    reference_list list;
    list.media_type = document.value("mediaType", "");
    list.artifact_type = document.value("artifactType", "");
    auto const entry = [](nlohmann::json const& descriptor) {
        return reference_list::entry{descriptor.at("digest"), descriptor.at("size")};
    };
    if (document.contains("config")) {
        list.blobs.push_back(entry(document.at("config")));
        if (list.artifact_type.empty()) list.artifact_type = document.at("config").value("mediaType", "");
    }
    if (document.contains("layers"))
        for (auto const& layer : document.at("layers"))
            if (!is_foreign(layer)) list.blobs.push_back(entry(layer));
    if (document.contains("manifests"))
        for (auto const& child : document.at("manifests")) list.manifests.push_back(entry(child));
    if (document.contains("subject")) list.subject = document.at("subject").at("digest");
    if (document.contains("annotations")) list.annotations = document.at("annotations");
    return list;
}

/// Type of a manifest that has none written inside: only OCI's may be so.
inline std::string guessed_media_type(std::string_view content) {
    auto const list = references_of(content);
    if (!list.media_type.empty()) return list.media_type;
    return list.manifests.empty() ? "application/vnd.oci.image.manifest.v1+json"
                                  : "application/vnd.oci.image.index.v1+json";
}

class contents {
  public:
    std::map<std::string, repository> repositories{};
    std::map<std::string, std::shared_ptr<upload>> uploads{}; ///< by id

    [[nodiscard]] repository const* find(std::string const& name) const {
        auto const found = repositories.find(name);
        return found == repositories.end() ? nullptr : &found->second;
    }
    [[nodiscard]] blob const* find_blob(std::string const& name, std::string const& digest) const {
        auto const* const where = find(name);
        if (where == nullptr) return nullptr;
        auto const found = where->blobs.find(digest);
        return found == where->blobs.end() ? nullptr : &found->second;
    }
    /// Digest of a reference that is a tag or a digest; "" when there is none.
    [[nodiscard]] std::string resolve(std::string const& name, std::string const& reference) const {
        auto const* const where = find(name);
        if (where == nullptr) return {};
        if (where->manifests.contains(reference)) return reference;
        auto const found = where->tags.find(reference);
        return found == where->tags.end() ? std::string{} : found->second;
    }
    [[nodiscard]] manifest const* find_manifest(std::string const& name, std::string const& reference) const {
        auto const digest = resolve(name, reference);
        auto const* const where = find(name);
        if (where == nullptr || !where->manifests.contains(digest)) return nullptr;
        return &where->manifests.at(digest);
    }
};

} // namespace registry_test
