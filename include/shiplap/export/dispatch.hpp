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
#include <string>
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
                           .unnamed_as = spec.tar ? "" : "latest"};
    for (auto const& name : spec.names) options.names.push_back(name.text());
    return options;
}

/// Packs, assembles and delivers into one sink; visits the codec and the digest.
template <image_sink Sink>
exported_image export_spec_into(Sink sink, export_spec const& spec, build_result const& result, env_ref env) {
    return std::visit(
        [&]<class D>(D) {
            auto const pack_layers = [&](blob_store auto& store) {
                blob_store_ref erased{store};
                return std::visit(
                    [&](auto const& how) {
                        return pack_all<D>(result, how, erased, spec.force_compression, env);
                    },
                    spec.codec);
            };
            auto const& types = spec.oci_types ? table_of<oci_media_types> : table_of<docker_media_types>;
            return export_into<D>(sink, pack_layers, result, options_from(spec), types, env);
        },
        spec.digest);
}

} // namespace detail

/// Exports `result` as `spec` says; `env` lends executor, progress and timestamps. Throws a shiplap::error,
/// and then nothing has become visible. (A template, so that who does not call it does not compile every sink
/// and codec.)
template <export_env Env>
exported_image export_image(export_spec const& spec, build_result result, Env& lent) {
    if (spec.config) result.config = spec.config;
    env_ref env{lent};
    clamp_timestamps const clamp{{.seconds = spec.epoch.value_or(0)}};
    if (spec.rewrite_timestamps) env.timestamps = timestamps_ref{clamp};

    auto const into = [&](image_sink auto sink) {
        return detail::export_spec_into(std::move(sink), spec, result, env);
    };
    switch (spec.type) {
    case output_type::image:
        return into(layout_sink{spec.store.empty() ? default_store() : spec.store});
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
