#pragma once
// reachable: everything that images need, as far as it is there.
//
//     auto const needed = find_reachable(layout.entries(), layout);
//     needed.blobs                  // digests and sizes
//     needed.images                 // the images that can be run: platform and chain id
//
// Unlike read_graph() it is content with parts: a store may hold one platform of an index, or lack what is not to be
// distributed. But a document that is there and damaged is an error: what it refers to cannot be known, and whoever
// asks would take that for garbage.

#include <shiplap/error.hpp>
#include <shiplap/image/chain_id.hpp>
#include <shiplap/image/config.hpp>
#include <shiplap/store/graph.hpp>

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace shiplap {

/// An image of which manifest and configuration are there.
struct reachable_image {
    shiplap::platform platform; ///< normalised
    digest chain;
};

struct reachable_contents {
    std::map<digest, std::uint64_t> blobs{}; ///< with their sizes; also those that are not there
    std::vector<reachable_image> images{};   ///< without attestations; each once
};

namespace detail {

template <blob_reader_source S>
class reachable_finder {
  public:
    explicit reachable_finder(S const& from) : from_{from} {}

    void walk(descriptor const& what, unsigned depth = 0) {
        found_.blobs.emplace(what.digest, what.size);
        bool const is_index = is_index_type(what.media_type);
        if (!is_index && !is_manifest_type(what.media_type)) return;
        if (depth >= max_index_depth)
            throw format_error{"read index", what.digest.text(),
                               "more than " + std::to_string(max_index_depth) + " indexes inside each other"};
        if (!from_.contains(what.digest) || !documents_.insert(what.digest).second) return;
        auto const text = read_blob(from_, what);
        if (is_index) {
            for (auto const& child : parse_index(text, what.digest.text(), what.media_type).manifests)
                walk(child, depth + 1);
            return;
        }
        auto const manifest = parse_manifest(text, what.digest.text(), what.media_type);
        for (auto const& layer : manifest.layers) found_.blobs.emplace(layer.digest, layer.size);
        found_.blobs.emplace(manifest.config.digest, manifest.config.size);
        if (is_runnable(manifest) && !what.annotations.contains("vnd.docker.reference.type") &&
            from_.contains(manifest.config.digest))
            add_image(manifest.config);
    }

    void add_image(descriptor const& what) {
        try {
            auto const config = read_config(read_blob(from_, what), what.digest.text());
            found_.images.push_back({normalised(config.platform), chain_id(config.diff_ids)});
        } catch (format_error const&) { // NOLINT(bugprone-empty-catch): refers to nothing, and cannot be run
        }
    }

    [[nodiscard]] reachable_contents take() && { return std::move(found_); }

  private:
    S const& from_;
    reachable_contents found_;
    std::set<digest> documents_; // that were read
};

} // namespace detail

/// What these images need. Throws format_error or digest_mismatch if a document is damaged, error{not_found} if one of
/// `roots` itself is not there.
template <blob_reader_source S>
reachable_contents find_reachable(std::span<descriptor const> roots, S const& from) {
    detail::reachable_finder<S> finder{from};
    for (auto const& root : roots) {
        if (!from.contains(root.digest))
            throw error{error_code::not_found, "read image", root.digest.text(),
                        "it is in the index, but not in the store"};
        finder.walk(root);
    }
    return std::move(finder).take();
}

} // namespace shiplap
