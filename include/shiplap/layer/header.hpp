#pragma once
// From a source file to its tar header: what is kept, what is dropped, and the policies that change it. By
// default these are the rules of BuildKit's layers, so that the same tree gives the same digest:
//
//   mode      permission, set-id and sticky bits         owner      numbers only, no names
//   mtime     the whole second before it                 xattrs     security.capability alone
//   devices   major and minor                            links      symbolic: target verbatim; hard:
//   entry_writer
//
// Access and change times, ACLs, user.* and trusted.* attributes are not stored.

#include <shiplap/layer/walk.hpp>
#include <shiplap/tar/entry.hpp>
#include <shiplap/tar/timestamps.hpp>

#include <array>
#include <cstdint>
#include <optional>

#include <sys/sysmacros.h>
#include <sys/xattr.h>

namespace shiplap {

/// Whom the entries of a layer belong to: kept_owners, root_owned or owned_by(uid, gid).
struct ownership {
    bool kept = true; ///< as in the source; else `uid` and `gid` for every entry
    std::uint32_t uid = 0, gid = 0;
    friend bool operator==(ownership const&, ownership const&) = default;
};

inline constexpr ownership kept_owners{};
inline constexpr ownership root_owned{false, 0, 0};
constexpr ownership owned_by(std::uint32_t uid, std::uint32_t gid) noexcept {
    return {false, uid, gid};
}

/// Which extended attributes are stored.
enum class xattr_policy {
    capabilities,          ///< security.capability
    user_and_capabilities, ///< that and user.*, but for user.overlay.*, which would steer an overlay file
                           ///< system
    none,
};

/// The policies of a header in one place, for the layer sources that read trees.
struct header_policies {
    ownership owners = kept_owners;
    xattr_policy xattrs = xattr_policy::capabilities;
};

namespace detail {

inline constexpr char capability_attribute[] = "security.capability";

/// Where the extended attributes of a file are read: an open file, or a path that ends in it.
class attribute_place {
  public:
    static attribute_place of_open(int fd) { return {fd, {}}; }
    /// Works for what cannot be opened (links, devices) and below any depth: the kernel resolves the name in
    /// the directory that `item.folder` has open. Five times as slow as an open file.
    static attribute_place of(tree_item const& item) {
        if (item.opened >= 0) return of_open(item.opened);
        return {-1, "/proc/self/fd/" + std::to_string(item.folder) + "/" + item.name()};
    }

    /// The value, or nothing if there is no such attribute. Throws system_error; `label` is for its message.
    [[nodiscard]] std::optional<std::string> value(char const* name, source_label label) const {
        return filled(label, [&](char* to, std::size_t size) {
            return fd_ >= 0 ? ::fgetxattr(fd_, name, to, size) : ::lgetxattr(path_.c_str(), name, to, size);
        });
    }

    /// The names, each followed by NUL.
    [[nodiscard]] std::string names(source_label label) const {
        return filled(label,
                      [&](char* to, std::size_t size) {
                          return fd_ >= 0 ? ::flistxattr(fd_, to, size)
                                          : ::llistxattr(path_.c_str(), to, size);
                      })
            .value_or(std::string{});
    }

  private:
    attribute_place(int fd, std::string path) : fd_{fd}, path_{std::move(path)} {}

    template <class Call>
    static std::optional<std::string> filled(source_label label, Call call) {
        constexpr std::size_t usual = 64, largest = 65536; // largest: XATTR_SIZE_MAX and XATTR_LIST_MAX
        std::array<char, usual> space{};
        auto n = call(space.data(), space.size());
        if (n >= 0) return std::string{space.data(), static_cast<std::size_t>(n)};
        if (errno == ENODATA || errno == ENOTSUP) return std::nullopt;
        if (errno != ERANGE) throw system_error{"read extended attributes of", label.text(), errno};
        std::string value(largest, '\0');
        n = call(value.data(), value.size());
        if (n < 0) throw system_error{"read extended attributes of", label.text(), errno};
        value.resize(static_cast<std::size_t>(n));
        return value;
    }

    int fd_;
    std::string path_;
};

inline bool is_stored(std::string_view attribute) {
    return attribute == capability_attribute ||
           (attribute.starts_with("user.") && !attribute.starts_with("user.overlay."));
}

/// The extended attributes that the policy stores, sorted by name.
inline std::vector<extended_attribute> read_attributes(attribute_place const& place, xattr_policy policy,
                                                       source_label label) {
    std::vector<extended_attribute> found;
    if (policy == xattr_policy::none) return found;
    auto const add = [&](char const* name) {
        auto value = place.value(name, label);
        // An empty capability means none.
        if (value && !(value->empty() && name == std::string_view{capability_attribute}))
            found.push_back({name, std::move(*value)});
    };
    if (policy == xattr_policy::capabilities) {
        add(capability_attribute);
        return found;
    }
    auto const list = place.names(label);
    std::vector<std::string> names;
    for (std::size_t at = 0; at < list.size(); at += names.back().size() + 1)
        names.emplace_back(list.c_str() + at);
    std::sort(names.begin(), names.end(), std::greater<>{}); // as in a directory: the next one is at the back
    for (; !names.empty(); names.pop_back())
        if (is_stored(names.back())) add(names.back().c_str());
    return found;
}

inline std::string read_link(tree_item const& item, source_label label) {
    // st_size is the length of the target on most file systems, a hint on the others.
    std::string target(static_cast<std::size_t>(item.facts.st_size) + 1, '\0');
    for (;;) {
        auto const n = ::readlinkat(item.folder, item.name(), target.data(), target.size());
        if (n < 0) throw system_error{"read", label.text(), errno};
        if (static_cast<std::size_t>(n) < target.size()) {
            target.resize(static_cast<std::size_t>(n));
            return target;
        }
        target.resize(2 * target.size());
    }
}

/// The type as tar has it; nothing for a socket.
inline std::optional<entry_type> entry_type_of(::mode_t mode) {
    switch (mode & S_IFMT) {
    case S_IFREG:
        return entry_type::regular;
    case S_IFDIR:
        return entry_type::directory;
    case S_IFLNK:
        return entry_type::symbolic_link;
    case S_IFCHR:
        return entry_type::character_device;
    case S_IFBLK:
        return entry_type::block_device;
    case S_IFIFO:
        return entry_type::fifo;
    default:
        return std::nullopt;
    }
}

/// The header of `item`, without its extended attributes. Not for sockets.
inline tar_entry make_header(tree_item const& item, entry_type type, ownership owners, timestamps_ref time,
                             source_label label) {
    auto const& facts = item.facts;
    tar_entry entry;
    entry.name = item.path;
    entry.type = type;
    entry.mode = facts.st_mode & 07777u;
    entry.uid = owners.kept ? facts.st_uid : owners.uid;
    entry.gid = owners.kept ? facts.st_gid : owners.gid;
    // Seconds of the kernel are rounded down already, below 1970 too.
    entry.mtime = time(timestamp{facts.st_mtim.tv_sec, 0});
    switch (type) {
    case entry_type::directory:
        entry.name += '/';
        break;
    case entry_type::regular:
        entry.size = static_cast<std::uint64_t>(facts.st_size);
        break;
    case entry_type::symbolic_link:
        entry.link_name = read_link(item, label);
        break;
    case entry_type::character_device:
    case entry_type::block_device:
        entry.device_major = ::gnu_dev_major(facts.st_rdev);
        entry.device_minor = ::gnu_dev_minor(facts.st_rdev);
        break;
    default:
        break;
    }
    return entry;
}

} // namespace detail

} // namespace shiplap
