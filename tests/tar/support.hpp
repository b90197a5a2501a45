#pragma once
// Archives for the tests of tar: made well, made badly on purpose, and taken apart again.

#include <shiplap/tar/scanner.hpp>
#include <shiplap/tar/writer.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tar_tests {

using namespace shiplap;

struct stored_entry {
    tar_entry entry;
    std::string payload;
    friend bool operator==(stored_entry const&, stored_entry const&) = default;
};

inline tar_entry regular(std::string name, std::uint64_t size = 0) {
    tar_entry entry;
    entry.name = std::move(name);
    entry.mode = 0644;
    entry.size = size;
    return entry;
}

inline tar_entry of_type(entry_type type, std::string name, std::string link_name = {}) {
    auto entry = regular(std::move(name));
    entry.type = type;
    entry.link_name = std::move(link_name);
    return entry;
}

inline std::string archive_of(std::vector<stored_entry> const& entries) {
    string_sink out;
    tar_writer tar{out};
    for (auto const& [entry, payload] : entries) {
        tar.entry(entry);
        tar.write(as_bytes(payload));
    }
    tar.finish();
    return out.text;
}

inline detail::tar_block block_of(std::string_view header) {
    detail::tar_block block;
    std::copy_n(header.begin(), tar_block_size, block.bytes.begin());
    return block;
}

/// The checksum that a block should have, written the usual way, the rest of the block left alone.
inline std::string with_checksum(std::string block) {
    block.replace(148, 8, 8, ' ');
    unsigned sum = 0;
    for (char const c : block.substr(0, tar_block_size)) sum += static_cast<unsigned char>(c);
    std::string digits(6, '0');
    for (std::size_t i = 6; i-- > 0; sum /= 8) digits[i] = static_cast<char>('0' + sum % 8);
    return block.replace(148, 8, digits + std::string("\0 ", 2));
}

/// A header with some of its bytes replaced and the right checksum.
inline std::string altered(tar_entry const& entry, std::size_t offset, std::string_view bytes) {
    return with_checksum(encode_header(entry).replace(offset, bytes.size(), bytes));
}

inline std::string padded(std::string text) {
    text.append(tar_padding(text.size()), '\0');
    return text;
}

/// An extension of any type ('x', 'g', 'L', 'K', ...) with any body.
inline std::string extension(char type, std::string const& body) {
    return altered(regular("extension", body.size()), 156, {&type, 1}) + padded(body);
}

inline std::string record(std::string_view key, std::string_view value) {
    std::string text;
    detail::append_pax_record(text, key, value);
    return text;
}

inline std::string const end_marker(2 * tar_block_size, '\0');

/// All that a scanner finds when it gets the bytes in pieces of `piece()` bytes.
template <class Piece>
std::vector<stored_entry> scan(tar_scanner& scanner, std::string_view bytes, Piece piece) {
    std::vector<stored_entry> found;
    while (!bytes.empty()) {
        auto const taken = bytes.substr(0, piece());
        bytes.remove_prefix(taken.size());
        auto in = as_bytes(taken);
        for (auto event = scanner.next(in); event != tar_scanner::event::need_more;
             event = scanner.next(in)) {
            if (event == tar_scanner::event::entry) found.push_back({scanner.entry(), {}});
            if (event == tar_scanner::event::payload) found.back().payload.append(as_text(scanner.payload()));
        }
    }
    scanner.finish();
    return found;
}

inline std::vector<stored_entry> scan(std::string_view bytes, tar_limits limits = {}) {
    tar_scanner scanner{"a.tar", limits};
    return scan(scanner, bytes, [] { return std::size_t{1} << 30; });
}

/// The message of what scanning throws, or "".
inline std::string scan_error(std::string_view bytes, tar_limits limits = {}) {
    try {
        scan(bytes, limits);
    } catch (error const& failure) {
        return failure.what();
    }
    return {};
}

class random_entries {
  public:
    explicit random_entries(std::uint64_t seed) : engine_{seed} {}

    std::size_t below(std::size_t bound) { return engine_() % bound; }

    template <class T>
    T one_of(std::vector<T> const& values) {
        return values[below(values.size())];
    }

    std::string bytes(std::size_t size) {
        std::string text(size, '\0');
        for (auto& c : text) c = static_cast<char>(below(256));
        return text;
    }

    /// Letters, slashes, newlines and now and then a byte beyond ASCII; does not end in a slash.
    std::string name() {
        std::string text(
            one_of<std::size_t>({1, 9, 99, 100, 101, 155, 156, 157, 255, 256, 257, 300, 1 + below(400)}),
            'n');
        bool const ascii = below(2) == 0;
        for (auto& c : text) {
            auto const choice = below(24);
            if (choice < 3)
                c = '/';
            else if (choice == 3)
                c = '\n';
            else if (choice == 4 && !ascii)
                c = static_cast<char>(128 + below(128));
            else
                c = static_cast<char>('a' + below(26));
        }
        text.back() = 'z';
        return text;
    }

    stored_entry entry() {
        tar_entry entry;
        entry.type = static_cast<entry_type>('0' + below(7));
        entry.name = name();
        if (entry.type == entry_type::directory) entry.name += '/';
        entry.mode = static_cast<std::uint32_t>(below(010000));
        entry.uid = one_of<std::uint64_t>({0, 1000, 2'097'151, 2'097'152, 4'294'967'295});
        entry.gid = one_of<std::uint64_t>({0, 100, 2'097'151, 2'097'152, 1ull << 62});
        entry.mtime.seconds =
            one_of<std::int64_t>({0, -1, 1'600'000'000, 8'589'934'591, 8'589'934'592, -5'000'000'000});
        if (below(3) == 0) entry.mtime.nanoseconds = static_cast<std::int32_t>(below(1'000'000'000));
        if (entry.type == entry_type::hard_link || entry.type == entry_type::symbolic_link)
            entry.link_name = name();
        if (entry.type == entry_type::character_device || entry.type == entry_type::block_device) {
            entry.device_major = one_of<std::uint32_t>({0, 8, 4095, 2'097'152});
            entry.device_minor = one_of<std::uint32_t>({0, 1, 1'048'575, 4'294'967'295});
        }
        if (below(8) == 0) entry.user_name = name();
        if (below(8) == 0) entry.group_name = "wheel";
        if (below(4) == 0) entry.xattrs.push_back({"security.capability", bytes(20)});
        if (below(4) == 0)
            entry.xattrs.push_back({"user." + std::string(1 + below(100), 'k'), bytes(below(1200))});
        std::string payload;
        if (entry.type == entry_type::regular)
            payload = bytes(one_of<std::size_t>({0, 1, 511, 512, 513, below(5000)}));
        entry.size = payload.size();
        return {std::move(entry), std::move(payload)};
    }

    std::vector<stored_entry> archive(std::size_t entries) {
        std::vector<stored_entry> all;
        for (std::size_t i = 0; i < entries; ++i) all.push_back(entry());
        return all;
    }

  private:
    std::mt19937_64 engine_;
};

} // namespace tar_tests
