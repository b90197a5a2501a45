#pragma once
// The run-time face: export_image(spec, result) does what exporter<...> does, with policies chosen by a spec.
//
// Axes are visited one by one, not all together: codec and digest where a layer is packed, the sink where the
// image is delivered. In between run the same pack, assemble and copy as in the compile-time face; a test
// compares both.

#include <shiplap/export/exporter.hpp>
#include <shiplap/export/spec.hpp>
#include <shiplap/sink/docker_archive.hpp>
#include <shiplap/sink/filesystem.hpp>
#include <shiplap/sink/layout.hpp>
#include <shiplap/sink/oci_archive.hpp>
#include <shiplap/sink/rootfs_tar.hpp>
#include <shiplap/store/erased.hpp>

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
                           .epoch = spec.epoch,
                           .force_compression = spec.force_compression,
                           .annotate_created =
                               spec.type == output_type::oci || spec.type == output_type::docker,
                           .unnamed_as = spec.tar ? "" : "latest",
                           .by_digest = spec.push_by_digest,
                           .dangling_prefix = spec.dangling_prefix,
                           .canonical_names = spec.canonical_names};
    for (auto const& name : spec.names) options.names.push_back(name.text());
    return options;
}

/// Packs, assembles and delivers into one sink; visits the codec and the digest.
template <image_sink Sink, class Follow>
exported_image export_spec_into(Sink& sink, Follow follow, export_spec const& spec,
                                build_result const& result, env_ref env) {
    return std::visit(
        [&]<class D>(D) {
            auto const pack_layers = [&](blob_store auto& store, auto& take) {
                blob_store_ref erased{store};
                std::function<void(ready_layer)> const taken{std::ref(take)};
                std::visit(
                    [&](auto const& how) {
                        pack_all<D>(result, how, erased, spec.force_compression, env, taken);
                    },
                    spec.codec);
            };
            auto const& types = spec.oci_types ? table_of<oci_media_types> : table_of<docker_media_types>;
            return export_into<D>(sink, pack_layers, follow, result, options_from(spec), types, env);
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

/// Into registries, and unless that is not wanted first into the local image store: a push that fails can then go on
/// from there. Layers are on their way while the next ones are packed.
template <remote_sink Sink>
exported_image push_image(Sink remote, std::string const& store, export_spec const& spec,
                          build_result const& result, env_ref env) {
    bool const keep = spec.keep.value_or(!result.base || !result.base->is_remote);
    if (!keep) {
        auto image = export_spec_into(remote, no_follower, spec, result, env);
        if (!spec.keep)
            image.warnings.emplace_back(
                "the image is not kept in the local store, because that would mean to "
                "download the base image; say store=true for that");
        return image;
    }
    remote.connect();
    layout_sink local{store};
    background_copy under_way{local.store(), remote, env.progress};
    auto const follow = [&](descriptor const& layer) {
        // The reader outlasts the move to its place in the store.
        under_way.add(layer, local.store().reader(layer.digest));
    };
    auto image = export_spec_into(local, follow, spec, result, env);
    finish_copy(image.root, {}, local.store(), remote, env.progress, under_way);
    return image;
}

} // namespace detail

/// Exports `result` as `spec` says; `env` lends executor, progress, timestamps and, to push, registries. Throws a
/// shiplap::error, and then nothing has become visible, but for an image in the local store that could not be pushed
/// from there. (A template, so that who does not call it does not compile every sink
/// and codec.)
template <export_env Env>
exported_image export_image(export_spec const& spec, build_result result, Env& lent) {
    if (spec.config) result.config = spec.config;
    env_ref env{lent};
    clamp_timestamps const clamp{{.seconds = spec.epoch.value_or(0)}};
    if (spec.rewrite_timestamps) env.timestamps = timestamps_ref{clamp};

    auto const into = [&](image_sink auto sink) {
        return detail::export_spec_into(sink, detail::no_follower, spec, result, env);
    };
    auto const local_store = [&] { return spec.store.empty() ? default_store() : spec.store; };
    switch (spec.type) {
    case output_type::image:
        if (spec.push) {
            if constexpr (lends_registries<Env>)
                return detail::push_image(lent.registries.sink(detail::push_target_of(spec)), local_store(),
                                          spec, result, env);
            else
                throw option_error{"push",
                                   "this program has no way to registries: it must lend one in its env, "
                                   "for instance the curl_registries of <shiplap/registry/curl.hpp>"};
        }
        if (spec.keep == false) return into(detail::nowhere{});
        return into(layout_sink{local_store()});
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

/// The same with an env that nobody else sees.
template <export_env Env = default_env>
exported_image export_image(export_spec const& spec, build_result result) {
    Env env;
    return export_image(spec, std::move(result), env);
}

} // namespace shiplap
