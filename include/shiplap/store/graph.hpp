#pragma once
// graph: everything that an image consists of, found by following descriptors from its root.
//
//     auto graph = read_graph(root, store);
//     for (auto const& node : graph.contents) ...            // leaves, then manifests, then the root
//     auto image = select_platform(graph, wanted);           // the manifest that a platform runs
//
// Whatever a copy, an archive or an extraction does starts from a graph, so all that comes from outside is
// checked here, once: every manifest and index has the size and digest that its descriptor promises, is of
// the media type that its descriptor names, and is parsed from the very bytes that were hashed (image-spec,
// descriptor.md, "Verification"). Layers and configurations are only looked up: who moves them verifies them.
//
// Not followed: `subject`, a weak link (image-spec, manifest.md). Left out: a non-distributable layer that
// the source does not have and that names URLs to fetch it from. Anything else that is missing is an error.

#include <shiplap/error.hpp>
#include <shiplap/image/index.hpp>
#include <shiplap/image/json.hpp>
#include <shiplap/image/manifest.hpp>
#include <shiplap/image/media_types.hpp>
#include <shiplap/image/platform.hpp>
#include <shiplap/store/concept.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {

/// What a blob is to the image that it belongs to.
enum class node_role {
    config,
    layer,
    manifest,
    index,
    blob, ///< an entry of an index that is neither manifest nor index
};

struct image_node {
    descriptor what;
    node_role role;
};

/// An image: one manifest, or an index with all that it names.
struct image_graph {
    descriptor root;
    std::map<digest, image_manifest> manifests{};
    std::map<digest, image_index> indexes{};
    /// Each content once, children before parents: configurations and layers in the order of their manifests,
    /// then manifests, then indexes, the root last.
    std::vector<image_node> contents{};
};

/// Indexes inside each other at most.
inline constexpr unsigned max_index_depth = 8;
/// Contents of one image at most.
inline constexpr std::size_t max_image_contents = 10'000;

/// The whole content of a blob of at most `limit` bytes, verified. Throws error{not_found}, format_error if
/// the descriptor says that it is larger, digest_mismatch if it is not what the descriptor says.
template <blob_reader_source S>
std::string read_blob(S const& from, descriptor const& what, std::uint64_t limit = max_document_size) {
    if (what.size > limit)
        throw format_error{"read blob", what.digest.text(),
                           "has " + std::to_string(what.size) + " bytes, at most " + std::to_string(limit) +
                               " are read"};
    verified_source source{from.reader(what.digest), what.digest, what.size};
    std::string text(static_cast<std::size_t>(what.size), '\0');
    bytes_span const space{reinterpret_cast<std::byte*>(text.data()), text.size()};
    auto const filled = read_fully(source, space);
    std::byte beyond{};
    // Throws unless the content ends here, and if `space` was not filled.
    while (source.read({&beyond, 1}) != 0) {
    }
    text.resize(filled);
    return text;
}

namespace detail {

/// The contents that were met. Content that two descriptors describe differently is an attempt to be understood in two
/// ways. (No part of graph_reader, lest it be compiled for each kind of source.)
class graph_contents {
  public:
    explicit graph_contents(descriptor const& root) : root_{root.digest} {}

    /// True if it is new. Throws format_error.
    bool add(descriptor const& what, node_role role) {
        auto const is_document = role == node_role::manifest || role == node_role::index;
        auto const [known, added] = seen_.try_emplace(what.digest, known_as{what.size, is_document, role});
        if (added && seen_.size() > max_image_contents)
            throw format_error{"read image", root_.text(),
                               "consists of more than " + std::to_string(max_image_contents) + " blobs"};
        if (known->second.size != what.size)
            throw format_error{"read image", what.digest.text(),
                               "is described once with " + std::to_string(known->second.size) +
                                   " and once with " + std::to_string(what.size) + " bytes"};
        if (known->second.is_document != is_document || (is_document && known->second.role != role))
            throw format_error{"read image", what.digest.text(), "is described by different media types"};
        return added;
    }

