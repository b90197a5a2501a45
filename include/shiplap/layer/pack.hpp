#pragma once
// pack: layer source -> blob. One read of every source byte, every digest in that pass:
//
//     source -> meter -> gather -> plain tap -> encoder -> packed tap -> blob
//                                  (diff_id)              (digest, size)
//
// Where the encoder changes nothing (uncompressed) both digests are one, and it is computed once.
// Backpressure is the call stack; parallelism lives inside the encoder, which posts blocks to the executor,
// or, where there is none to speak of, in the tap, which hashes a chunk on the executor while that chunk is
// written and the next one read.

#include <shiplap/bytes/activity.hpp>
#include <shiplap/bytes/gather.hpp>
#include <shiplap/bytes/pipeline.hpp>
#include <shiplap/codec/uncompressed.hpp>
#include <shiplap/image/rfc3339.hpp>
#include <shiplap/layer/concept.hpp>
#include <shiplap/store/concept.hpp>

#include <algorithm>
#include <optional>
#include <string>

namespace shiplap {

namespace detail {

/// A timestamp_policy that remembers the newest time that it let through, as near as a history can have it.
struct newest_timestamp {
    timestamps_ref policy;
    std::optional<timestamp>* newest;
    timestamp operator()(timestamp time) const {
        auto const mapped = policy(time);
        auto const dated = std::clamp(mapped, first_rfc3339, last_rfc3339);
        if (!*newest || dated > **newest) *newest = dated;
        return mapped;
    }
    [[nodiscard]] bool keeps() const noexcept { return policy.keeps(); }
    [[nodiscard]] std::optional<timestamp> latest() const noexcept { return policy.latest(); }
    [[nodiscard]] timestamps_ref rule() const noexcept { return policy.rule(); }
};

inline annotation_map rewrite_annotations(std::optional<timestamp> const& latest) {
    if (!latest) return {};
    return {{rewritten_annotation, std::to_string(latest->seconds)}};
}

} // namespace detail

/// Packs what `source` writes with codec `how` into `store`, and says what came out. `env` lends executor,
/// progress and timestamps (export/env.hpp). When it throws, `store` holds nothing of the layer.
template <digest_algorithm D, layer_source L, codec C, blob_store S, class Env>
layer_blob pack(L const& source, C const& how, S& store, Env& env) {
    progress_ref const progress{env.progress};
    std::optional<std::uint64_t> total;
    if constexpr (sized_layer<L>)
        if (auto const size = progress.wants_totals() ? source.estimated_size() : 0; size != 0) total = size;
    detail::activity told{progress, "pack", source.description(), total};

    std::optional<timestamp> newest;
    detail::newest_timestamp const time{timestamps_ref{env.timestamps}, &newest};
    layer_context const context{timestamps_ref{time}, progress};

    auto blob = store.open();
    detail::meter meter{told};
    gather chunks;
    auto annotations = detail::rewrite_annotations(time.latest());
    auto encoder = how.encoder(executor_ref{env.executor});
    using encoder_type = decltype(encoder);

    if constexpr (std::same_as<encoder_type, identity_stage>) {
        tap<D> plain{executor_ref{env.executor}};
        pipeline pipe{meter, chunks, plain, blob};
        source.write_tar(pipe, context);
        pipe.finish();
        auto const facts = plain.facts();
        blob.commit(facts);
        told.finish();
        return {facts, facts.digest, std::string{C::encoding}, std::move(annotations), {}, newest};
    } else {
        tap<D> plain, packed;
        gather blocks;
        pipeline pipe{meter, chunks, plain, encoder, blocks, packed, blob};
        source.write_tar(pipe, context);
        pipe.finish();
        if constexpr (extending_encoder<encoder_type>) {
            null_sink nowhere;
            pipeline extension{plain, nowhere};
            encoder.write_extension(extension);
        }
        if constexpr (annotating_encoder<encoder_type>) annotations.merge(encoder.annotations());
        auto const facts = packed.facts();
        blob.commit(facts);
        told.finish();
        return {facts, plain.facts().digest, std::string{C::encoding}, std::move(annotations), {}, newest};
    }
}

} // namespace shiplap
