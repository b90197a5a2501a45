#pragma once
// docker_archive_sink: an image that `docker load` reads, what `type=docker` writes.
//
// It is an OCI archive (see archive.hpp) with one more member, manifest.json, for readers that know no OCI
// layout:
//
//     [{"Config":"blobs/sha256/<hex>","RepoTags":["app:1"],"Layers":["blobs/sha256/<hex>",...]}]
//
// RepoTags are familiar names with a tag, or null; a name that has only a digest is found in index.json
// alone. Layers keep their compression: docker load and skopeo read plain and gzip ones, zstd ones need
// docker 25. An index with attestations has no manifest.json (as BuildKit has it), one with several images is
// refused.

#include <shiplap/error.hpp>
#include <shiplap/image/json.hpp>
#include <shiplap/image/json_node.hpp>
#include <shiplap/image/manifest.hpp>
#include <shiplap/image/reference.hpp>
#include <shiplap/sink/archive.hpp>

#include <range/v3/algorithm/contains.hpp>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace shiplap {

/// An arranging_sink.
class docker_archive_sink : public layout_archive {
  public:
    using layout_archive::layout_archive;

    /// As layout_archive::arrange(); throws error{unsupported} unless there is exactly one image, with all
    /// its layers.
    [[nodiscard]] std::vector<descriptor> arrange(image_graph const& graph) {
        auto const image = graph.manifests.find(graph.root.digest);
        manifest_.reset();
        repo_tags_.clear();
        if (image != graph.manifests.end())
            manifest_ = image->second;
        else if (!has_single_image(graph))
            throw error{error_code::unsupported, "archive", graph.root.digest.text(),
                        "docker exporter does not currently support exporting manifest lists"};
        auto order = layout_archive::arrange(graph);
        if (manifest_)
            for (auto const& layer : manifest_->layers) require_among(order, layer.digest);
        return order;
    }

    /// As layout_archive::tag(); throws option_error if the full name is not a reference.
    void tag(descriptor const& root, image_name const& name) {
        if (!name.full.empty()) {
            auto const what = reference::parse(name.full);
            auto familiar = what.familiar();
            familiar.resize(std::min(familiar.find('@'), familiar.size()));
            bool const known = std::find(repo_tags_.begin(), repo_tags_.end(), familiar) != repo_tags_.end();
            if (!what.tag().empty() && !known) repo_tags_.push_back(std::move(familiar));
        }
        layout_archive::tag(root, name);
    }

    /// Writes index.json and manifest.json and publishes the file.
    void commit() { complete(manifest_ ? std::optional{manifest_text()} : std::nullopt); }

  private:
    // One image and its attestations, which BuildKit marks with this annotation.
    static bool has_single_image(image_graph const& graph) {
        auto const index = graph.indexes.find(graph.root.digest);
        if (index == graph.indexes.end()) return false;
        auto const& entries = index->second.manifests;
        auto const attestations = std::count_if(entries.begin(), entries.end(), [](descriptor const& entry) {
            return entry.annotations.contains("vnd.docker.reference.type");
        });
        return attestations > 0 && std::ssize(entries) - attestations == 1;
    }

    // A graph may lack layers that can be fetched from elsewhere; `docker load` does not fetch.
    static void require_among(std::vector<descriptor> const& contents, digest const& layer) {
        if (!ranges::contains(contents, layer, &descriptor::digest))
            throw error{error_code::unsupported, "archive", layer.text(),
                        "the source does not have this layer, which a docker archive must hold"};
    }

    [[nodiscard]] std::string manifest_text() const {
        auto layers = detail::empty_array();
        for (auto const& layer : manifest_->layers)
            detail::add_item(layers, detail::json_text(blob_path(layer.digest)));
        auto image = detail::empty_object();
        detail::add_text(image, "Config", blob_path(manifest_->config.digest));
        detail::add_member(image, "RepoTags",
                           repo_tags_.empty() ? json(nullptr) : detail::json_texts(repo_tags_));
        detail::add_member(image, "Layers", std::move(layers));
        auto images = detail::empty_array();
        detail::add_item(images, std::move(image));
        return compact(images);
    }

    std::optional<image_manifest> manifest_; // of the root, unless that is an index
    std::vector<std::string> repo_tags_;
};

} // namespace shiplap
