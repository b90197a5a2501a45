#pragma once
// layer_encoding: a layer whose bytes are not packed as its media type says breaks those who pull it, and nobody tells
// who pushed it. So it is told here.

#include <shiplap/bytes/concept.hpp>
#include <shiplap/bytes/erased.hpp>
#include <shiplap/codec/decode.hpp>
#include <shiplap/error.hpp>
#include <shiplap/image/descriptor.hpp>

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace shiplap {

namespace detail {

/// Throws format_error unless the bytes of a layer are packed as its media type says. Reads the first few of them.
inline void require_encoding(descriptor const& layer, replayable_source_ref from) {
    auto const& type = layer.media_type;
    bool const gzip = type.ends_with("+gzip") || type.ends_with(".gzip"),
               zstd = type.ends_with("+zstd") || type.ends_with(".zstd");
    if ((!gzip && !zstd && !type.ends_with(".tar")) || layer.size < 4) return;
    std::array<std::byte, 4> head{};
    from.rewind(); // it may have gone to another repository
    auto const size = read_fully(from, head);
    auto const actual = sniff_encoding(bytes_view{head}.first(size));
    std::string_view const wanted = gzip ? "gzip" : zstd ? "zstd" : "";
    if (actual == wanted) return;
    auto const called = [](std::string_view name) {
        return std::string{name.empty() ? "neither gzip nor zstd" : name};
    };
    throw format_error{"push", layer.digest.text(),
                       "its media type '" + printable(type) + "' says " + called(wanted) +
                           ", its bytes are " + called(actual)};
}

} // namespace detail

} // namespace shiplap
