#pragma once
// existing_blob: a layer that is packed already, in a store or a file. It is used as it is: no byte is packed
// again, and what is read is verified against the digest and size that were promised.
//
//     existing_blob layer{facts, [&store, which = facts.blob.digest] { return store.reader(which); }};
//     auto layer = blob_in_store(store, facts);
//     auto layer = blob_in_file("layer.tar.gz", facts);

#include <shiplap/bytes/file.hpp>
#include <shiplap/codec/decode.hpp>
#include <shiplap/layer/concept.hpp>
#include <shiplap/layer/tar.hpp>
#include <shiplap/store/concept.hpp>

#include <concepts>
#include <string>
#include <utility>

namespace shiplap {

template <class F>
concept opens_reader = std::invocable<F const&> && replayable_source<std::invoke_result_t<F const&>>;

/// A stored_layer. `open()` gives a new reader of the packed bytes at each call.
template <opens_reader Open>
struct existing_blob {
    layer_blob facts;
    Open open;

    [[nodiscard]] layer_blob const& stored() const noexcept { return facts; }

    /// The packed bytes; throws digest_mismatch at their end, or before, if they are not the promised ones.
    [[nodiscard]] auto reader() const { return verified_source{open(), facts.blob.digest, facts.blob.size}; }

    /// The tar in it, for a layer that is to be packed anew in another encoding. Throws as tar_layer does.
    template <byte_sink Out>
    void write_tar(Out& out, layer_context const& context) const {
        tar_layer{decode_as(facts.encoding, any_byte_source{reader()}), description()}.write_tar(out,
                                                                                                 context);
    }

    [[nodiscard]] std::uint64_t estimated_size() const noexcept { return facts.blob.size; }
    [[nodiscard]] std::string description() const { return "blob:" + facts.blob.digest.text(); }
};
template <class Open>
existing_blob(layer_blob, Open) -> existing_blob<Open>;

/// A layer that lies in a store, which must outlive it.
template <blob_reader_source S>
auto blob_in_store(S const& store, layer_blob facts) {
    auto which = facts.blob.digest;
    return existing_blob{std::move(facts),
                         [&store, which = std::move(which)] { return store.reader(which); }};
}

/// A layer that lies in a file.
inline auto blob_in_file(std::string path, layer_blob facts) {
    return existing_blob{std::move(facts), [path = std::move(path)] { return file_reader{path}; }};
}

} // namespace shiplap
