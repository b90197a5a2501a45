#pragma once
// several: one build, exported in several ways in one run.
//
//     auto const images = export_images(specs, result, env);
//
// Every layer is read once, fetched once if it is in a registry, and packed once for each codec that one of the outputs
// wants; all of them then take it from there. (Outputs that differ in the digest algorithm or rewrite times to another epoch want other bytes: a pass
// for each of these.) Registries come last, and of several each gets the content before any gets a tag: no tag moves
// unless everything else has worked.

#include <shiplap/export/dispatch.hpp>
#include <shiplap/export/in_order.hpp>
#include <shiplap/export/ready_layer.hpp>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iterator>
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

/// The layers of a build for several outputs: each packed, or fetched, once.
class shared_packing {
  public:
    /// What is packed lies on the file system of `folder` until nobody refers to it.
    explicit shared_packing(std::string folder)
        : store_{std::make_shared<scratch_store>(std::move(folder))} {}

    /// Call once; `specs` stay where they are.
    void pack(std::span<export_spec const> specs, export_input const& input, env_ref env) {
        std::vector<packing_kind> done;
        for (auto const& first : specs) {
            packing_kind const kind{first};
            if (std::find(done.begin(), done.end(), kind) != done.end()) continue;
            done.push_back(kind);
            users alike;
            for (auto const& spec : specs)
                if (packing_kind{spec} == kind) alike.push_back(&spec);
            pack_for(alike, input, env);
        }
    }

    /// The results as `spec` takes them.
    [[nodiscard]] std::vector<build_result> results_for(export_spec const& spec,
                                                        export_input const& input) const {
        std::vector<build_result> results{input.results.begin(), input.results.end()};
        auto const replace = [&](any_layer_source& layer) {
            if (auto const* const found = find(layer, spec)) layer = *found;
        };
        for (auto& result : results) {
            if (result.base) std::for_each(result.base->layers.begin(), result.base->layers.end(), replace);
            std::for_each(result.layers.begin(), result.layers.end(), replace);
        }
        return results;
    }

  private:
    using users = std::vector<export_spec const*>;
    struct replacement {
        any_layer_source source;
        export_spec const* by;
        any_layer_source replaced;
    };

    // For outputs that want the same plain bytes.
    void pack_for(users const& specs, export_input const& input, env_ref env) {
        auto const& first = *specs.front();
        clamp_timestamps const clamp{{.seconds = first.epoch.value_or(0)}};
        keep_timestamps const keep; // a base was made when it was made
        if (first.rewrite_timestamps) env.timestamps = timestamps_ref{clamp};
        auto const take = [this](std::vector<replacement> made) {
            std::move(made.begin(), made.end(), std::back_inserter(replacements_));
        };
        std::vector<any_layer_source> begun;
        in_order<std::vector<replacement>> lanes{env, count_to_pack(specs, input)};
        for (auto const& result : input.results) {
            std::size_t number = 0;
            auto const start = [&](any_layer_source const& layer, timestamps_ref time) {
                ++number;
                auto const is_this = [&](auto const& other) { return other.is_same_as(layer); };
                if (std::any_of(begun.begin(), begun.end(), is_this)) return; // several platforms have it
                begun.push_back(layer);
                lanes.add(
                    [&, layer, time, number](env_ref lent) {
                        lent.timestamps = time;
                        return naming_layer(number, layer,
                                            [&] { return pack_layer(specs, layer, input, lent); });
                    },
                    take);
            };
            if (result.base)
                for (auto const& layer : result.base->layers) start(layer, timestamps_ref{keep});
            for (auto const& layer : result.layers) start(layer, env.timestamps);
        }
        lanes.finish(take);
    }

    static std::size_t count_to_pack(users const& specs, export_input const& input) {
        bool const force =
            std::any_of(specs.begin(), specs.end(), [](auto const* spec) { return spec->force_compression; });
        std::size_t count = 0;
        for (auto const& result : input.results) {
            count += detail::count_to_pack(result.layers, force || specs.front()->rewrite_timestamps);
            if (result.base) count += detail::count_to_pack(result.base->layers, force);
        }
        return count;
    }