  private:
    struct known_as {
        std::uint64_t size;
        bool is_document;
        node_role role;
    };

    digest root_;
    std::map<digest, known_as> seen_;
};

template <blob_reader_source S>
class graph_reader {
  public:
    graph_reader(S const& from, descriptor const& root)
        : from_{from}, graph_{.root = root}, contents_{root} {}

    image_graph read() && {
        auto const& root = graph_.root;
        if (!is_index_type(root.media_type) && !is_manifest_type(root.media_type))
            throw error{error_code::unsupported, "read image", root.digest.text(),
                        "the media type '" + root.media_type + "' is that of no image manifest or index"};
        walk(root, 0);
        for (auto& parent : parents_) graph_.contents.push_back(std::move(parent));
        return std::move(graph_);
    }

  private:
    void walk(descriptor const& what, unsigned depth) {
        if (is_index_type(what.media_type))
            walk_index(what, depth);
        else if (is_manifest_type(what.media_type))
            walk_manifest(what);
        else
            leaf(what, node_role::blob, "entry of an index");
    }

    void walk_index(descriptor const& what, unsigned depth) {
        if (depth >= max_index_depth)
            throw format_error{"read index", what.digest.text(),
                               "more than " + std::to_string(max_index_depth) + " indexes inside each other"};
        if (!contents_.add(what, node_role::index)) return;
        auto index = parse_index(read_blob(from_, what), what.digest.text(), what.media_type);
        for (auto const& child : index.manifests) {
            try {
                walk(child, depth + 1);
            } catch (error& failure) {
                if (child.platform) failure.within("platform " + format(*child.platform));
                throw;
            }
        }
        graph_.indexes.emplace(what.digest, std::move(index));
        parents_.push_back({what, node_role::index});
    }

    void walk_manifest(descriptor const& what) {
        if (!contents_.add(what, node_role::manifest)) return;
        auto manifest = parse_manifest(read_blob(from_, what), what.digest.text(), what.media_type);
        for (std::size_t i = 0; i < manifest.layers.size(); ++i)
            leaf(manifest.layers[i], node_role::layer,
                 "layer " + std::to_string(i + 1) + " of manifest " + what.digest.text());
        leaf(manifest.config, node_role::config, "configuration of manifest " + what.digest.text());
        graph_.manifests.emplace(what.digest, std::move(manifest));
        parents_.push_back({what, node_role::manifest});
    }

    void leaf(descriptor const& what, node_role role, std::string const& meaning) {
        if (!contents_.add(what, role)) return;
        if (from_.contains(what.digest)) {
            graph_.contents.push_back({what, role});
            return;
        }
        if (role == node_role::layer && is_foreign_layer(what.media_type) && !what.urls.empty()) return;
        throw error{error_code::not_found, "find blob", what.digest.text(),
                    "the source does not have this " + meaning};
    }

    S const& from_;
    image_graph graph_;
    std::vector<image_node> parents_;
    graph_contents contents_;
};

} // namespace detail

/// Finds all that belongs to `root`. Throws error{not_found} that names the platform and the digest of what
/// is missing, digest_mismatch, or format_error.
template <blob_reader_source S>
image_graph read_graph(descriptor const& root, S const& from) {
    return detail::graph_reader<S>{from, root}.read();
}

/// One image out of a graph.
struct selected_image {
    descriptor root; ///< of the manifest
    image_manifest manifest;
};

