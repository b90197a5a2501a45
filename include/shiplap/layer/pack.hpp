#pragma once
// pack: layer source -> blob. One read of every source byte, every digest in that pass:
//
//     source -> meter -> plain tap -> encoder -> packed tap -> blob
//                        (diff_id)               (digest, size)
//
// Where the encoder changes nothing (uncompressed) both digests are one, and it is computed once. pack_each() packs
// one source in several ways, still with one read and one digest of the plain bytes.
// Backpressure is the call stack; parallelism lives inside the encoder, which posts blocks to the executor, and in the
// taps, which hash there. What is left to the thread that calls is reading and writing.

#include <shiplap/bytes/activity.hpp>
#include <shiplap/bytes/pipeline.hpp>
#include <shiplap/codec/uncompressed.hpp>
#include <shiplap/digest/gathering_tap.hpp>
#include <shiplap/image/rfc3339.hpp>
#include <shiplap/layer/concept.hpp>
#include <shiplap/store/concept.hpp>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

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

/// Takes the plain bytes of a layer and makes a blob of them, which is not there before commit().
template <digest_algorithm D>
struct packer {
    packer() = default;
    packer(packer const&) = delete;
    packer& operator=(packer const&) = delete;
    virtual ~packer() = default;
    virtual void write(bytes_view plain) = 0;
    /// Call once; `plain` has seen all that was written.
    virtual layer_blob commit(tap<D> plain) = 0;
};

template <digest_algorithm D, codec C, blob_store S>
class encoding_packer final : public packer<D> {
  public:
    encoding_packer(C const& how, S& store, executor_ref executor)
        : blob_{store.open()}, encoder_{how.encoder(executor)}, packed_{executor} {}

    void write(bytes_view plain) override { pipe_.write(plain); }

    layer_blob commit(tap<D> plain) override {
        pipe_.finish();
        if constexpr (extending_encoder<encoder_of<C>>) {
            null_sink nowhere;
            pipeline extension{plain, nowhere};
            encoder_.write_extension(extension);
        }
        layer_blob out{packed_.facts(), plain.facts().digest, std::string{C::encoding}};
        if constexpr (annotating_encoder<encoder_of<C>>) out.annotations = encoder_.annotations();
        blob_.commit(out.blob);
        return out;
    }

  private:
    blob_writer_of<S> blob_;
    encoder_of<C> encoder_;
    gathering_tap<D> packed_;
    pipeline<encoder_of<C>, gathering_tap<D>, blob_writer_of<S>> pipe_{encoder_, packed_, blob_};
};

/// Where nothing is encoded, what the plain tap saw is the blob.
template <digest_algorithm D, codec C, blob_store S>
    requires std::same_as<encoder_of<C>, identity_stage>
class encoding_packer<D, C, S> final : public packer<D> {
  public:
    encoding_packer(C const&, S& store, executor_ref) : blob_{store.open()} {}

    void write(bytes_view plain) override { blob_.write(plain); }

    layer_blob commit(tap<D> plain) override {
        auto const facts = plain.facts();
        blob_.commit(facts);
        return {facts, facts.digest, std::string{C::encoding}};
    }

  private:
    blob_writer_of<S> blob_;
};

/// Several packers as one byte_sink.
template <digest_algorithm D>
struct packers {
    std::span<std::unique_ptr<packer<D>> const> all;
    void write(bytes_view plain) {
        for (auto const& one : all) one->write(plain);
    }
};

/// One pass over `source`, into all packers; returns what each has made.
template <digest_algorithm D, layer_source L, class Env>
std::vector<layer_blob> pack_with(std::span<std::unique_ptr<packer<D>> const> into, L const& source,
                                  Env& env) {
    progress_ref const progress{env.progress};
    std::optional<std::uint64_t> total;
    if constexpr (sized_layer<L>)
        if (auto const size = progress.wants_totals() ? source.estimated_size() : 0; size != 0) total = size;
    activity told{progress, "pack", source.description(), total};

    std::optional<timestamp> newest;
    newest_timestamp const time{timestamps_ref{env.timestamps}, &newest};
    meter metered{told};
    gathering_tap<D> plain{executor_ref{env.executor}};
    packers<D> out{into};
    pipeline pipe{metered, plain, out};
    source.write_tar(pipe, layer_context{timestamps_ref{time}, progress});
    pipe.finish();

    std::vector<layer_blob> made;
    made.reserve(into.size());
    for (auto const& one : into) {
        made.push_back(one->commit(plain.seen()));
        made.back().created = newest;
        made.back().annotations.merge(rewrite_annotations(time.latest()));
    }
    told.finish();
    return made;
}

template <digest_algorithm D, codec C, blob_store S>
std::unique_ptr<packer<D>> make_packer(C const& how, S& store, executor_ref executor) {
    return std::make_unique<encoding_packer<D, C, S>>(how, store, executor);
}

} // namespace detail

/// Packs what `source` writes with codec `how` into `store`, and says what came out. `env` lends executor,
/// progress and timestamps (export/env.hpp). When it throws, `store` holds nothing of the layer.
template <digest_algorithm D, layer_source L, codec C, blob_store S, class Env>
layer_blob pack(L const& source, C const& how, S& store, Env& env) {
    std::array const packers{detail::make_packer<D>(how, store, executor_ref{env.executor})};
    return std::move(detail::pack_with<D>(packers, source, env).front());
}

/// Packs it once with each codec of `ways`, a range of variants of codecs; the results are in that order. When it
/// throws, some of them may be in `store`.
template <digest_algorithm D, layer_source L, class Ways, blob_store S, class Env>
std::vector<layer_blob> pack_each(L const& source, Ways const& ways, S& store, Env& env) {
    executor_ref const executor{env.executor};
    std::vector<std::unique_ptr<detail::packer<D>>> packers;
    packers.reserve(std::size(ways));
    for (auto const& way : ways)
        packers.push_back(
            std::visit([&](auto const& how) { return detail::make_packer<D>(how, store, executor); }, way));
    return detail::pack_with<D>(packers, source, env);
}

} // namespace shiplap
