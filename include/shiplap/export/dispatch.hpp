#pragma once
// The run-time face: export_image(spec, result) does what exporter<...> does, with policies chosen by a spec.
//
// Axes are visited one by one, not all together: codec and digest where a layer is packed, the sink where the
// image is delivered. In between run the same pack, assemble and copy as in the compile-time face; a test
// compares both.

#include <shiplap/export/exporter.hpp>
#include <shiplap/export/ready_layer.hpp>
#include <shiplap/export/spec.hpp>
#include <shiplap/sink/docker_archive.hpp>
#include <shiplap/sink/filesystem.hpp>
#include <shiplap/sink/layout.hpp>
#include <shiplap/sink/oci_archive.hpp>
#include <shiplap/sink/rootfs_tar.hpp>
#include <shiplap/sink/unpacked.hpp>
#include <shiplap/store/erased.hpp>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <variant>

namespace shiplap {

/// Folder of the local image store: $SHIPLAP_STORE, else $XDG_DATA_HOME/shiplap, else ~/.local/share/shiplap.
inline std::string default_store() {
    auto const variable = [](char const* name) {
        auto const* const value =
            std::getenv(name); // NOLINT(concurrency-mt-unsafe): nothing here sets variables
        return std::string{value == nullptr ? "" : value};
    };
    if (auto store = variable("SHIPLAP_STORE"); !store.empty()) return store;
    if (auto const data = variable("XDG_DATA_HOME"); !data.empty()) return data + "/shiplap";
    if (auto const home = variable("HOME"); !home.empty()) return home + "/.local/share/shiplap";
    throw option_error{"--store", "is needed: neither SHIPLAP_STORE, XDG_DATA_HOME nor HOME is set"};
}

namespace detail {

inline export_options options_from(export_spec const& spec) {
    export_options options{.annotations = spec.annotations,
                           .descriptor_annotations = spec.descriptor_annotations,
                           .for_platforms = spec.for_platforms,
                           .index_annotations = spec.index_annotations,
                           .index_descriptor_annotations = spec.index_descriptor_annotations,
                           .epoch = spec.epoch,
                           .force_compression = spec.force_compression,
                           .prefer_nondistributable = spec.prefer_nondistributable,
                           .annotate_created =
                               spec.type == output_type::oci || spec.type == output_type::docker,
                           .unnamed_as = spec.tar ? "" : "latest",
                           .by_digest = spec.push_by_digest,
                           .dangling_prefix = spec.dangling_prefix,
                           .canonical_names = spec.canonical_names,
                           .attestations_as = spec.attestations_as,
                           .attestations_inline = spec.attestations_inline};
    for (auto const& name : spec.names) options.names.push_back(name.text());
    return options;
}

/// Attestations and annotations need OCI's media types and get them, unless Docker's were asked for.
inline media_type_table const& types_for(export_spec const& spec, export_input const& input) {
    bool oci = spec.oci_types;
    for (auto const& result : input.results) {
        bool const annotated =
            result.kept && !(result.kept->annotations.empty() && result.kept->descriptor_annotations.empty());
        oci |= (!result.attestations.empty() || annotated) && !spec.docker_types_asked;
    }
    return oci ? table_of<oci_media_types> : table_of<docker_media_types>;
}

inline bool has_files_only(output_type type) noexcept {
    return type == output_type::local || type == output_type::tar;
}

inline export_plan plan_of(export_spec const& spec, export_input const& input) {
    if (input.is_list && spec.type == output_type::docker)
        throw option_error{"type", "docker exporter does not currently support exporting manifest lists; use "
                                   "type=oci, or export each platform on its own"};
    if (input.is_list && has_files_only(spec.type))
        throw option_error{"type",
                           "the files of several platforms would be mixed; export each platform on its own"};
    return plan_export(input, options_from(spec), types_for(spec, input));
}

/// Packs, assembles and delivers into one sink; visits the codec and the digest.
template <image_sink Sink, class Follow>
exported_image export_spec_into(Sink& sink, Follow follow, export_spec const& spec, export_input const& input,
                                env_ref env) {
    return std::visit(
        [&]<class D>(D) {
            auto const pack_layers = [&](build_result const& result, blob_store auto& store, auto& shared,
                                         auto& take) {
                blob_store_ref erased{store};
                std::function<void(ready_layer)> const taken{std::ref(take)};
                std::visit(
                    [&](auto const& how) {
                        pack_all<D>(result, how, erased, spec.force_compression, env, shared, taken);
                    },
                    spec.codec);
            };
            return export_into<D>(sink, pack_layers, follow, input, options_from(spec),
                                  types_for(spec, input), env);
        },
        spec.digest);
}

/// Where an image goes that nobody wants to keep: what counts is that it can be made, and its digest.
struct nowhere {
    static bool exists(descriptor const&) noexcept { return true; }
    static void put(descriptor const&, replayable_source_ref) noexcept {}
    static void tag(descriptor const&, image_name const&) noexcept {}
    static void commit() noexcept {}
};

inline push_target push_target_of(export_spec const& spec) {
    push_target to{.insecure = spec.insecure};
    (spec.push_by_digest ? to.untagged : to.names) = spec.names;
    if (!spec.dangling_prefix.empty()) to.untagged.push_back(reference::parse(spec.dangling_prefix));
    return to;
}

/// Throws option_error unless images can be pushed with this kind of env, or need not be.
template <export_env Env>
void check_push(export_spec const& spec) {
    if constexpr (!lends_registries<Env>)
        if (spec.push)
            throw option_error{"push", "this program has no way to registries: it must lend one in its env, "
                                       "for instance the curl_registries of <shiplap/registry/curl.hpp>"};
}

inline std::string local_store_of(export_spec const& spec) {
    return spec.store.empty() ? default_store() : spec.store;
}

/// Whether an image ends up in the local store: if that is not said, unless a base would have to be downloaded for it.
inline bool is_kept(export_spec const& spec, export_input const& input) {
    bool needs_download = false;
    auto const look_at = [&](std::vector<any_layer_source> const& layers) {
        for (auto const& layer : layers)
            if (auto const stored = layer.stored()) needs_download |= stored->is_remote;
    };
    for (auto const& result : input.results) {
        look_at(result.layers);
        if (result.base) look_at(result.base->layers);
    }
    return spec.keep.value_or(!spec.push || !needs_download);
}

/// Into registries, and unless that is not wanted first into the local image store: a push that fails can then go on
/// from there. Layers are on their way while the next ones are packed.
template <remote_sink Sink>
exported_image push_image(Sink remote, export_spec const& spec, export_input const& input, env_ref env) {
    if (!is_kept(spec, input)) return export_spec_into(remote, no_follower, spec, input, env);
    remote.connect();
    layout_sink local{local_store_of(spec)};
    background_copy under_way{local.store(), remote, env.progress};
    auto const follow = [&](descriptor const& layer) {
        if (!layer.urls.empty()) return; // it is not for registries
        // The reader outlasts the move to its place in the store. What has just been hashed is not hashed again: should
        // somebody change the file in the store meanwhile, the registry refuses what it gets.
        under_way.add(layer, local.store().reader(layer.digest));
    };
    auto image = export_spec_into(local, follow, spec, input, env);
    finish_copy(image.root, {}, local.store(), remote, env.progress, under_way);
    return image;
}

/// A warning if a compression is asked for and nothing will be packed, though not all layers are packed so.
inline std::vector<std::string> compression_warnings(export_spec const& spec, export_input const& input) {
    if (!spec.compression_asked || spec.force_compression || spec.rewrite_timestamps) return {};
    bool any_otherwise = false;
    auto const is_stored = [&](any_layer_source const& layer) {
        auto const stored = layer.stored();
        any_otherwise |= stored && !stored->only_named &&
                         std::visit([&]<codec C>(C const&) { return !is_packed_as<C>(*stored); }, spec.codec);
        return stored.has_value();
    };
    for (auto const& result : input.results) {
        if (!std::all_of(result.layers.begin(), result.layers.end(), is_stored)) return {};
        if (result.base) std::for_each(result.base->layers.begin(), result.base->layers.end(), is_stored);
    }
    if (!any_otherwise) return {};
    return {"compression=" + std::visit([](auto const& how) { return std::string{how.name}; }, spec.codec) +
            " has no effect on layers that are packed already; add force-compression=true"};
}

/// The results with what the spec says of all of them.
struct completed_input {
    std::vector<build_result> results;
    bool is_list;
    std::vector<std::string> warnings{};

