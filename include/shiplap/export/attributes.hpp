#pragma once
// attributes: "type=oci,dest=app.tar,"name=a,b"" -> an ordered list of keys and values, each with its place.
//
// The grammar is one CSV record (RFC 4180): fields are parted by commas; a field that holds a comma or a
// quote is quoted as a whole, and a quote in it is doubled. Every field is key=value, parted at its first
// '='. Keys are lower-cased and trimmed, values are untouched. In "annotation.Some.Key" only what stands
// before the first dot is the option's name: the annotation's own key keeps its case.

#include <shiplap/error.hpp>
#include <shiplap/image/platform.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace shiplap {

struct attribute {
    std::string key;
    std::string value;
    std::size_t position = 0; ///< column of the field in the text, from 1
};

using attributes = std::vector<attribute>;

namespace detail {

[[noreturn]] inline void refuse_csv(std::string_view text, std::size_t index, std::string_view reason) {
    throw option_error{"parse", std::string{text},
                       "position " + std::to_string(index + 1) + ": " + std::string{reason}};
}

/// One field, from `index` on, which is left at the comma behind it or at the end.
inline std::string csv_field(std::string_view text, std::size_t& index) {
    std::string field;
    if (index == text.size() || text[index] != '"') {
        auto const start = index;
        while (index < text.size() && text[index] != ',') {
            if (text[index] == '"')
                refuse_csv(
                    text, index,
                    "a quote inside an unquoted field; quote the whole field and double the quotes in it: "
                    "\"key=a \"\"b\"\"\"");
            ++index;
        }
        return std::string{text.substr(start, index - start)};
    }
    auto const opening = index++;
    for (;; ++index) {
        if (index == text.size()) refuse_csv(text, opening, "this quote is never closed");
        if (text[index] != '"') {
            field += text[index];
        } else if (index + 1 < text.size() && text[index + 1] == '"') {
            field += text[index++];
        } else {
            break;
        }
    }
    if (++index < text.size() && text[index] != ',')
        refuse_csv(text, index,
                   "text after a closing quote; a comma must follow, and a quote in a value is doubled");
    return field;
}

inline std::string option_key(std::string_view key) {
    auto const first = key.find_first_not_of(" \t");
    if (first == std::string_view::npos) return {};
    key = key.substr(first, key.find_last_not_of(" \t") - first + 1);
    auto lowered = lower_case(key);
    if (!lowered.starts_with("annotation")) return lowered;
    auto const dot = key.find('.');
    return dot == std::string_view::npos ? lowered : lowered.substr(0, dot) + std::string{key.substr(dot)};
}

} // namespace detail

/// Parses an option string. Throws option_error, with the position in the text, on anything outside the
/// grammar.
inline attributes parse_attributes(std::string_view text) {
    if (text.ends_with('\n')) text.remove_suffix(1);
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (text.empty())
        throw option_error{"parse", "", "an empty option string; expected type=...,key=value,..."};

    attributes out;
    for (std::size_t index = 0;; ++index) {
        auto const start = index;
        auto const field = detail::csv_field(text, index);
        auto const equals = field.find('=');
        if (equals == std::string::npos)
            detail::refuse_csv(text, start,
                               "invalid value " + printable(field) +
                                   "; expected key=value, and a value with a comma quoted with its key: "
                                   "\"name=a,b\"");
        auto key = detail::option_key(std::string_view{field}.substr(0, equals));
        if (key.empty()) detail::refuse_csv(text, start, "no key before '='");
        out.push_back({std::move(key), field.substr(equals + 1), start + 1});
        if (index >= text.size()) return out;
    }
}

} // namespace shiplap
