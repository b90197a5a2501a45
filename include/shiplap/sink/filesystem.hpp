#pragma once
// filesystem_sink: the root file system of an image in a directory, as its container would see it.
//
//     filesystem_sink rootfs{"rootfs"};        // does not exist yet, or is empty
//     copy(root, {}, store, rootfs, env);
//
// One image is extracted: the one for options.platform; by default the only one there is, else the one for
// this machine. Its layers are applied bottom to top, safe against hostile archives (see apply.hpp), in a
// hidden directory beside the destination, which takes the destination's name at commit() and is removed
// otherwise.
//
// Checked on the way: the bytes of each layer (by the source), its plain bytes against the diff_id of the
// configuration (image-spec, config.md, "Layer DiffID"), and how far it may expand.

#include <shiplap/image/config.hpp>
#include <shiplap/image/media_types.hpp>
#include <shiplap/sink/apply.hpp>
#include <shiplap/sink/concept.hpp>
#include <shiplap/sink/plain_layer.hpp>
#include <shiplap/sink/staged_directory.hpp>
#include <shiplap/store/graph.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {

struct filesystem_options {
    std::optional<shiplap::platform> platform{}; ///< which image of an index
    extraction_options extraction{};
};

/// An arranging_sink.
class filesystem_sink {
  public:
    /// Throws option_error if there is something at `path` already, system_error if it cannot be written.
    explicit filesystem_sink(std::string path, filesystem_options options = {})
        : options_{std::move(options)}, tree_{std::move(path)} {}

    /// The configuration, then the layers bottom to top. Throws error{not_found} if there is no image for the
    /// platform, error{unsupported} for a layer that is no tar.
    [[nodiscard]] std::vector<descriptor> arrange(image_graph const& graph) {
        auto const image = choose(graph).manifest;
        if (done_ != 0) tree_ = staged_directory{tree_.destination()}; // not what an earlier attempt has left
        done_ = 0;
        plan_ = {image.config};
        for (auto const& layer : image.layers) {
            static_cast<void>(layer_encoding(layer.media_type));
            plan_.push_back(layer);
        }
        applier_.emplace(root_directory{detail::open_directory(tree_.descriptor(), tree_.label())},
                         options_.extraction);
        return plan_;
    }

    [[nodiscard]] bool exists(descriptor const&) const noexcept { return false; }

    /// Takes the next content in the order of arrange().
    void put(descriptor const& what, replayable_source_ref from) {
        if (done_ == plan_.size() || plan_[done_].digest != what.digest)
            throw error{error_code::unsupported, "extract", what.digest.text(),
                        "is not what arrange() wants next"};
        if (done_ == 0)
            diff_ids_ = detail::read_diff_ids(what, from, plan_.size() - 1);
        else
            take_layer(what, from);
        ++done_;
    }

    void tag(descriptor const&, image_name const&) const noexcept {} // a directory has its own name

    /// Makes the directory visible.
    void commit() {
        if (plan_.empty() || done_ != plan_.size())
            throw error{error_code::unsupported, "extract", tree_.destination(), "not all layers were put"};
        tree_.publish();
    }

    /// A folder on the file system of the destination, for what is staged on the way to it.
    [[nodiscard]] std::string staging_folder() const {
        return detail::existing_ancestor(detail::parent_of(tree_.destination()));
    }

  private:
    [[nodiscard]] selected_image choose(image_graph const& graph) const {
        if (options_.platform) return select_platform(graph, options_.platform);
        try {
            return select_platform(graph, std::nullopt);
        } catch (error const& problem) { // several, or none: the next line says which
            if (problem.code() != error_code::not_found) throw;
            return select_platform(graph, host_platform());
        }
    }

    void take_layer(descriptor const& what, replayable_source_ref from) {
        auto const subject = "layer " + std::to_string(done_) + " (" + what.digest.text() + ")";
        try {
            detail::plain_layer plain{from, layer_encoding(what.media_type), diff_ids_[done_ - 1],
                                      options_.extraction.limits, subject};
            applier_->apply(plain, subject);
            plain.finish();
        } catch (error& problem) {
            if (std::string_view{problem.what()}.find(subject) == std::string_view::npos)
                problem.within(subject);
            throw;
        }
    }

    filesystem_options options_;
    staged_directory tree_;
    std::optional<layer_applier> applier_;
    std::vector<descriptor> plan_; // the configuration, then the layers
    std::size_t done_ = 0;         // of plan_
    std::vector<digest> diff_ids_;
};

} // namespace shiplap