    completed_input(export_spec const& spec, export_input const& given)
        : results{given.results.begin(), given.results.end()},
          is_list{given.is_list},
          warnings{compression_warnings(spec, given)} {
        bool dropped = false;
        for (auto& result : results) {
            if (spec.config) result.config = spec.config;
            if (has_files_only(spec.type)) {
                dropped |= !result.attestations.empty();
                result.attestations.clear();
            }
        }
        if (dropped)
            warnings.emplace_back(
                "attestations have no place among the files of an image: they are left out");
    }

    [[nodiscard]] export_input input() const { return {results, is_list}; }
};

template <export_env Env>
exported_image export_checked(export_spec const& spec, export_input const& input, Env& lent) {
    env_ref env{lent};
    clamp_timestamps const clamp{{.seconds = spec.epoch.value_or(0)}};
    if (spec.rewrite_timestamps) env.timestamps = timestamps_ref{clamp};

    auto const into = [&](image_sink auto sink) {
        return export_spec_into(sink, no_follower, spec, input, env);
    };
    auto const unpacked = [&](exported_image image) {
        if (spec.unpack)
            unpack_image(layout_store{local_store_of(spec)}, image.root, host_platform(), env.progress);
        return image;
    };
    switch (spec.type) {
    case output_type::image:
        check_push<Env>(spec);
        if constexpr (lends_registries<Env>)
            if (spec.push)
                return unpacked(push_image(lent.registries.sink(push_target_of(spec)), spec, input, env));
        if (!is_kept(spec, input)) return into(nowhere{});
        return unpacked(into(layout_sink{local_store_of(spec)}));
    case output_type::oci:
        if (!spec.tar) return into(layout_sink{spec.destination});
        return into(oci_archive_sink{spec.destination});
    case output_type::docker:
        if (!spec.tar) return into(layout_sink{spec.destination});
        return into(docker_archive_sink{spec.destination});
    case output_type::local:
        return into(filesystem_sink{spec.destination, {.extraction = {.progress = env.progress}}});
    case output_type::tar:
        return into(rootfs_tar_sink{spec.destination});
    }
    throw error{error_code::unsupported, "export", "", "unknown type of output"};
}

/// Throws error{unsupported} if files are asked for that are in a layer which is not here.
inline void check_layers_are_here(export_spec const& spec, export_input const& input) {
    bool const needs_files = has_files_only(spec.type) || (spec.unpack && !input.is_list);
    auto const check = [&](any_layer_source const& layer) {
        if (auto const stored = layer.stored(); needs_files && stored && stored->only_named)
            throw error{error_code::unsupported, "unpack", stored->blob.digest.text(),
                        "the layer is not here, only named by URLs, from which nothing is fetched"};
    };
    for (auto const& result : input.results) {
        if (result.base) std::for_each(result.base->layers.begin(), result.base->layers.end(), check);
        std::for_each(result.layers.begin(), result.layers.end(), check);
    }
}

template <export_env Env>
exported_image export_as(export_spec const& asked, export_input const& given, Env& env) {
    auto const spec = asked.named_after(given);
    completed_input all{spec, given};
    bool const is_index = plan_of(spec, all.input()).as_index; // throws before anything is opened
    check_layers_are_here(spec, all.input());
    if (is_index && spec.type == output_type::docker && spec.tar)
        all.warnings.emplace_back(
            "an archive with attestations has no manifest.json: only a Docker that keeps "
            "its images in containerd can load it");
    auto image = export_checked(spec, all.input(), env);
    image.warnings.insert(image.warnings.begin(), all.warnings.begin(), all.warnings.end());
    return image;
}

} // namespace detail

/// Throws the option_error that export_image() would throw, without reading any layer.
inline void check_export(export_spec const& spec, export_input const& what) {
    static_cast<void>(detail::plan_of(spec.named_after(what), detail::completed_input{spec, what}.input()));
}

/// Exports `result` as `spec` says; `env` lends executor, progress, timestamps and, to push, registries. Throws a
/// shiplap::error, and then nothing has become visible, but for an image in the local store that could not be pushed
/// from there. (A template, so that who does not call it does not compile every sink
/// and codec.)
template <export_env Env>
exported_image export_image(export_spec const& spec, build_result const& result, Env& env) {
    return detail::export_as(spec, result, env);
}
/// The same for several platforms, under an index.
template <export_env Env>
exported_image export_image(export_spec const& spec, export_input const& platforms, Env& env) {
    return detail::export_as(spec, platforms, env);
}

/// Each with an env that nobody else sees.
template <export_env Env = default_env>
exported_image export_image(export_spec const& spec, build_result const& result) {
    Env env;
    return detail::export_as(spec, result, env);
}
template <export_env Env = default_env>
exported_image export_image(export_spec const& spec, export_input const& platforms) {
    Env env;
    return detail::export_as(spec, platforms, env);
}

} // namespace shiplap
