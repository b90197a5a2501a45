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

#include <shiplap/codec/decode.hpp>
#include <shiplap/digest/digest.hpp>
#include <shiplap/image/config.hpp>
#include <shiplap/image/media_types.hpp>
#include <shiplap/sink/apply.hpp>
#include <shiplap/sink/concept.hpp>
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

namespace detail {

/// Counts what is read.
struct counting_source {
    replayable_source_ref from;
    std::uint64_t& count;
    std::size_t read(bytes_span into) {
        auto const n = from.read(into);
        count += n;
        return n;
    }
};

/// The plain bytes of a layer: bounded in what they may expand to, and hashed.
class plain_layer {
  public:
    /// Reads from `packed`, which holds a layer in this encoding; `subject` names it in messages.
    plain_layer(replayable_source_ref packed, std::string_view encoding, digest expected,
                extraction_limits const& limits, std::string subject)
        : packed_{packed},
          plain_{decode_as(encoding, any_byte_source{counting_source{packed, packed_size_}})},
          expected_{std::move(expected)},
          limits_{limits},
          subject_{std::move(subject)},
          hasher_{expected_} {}
    plain_layer(plain_layer const&) = delete;
    plain_layer& operator=(plain_layer const&) = delete;
    ~plain_layer() = default;

    std::size_t read(bytes_span into) {
        auto const n = plain_.read(into);
        size_ += n;
        if (size_ > limits_.bytes) refuse("has more than " + std::to_string(limits_.bytes) + " plain bytes");
        if (size_ > limits_.free_expansion && size_ / limits_.expansion > packed_size_)
            refuse("expands to more than " + std::to_string(limits_.expansion) + " times its size");
        hasher_.update(into.first(n));
        return n;
    }

    /// Reads what is left; throws digest_mismatch if the bytes are not those of the diff_id.
    void finish() {
        null_sink drop;
        transfer(*this, drop);
        transfer(packed_, drop); // what the decoder left, so that the source verifies all of it
        auto const found = hasher_.finish();
        if (found != expected_)
            throw digest_mismatch{"extract", subject_,
                                  "unpacks to " + found.text() + ", its configuration says " +
                                      expected_.text()};
    }

  private:
    [[noreturn]] void refuse(std::string reason) const {
        throw error{error_code::unsafe_entry, "decompress", subject_, std::move(reason)};
    }

    replayable_source_ref packed_;
    std::uint64_t packed_size_ = 0, size_ = 0;
    any_byte_source plain_;
    digest expected_;
    extraction_limits limits_;
    std::string subject_;
    digest_hasher hasher_;
};

} // namespace detail

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
            take_config(what, from);
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

    void take_config(descriptor const& what, replayable_source_ref from) {
        if (what.size > max_document_size)
            throw format_error{"read image config", what.digest.text(),
                               "has more than " + std::to_string(max_document_size) + " bytes"};
        string_sink text;
        transfer(from, text);
        diff_ids_ = read_config(text.text, what.digest.text()).diff_ids;
        if (diff_ids_.size() != plan_.size() - 1)
            throw format_error{"read image config", what.digest.text(),
                               "has " + std::to_string(diff_ids_.size()) + " diff_ids for " +
                                   std::to_string(plan_.size() - 1) + " layers"};
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
