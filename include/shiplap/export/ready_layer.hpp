#pragma once
// ready_layer: from the layers of a build to blobs, each packed or taken as it is.
//
//   layer                            becomes
//   not packed yet                   packed with the exporter's codec
//   stored, of the base              the same blob; with force_compression packed anew unless the codec made it
//   stored, above the base           the same; and where times are limited packed anew, with those times,
//                                    unless its annotation says that this was done already
//   stored, but only named by URLs   stays where it is; an error if its times were to change
//
// What is packed anew is a new blob: it is distributable and has no URLs.

#include <shiplap/codec/concept.hpp>
#include <shiplap/export/env.hpp>
#include <shiplap/export/in_order.hpp>
#include <shiplap/export/result.hpp>
#include <shiplap/image/media_types.hpp>
#include <shiplap/layer/any.hpp>
#include <shiplap/layer/pack.hpp>
#include <shiplap/store/concept.hpp>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace shiplap::detail {

/// Whether a packed layer is what codec C would make: the same encoding, and indexed if C's are. The level
/// does not count.
template <codec C>
bool is_packed_as(layer_blob const& facts) {
    bool const is_indexed = facts.encoding == "gzip" && facts.annotations.contains(toc_digest_annotation);
    return facts.encoding == C::encoding && is_indexed == annotating_encoder<encoder_of<C>>;
}

/// Whether a packed layer may hold times that are to be changed.
inline bool needs_rewriting(layer_blob const& facts, timestamps_ref time) {
    if (time.keeps()) return false;
    auto const limit = time.latest();
    auto const mark = facts.annotations.find(rewritten_annotation);
    return !limit || mark == facts.annotations.end() || mark->second != std::to_string(limit->seconds);
}

/// What the history says of a stored layer does not depend on how it is packed.
inline void inherit_history(layer_blob& packed, layer_blob const& from) {
    packed.created_by = from.created_by;
    packed.created = from.created;
}

/// A layer that is ready for assembly.
struct ready_layer {
    layer_blob facts;
    std::optional<any_layer_source> elsewhere{}; ///< not in the store; used as it is
};

/// Whether a layer has to be packed for an export with codec C; `stored` says what is known of one that is packed already.
/// Throws error{unsupported} if that must be and cannot.
template <codec C>
bool needs_packing(std::optional<layer_blob> const& stored, bool force, timestamps_ref time) {
    if (!stored) return true;
    bool const rewrite = needs_rewriting(*stored, time);
    if (rewrite && stored->only_named)
        throw error{error_code::unsupported, "rewrite timestamps", stored->blob.digest.text(),
                    "the layer is not here, only named by URLs, from which nothing is fetched"};
    return rewrite || (force && !is_packed_as<C>(*stored) && !stored->only_named);
}

/// Packs one layer, unless it is fine as it is. `env` is an env_ref, so that this is compiled once.
template <digest_algorithm D, codec C, blob_store S>
ready_layer make_ready(any_layer_source const& layer, C const& how, S& store, bool force, env_ref env) {
    auto const stored = layer.stored();
    if (!needs_packing<C>(stored, force, env.timestamps)) return {*stored, layer};
    ready_layer ready{pack<D>(layer, how, store, env)};
    if (stored) inherit_history(ready.facts, *stored);
    return ready;
}

/// Does something with the layer of this number, counted from the bottom; errors name it.
template <class Action>
auto naming_layer(std::size_t number, any_layer_source const& layer, Action action) {
    try {
        return action();
    } catch (error& failure) {
        failure.within("layer " + std::to_string(number) + " (" + printable(layer.description()) + ")");
        throw;
    }
}

/// The layers that were made ready for the platforms of one image, so that what several have in common is packed once.
class shared_layers {
  public:
    /// What became of this source, or of another with the same packed bytes.
    [[nodiscard]] std::optional<ready_layer> find(any_layer_source const& source) const {
        auto const stored = source.stored();
        for (auto const& [known, ready] : layers_) {
            if (known.is_same_as(source)) return ready;
            if (!are_same(known, source)) continue;
            if (ready.elsewhere) return ready_layer{*stored, source};
            auto same = ready;
            inherit_history(same.facts, *stored);
            return same;
        }
        return {};
    }
    /// Whether two sources come to the same packed bytes, as far as can be told before.
    [[nodiscard]] static bool are_same(any_layer_source const& one, any_layer_source const& other) {
        auto const stored = other.stored();
        return one.is_same_as(other) || (stored && is_same_blob(one.stored(), *stored));
    }
    void add(any_layer_source source, ready_layer ready) {
        layers_.emplace_back(std::move(source), std::move(ready));
    }

