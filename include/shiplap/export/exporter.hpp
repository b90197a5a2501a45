#pragma once
// exporter: the thin shell that owns the policies and calls the three verbs in order.
//
//     exporter out{gzip{.level = 9}, oci_media_types{}, sha256{}, layout_sink{"app-layout"}};
//     auto image = out(build_result{.layers = {directory_layer{"app"}}}, {.names = {"example.com/app:1.0"}});
//
// pack writes each layer into a store (the sink itself where it is one), assemble makes config and manifest
// of them, copy delivers the whole and names it. When anything throws, the sink is as it was. Layers that are
// packed already, those of a base image among them, stay where they are until a sink asks for them.

#include <shiplap/export/env.hpp>
#include <shiplap/export/plan.hpp>
#include <shiplap/export/ready_layer.hpp>
#include <shiplap/export/result.hpp>
#include <shiplap/image/assemble.hpp>
#include <shiplap/image/attestation.hpp>
#include <shiplap/image/media_types.hpp>
#include <shiplap/image/reference.hpp>
#include <shiplap/image/rfc3339.hpp>
#include <shiplap/layer/any.hpp>
#include <shiplap/sink/copy.hpp>
#include <shiplap/store/overlay.hpp>
#include <shiplap/store/scratch.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace shiplap {