    /// What takes the place of the layer. Called on several threads at once.
    [[nodiscard]] std::vector<replacement> pack_layer(users const& specs, any_layer_source const& layer,
                                                      export_input const& input, env_ref env) const {
        std::vector<replacement> out;
        auto const replace = [&](users const& by, layer_blob facts) {
            any_layer_source const here =
                blob_in_store(std::shared_ptr<scratch_store const>{store_}, std::move(facts));
            for (auto const* spec : by) out.push_back({layer, spec, here});
        };
        auto const stored = layer.stored();
        std::vector<builtin_codecs::variant> ways;
        std::vector<users> wanted; // by whom, for each of `ways`
        users readers;             // who take it as it is, to a disk
        for (auto const* spec : specs) {
            bool const is_to_pack = std::visit(
                [&]<codec C>(C const&) {
                    return needs_packing<C>(stored, spec->force_compression, env.timestamps);
                },
                spec->codec);
            if (!is_to_pack) {
                if (spec->type != output_type::image || is_kept(*spec, input)) readers.push_back(spec);
                continue;
            }
            auto const way = std::find(ways.begin(), ways.end(), spec->codec);
            auto const at = static_cast<std::size_t>(way - ways.begin());
            if (way == ways.end()) {
                ways.push_back(spec->codec);
                wanted.emplace_back();
            }
            wanted[at].push_back(spec);
        }
        if (stored && stored->is_remote && !stored->only_named && readers.size() > 1)
            replace(readers, fetched(layer, *stored));
        if (ways.empty()) return out;
        auto made = std::visit([&]<class D>(D) { return pack_each<D>(layer, ways, *store_, env); },
                               specs.front()->digest);
        for (std::size_t i = 0; i < ways.size(); ++i) {
            if (stored) inherit_history(made[i], *stored);
            replace(wanted[i], std::move(made[i]));
        }
        return out;
    }

    // One download for all who read it.
    [[nodiscard]] layer_blob fetched(any_layer_source const& layer, layer_blob facts) const {
        auto from = layer.reader();
        store_blob(*store_, facts.blob, from);
        facts.is_remote = false;
        return facts;
    }

    [[nodiscard]] any_layer_source const* find(any_layer_source const& source,
                                               export_spec const& spec) const {
        for (auto const& one : replacements_)
            if (one.by == &spec && one.source.is_same_as(source)) return &one.replaced;
        return nullptr;
    }

    std::shared_ptr<scratch_store> store_;
    std::vector<replacement> replacements_;
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

/// Throws option_error for two outputs of which one would overwrite the other. A layout can take several.
inline void check_destinations(std::span<export_spec const> specs) {
    auto const place = [](export_spec const& spec) {
        std::error_code ignored;
        auto const path = std::filesystem::weakly_canonical(spec.destination, ignored);
        return ignored || spec.destination == "-" ? spec.destination : path.string();
    };
    for (std::size_t i = 0; i < specs.size(); ++i)
        for (std::size_t j = 0; j < i; ++j)
            if (!specs[i].destination.empty() && place(specs[i]) == place(specs[j]) &&
                (specs[i].tar || specs[j].tar))
                throw option_error{"dest", specs[i].destination,
                                   "outputs " + std::to_string(j + 1) + " and " + std::to_string(i + 1) +
                                       " both go there; give each a place of its own"};
}

/// The same push without setting tags.
inline export_spec untagged(export_spec spec) {
    spec.push_by_digest = true;
    for (auto& name : spec.names) name = name.without_tag();
    return spec;
}

} // namespace detail

/// Exports `what` as each of `specs` says; the results are in that order. When an output fails, those before it are
/// there, but nothing has been pushed. Throws as export_image() does.
template <export_env Env>
std::vector<exported_image> export_images(std::span<export_spec const> asked, export_input const& what,
                                          Env& env) {
    if (asked.size() == 1) return {export_image(asked.front(), what, env)};
    std::vector<export_spec> specs;
    for (auto const& spec : asked) specs.push_back(spec.named_after(what));
    detail::check_destinations(specs);
    for (auto const& spec : specs) {
        detail::check_push<Env>(spec);
        check_export(spec, what);
    }
    if constexpr (lends_registries<Env>)
        for (auto const& spec : specs)
            if (spec.push) env.registries.sink(detail::push_target_of(spec)).connect(); // are they there?
    detail::shared_packing layers{detail::shared_folder(specs)};
    layers.pack(specs, what, env_ref{env});

    auto const export_one = [&](export_spec const& spec, export_spec const& now) {
        auto const results = layers.results_for(spec, what);
        try {
            return export_image(now, export_input{results, what.is_list}, env);
        } catch (error& failure) {
            failure.within("output " + std::to_string(&spec - specs.data() + 1));
            throw;
        }
    };
    std::vector<exported_image> images;
    for (auto const& spec : specs) {
        auto local = spec;
        local.keep = detail::is_kept(spec, what);
        local.push = local.compression_asked = false;
        images.push_back(export_one(spec, local));
        for (auto& warning : detail::compression_warnings(spec, what))
            images.back().warnings.push_back(std::move(warning));
    }
    auto const push = [&](export_spec const& spec, export_spec remote) {
        remote.keep = remote.unpack = false; // that has been done
        static_cast<void>(export_one(spec, remote));
    };
    auto const pushed = std::count_if(specs.begin(), specs.end(), [](auto const& spec) { return spec.push; });
    for (auto const& spec : specs)
        if (spec.push && pushed > 1) push(spec, detail::untagged(spec));
    for (auto const& spec : specs)
        if (spec.push) push(spec, spec);
    return images;
}

} // namespace shiplap
