#pragma once
// several: one build, exported in several ways in one run.
//
//     auto const images = export_images(specs, result, env);
//
// Every layer is read once and packed once for each codec that one of the outputs wants; all of them then take it
// from there. (Outputs that differ in the digest algorithm or rewrite times to another epoch want other bytes: a pass
// for each of these.) Registries come last: nothing is pushed if any of the other outputs failed.

#include <shiplap/export/dispatch.hpp>
#include <shiplap/export/ready_layer.hpp>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace shiplap {

namespace detail {

/// What the plain bytes of a layer and the digests of its blobs depend on, besides the layer.
struct packing_kind {
    std::size_t digest;                 ///< the alternative of builtin_digests
    std::optional<std::int64_t> latest; ///< times are rewritten to this limit
    explicit packing_kind(export_spec const& spec) : digest{spec.digest.index()} {
        if (spec.rewrite_timestamps) latest = spec.epoch;
    }
    friend bool operator==(packing_kind const&, packing_kind const&) = default;
};

/// The layers of a build, packed for all outputs.
class shared_packing {
  public:
    /// The packed layers lie on the file system of `folder` until nobody refers to them.
    explicit shared_packing(std::string folder)
        : store_{std::make_shared<scratch_store>(std::move(folder))} {}

    /// Call once; `specs` stay where they are.
    void pack(std::span<export_spec const> specs, export_input const& input, env_ref env) {
        std::vector<packing_kind> done;
        for (auto const& first : specs) {
            packing_kind const kind{first};
            if (std::find(done.begin(), done.end(), kind) != done.end()) continue;
            done.push_back(kind);
            std::vector<export_spec const*> alike;
            for (auto const& spec : specs)
                if (packing_kind{spec} == kind) alike.push_back(&spec);
            pack_kind(alike, input, env);
        }
    }

    /// The results, with packed layers where `spec` wants them packed.
    [[nodiscard]] std::vector<build_result> results_for(export_spec const& spec,
                                                        export_input const& input) const {
        std::vector<build_result> results{input.results.begin(), input.results.end()};
        for (auto& result : results) {
            if (result.base)
                for (auto& layer : result.base->layers) layer = packed_for(spec, layer);
            for (auto& layer : result.layers) layer = packed_for(spec, layer);
        }
        return results;
    }

  private:
    struct packed_layer {
        any_layer_source source;
        packing_kind kind;
        builtin_codecs::variant codec;
        any_layer_source packed;
    };

    void pack_kind(std::vector<export_spec const*> const& specs, export_input const& input, env_ref env) {
        auto const& first = *specs.front();
        clamp_timestamps const clamp{{.seconds = first.epoch.value_or(0)}};
        keep_timestamps const keep;
        auto kept = env;
        kept.timestamps = timestamps_ref{keep};
        if (first.rewrite_timestamps) env.timestamps = timestamps_ref{clamp};
        for (auto const& result : input.results) {
            std::size_t number = 0;
            auto const pack_one = [&](any_layer_source const& layer, env_ref lent) {
                naming_layer(++number, layer, [&] { pack_layer(specs, layer, lent); });
            };
            if (result.base)
                for (auto const& layer : result.base->layers) pack_one(layer, kept);
            for (auto const& layer : result.layers) pack_one(layer, env);
        }
    }

    void pack_layer(std::vector<export_spec const*> const& specs, any_layer_source const& layer,
                    env_ref env) {
        packing_kind const kind{*specs.front()};
        auto const stored = layer.stored();
        std::vector<builtin_codecs::variant> ways;
        for (auto const* spec : specs) {
            bool const wanted = std::visit(
                [&]<codec C>(C const&) {
                    return needs_packing<C>(stored, spec->force_compression, env.timestamps);
                },
                spec->codec);
            if (!wanted) continue;
            wanted_.push_back({layer, spec});
            if (find(layer, kind, spec->codec) == nullptr &&
                std::find(ways.begin(), ways.end(), spec->codec) == ways.end())
                ways.push_back(spec->codec);
        }
        if (ways.empty()) return;
        auto made = std::visit([&]<class D>(D) { return pack_each<D>(layer, ways, *store_, env); },
                               specs.front()->digest);
        for (std::size_t i = 0; i < ways.size(); ++i) {
            if (stored) inherit_history(made[i], *stored);
            layers_.push_back(
                {layer, kind, ways[i], blob_in_store(std::shared_ptr<scratch_store const>{store_}, made[i])});
        }
    }

    [[nodiscard]] packed_layer const* find(any_layer_source const& source, packing_kind const& kind,
                                           builtin_codecs::variant const& codec) const {
        for (auto const& one : layers_)
            if (one.kind == kind && one.codec == codec && one.source.is_same_as(source)) return &one;
        return nullptr;
    }

    [[nodiscard]] any_layer_source packed_for(export_spec const& spec, any_layer_source const& layer) const {
        for (auto const& [source, by] : wanted_)
            if (by == &spec && source.is_same_as(layer))
                return find(layer, packing_kind{spec}, spec.codec)->packed;
        return layer;
    }

    std::shared_ptr<scratch_store> store_;
    std::vector<packed_layer> layers_;
    std::vector<std::pair<any_layer_source, export_spec const*>> wanted_; // who wants what packed
};

/// Where there is room for what several outputs share: beside the first that goes to a disk.
inline std::string shared_folder(std::span<export_spec const> specs) {
    for (auto const& spec : specs) {
        if (spec.type == output_type::image && spec.keep != false)
            return existing_ancestor(local_store_of(spec));
        if (!spec.destination.empty() && spec.destination != "-")
            return existing_ancestor(parent_of(spec.destination));
    }
    return std::filesystem::temp_directory_path().string();
}

} // namespace detail

/// Exports `what` as each of `specs` says; the results are in that order. When an output fails, those before it are
/// there, but nothing has been pushed. Throws as export_image() does.
template <export_env Env>
std::vector<exported_image> export_images(std::span<export_spec const> specs, export_input const& what,
                                          Env& env) {
    if (specs.size() == 1) return {export_image(specs.front(), what, env)};
    for (auto const& spec : specs) {
        detail::check_push<Env>(spec);
        check_export(spec, what);
    }
    detail::shared_packing layers{detail::shared_folder(specs)};
    layers.pack(specs, what, env_ref{env});

    std::vector<exported_image> images;
    auto const export_one = [&](export_spec const& spec, export_spec const& now) {
        auto const results = layers.results_for(spec, what);
        try {
            return export_image(now, export_input{results, what.is_list}, env);
        } catch (error& failure) {
            failure.within("output " + std::to_string(&spec - specs.data() + 1));
            throw;
        }
    };
    for (auto const& spec : specs) {
        auto local = spec;
        local.keep = detail::is_kept(spec, what);
        local.push = local.compression_asked = false;
        images.push_back(export_one(spec, local));
        for (auto& warning : detail::compression_warnings(spec, what))
            images.back().warnings.push_back(std::move(warning));
    }
    for (auto const& spec : specs) {
        if (!spec.push) continue;
        auto remote = spec;
        remote.keep = remote.unpack = false; // that has been done
        static_cast<void>(export_one(spec, remote));
    }
    return images;
}

} // namespace shiplap