namespace detail {

template <blob_store S>
void put_text(std::string const& text, descriptor const& what, S& store) {
    auto blob = store.open();
    blob.write(as_bytes(text));
    blob.commit({what.digest, text.size()});
}

inline std::vector<reference> parse_names(export_options const& options) {
    std::vector<reference> parsed;
    for (auto const& text : options.names) {
        auto name = reference::parse(text);
        parsed.push_back(options.by_digest ? name : name.with_default_tag());
    }
    return parsed;
}

/// What the image is called once its digest is known.
struct given_names {
    std::vector<image_name> known_as{}; ///< for sinks
    std::vector<std::string> told{};    ///< for the user
};

inline given_names names_for(std::vector<reference> const& names, digest const& root,
                             export_options const& options) {
    given_names out;
    auto const with_digest = [&](std::string const& name) {
        return name_of(reference::parse(name + "@" + root.text()));
    };
    for (auto const& name : names) {
        if (name.digest() && *name.digest() != root)
            throw option_error{"name", name.text(),
                               "the image is " + root.text() + ", not what the digest in its name says"};
        out.told.push_back(name.text());
        if (!options.by_digest) out.known_as.push_back(name_of(name));
        if (!name.digest() && (options.by_digest || options.canonical_names))
            out.known_as.push_back(with_digest(name.text()));
    }
    if (!options.dangling_prefix.empty()) {
        out.known_as.push_back(with_digest(options.dangling_prefix));
        out.told.push_back(out.known_as.back().full);
    }
    if (out.known_as.empty() && !options.unnamed_as.empty()) out.known_as.push_back({{}, options.unnamed_as});
    return out;
}

/// Whole seconds: the epoch, else the time of the newest entry of all layers; none for an image without
/// entries.
inline std::optional<timestamp> creation_time(std::vector<exported_platform> const& platforms,
                                              export_options const& options) {
    if (options.epoch) return timestamp{*options.epoch, 0};
    std::optional<timestamp> newest;
    for (auto const& platform : platforms)
        for (auto const& layer : platform.layers)
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

/// Delivery that begins while layers are still packed: a remote_sink gets each that is ready, a storing_sink what it does
/// not hold yet, others wait.
template <blob_reader_source From, image_sink To>
struct early_delivery {
    From const& from;
    To& to;
    progress_ref progress;
    void add(descriptor const& what, bool stored) {
        if constexpr (storing_sink<To>)
            if (!stored) copy_content(what, from, to, progress);
    }
    template <class Env>
    void finish(descriptor const& root, std::span<image_name const> names, Env& env) {
        if constexpr (storing_sink<To>)
            publish(root, names, to, progress); // all of it is there, just made and hashed
        else
            copy(root, names, from, to, env);
    }
};
template <blob_reader_source From, remote_sink To>
struct early_delivery<From, To> {
    From const& from;
    To& to;
    progress_ref progress;
    background_copy<From, To> under_way{from, to, progress};
    void add(descriptor const& what, bool) {
        if (what.urls.empty()) under_way.add(what, from.reader(what.digest));
    }
    template <class Env>
    void finish(descriptor const& root, std::span<image_name const> names, Env&) {
        finish_copy(root, names, from, to, progress, under_way);
    }
};

/// Nobody else wants to hear of layers.
inline constexpr auto no_follower = [](descriptor const&) {};

/// Puts what is said about the image `root` into the store; returns the descriptor of the manifest that holds it.
template <digest_algorithm D, blob_store Store>
descriptor put_attestations(build_result const& result, descriptor const& root,
                            std::vector<reference> const& names, attestation_form form, Store& store) {
    auto const made = assemble_attestations<D>(result.attestations, root, names, form);
    for (std::size_t i = 0; i < made.statements.size(); ++i)
        put_text(made.statements[i], made.layers[i], store);
    put_text(made.config, made.config_descriptor, store);
    put_text(made.manifest, made.root, store);
    return made.root;
}

/// The root of an image, of which all else is in the store: the only manifest, or an index, which is put there.
template <digest_algorithm D, blob_store Store>
descriptor put_root(std::vector<exported_platform> const& platforms, bool as_index,
                    export_options const& options, media_type_table const& types, Store& store) {
    if (!as_index) return platforms.front().manifest;
    std::vector<descriptor> entries;
    entries.reserve(2 * platforms.size());
    for (auto const& platform : platforms) entries.push_back(platform.manifest);
    for (auto const& platform : platforms)
        if (platform.attestations) entries.push_back(*platform.attestations);
    auto index =
        assemble_index<D>(entries, options.index_annotations, options.index_descriptor_annotations, types);
    put_text(index.index, index.root, store);
    return std::move(index.root);
}

/// The three verbs, for any sink; `pack_layers(result, store, shared, take)` is the first. `follow` is called with each
/// layer that is there, in `store` or, if the sink is a store, in that.
template <digest_algorithm D, image_sink Sink, blob_store Store, class PackLayers, class Follow, class Env>
exported_image export_through(Store& store, Sink& sink, PackLayers pack_layers, Follow follow,
                              export_input const& input, export_options const& options,
                              media_type_table const& types, Env& env) {
    auto const names = parse_names(options); // before anything is read
    auto plan = plan_export(input, options, types);
    if constexpr (remote_sink<Sink>) sink.connect();
    auto& warnings = plan.warnings;
    std::vector<layer_blob> layers;
    overlay_store all{store};
    early_delivery<overlay_store<Store>, Sink> early{all, sink, progress_ref{env.progress}};
    auto take = [&](ready_layer ready) {
        choose_distribution(ready.facts, options, types, warnings);
        auto const& blob = ready.facts.blob;
        if (ready.elsewhere && !ready.facts.only_named)
            all.add(blob.digest, [from = *ready.elsewhere] { return from.unverified_reader(); });
        if (!ready.facts.only_named) {
            descriptor const what{.media_type = layer_type(ready.facts, types),
                                  .digest = blob.digest,
                                  .size = blob.size,
                                  .urls = ready.facts.urls};
            early.add(what, !ready.elsewhere);
            follow(what);
        }
        layers.push_back(std::move(ready.facts));
    };

    std::vector<exported_platform> platforms;
    shared_layers shared;
    auto const make = [&](build_result const& result, image_options const& how) {
        layers.clear();
        pack_layers(result, store, shared, take);
        auto image = assemble<D>(layers, how, types);
        put_text(image.config, image.config_descriptor, store);
        put_text(image.manifest, image.root, store);
        std::optional<descriptor> attestations;
        if (plan.as_index && !result.attestations.empty())
            attestations = put_attestations<D>(result, image.root, names, options.attestations_as, store);
        warnings.insert(warnings.end(), image.warnings.begin(), image.warnings.end());
        platforms.push_back({std::move(image.root), std::move(image.config_descriptor), std::move(layers),
                             std::move(attestations)});
    };
    for (std::size_t i = 0; i < input.results.size(); ++i) {
        try {
            make(input.results[i], plan.images[i]);
        } catch (error& failure) {
            if (input.results.size() > 1)
                failure.within("platform " + format(planned_platform(plan.images[i])));
            throw;
        }
    }
    auto root = put_root<D>(platforms, plan.as_index, options, types, store);
    if (auto const made = creation_time(platforms, options); options.annotate_created && made)
        root.annotations.try_emplace("org.opencontainers.image.created", format_rfc3339(*made));

    auto called = names_for(names, root.digest, options);
    early.finish(root, called.known_as, env);
    auto const& first = platforms.front();
    return {std::move(root),        first.config,        first.layers,
            std::move(called.told), std::move(warnings), std::move(platforms)};
}

template <digest_algorithm D, image_sink Sink, class PackLayers, class Follow, class Env>
exported_image export_into(Sink& sink, PackLayers pack_layers, Follow follow, export_input const& input,
                           export_options const& options, media_type_table const& types, Env& env) {
    if constexpr (storing_sink<Sink>) {
        return export_through<D>(sink.store(), sink, pack_layers, follow, input, options, types, env);
    } else {
        scratch_store store{staging_folder(sink)};
        return export_through<D>(store, sink, pack_layers, follow, input, options, types, env);
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
        return export_all(result, options);
    }
    /// The same for several platforms, under an index.
    exported_image operator()(export_input const& platforms, export_options const& options = {}) {
        return export_all(platforms, options);
    }

    [[nodiscard]] Sink& sink() noexcept { return sink_; }
    [[nodiscard]] Env& env() noexcept { return env_; }

  private:
    exported_image export_all(export_input const& input, export_options const& options) {
        auto const pack_layers = [&](build_result const& result, auto& store, auto& shared, auto& take) {
            detail::pack_all<Digest>(result, codec_, store, options.force_compression, env_, shared, take);
        };
        return detail::export_into<Digest>(sink_, pack_layers, detail::no_follower, input, options,
                                           table_of<MediaTypes>, env_);
    }

    Codec codec_;
    Sink sink_;
    Env env_;
};

} // namespace shiplap
