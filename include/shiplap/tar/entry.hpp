#pragma once
// One entry of a tar archive: what ustar and PAX headers say, as values (POSIX.1-2017, pax, "ustar
// Interchange Format" and "pax Extended Header"; image-spec, layer.md).

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

namespace shiplap {

/// A point in time: seconds since 1970 (may be negative) plus 0..999'999'999 nanoseconds, which always count
/// forward.
struct timestamp {
    std::int64_t seconds = 0;
    std::int32_t nanoseconds = 0;
    friend auto operator<=>(timestamp const&, timestamp const&) = default;
};

/// The typeflag of a header; the values are those on disk.
enum class entry_type : char {
    regular = '0',
    hard_link = '1',
    symbolic_link = '2',
    character_device = '3',
    block_device = '4',
    directory = '5',
    fifo = '6',
};

/// An extended attribute; the value is raw bytes.
struct extended_attribute {
    std::string name{};
    std::string value{};
    friend auto operator<=>(extended_attribute const&, extended_attribute const&) = default;
};

/// Everything about an entry but its payload. Names are raw bytes without an encoding.
struct tar_entry {
    std::string name{}; ///< relative path; a directory's ends in '/'
    entry_type type = entry_type::regular;
    std::uint32_t mode = 0; ///< permission, set-id and sticky bits: 0..07777
    std::uint64_t uid = 0, gid = 0;
    std::uint64_t size = 0; ///< bytes of payload; 0 for all but regular files
    timestamp mtime{};
    /// Target of a symbolic link, verbatim, or of a hard link: the name of an earlier entry.
    std::string link_name{};
    std::uint32_t device_major = 0, device_minor = 0;
    std::string user_name{}, group_name{};    ///< not written for images: ids are numbers there
    std::vector<extended_attribute> xattrs{}; ///< sorted by name
    friend bool operator==(tar_entry const&, tar_entry const&) = default;
};

} // namespace shiplap
