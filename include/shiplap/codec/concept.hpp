#pragma once
// codec: how the tar of a layer is packed into a blob. A codec is a small aggregate of options, such as
// zstd{.level = 19}, that makes encoder stages and decoders.
//
//   expression              meaning
//   C::name                 what the user writes in compression=..., unique
//   C::encoding             what a media type calls it: "", "gzip", "zstd"; several codecs may share one
//   c.encoder(executor)     a byte_stage; throws option_error if an option is out of range
//   C::decoder()            a byte_decoder, the inverse
//
//   refinement              expression               meaning
//   leveled_codec           c.levels(), c.level      allowed levels, inclusive; the level in use
//   annotating_encoder      e.annotations()          after finish(): annotations for the layer's descriptor
//   extending_encoder       e.write_extension(out)   after finish(): the plain bytes that the encoder added
//                                                    behind its input, which the diff_id covers
//
// An encoder's output depends on its input and the options alone: not on the executor, nor on how the input is cut
// into writes. Blocks may be posted to the executor, a bounded number at a time, and come out in order.
//
// Exemplar, compiled in tests/codec/concept.cpp:
//
//     struct store_codec {
//         static constexpr std::string_view name = "store", encoding = "";
//         struct stage {
//             void write(bytes_view in, byte_sink auto& out) { out.write(in); }
//             void finish(byte_sink auto&) {}
//         };
//         struct reader {
//             std::size_t read(byte_source auto& in, bytes_span into) { return in.read(into); }
//         };
//         stage encoder(executor_ref) const { return {}; }
//         static reader decoder() { return {}; }
//     };
//
// Models: uncompressed, gzip, estargz, zstd.

#include <shiplap/bytes/concept.hpp>
#include <shiplap/bytes/executor.hpp>
#include <shiplap/codec/deflate.hpp>

#include <map>
#include <string>
#include <utility>

namespace shiplap {

/// Keys and values of descriptors and manifests, in byte order of the keys (image-spec, annotations.md).
using annotation_map = std::map<std::string, std::string>;

template <class C>
concept named_codec = requires {
    { C::name } -> std::convertible_to<std::string_view>;
    { C::encoding } -> std::convertible_to<std::string_view>;
};

template <class C>
using encoder_of = decltype(std::declval<C const&>().encoder(executor_ref{}));

template <class C>
using decoder_of = decltype(C::decoder());

/// See the table above.
template <class C>
concept codec =
    std::copy_constructible<C> && named_codec<C> && byte_stage<encoder_of<C>> && byte_decoder<decoder_of<C>>;

template <class C>
concept leveled_codec = codec<C> && requires(C const& c) {
    { c.levels() } -> std::same_as<level_range>;
    { c.level } -> std::convertible_to<int>;
};

template <class E>
concept annotating_encoder = byte_stage<E> && requires(E const& encoder) {
    { encoder.annotations() } -> std::same_as<annotation_map>;
};

/// What tells an eStargz layer from any other in gzip.
inline constexpr char toc_digest_annotation[] = "containerd.io/snapshot/stargz/toc.digest";

template <class E>
concept extending_encoder = byte_stage<E> && requires(E& encoder, null_sink& out) {
    encoder.write_extension(out);
};

} // namespace shiplap
