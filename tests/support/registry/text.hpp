#pragma once
// Text of HTTP as a registry meets it: header fields, queries, base64, numbers. Nothing here knows registries.

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace registry_test {

using field = std::pair<std::string, std::string>;
using field_list = std::vector<field>;

inline char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

/// Header names and schemes are compared without case.
inline bool same_text(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](char x, char y) { return lower(x) == lower(y); });
}

inline bool starts_with_text(std::string_view text, std::string_view prefix) {
    return text.size() >= prefix.size() && same_text(text.substr(0, prefix.size()), prefix);
}

/// The first field of that name, or null.
inline std::string const* find_field(field_list const& fields, std::string_view name) {
    for (auto const& [key, value] : fields)
        if (same_text(key, name)) return &value;
    return nullptr;
}

/// The first field of exactly that name in a query, or "".
inline std::string query_value(field_list const& query, std::string_view name) {
    for (auto const& [key, value] : query)
        if (key == name) return value;
    return {};
}

inline std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

inline std::vector<std::string> split(std::string_view text, char separator) {
    std::vector<std::string> parts;
    while (true) {
        auto const end = text.find(separator);
        parts.emplace_back(text.substr(0, end));
        if (end == std::string_view::npos) return parts;
        text.remove_prefix(end + 1);
    }
}

/// Digits only, as HTTP wants its numbers: no sign, no space.
inline std::optional<std::uint64_t> parse_number(std::string_view text, int base = 10) {
    std::uint64_t value = 0;
    auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (text.empty() || problem != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

/// `plus` is a space in forms, and a plus in paths.
inline std::string percent_decoded(std::string_view text, bool plus_is_space = false) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        auto const code = text[i] == '%' && i + 2 < text.size() ? parse_number(text.substr(i + 1, 2), 16)
                                                                : std::optional<std::uint64_t>{};
        if (code) {
            out += static_cast<char>(*code);
            i += 2;
        } else {
            out += plus_is_space && text[i] == '+' ? ' ' : text[i];
        }
    }
    return out;
}

inline std::string percent_encoded(std::string_view text) {
    static constexpr std::string_view hex = "0123456789ABCDEF";
    std::string out;
    for (auto const c : text) {
        auto const byte = static_cast<unsigned char>(c);
        auto const plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                           std::string_view{"-._~"}.find(c) != std::string_view::npos;
        if (plain)
            out += c;
        else
            out.append({'%', hex[byte >> 4], hex[byte & 15]});
    }
    return out;
}

/// "a=1&b=2", decoded, in its order. Go's servers, which most registries are, read a plus in a query as a space.
inline field_list parse_query(std::string_view text) {
    field_list fields;
    for (auto const& part : split(text, '&')) {
        if (part.empty()) continue;
        auto const equals = std::min(part.find('='), part.size());
        auto const value = equals < part.size() ? std::string_view{part}.substr(equals + 1) : "";
        fields.emplace_back(percent_decoded(std::string_view{part}.substr(0, equals), true),
                            percent_decoded(value, true));
    }
    return fields;
}

inline std::optional<std::string> base64_decoded(std::string_view text) {
    static constexpr std::string_view alphabet =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    while (!text.empty() && text.back() == '=') text.remove_suffix(1);
    std::string out;
    std::uint32_t bits = 0;
    int count = 0;
    for (auto const c : text) {
        auto const value = alphabet.find(c);
        if (value == std::string_view::npos) return std::nullopt;
        bits = (bits << 6) | static_cast<std::uint32_t>(value);
        count += 6;
        if (count < 8) continue;
        count -= 8;
        out += static_cast<char>((bits >> count) & 0xFF);
    }
    return out;
}

/// As Retry-After may have it: "Sun, 06 Nov 1994 08:49:37 GMT".
inline std::string http_date(std::chrono::system_clock::time_point when) {
    auto const seconds = std::chrono::system_clock::to_time_t(when);
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    static constexpr char const* days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static constexpr char const* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                             "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    std::array<char, 64> text{}; // not strftime, which would speak the language of the locale
    auto const length = std::snprintf(text.data(), text.size(), "%s, %02d %s %04d %02d:%02d:%02d GMT",
                                      days[parts.tm_wday], parts.tm_mday, months[parts.tm_mon],
                                      parts.tm_year + 1900, parts.tm_hour, parts.tm_min, parts.tm_sec);
    return {text.data(), static_cast<std::size_t>(length)};
}

/// "0-84521" and nothing else: the range of an upload has no unit and no total.
inline std::optional<std::pair<std::uint64_t, std::uint64_t>> parse_bare_range(std::string_view text) {
    auto const dash = text.find('-');
    if (dash == std::string_view::npos) return std::nullopt;
    auto const first = parse_number(text.substr(0, dash));
    auto const last = parse_number(text.substr(dash + 1));
    if (!first || !last || *last < *first) return std::nullopt;
    return std::pair{*first, *last};
}

} // namespace registry_test
