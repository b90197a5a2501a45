#pragma once
// rootfs_tar_sink: all layers of an image applied on top of each other, as one tar: what a container sees at
// its start. Nothing is extracted on the way, so ownership, devices and set-id bits survive without
// privileges.
//
// The layers are read twice, topmost first to learn what each hides, then bottom first to write what is left
// (flatten.hpp says how). An image with a single layer is read once.

#include <shiplap/image/media_types.hpp>
#include <shiplap/sink/archive.hpp>
#include <shiplap/sink/concept.hpp>
#include <shiplap/sink/flatten.hpp>
#include <shiplap/sink/plain_layer.hpp>
#include <shiplap/tar/reader.hpp>
#include <shiplap/tar/writer.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace shiplap {

class rootfs_tar_sink {
  public:
    /// See archive_output. `wanted` chooses an image of an index; by default there must be only one.
    explicit rootfs_tar_sink(std::string path, std::optional<platform> wanted = {})
        : output_{std::make_unique<archive_output>(std::move(path))}, wanted_{std::move(wanted)} {}

    [[nodiscard]] std::vector<descriptor> arrange(image_graph const& graph) {
        auto const image = select_platform(graph, wanted_).manifest;
        auto const& layers = image.layers;
        tar_.emplace(*output_);
        flattener_ = layer_flattener{};
        layers_ = layers.size();
        surveyed_ = written_ = 0;
        diff_ids_.reset();
        std::vector<descriptor> order{image.config};
        if (layers_ > 1)
            order.insert(order.end(), layers.rbegin(), layers.rend());
        else
            surveyed_ = layers_;
        order.insert(order.end(), layers.begin(), layers.end());
        return order;
    }

    [[nodiscard]] bool exists(descriptor const&) const noexcept { return false; }

    /// Takes the next content in the order of arrange(). Throws digest_mismatch for a layer that does not unpack to
    /// what the configuration says.
    void put(descriptor const& what, replayable_source_ref from) {
        if (!diff_ids_) {
            diff_ids_ = detail::read_diff_ids(what, from, layers_);
            return;
        }
        bool const is_survey = surveyed_ < layers_;
        auto const index = is_survey ? layers_ - ++surveyed_ : written_++;
        auto const subject = "layer " + std::to_string(index + 1) + " (" + what.digest.text() + ")";
        detail::plain_layer plain{from, layer_encoding(what.media_type), diff_ids_->at(index), {}, subject};
        tar_reader entries{plain, what.digest.text()};
        if (is_survey) {
            while (auto const* entry = entries.next()) flattener_.survey(index, *entry);
            return plain.finish();
        }
        auto const write = [&](tar_entry const& kept) {
            if (kept.name == "./") return; // a root file system needs no entry for its root
            tar_->entry(kept);
            if (kept.size != 0) transfer(entries, *tar_);
        };
        while (auto const* entry = entries.next()) flattener_.decide(index, *entry, write);
        plain.finish();
    }

    void tag(descriptor const&, image_name const&) noexcept {} // files have no name

    void commit() {
        tar_->finish();
        output_->commit();
    }

    [[nodiscard]] std::string staging_folder() const { return output_->staging_folder(); }

  private:
    std::unique_ptr<archive_output> output_; // tar_ refers to it
    std::optional<platform> wanted_;
    std::optional<tar_writer<archive_output>> tar_;
    layer_flattener flattener_;
    std::optional<std::vector<digest>> diff_ids_; // none before the configuration has come
    std::size_t layers_ = 0, surveyed_ = 0, written_ = 0;
};

} // namespace shiplap
