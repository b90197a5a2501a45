#pragma once
// extraction: what may come out of an archive, and how the metadata of an entry gets onto a file.
//
// Each policy has a default that is right for the root file system of a container:
//
//   ownership   numeric owners are kept by root and left alone by everyone else
//   devices     device nodes are skipped with a warning; fifos are made
//   xattrs      security.capability and user.* only: other namespaces change how this machine treats the
//   files
//               (security.selinux, trusted.overlay.*, user.overlay.*, system.posix_acl_*). What describes
//               overlayfs layers is dropped silently, the rest with a warning
//   mode        exact, set-id and sticky bits included, whatever the umask
//   times       the modification time, for the access time too, to the nanosecond; the file system clamps
//   what it
//               cannot hold (ext4: 1901 to 2446)

#include <shiplap/bytes/progress.hpp>
#include <shiplap/error.hpp>
#include <shiplap/sink/layer_changes.hpp>
#include <shiplap/tar/entry.hpp>
#include <shiplap/tar/scanner.hpp>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <set>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace shiplap {

enum class ownership_policy {
    automatic, ///< keep if the process is root, none otherwise
    keep,      ///< owners and groups as in the archive; an error if that is not permitted
    none,      ///< everything belongs to the process
};

enum class device_policy {
    skip,   ///< left out, with a warning that names the entry
    create, ///< made; needs CAP_MKNOD
    refuse, ///< an error that names the entry
};

/// Bounds of one layer.
struct extraction_limits {
    tar_limits tar{}; ///< entries and headers
    /// Plain bytes for each packed byte at most ...
    std::uint64_t expansion = 1000;
    /// ... beyond this many plain bytes. That much is harmless, and a small image may well hold one sparse
    /// file.
    std::uint64_t free_expansion = 64 * 1024 * 1024;
    /// Plain bytes at most.
    std::uint64_t bytes = std::uint64_t{1} << 40;
};

struct extraction_options {
    ownership_policy ownership = ownership_policy::automatic;
    device_policy devices = device_policy::skip;
    extraction_limits limits{};
    progress_ref progress{}; ///< hears warnings
};

namespace detail {

/// Tells each warning once, and not more than a person reads.
class warnings {
  public:
    explicit warnings(progress_ref progress) : progress_{progress} {}

    void operator()(std::string const& text) {
        if (told_.size() > most || !told_.insert(text).second) return;
        progress_.warn(told_.size() > most ? "there are more warnings like these" : text);
    }

  private:
    static constexpr std::size_t most = 100;
    progress_ref progress_;
    std::set<std::string> told_;
};

enum class xattr_verdict { set, drop_silently, drop_with_warning };

inline xattr_verdict judge_xattr(std::string_view name) noexcept {
    if (name.starts_with("trusted.overlay.") || name.starts_with("user.overlay."))
        return xattr_verdict::drop_silently;
    if (name == "security.capability" || (name.starts_with("user.") && name.find('\0') == name.npos))
        return xattr_verdict::set;
    return xattr_verdict::drop_with_warning;
}

/// Puts the metadata of entries onto files, according to the options.
class metadata_writer {
  public:
    explicit metadata_writer(extraction_options const& options)
        : owners_{options.ownership == ownership_policy::keep ||
                  (options.ownership == ownership_policy::automatic && ::geteuid() == 0)},
          warn_{options.progress} {}

    /// Owner, attributes, mode and times of an open file. In this order: a change of owner clears set-id bits
    /// and capabilities.
    void finish_file(int fd, tar_entry const& entry) {
        set_owner(fd, "", AT_EMPTY_PATH, entry);
        set_xattrs(fd, entry);
        if (::fchmod(fd, entry.mode & 07777) != 0) throw system_error{"set mode of", entry.name, errno};
        if (::futimens(fd, file_times(entry.mtime).data()) != 0)
            throw system_error{"set time of", entry.name, errno};
    }

    /// Owner and attributes of an open directory; mode and time come when its content is complete. Attributes
    /// that it has from a lower layer and not in `entry` go.
    void begin_directory(int fd, tar_entry const& entry, bool is_new) {
        set_owner(fd, "", AT_EMPTY_PATH, entry);
        if (!is_new) remove_xattrs(fd, entry);
        set_xattrs(fd, entry);
    }

    /// What can be set without opening: for links, fifos and devices.
    void finish_special(int folder, char const* name, tar_entry const& entry) {
        set_owner(folder, name, AT_SYMLINK_NOFOLLOW, entry);
        for (auto const& attribute : entry.xattrs)
            if (judge_xattr(attribute.name) != xattr_verdict::drop_silently)
                warn_("extract '" + printable(entry.name) + "': attribute '" + printable(attribute.name) +
                      "' is left out: only files and directories get attributes");
        if (entry.type != entry_type::symbolic_link)
            set_mode_at(folder, name, entry.mode & 07777, entry.name);
        if (::utimensat(folder, name, file_times(entry.mtime).data(), AT_SYMLINK_NOFOLLOW) != 0)
            throw system_error{"set time of", entry.name, errno};
    }

    void warn(std::string const& text) { warn_(text); }

  private:
    void set_owner(int at, char const* name, int flags, tar_entry const& entry) const {
        if (!owners_) return;
        // The highest number would mean "leave as it is".
        constexpr std::uint64_t most = std::numeric_limits<::uid_t>::max() - 1;
        if (entry.uid > most || entry.gid > most)
            throw error{error_code::unsafe_entry, "set owner of", entry.name,
                        "owner " + std::to_string(std::max(entry.uid, entry.gid)) + " is above " +
                            std::to_string(most)};
        if (::fchownat(at, name, static_cast<::uid_t>(entry.uid), static_cast<::gid_t>(entry.gid), flags) !=
            0)
            throw system_error{"set owner of", entry.name, errno};
    }

    void set_xattrs(int fd, tar_entry const& entry) {
        for (auto const& [name, value] : entry.xattrs) {
            auto const verdict = judge_xattr(name);
            if (verdict == xattr_verdict::drop_silently) continue;
            if (verdict == xattr_verdict::set &&
                ::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) == 0)
                continue;
            bool const refused = verdict == xattr_verdict::set;
            if (refused && errno != EPERM && errno != ENOTSUP)
                throw system_error{"set attribute '" + printable(name) + "' of", entry.name, errno};
            warn_("attributes '" + printable(name) + "' are left out: " +
                  (refused ? "the file system or a missing privilege does not allow them"
                           : "only security.capability and user.* are extracted"));
        }
    }

    static void remove_xattrs(int fd, tar_entry const& entry) {
        auto const size = ::flistxattr(fd, nullptr, 0);
        if (size <= 0) return; // none, or a file system without attributes
        std::string names(static_cast<std::size_t>(size), '\0');
        auto const filled = ::flistxattr(fd, names.data(), names.size());
        if (filled < 0) throw system_error{"read attributes of", entry.name, errno};
        names.resize(static_cast<std::size_t>(filled));
        for (std::size_t at = 0; at < names.size(); at = names.find('\0', at) + 1) {
            auto const* const name = names.c_str() + at;
            if (judge_xattr(name) == xattr_verdict::set && ::fremovexattr(fd, name) != 0 && errno != EPERM)
                throw system_error{"remove attribute '" + printable(name) + "' of", entry.name, errno};
        }
    }

    bool owners_;
    warnings warn_;
};

} // namespace detail

} // namespace shiplap
