#pragma once
// decode: from a packed layer or a tar file to plain bytes, when what it is becomes known at run time.
//
// decode_as is for layers: their media type says how they are packed, and the bytes must agree. decode_any is
// for files that users give: the bytes alone decide. What does not fit is refused before the first plain
// byte.

#include <shiplap/bytes/erased.hpp>
#include <shiplap/codec/gzip_decoder.hpp>
#include <shiplap/codec/zstd.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

namespace shiplap {

namespace detail {

/// A source whose first bytes were read already. A byte_source.
class headed_source {
  public:
    /// Reads up to 16 bytes ahead: enough for every magic number here.
    explicit headed_source(any_byte_source rest) : rest_{std::move(rest)} { head_.fill(rest_, 16); }

    /// The bytes ahead; fewer than 16 only if there are no more.
    [[nodiscard]] bytes_view head() const noexcept { return head_.bytes(); }

    std::size_t read(bytes_span into) {
        if (head_.bytes().empty()) return rest_.read(into);
        auto const piece = head_.bytes().first(std::min(into.size(), head_.bytes().size()));
        std::copy(piece.begin(), piece.end(), into.begin());
        head_.consume(piece.size());
        return piece.size();
    }

  private:
    packed_input head_;
    any_byte_source rest_;
};

/// What a packed file is, if shiplap has no decoder for it.
inline std::string_view foreign_format(bytes_view head) {
    auto const text = as_text(head);
    if (text.starts_with(std::string_view{"\xfd"
                                          "7zXZ\0",
                                          6}))
        return "xz";
    // "BZh1" could begin a file name, what follows in bzip2 could not: the first block's or the end's mark.
    if (text.starts_with("BZh") && (text.substr(4, 6) == "1AY&SY" || text.substr(4, 6) == "\x17rE8P\x90"))
        return "bzip2";
    return {};
}

inline any_byte_source decode_headed(std::string_view encoding, headed_source from) {
    if (encoding == "gzip") return decoded_source{gzip_decoder{}, std::move(from)};
    if (encoding == "zstd") return decoded_source{zstd_decoder{}, std::move(from)};
    return from;
}

} // namespace detail

/// How the bytes that start so are packed: "gzip", "zstd", or "" for anything else. 4 bytes suffice.
inline std::string_view sniff_encoding(bytes_view head) {
    if (as_text(head).starts_with("\x1f\x8b\x08")) return "gzip";
    if (detail::is_zstd_frame(head)) return "zstd";
    return "";
}

/// The plain bytes of a layer whose media type says `encoding`: "", "gzip" or "zstd". Throws format_error if
/// the bytes are packed otherwise, error{unsupported} for another encoding.
inline any_byte_source decode_as(std::string_view encoding, any_byte_source in) {
    if (encoding != "" && encoding != "gzip" && encoding != "zstd")
        throw error{error_code::unsupported, "unpack", std::string{encoding},
                    "no such encoding of layers is known; there are gzip and zstd"};
    detail::headed_source from{std::move(in)};
    auto const actual = sniff_encoding(from.head());
    if (actual != encoding) {
        auto const called = [](std::string_view name) {
            return std::string{name.empty() ? "not packed" : name};
        };
        throw format_error{"unpack", "layer",
                           "its media type says " + called(encoding) + ", its bytes are " +
                               (actual.empty() ? "neither gzip nor zstd" : called(actual))};
    }
    return detail::decode_headed(encoding, std::move(from));
}

/// The plain bytes of a file that may be packed with gzip or zstd; anything else passes as it is. Throws
/// error{unsupported} for xz and bzip2.
inline any_byte_source decode_any(any_byte_source in) {
    detail::headed_source from{std::move(in)};
    if (auto const foreign = detail::foreign_format(from.head()); !foreign.empty())
        throw error{error_code::unsupported, "unpack", std::string{foreign},
                    "a tar may be plain or packed with gzip or zstd"};
    auto const encoding = sniff_encoding(from.head());
    return detail::decode_headed(encoding, std::move(from));
}

} // namespace shiplap
