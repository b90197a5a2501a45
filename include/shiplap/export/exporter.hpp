#pragma once
// exporter: the thin shell that owns the policies and calls the three verbs in order.
//
//     exporter out{gzip{.level = 9}, oci_media_types{}, sha256{}, layout_sink{"app-layout"}};
//     auto image = out(build_result{.layers = {directory_layer{"app"}}}, {.names = {"example.com/app:1.0"}});
//
// pack writes each layer into a store (the sink itself where it is one), assemble makes config and manifest
// of them, copy delivers the whole and names it. When anything throws, the sink is as it was.

#include <shiplap/export/env.hpp>
#include <shiplap/image/assemble.hpp>
#include <shiplap/image/media_types.hpp>
#include <shiplap/image/reference.hpp>
#include <shiplap/image/rfc3339.hpp>
#include <shiplap/layer/any.hpp>
#include <shiplap/layer/pack.hpp>
#include <shiplap/sink/copy.hpp>
#include <shiplap/store/scratch.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace shiplap {

/// What a build made: the input of an export.
struct build_result {
    std::vector<any_layer_source> layers{};      ///< bottom first
    std::optional<shiplap::platform> platform{}; ///< none: that of `config`, or else this machine's
    std::optional<std::string> config{}; ///< image configuration to start from, JSON; none: a minimal one
    config_changes changes{};            ///< applied to the configuration
};

struct export_options {
    std::vector<std::string> names{};        ///< references, normalised as Docker does; may be empty
    annotation_map annotations{};            ///< of the manifest
    annotation_map descriptor_annotations{}; ///< of the manifest's descriptor, in index.json
    std::optional<std::int64_t> epoch{};     ///< seconds since 1970: no time in config or history is later
    bool force_compression = false;          ///< repack layers that come as blobs with the exporter's codec
    bool annotate_created = true;            ///< descriptor annotation org.opencontainers.image.created
    std::string unnamed_as{};                ///< ref.name of an image without names; empty: none
};

/// What an export made.
struct exported_image {
    descriptor root;
    descriptor config;
    std::vector<layer_blob> layers; ///< bottom first
    std::vector<std::string> names; ///< normalised
    std::vector<std::string> warnings;
};

