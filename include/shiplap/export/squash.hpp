#pragma once
// squash: several layers become one, before an export:
//
//     default_env env;
//     auto image = out(squash(result, squash_scope::above_base, env));
//
//   scope         becomes one layer                       history
//   above_base    the new layers; without a base, or      goes on with one entry for the new layer
//                 without new ones, as `all`
//   all           those of the base, too: there is no     is kept as steps that made no layer, then one
//                 base any longer                         entry for the layer
//
// What the image contains stays the same: applied to the base, the one layer does what the several did
// (sink/flatten.hpp says how, and what it takes for granted). Only one layer is left as it is.
//
// Every layer is read once, topmost first; those that could not be read again as cheaply, for they are packed
// at that moment or lie in a registry, are kept in files without a name until nothing refers to them. The
// new layer reads what it consists of each time it is packed: timestamps, codec and digest are those of the
// export. An exception leaves nothing behind.

#include <shiplap/bytes/activity.hpp>
#include <shiplap/bytes/file.hpp>
#include <shiplap/bytes/gather.hpp>
#include <shiplap/bytes/pipeline.hpp>
#include <shiplap/error.hpp>
#include <shiplap/export/env.hpp>
#include <shiplap/export/result.hpp>
#include <shiplap/image/config.hpp>
#include <shiplap/image/history.hpp>
#include <shiplap/layer/any.hpp>
#include <shiplap/layer/tar.hpp>
#include <shiplap/sink/flatten.hpp>
#include <shiplap/sink/squashed_layer.hpp>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace shiplap {

/// Which layers of an image become one.
enum class squash_scope { above_base, all };

namespace detail {

/// A layer that was read already, as a plain tar.
struct staged_layer {
    std::shared_ptr<staged_file const> tar;
    std::string name;

    template <byte_sink Out>
    void write_tar(Out& out, layer_context const& context) const {
        tar_layer{any_byte_source{tar->reader()}, name}.write_tar(out, context);
    }
    [[nodiscard]] std::string const& description() const noexcept { return name; }
};

/// The configuration of an image with so many layers and no more: what its history says of others are steps
/// that made none.
inline std::string with_layers(std::string const& config, std::size_t layers) {
    auto const* const subject = "configuration of the squashed image";
    auto const document = parse_json(config, subject);
    auto history = read_history(json_node{document, subject}["history"]);
    auto const changed = [&] {
        std::size_t seen = 0;
        bool any = false;
        for (auto& entry : history)
            if (!entry.empty_layer && ++seen > layers) any = entry.empty_layer = true;
        return any;
    }();
    if (!changed) return config;
    auto members = split_members(config);
    members["history"] = compact(to_json(history));
    return join_members(members);
}

/// Squashes the images of one export, which may have layers in common.
class squasher {
  public:
    squasher(squash_scope scope, progress_ref progress, std::string folder)
        : scope_{scope}, progress_{progress}, folder_{std::move(folder)} {}

    [[nodiscard]] build_result squash(build_result const& result) {
        bool const all = scope_ == squash_scope::all || !result.base || result.layers.empty();
        auto const below = result.base ? result.base->layers.size() : 0;
        std::vector<any_layer_source> layers;
        if (all && result.base) layers = result.base->layers;
        auto const of_base = layers.size();
        layers.insert(layers.end(), result.layers.begin(), result.layers.end());
        if (layers.size() < 2) return result;

        auto flattener = std::make_shared<layer_flattener>(all ? flattened::tree : flattened::changes);
        auto parts = layers;
        for (auto i = layers.size(); i-- > 0;) {
            try {
                survey(parts[i], i, *flattener);
            } catch (error& failure) {
                throw_for_layer(failure, below - of_base + i + 1, layers[i]);
            }
        }
        auto out = result;
        out.layers = {squashed_layer{std::move(parts), std::move(flattener)}};
        if (all && out.base && !out.config)
            out.config = inherited_config(out.base->config, "configuration of the base image");
        if (out.config) out.config = with_layers(*out.config, all ? 0 : below);
        if (all) out.base.reset();
        return out;
    }

    /// A layer that stayed as it is, but may have been read for another image.
    [[nodiscard]] any_layer_source readable(any_layer_source const& layer) const {
        for (auto const& [source, staged] : staged_)
            if (source.is_same_as(layer)) return staged;
        return layer;
    }

  private:
    /// Reads a layer once; if it cannot be read again, or not as cheaply, puts a copy in its place.
    void survey(any_layer_source& part, std::size_t index, layer_flattener& flattener) {
        auto const source = std::exchange(part, readable(part));
        bool const is_copy = !part.is_same_as(source);
        std::optional<staged_file> copy;
        if (!is_copy && !is_near(part)) copy.emplace(folder_, staging::scratch);

        auto const learn = [&](tar_entry const& entry) {
            flattener.survey(index, entry);
            return false;
        };
        layer_entries entries{part, learn, [](bytes_view) {}};
        struct {
            std::optional<staged_file>& copy;
            decltype(entries)& all;
            void write(bytes_view in) {
                if (copy) copy->write(in);
                all.write(in);
            }
        } both{copy, entries};
        activity told{progress_, "read", source.description(), std::nullopt};
        meter count{told};
        gather chunks;
        pipeline pipe{count, chunks, both};
        part.write_tar(pipe, {{}, progress_});
        pipe.finish();
        entries.finish();
        told.finish();
        if (!copy) return;
        part = staged_layer{std::make_shared<staged_file const>(std::move(*copy)), source.description()};
        staged_.emplace_back(source, part);
    }

    /// Whether it costs little to read the layer again: it is packed, and here.
    static bool is_near(any_layer_source const& layer) {
        auto const facts = layer.stored();
        if (facts && facts->only_named)
            throw error{error_code::unsupported, "squash", layer.description(),
                        "is not in the image, which only says where it can be had"};
        return facts && !facts->is_remote;
    }

    squash_scope scope_;
    progress_ref progress_;
    std::string folder_;
    std::vector<std::pair<any_layer_source, any_layer_source>> staged_;
};

} // namespace detail

/// The images of one export with fewer layers. `env` lends its progress; copies of layers lie on the file
/// system of `folder`. Throws what the layers throw; error{unsupported} for a layer that is only named,
/// and for what one layer cannot express (layer_flattener::decide()), this while the
/// result is exported.
template <export_env Env>
std::vector<build_result> squash(std::span<build_result const> results, squash_scope scope, Env& env,
                                 std::string folder = std::filesystem::temp_directory_path().string()) {
    detail::squasher squasher{scope, progress_ref{env.progress}, std::move(folder)};
    std::vector<build_result> out;
    out.reserve(results.size());
    for (auto const& result : results) out.push_back(squasher.squash(result));
    for (auto& result : out)
        for (auto& layer : result.layers) layer = squasher.readable(layer);
    return out;
}

/// The same for one image.
template <export_env Env>
build_result squash(build_result const& result, squash_scope scope, Env& env,
                    std::string folder = std::filesystem::temp_directory_path().string()) {
    return std::move(squash(std::span{&result, 1}, scope, env, std::move(folder)).front());
}

} // namespace shiplap