  private:
    static bool is_same_blob(std::optional<layer_blob> const& one, layer_blob const& other) {
        return one && one->blob.digest == other.blob.digest && one->urls == other.urls &&
               one->diff_id == other.diff_id && one->encoding == other.encoding &&
               one->annotations == other.annotations;
    }

    std::vector<std::pair<any_layer_source, ready_layer>> layers_;
};

/// How many layers do not stay as they are, at most; `all` if packed ones may be packed anew.
inline std::size_t count_to_pack(std::vector<any_layer_source> const& layers, bool all) {
    return static_cast<std::size_t>(std::count_if(layers.begin(), layers.end(),
                                                  [&](auto const& layer) { return all || !layer.stored(); }));
}

/// Hands each layer to `take` as soon as it and those below it are ready, bottom first.
template <digest_algorithm D, codec C, blob_store S, class Env, class Take>
void pack_all(build_result const& result, C const& how, S& store, bool force, Env& env, shared_layers& shared,
              Take& take) {
    bool const rewrites = !timestamps_ref{env.timestamps}.keeps();
    auto to_pack = count_to_pack(result.layers, force || rewrites);
    if (result.base) to_pack += count_to_pack(result.base->layers, force);

    keep_timestamps const keep; // the base was made when it was made
    std::vector<any_layer_source> under_way;
    in_order<ready_layer> lanes{env_ref{env}, to_pack};
    std::size_t number = 0;
    auto const start = [&](any_layer_source const& layer, bool is_base, auto& then) {
        lanes.add(
            [&, layer, is_base, place = ++number](env_ref lent) {
                if (is_base) lent.timestamps = timestamps_ref{keep};
                return naming_layer(place, layer,
                                    [&] { return make_ready<D>(layer, how, store, force, lent); });
            },
            then);
    };

    if (result.base) {
        auto take_base = [&](ready_layer ready) {
            if (ready.elsewhere) drop_foreign_annotations(ready.facts);
            take(std::move(ready));
        };
        for (auto const& layer : result.base->layers) start(layer, true, take_base);
        lanes.finish(take_base);
    }
    auto take_own = [&](ready_layer ready) {
        shared.add(under_way.front(), ready);
        under_way.erase(under_way.begin());
        take(std::move(ready));
    };
    for (auto const& layer : result.layers) {
        auto const same = [&](any_layer_source const& other) {
            return shared_layers::are_same(other, layer);
        };
        if (shared.find(layer) || std::any_of(under_way.begin(), under_way.end(), same)) {
            lanes.finish(take_own);
            ++number;
            take(*shared.find(layer));
            continue;
        }
        under_way.push_back(layer);
        start(layer, false, take_own);
    }
    lanes.finish(take_own);
}

/// Whether a layer goes by its distributable media type, and registries get it: see
/// export_options::prefer_nondistributable.
inline void choose_distribution(layer_blob& layer, export_options const& options,
                                media_type_table const& types, std::vector<std::string>& warnings) {
    auto const warn = [&](std::string const& what) {
        auto text = "layer " + layer.blob.digest.text() + " " + what;
        if (std::find(warnings.begin(), warnings.end(), text) == warnings.end())
            warnings.push_back(std::move(text));
    };
    layer.distributable = !layer.only_named;
    if (layer.only_named)
        return warn("is only named by URLs, from which nothing is fetched: it stays non-distributable");
    if (options.prefer_nondistributable && !layer.urls.empty()) {
        layer.distributable = layer.encoding == "zstd" && types.manifest == docker_media_types::manifest;
        if (layer.distributable)
            warn("becomes distributable: Docker has no media type for a non-distributable one in zstd");
    }
    if (layer.distributable) layer.urls.clear();
}

} // namespace shiplap::detail
