#pragma once
// From a tar_entry to the blocks in front of its payload, to the letter as Go's archive/tar writes them when
// PAX is asked for: layers get their digests from these bytes.
//
// Plain ustar where it can say everything; a name of more than 100 bytes is cut at a '/' into prefix and
// name, if that works. Else an extended header with a record for each field that ustar cannot hold, and a
// ustar header behind it with what is left: text without its bytes beyond ASCII, cut; 0 for numbers that do
// not fit. Names are raw bytes: no encoding is assumed or announced.

#include <shiplap/error.hpp>
#include <shiplap/tar/header.hpp>
#include <shiplap/tar/pax.hpp>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {
namespace detail {

/// The longest body of an extended header that readers accept, in bytes.
inline constexpr std::size_t max_pax_written = 1 << 20;

/// Seconds of the first instant of the year 1: what Go takes for "no time" and writes as 0.
inline constexpr std::int64_t go_zero_time = -62'135'596'800;

inline bool beyond_ascii(char c) noexcept {
    return (static_cast<unsigned char>(c) & 0x80u) != 0;
}

inline std::string ascii_only(std::string_view text) {
    std::string kept;
    std::copy_if(text.begin(), text.end(), std::back_inserter(kept), [](char c) { return !beyond_ascii(c); });
    return kept;
}

inline bool is_ascii(std::string_view text) noexcept {
    return std::none_of(text.begin(), text.end(), beyond_ascii);
}

inline void put_ascii(tar_block& block, tar_field field, std::string_view text) {
    if (is_ascii(text))
        block.put(field, text);
    else
        block.put(field, ascii_only(text));
}

inline bool fits_text(tar_field field, std::string_view text) {
    return text.size() <= field.size && is_ascii(text);
}

struct split_name {
    std::string_view prefix, rest;
};

/// Cuts a long name at the last '/' that at most 155 bytes stand before, if 1..100 bytes remain.
inline std::optional<split_name> split_ustar_name(std::string_view name) {
    if (!is_ascii(name)) return {};
    auto const last = name.size() - (name.ends_with('/') ? 2 : 1);
    auto const slash = name.rfind('/', std::min(last, tar_fields::prefix.size));
    if (slash == std::string_view::npos || slash == 0) return {};
    auto const rest = name.substr(slash + 1);
    if (rest.empty() || rest.size() > tar_fields::name.size) return {};
    return split_name{name.substr(0, slash), rest};
}

/// Resolves ".", ".." and repeated slashes by text alone; no slash remains at the end.
inline std::string clean_path(std::string_view path) {
    bool const rooted = path.starts_with('/');
    std::vector<std::string_view> parts;
    while (!path.empty()) {
        auto const part = path.substr(0, path.find('/'));
        path.remove_prefix(std::min(part.size() + 1, path.size()));
        if (part.empty() || part == ".") continue;
        bool const climbs = part == "..", can_climb = !parts.empty() && parts.back() != "..";
        if (climbs && can_climb)
            parts.pop_back();
        else if (!climbs || !rooted)
            parts.push_back(part);
    }
    std::string clean{rooted ? "/" : ""};
    for (auto const part : parts) clean += std::string{clean.empty() || clean == "/" ? "" : "/"}.append(part);
    return clean.empty() ? "." : clean;
}

/// Under what name the extended header of `name` is stored: <folder>/PaxHeaders.0/<last part>, where a
/// directory's last part is empty.
inline std::string extended_header_name(std::string_view name) {
    auto const last = name.rfind('/') + 1; // 0 if there is no '/'
    std::string whole{name.substr(0, last)};
    whole.append("PaxHeaders.0/").append(name.substr(last));
    auto stored = ascii_only(clean_path(whole)).substr(0, tar_fields::name.size);
    stored.erase(stored.find_last_not_of('/') + 1);
    return stored;
}

inline void check_encodable(tar_entry const& entry) {
    auto const refuse = [&](std::string reason) {
        throw format_error{"write tar", entry.name, std::move(reason)};
    };
    constexpr std::uint64_t max_number = std::numeric_limits<std::int64_t>::max();
    bool const link = entry.type == entry_type::hard_link || entry.type == entry_type::symbolic_link;
    bool const may_end_in_slash = link || entry.type == entry_type::directory;
    if (entry.name.empty()) refuse("an entry needs a name");
    for (auto const* text : {&entry.name, &entry.link_name, &entry.user_name, &entry.group_name})
        if (text->find('\0') != std::string::npos) refuse("'" + printable(*text) + "' contains a NUL byte");
    if (!may_end_in_slash && entry.name.ends_with('/')) refuse("only a directory's name may end in '/'");
    if (link && entry.link_name.empty()) refuse("a link needs a target");
    if (entry.mode > 07777) refuse("the mode must be permission bits, 0..07777");
    if (entry.type != entry_type::regular && entry.size != 0) refuse("only a regular file may have a size");
    if (std::max({entry.uid, entry.gid, entry.size}) > max_number)
        refuse("uid, gid and size must be below 2^63");
    if (entry.mtime.nanoseconds < 0 || entry.mtime.nanoseconds > 999'999'999)
        refuse("nanoseconds must be in 0..999999999");
    for (auto const& attribute : entry.xattrs)
        if (attribute.name.empty() ||
            attribute.name.find_first_of(std::string_view{"=\0", 2}) != std::string::npos)
            refuse("the extended attribute '" + printable(attribute.name) +
                   "' cannot be stored: a name is not empty and has neither '=' nor NUL");
}

/// What ustar cannot say about the entry, its name aside.
inline pax_records extended_records(tar_entry const& entry, timestamp mtime) {
    pax_records records;
    auto const text = [&](std::string_view key, tar_field field, std::string const& value) {
        if (!fits_text(field, value)) records.emplace(key, value);
    };
    auto const number = [&](std::string_view key, tar_field field, std::uint64_t value) {
        if (!fits_octal(field, value)) records.emplace(key, std::to_string(value));
    };
    text("linkpath", tar_fields::link_name, entry.link_name);
    text("uname", tar_fields::user_name, entry.user_name);
    text("gname", tar_fields::group_name, entry.group_name);
    number("uid", tar_fields::uid, entry.uid);
    number("gid", tar_fields::gid, entry.gid);
    number("size", tar_fields::size, entry.size);
    if (mtime.nanoseconds != 0 || !fits_octal(tar_fields::mtime, static_cast<std::uint64_t>(mtime.seconds)))
        records.emplace("mtime", pax_time(mtime));
    for (auto const& [name, value] : entry.xattrs)
        if (!records.emplace(std::string{pax_xattr} + name, value).second)
            throw format_error{"write tar", entry.name,
                               "has the extended attribute '" + printable(name) + "' twice"};
    return records;
}

inline void append_block(std::string& out, tar_block block) {
    block.seal();
    out.append(block.bytes.begin(), block.bytes.end());
}

inline void append_extended_header(std::string& out, tar_entry const& entry, pax_records const& records) {
    std::string body;
    for (auto const& [key, value] : records) append_pax_record(body, key, value);
    if (body.size() > max_pax_written)
        throw format_error{"write tar", entry.name, "its extended header would exceed 1 MiB"};
    tar_block block;
    block.put(tar_fields::name, extended_header_name(entry.name));
    for (auto const field : {tar_fields::mode, tar_fields::uid, tar_fields::gid, tar_fields::mtime})
        block.put_octal(field, 0);
    block.put_octal(tar_fields::size, body.size());
    block.put(tar_fields::type, "x");
    append_block(out, block);
    out += body;
    out.append(tar_padding(body.size()), '\0');
}

} // namespace detail