namespace detail {

template <blob_store S>
void put_text(std::string const& text, descriptor const& what, S& store) {
    auto blob = store.open();
    blob.write(as_bytes(text));
    blob.commit({what.digest, text.size()});
}

/// Takes over a layer that is packed already.
template <blob_store S>
layer_blob adopt(any_layer_source const& layer, layer_blob facts, S& store) {
    auto from = layer.reader();
    auto blob = store.open();
    transfer(from, blob);
    blob.commit(facts.blob);
    return facts;
}

/// Whether a packed layer is what codec C would make: the same encoding, and indexed if C's are. The level
/// does not count.
template <codec C>
bool is_packed_as(layer_blob const& facts) {
    return facts.encoding == C::encoding &&
           facts.annotations.contains(toc_digest_annotation) == annotating_encoder<encoder_of<C>>;
}

template <digest_algorithm D, codec C, blob_store S, class Env>
std::vector<layer_blob> pack_all(std::vector<any_layer_source> const& layers, C const& how, S& store,
                                 bool force, Env& env) {
    std::vector<layer_blob> packed;
    packed.reserve(layers.size());
    for (auto const& layer : layers) {
        try {
            auto const stored = layer.stored();
            packed.push_back(stored && (!force || is_packed_as<C>(*stored))
                                 ? adopt(layer, *stored, store)
                                 : pack<D>(layer, how, store, env));
        } catch (error& failure) {
            failure.within("layer " + std::to_string(packed.size() + 1) + " (" +
                           printable(layer.description()) + ")");
            throw;
        }
    }
    return packed;
}

inline std::vector<reference> parse_names(std::vector<std::string> const& names) {
    std::vector<reference> parsed;
    for (auto const& name : names) parsed.push_back(reference::parse(name).with_default_tag());
    return parsed;
}

inline image_options options_for(build_result const& result, export_options const& options) {
    return {.platform = result.platform,
            .config = result.config,
            .changes = result.changes,
            .annotations = options.annotations,
            .descriptor_annotations = options.descriptor_annotations,
            .epoch = options.epoch};
}

/// Whole seconds: the epoch, else the time of the newest entry of all layers; none for an image without
/// entries.
inline std::optional<timestamp> creation_time(std::vector<layer_blob> const& layers,
                                              export_options const& options) {
    if (options.epoch) return timestamp{*options.epoch, 0};
    std::optional<timestamp> newest;
    for (auto const& layer : layers)
        if (layer.created && (!newest || *layer.created > *newest)) newest = layer.created;
    if (newest) newest->nanoseconds = 0;
    return newest;
}

/// Folder for what must lie somewhere between packing and delivery.
template <image_sink S>
std::string staging_folder(S& sink) {
    if constexpr (requires { sink.staging_folder(); })
        return sink.staging_folder();
    else
        return std::filesystem::temp_directory_path().string();
}

/// The three verbs, for any sink; `pack_layers(store)` is the first.
template <digest_algorithm D, image_sink Sink, blob_store Store, class PackLayers, class Env>
exported_image export_through(Store& store, Sink& sink, PackLayers pack_layers, build_result const& result,
                              export_options const& options, media_type_table const& types, Env& env) {
    auto const names = parse_names(options.names); // before anything is read
    auto layers = pack_layers(store);
    auto image = assemble<D>(layers, options_for(result, options), types);
    put_text(image.config, image.config_descriptor, store);
    put_text(image.manifest, image.root, store);
    if (auto const made = creation_time(layers, options); options.annotate_created && made)
        image.root.annotations.try_emplace("org.opencontainers.image.created", format_rfc3339(*made));

    std::vector<image_name> known_as;
    std::vector<std::string> texts;
    for (auto const& name : names) {
        known_as.push_back(name_of(name));
        texts.push_back(name.text());
    }
    if (names.empty() && !options.unnamed_as.empty()) known_as.push_back({{}, options.unnamed_as});
    if constexpr (storing_sink<Sink>)
        publish(image.root, known_as, sink); // all of it is there, just made and hashed
    else
        copy(image.root, known_as, store, sink, env);
    return {std::move(image.root), std::move(image.config_descriptor), std::move(layers), std::move(texts),
            std::move(image.warnings)};
}

template <digest_algorithm D, image_sink Sink, class PackLayers, class Env>
exported_image export_into(Sink& sink, PackLayers pack_layers, build_result const& result,
                           export_options const& options, media_type_table const& types, Env& env) {
    if constexpr (storing_sink<Sink>) {
        return export_through<D>(sink.store(), sink, pack_layers, result, options, types, env);
    } else {
        scratch_store store{staging_folder(sink)};
        return export_through<D>(store, sink, pack_layers, result, options, types, env);
    }
}

} // namespace detail

/// An image exporter of these policies. A call exports once; whether the sink can take another image is the
/// sink's.
template <codec Codec, media_types MediaTypes, digest_algorithm Digest, image_sink Sink,
          export_env Env = default_env>
class exporter {
    static_assert(
        !std::string_view{MediaTypes::layer(Codec::encoding)}.empty(),
        "this media-type table has no name for layers of this codec: inherit the table and override layer()");

  public:
    exporter(Codec codec, MediaTypes, Digest, Sink sink, Env env = Env{})
        : codec_{std::move(codec)}, sink_{std::move(sink)}, env_{std::move(env)} {}

    /// Exports `result`. Throws a shiplap::error, and then nothing has become visible in the sink.
    exported_image operator()(build_result const& result, export_options const& options = {}) {
        auto const pack_layers = [&](auto& store) {
            return detail::pack_all<Digest>(result.layers, codec_, store, options.force_compression, env_);
        };
        return detail::export_into<Digest>(sink_, pack_layers, result, options, table_of<MediaTypes>, env_);
    }

    [[nodiscard]] Sink& sink() noexcept { return sink_; }
    [[nodiscard]] Env& env() noexcept { return env_; }

  private:
    Codec codec_;
    Sink sink_;
    Env env_;
};

} // namespace shiplap
