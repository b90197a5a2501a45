#pragma once
// The values of options as text: booleans, integers, annotation keys; and how far two words are apart, to suggest the
// one that was meant.

#include <shiplap/error.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shiplap::detail {

/// Edits (insert, delete, replace one character) that turn `a` into `b`.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        auto diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            auto const replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
        }
    }
    return row.back();
}

enum class empty_bool { means_true, is_error };

inline bool parse_bool(std::string_view key, std::string_view value, empty_bool empty) {
    constexpr std::array<std::string_view, 6> yes{"1", "t", "T", "TRUE", "true", "True"};
    constexpr std::array<std::string_view, 6> no{"0", "f", "F", "FALSE", "false", "False"};
    if (value.empty() && empty == empty_bool::means_true) return true;
    if (std::find(yes.begin(), yes.end(), value) != yes.end()) return true;
    if (std::find(no.begin(), no.end(), value) != no.end()) return false;
    throw option_error{std::string{key}, "non-bool value specified for " + std::string{key} + ": '" +
                                             printable(value) + "'; use true or false"};
}

inline std::optional<std::int64_t> parse_integer(std::string_view value) {
    if (value.starts_with('+')) value.remove_prefix(1);
    std::int64_t number = 0;
    auto const [end, problem] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (problem != std::errc{} || end != value.data() + value.size()) return std::nullopt;
    return number;
}

/// annotation[-<type>][[<platform>]].<key>
struct annotation_key {
    std::string type, platform, key;
};

inline std::optional<annotation_key> parse_annotation_key(std::string_view text) {
    constexpr std::string_view prefix = "annotation";
    if (!text.starts_with(prefix)) return std::nullopt;
    auto const dot = text.find('.');
    if (dot == std::string_view::npos) return std::nullopt;
    annotation_key parsed{"manifest", {}, std::string{text.substr(dot + 1)}};
    auto head = text.substr(prefix.size(), dot - prefix.size());
    if (auto const open = head.find('['); open != std::string_view::npos) {
        if (!head.ends_with(']')) return std::nullopt;
        parsed.platform = head.substr(open + 1, head.size() - open - 2);
        constexpr auto allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_/-";
        if (parsed.platform.empty() || parsed.platform.find_first_not_of(allowed) != std::string::npos)
            return std::nullopt;
        head = head.substr(0, open);
    }
    if (head.starts_with('-'))
        parsed.type = head.substr(1);
    else if (!head.empty())
        return std::nullopt;
    constexpr auto letters = "abcdefghijklmnopqrstuvwxyz-";
    if (parsed.type.empty() || parsed.type.find_first_not_of(letters) != std::string::npos)
        return std::nullopt;
    if (parsed.key.empty() || parsed.key.find_first_of(" \t\n\v\f\r") != std::string::npos)
        return std::nullopt;
    return parsed;
}

} // namespace shiplap::detail
