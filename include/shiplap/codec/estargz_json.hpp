#pragma once
// The JSON of an eStargz table of contents, to the letter as Go's json.MarshalIndent writes the reference's
// structs: one TAB a level, zero values left out, <, > and & escaped.

#include <shiplap/digest/digest.hpp>
#include <shiplap/tar/entry.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap::detail {

/// Whether Go's encoding/json takes these characters as they are. So it is with nearly every name.
inline bool stands_for_itself(std::string_view text) noexcept {
    return std::all_of(text.begin(), text.end(), [](char c) {
        auto const byte = static_cast<unsigned char>(c);
        return byte >= 0x20 && byte < 0x80 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&';
    });
}

/// `text` as a string of JSON with the escapes of Go's encoding/json. Throws nlohmann::json::type_error
/// unless it is UTF-8.
inline std::string go_json_string(std::string_view text) {
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 5> further{
        {{"<", "\\u003c"}, {">", "\\u003e"}, {"&", "\\u0026"}, {"\u2028", "\\u2028"}, {"\u2029", "\\u2029"}}};
    using json = nlohmann::ordered_json; // the one whose writer image/json.hpp instantiates as well
    json value(json::value_t::string);
    *value.get_ptr<json::string_t*>() = text;
    auto out = value.dump();
    for (auto const& [plain, escaped] : further)
        for (auto at = out.find(plain); at != std::string::npos; at = out.find(plain, at + escaped.size()))
            out.replace(at, plain.size(), escaped);
    return out;
}

/// RFC 4648 with padding. (That of Crypto++ is a pipeline of filters: its header costs more than all of this.)
inline std::string base64_of(std::string_view raw) {
    static constexpr char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    for (; !raw.empty(); raw.remove_prefix(std::min<std::size_t>(3, raw.size()))) {
        std::uint32_t bits = 0; // three bytes, those behind the end as zeros
        for (std::size_t i = 0; i < 3; ++i)
            bits = bits << 8 | (i < raw.size() ? static_cast<unsigned char>(raw[i]) : 0u);
        for (std::size_t i = 0; i < 4; ++i)
            out += i <= raw.size() ? alphabet[bits >> (18 - 6 * i) & 63] : '=';
    }
    return out;
}

/// RFC 3339 in UTC, rounded to seconds. Empty for any time within second 0 of 1970, as in the reference, and
/// for years that have no name. Not by gmtime(), which counts leap seconds if TZ is one of the "right" zones.
inline std::string toc_time(timestamp time) {
    constexpr std::int64_t year_zero = -62167219200, last = 67768036191676799; // what gmtime() can name
    if (time.seconds == 0 || time.seconds < year_zero || time.seconds >= last) return {};
    auto const seconds = time.seconds + (time.nanoseconds >= 500'000'000 ? 1 : 0);
    // The calendar repeats every 400 years; std::chrono knows no year above 32767.
    constexpr std::int64_t cycle = 146097; // days
    auto const days = (seconds - year_zero) / 86400, second = (seconds - year_zero) % 86400;
    std::chrono::year_month_day const date{
        std::chrono::sys_days{std::chrono::days{year_zero / 86400 + days % cycle}}};
    auto const padded = [](std::int64_t value, std::size_t width) {
        auto const text = std::to_string(value);
        return std::string(width - std::min(width, text.size()), '0') + text;
    };
    return padded(static_cast<int>(date.year()) + days / cycle * 400, 4) + '-' +
           padded(static_cast<unsigned>(date.month()), 2) + '-' +
           padded(static_cast<unsigned>(date.day()), 2) + 'T' + padded(second / 3600, 2) + ':' +
           padded(second / 60 % 60, 2) + ':' + padded(second % 60, 2) + 'Z';
}

inline std::string_view toc_type(entry_type type) noexcept {
    switch (type) {
    case entry_type::regular:
        return "reg";
    case entry_type::hard_link:
        return "hardlink";
    case entry_type::symbolic_link:
        return "symlink";
    case entry_type::character_device:
        return "char";
    case entry_type::block_device:
        return "block";
    case entry_type::directory:
        return "dir";
    case entry_type::fifo:
        return "fifo";
    }
    return {};
}

/// Appends one object of "entries" to a text. Texts and numbers that are empty or zero are left out.
class toc_object {
  public:
    explicit toc_object(std::string& to) : to_{&to} { *to_ += "\n\t\t{"; }

    void text(std::string_view key, std::string_view value) {
        if (value.empty()) return;
        begin(key);
        if (stands_for_itself(value))
            quote(value);
        else
            *to_ += go_json_string(value);
    }
    void number(std::string_view key, std::uint64_t value) {
        if (value == 0) return;
        begin(key);
        *to_ += std::to_string(value);
    }
    void digest_of(std::string_view key, std::array<char, sha256::size> const& raw) {
        begin(key);
        to_->append("\"").append(sha256::name).append(":");
        append_hex(*to_, {raw.data(), raw.size()});
        *to_ += '"';
    }
    void xattrs(std::vector<extended_attribute> const& attributes) {
        if (attributes.empty()) return;
        begin("xattrs");
        std::string_view separator{"{"};
        for (auto const& [name, value] : attributes) {
            to_->append(std::exchange(separator, ",")).append("\n\t\t\t\t");
            to_->append(go_json_string(name)).append(": ");
            quote(base64_of(value));
        }
        *to_ += "\n\t\t\t}";
    }

    void finish() { *to_ += "\n\t\t}"; }

  private:
    void begin(std::string_view key) {
        *to_ += to_->back() == '{' ? "\n\t\t\t" : ",\n\t\t\t";
        quote(key);
        *to_ += ": ";
    }
    void quote(std::string_view plain) { to_->append("\"").append(plain).append("\""); }

    std::string* to_;
};

} // namespace shiplap::detail
