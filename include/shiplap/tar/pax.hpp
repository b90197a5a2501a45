#pragma once
// PAX records, the body of an extended header: "<length> <key>=<value>\n", one behind the other, the length
// counting the whole record, itself included (POSIX.1-2017, pax, "pax Extended Header").
//
// Values are raw bytes. Numbers are plain decimal; times have a sign and a fraction if they need them.

#include <shiplap/tar/entry.hpp>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace shiplap::detail {

/// Keys and values in byte order of the keys, which is the order they are written in.
using pax_records = std::map<std::string, std::string>;

/// Prefix of the keys that hold extended attributes; the attribute's name follows.
inline constexpr std::string_view pax_xattr = "SCHILY.xattr.";
/// Prefix of the keys by which GNU tar describes sparse files.
inline constexpr std::string_view pax_sparse = "GNU.sparse.";

inline void append_pax_record(std::string& out, std::string_view key, std::string_view value) {
    auto const rest = key.size() + value.size() + 3; // ' ', '=', '\n'
    auto size = rest + std::to_string(rest).size();
    if (std::to_string(size).size() + rest != size) ++size; // the length made itself a digit longer
    out += std::to_string(size);
    out += ' ';
    out += key;
    out += '=';
    out += value;
    out += '\n';
}

inline std::string pax_time(timestamp time) {
    if (time.nanoseconds == 0) return std::to_string(time.seconds);
    // The fraction counts away from zero here, but forward in a timestamp: -1.25 s is {-2, 750'000'000}.
    bool const negative = time.seconds < 0;
    auto const seconds = negative ? -(time.seconds + 1) : time.seconds;
    auto fraction =
        std::to_string(1'000'000'000 + (negative ? 1'000'000'000 - time.nanoseconds : time.nanoseconds));
    fraction.erase(fraction.find_last_not_of('0') + 1);
    return (negative ? "-" : "") + std::to_string(seconds) + "." + fraction.substr(1);
}

/// Decimal digits and nothing else, at most 63 bits.
inline std::optional<std::uint64_t> parse_decimal(std::string_view text) {
    std::int64_t value = 0;
    auto const [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || text.front() == '-' || failure != std::errc{} || end != text.data() + text.size())
        return {};
    return static_cast<std::uint64_t>(value);
}

/// [-]digits[.digits]; digits beyond nanoseconds are cut off.
inline std::optional<timestamp> parse_pax_time(std::string_view text) {
    bool const negative = text.starts_with('-');
    if (negative) text.remove_prefix(1);
    auto const point = text.find('.');
    auto const seconds = parse_decimal(text.substr(0, point));
    if (!seconds) return {};
    auto const digits = point == std::string_view::npos ? std::string_view{} : text.substr(point + 1);
    if (digits.find_first_not_of("0123456789") != std::string_view::npos) return {};
    std::int32_t nanoseconds = 0;
    for (std::size_t i = 0; i < 9; ++i)
        nanoseconds = nanoseconds * 10 + (i < digits.size() ? digits[i] - '0' : 0);
    timestamp time{static_cast<std::int64_t>(*seconds), nanoseconds};
    if (!negative) return time;
    if (nanoseconds == 0) return timestamp{-time.seconds, 0};
    return timestamp{-time.seconds - 1, 1'000'000'000 - nanoseconds};
}

/// A record taken from the front of a body.
struct pax_record {
    std::string_view key, value;
};

/// Takes the first record off `body`; nothing if it is malformed: a length that is no number, lies, or does
/// not end on a newline; no '=', an empty key, a NUL in a key or a name.
inline std::optional<pax_record> take_pax_record(std::string_view& body) {
    auto const space = body.substr(0, 20).find(' ');
    if (space == std::string_view::npos) return {};
    auto const length = parse_decimal(body.substr(0, space));
    if (!length || *length > body.size() || *length < space + 4) return {}; // at least " k=\n"
    auto const record = body.substr(space + 1, static_cast<std::size_t>(*length) - space - 1);
    auto const equals = record.find('=');
    if (record.back() != '\n' || equals == std::string_view::npos || equals == 0) return {};
    pax_record const taken{record.substr(0, equals), record.substr(equals + 1, record.size() - equals - 2)};
    bool const is_text =
        taken.key == "path" || taken.key == "linkpath" || taken.key == "uname" || taken.key == "gname";
    if (taken.key.find('\0') != std::string_view::npos) return {};
    if (is_text && taken.value.find('\0') != std::string_view::npos) return {};
    body.remove_prefix(static_cast<std::size_t>(*length));
    return taken;
}

} // namespace shiplap::detail
