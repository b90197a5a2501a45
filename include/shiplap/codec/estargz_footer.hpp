#pragma once
// The last 51 bytes of an eStargz blob: an empty gzip member whose extra field holds the offset of the member
// with the table of contents (stargz-snapshotter, docs/estargz.md, "Footer"); and the name of the only file in
// that member. No other library than the standard one.

#include <shiplap/bytes/concept.hpp>

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace shiplap {

/// The tar entry that holds the table of contents.
inline constexpr std::string_view estargz_toc_name = "stargz.index.json";

/// Size of the footer in bytes.
inline constexpr std::size_t estargz_footer_size = 51;
/// Of one of stargz.
inline constexpr std::size_t stargz_footer_size = 47;

/// The footer of a blob whose table of contents is at this offset.
inline std::string estargz_footer(std::uint64_t toc_offset) {
    static constexpr char hex[] = "0123456789abcdef";
    std::string out{"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0", 16};
    for (unsigned shift = 64; shift != 0; shift -= 4) out += hex[toc_offset >> (shift - 4) & 15];
    out += "STARGZ";
    out.append("\x01\0\0\xff\xff\0\0\0\0\0\0\0\0", 13); // an empty stored block; CRC and size are 0
    return out;
}

/// The same as stargz had it, before there was eStargz: the extra field has no subfield.
inline std::string stargz_footer(std::uint64_t toc_offset) {
    return estargz_footer(toc_offset).replace(10, 6, std::string_view{"\x16\0", 2});
}

/// The footer of a blob whose table of contents is kept elsewhere.
inline std::string external_toc_footer() {
    return estargz_footer(0).replace(10, 28, std::string_view{"\x15\0SG\x11\0STARGZEXTERNALTOC", 23});
}

/// The offset that a footer tells, one of stargz as well; nothing if these are not the last bytes of such a
/// blob, 51 or 47.
inline std::optional<std::uint64_t> estargz_toc_offset(bytes_view footer) {
    auto const text = as_text(footer);
    bool const is_old = text.size() == stargz_footer_size;
    if (!is_old && text.size() != estargz_footer_size) return {};
    auto const digits = text.substr(is_old ? 12 : 16, 16);
    std::uint64_t offset = 0;
    if (std::from_chars(digits.data(), digits.data() + digits.size(), offset, 16).ec != std::errc{})
        return {};
    if (text != (is_old ? stargz_footer(offset) : estargz_footer(offset))) return {};
    return offset;
}

} // namespace shiplap