namespace detail {

inline bool is_runnable(image_manifest const& manifest) {
    return manifest.config.media_type == oci_media_types::config ||
           manifest.config.media_type == docker_media_types::config;
}

inline bool same_target(platform const& there, platform const& wanted) {
    auto const a = normalised(there), b = normalised(wanted);
    return a.os == b.os && a.architecture == b.architecture && a.variant == b.variant &&
           (b.os_version.empty() || a.os_version == b.os_version);
}

/// The manifests of all images that can be run, in the order of their indexes; attestations are none.
inline void collect_images(image_graph const& graph, descriptor const& at, std::set<digest>& visited,
                           std::vector<descriptor>& found) {
    if (auto const image = graph.manifests.find(at.digest); image != graph.manifests.end()) {
        if (is_runnable(image->second) && !at.annotations.contains("vnd.docker.reference.type"))
            found.push_back(at);
    } else if (auto const index = graph.indexes.find(at.digest);
               index != graph.indexes.end() && visited.insert(at.digest).second) {
        for (auto const& child : index->second.manifests) collect_images(graph, child, visited, found);
    }
}

} // namespace detail

/// The image for a platform: the first one that matches (image-spec, image-index.md). Without `wanted` there
/// must be exactly one. A root that is a manifest is taken as it is. Throws error{not_found} that lists what
/// there is.
inline selected_image select_platform(image_graph const& graph, std::optional<platform> const& wanted) {
    std::set<digest> visited;
    std::vector<descriptor> images;
    detail::collect_images(graph, graph.root, visited, images);
    std::string there;
    for (auto const& image : images) {
        bool const fits =
            graph.manifests.contains(graph.root.digest) ||
            (wanted ? image.platform && detail::same_target(*image.platform, *wanted) : images.size() == 1);
        if (fits) return {image, graph.manifests.at(image.digest)};
        there += (there.empty() ? "" : ", ") + (image.platform ? format(*image.platform) : "unknown");
    }
    throw error{error_code::not_found, "select platform", wanted ? format(*wanted) : "",
                there.empty() ? "this is no image that can be run" : "choose one of these: " + there};
}

namespace detail {

template <blob_reader_source S>
class image_finder {
  public:
    image_finder(descriptor const& root, S const& from, platform const& wanted)
        : root_{root}, from_{from}, wanted_{wanted} {}

    selected_image find() {
        if (auto found = search(root_, 0)) return std::move(*found);
        throw error{error_code::not_found, "select platform",
                    is_index_type(root_.media_type) ? format(wanted_) : root_.digest.text(),
                    there_.empty() ? "this is no image that can be run" : "choose one of these: " + there_};
    }

  private:
    std::optional<selected_image> search(descriptor const& at, unsigned depth) {
        if (is_manifest_type(at.media_type)) return look_at(at, depth == 0);
        if (!is_index_type(at.media_type)) return {};
        if (depth >= max_index_depth)
            throw format_error{"read index", at.digest.text(),
                               "more than " + std::to_string(max_index_depth) + " indexes inside each other"};
        if (!contents_.add(at, node_role::index)) return {};
        auto const index = parse_index(read_blob(from_, at), at.digest.text(), at.media_type);
        for (auto const& child : index.manifests)
            if (auto found = search(child, depth + 1)) return found;
        return {};
    }

    std::optional<selected_image> look_at(descriptor const& at, bool is_root) {
        if (at.annotations.contains("vnd.docker.reference.type")) return {};
        if (!is_root && (!at.platform || !same_target(*at.platform, wanted_))) {
            there_ += (there_.empty() ? "" : ", ") + (at.platform ? format(*at.platform) : "unknown");
            return {};
        }
        auto manifest = parse_manifest(read_blob(from_, at), at.digest.text(), at.media_type);
        if (!is_runnable(manifest)) return {};
        return selected_image{at, std::move(manifest)};
    }

    descriptor const& root_;
    S const& from_;
    platform const& wanted_;
    graph_contents contents_{root_};
    std::string there_;
};

} // namespace detail

/// As select_platform(), but reads nothing except what leads to the image: no manifest of another platform,
/// which may be missing, and no blob is looked up.
template <blob_reader_source S>
selected_image find_image(descriptor const& root, S const& from, platform const& wanted) {
    return detail::image_finder<S>{root, from, wanted}.find();
}

} // namespace shiplap