/// Appends the header blocks of an entry: a multiple of 512 bytes. Throws format_error, naming the entry, if no
/// header can say what the entry holds. Device numbers of more than 21 bits, which no Linux file has, are
/// written in base-256.
inline void append_header(std::string& out, tar_entry const& entry) {
    using namespace detail;
    check_encodable(entry);
    bool const no_time = entry.mtime == timestamp{go_zero_time, 0};
    auto const mtime = no_time ? timestamp{} : entry.mtime;
    bool const long_name = !fits_text(tar_fields::name, entry.name);
    auto const split = long_name ? split_ustar_name(entry.name) : std::nullopt;

    auto records = extended_records(entry, mtime);
    bool const plain = records.empty() && (!long_name || split);
    if (!plain && long_name) records.emplace("path", entry.name);

    tar_block block;
    put_ascii(block, tar_fields::name, plain && split ? split->rest : entry.name);
    if (plain && split) block.put(tar_fields::prefix, split->prefix);
    put_ascii(block, tar_fields::link_name, entry.link_name);
    block.put_octal(tar_fields::mode, entry.mode);
    block.put_octal(tar_fields::uid, entry.uid);
    block.put_octal(tar_fields::gid, entry.gid);
    block.put_octal(tar_fields::size, entry.size);
    block.put_octal(tar_fields::mtime,
                    static_cast<std::uint64_t>(mtime.seconds)); // a negative one does not fit: 0
    block.put(tar_fields::type, {reinterpret_cast<char const*>(&entry.type), 1});
    put_ascii(block, tar_fields::user_name, entry.user_name);
    put_ascii(block, tar_fields::group_name, entry.group_name);
    block.put_number(tar_fields::device_major, entry.device_major);
    block.put_number(tar_fields::device_minor, entry.device_minor);

    if (!plain) append_extended_header(out, entry, records);
    append_block(out, block);
}

/// The header blocks alone.
inline std::string encode_header(tar_entry const& entry) {
    std::string out;
    append_header(out, entry);
    return out;
}

} // namespace shiplap
