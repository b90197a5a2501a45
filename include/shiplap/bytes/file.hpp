#pragma once
// Files as byte sources and sinks, and the one way in which shiplap makes a file appear: staged_file.
//
// A staged_file has no name until publish(). It is opened with O_TMPFILE where the file system can, so that
// even a killed process leaves nothing behind; else under a hidden temporary name that the destructor
// removes. publish() makes the bytes durable (fsync), then gives them their name with rename(2), which
// replaces atomically.

#include <shiplap/bytes/concept.hpp>
#include <shiplap/error.hpp>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace shiplap {

/// Owns a file descriptor.
class unique_fd {
  public:
    unique_fd() noexcept = default;
    explicit unique_fd(int fd) noexcept : fd_{fd} {}
    unique_fd(unique_fd&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
    unique_fd& operator=(unique_fd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~unique_fd() {
        if (fd_ >= 0) ::close(fd_);
    }

    [[nodiscard]] int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }

  private:
    int fd_ = -1;
};

namespace detail {

/// Repeats a system call that a signal interrupted.
template <class Call>
auto retry_interrupted(Call call) {
    auto result = call();
    while (result < 0 && errno == EINTR) result = call();
    return result;
}

inline unique_fd open_file(std::string const& path, int flags, ::mode_t mode = 0) {
    unique_fd fd{retry_interrupted([&] { return ::open(path.c_str(), flags | O_CLOEXEC, mode); })};
    if (!fd) throw system_error{"open", path, errno};
    return fd;
}

inline void write_fully(int fd, bytes_view in, std::string const& path) {
    while (!in.empty()) {
        auto const n = retry_interrupted([&] { return ::write(fd, in.data(), in.size()); });
        if (n < 0) throw system_error{"write", path, errno};
        in = in.subspan(static_cast<std::size_t>(n));
    }
}

inline void sync_file(int fd, std::string const& path) {
    if (retry_interrupted([&] { return ::fsync(fd); }) != 0) throw system_error{"fsync", path, errno};
}

/// Makes the names in a directory durable.
inline void sync_directory(std::string const& path) {
    auto const fd = open_file(path, O_RDONLY | O_DIRECTORY);
    // Some file systems have nothing to sync in a directory and say so.
    if (retry_interrupted([&] { return ::fsync(fd.get()); }) != 0 && errno != EINVAL && errno != ENOTSUP)
        throw system_error{"fsync", path, errno};
}

/// The folder that holds `path`, as a path that can be opened.
inline std::string parent_of(std::string const& path) {
    auto const folder = std::filesystem::path{path}.parent_path().string();
    return folder.empty() ? "." : folder;
}

/// The nearest folder at or above `path` that exists.
inline std::string existing_ancestor(std::string path) {
    struct ::stat facts {};
    while (::stat(path.c_str(), &facts) != 0 && (errno == ENOENT || errno == ENOTDIR)) {
        auto up = parent_of(path);
        if (up == path) break;
        path = std::move(up);
    }
    return path;
}

} // namespace detail

/// Reads a file from a given offset. Does not share the offset of its descriptor, so several readers may
/// share one file.
class file_reader {
  public:
    /// Opens `path`; throws system_error.
    explicit file_reader(std::string path)
        : path_{std::move(path)}, fd_{detail::open_file(path_, O_RDONLY)} {}
    /// Reads from an open descriptor; `path` is for messages.
    file_reader(unique_fd fd, std::string path) : path_{std::move(path)}, fd_{std::move(fd)} {}

    std::size_t read(bytes_span into) {
        auto const n = detail::retry_interrupted(
            [&] { return ::pread(fd_.get(), into.data(), into.size(), static_cast<::off_t>(offset_)); });
        if (n < 0) throw system_error{"read", path_, errno};
        offset_ += static_cast<std::uint64_t>(n);
        return static_cast<std::size_t>(n);
    }

    /// Back to the first byte: a file_reader is replayable.
    void rewind() noexcept { offset_ = 0; }

    [[nodiscard]] std::string const& path() const noexcept { return path_; }
    [[nodiscard]] int descriptor() const noexcept { return fd_.get(); }

  private:
    std::string path_;
    unique_fd fd_;
    std::uint64_t offset_ = 0;
};

/// Reads a stream that cannot be rewound, such as a pipe or standard input. Does not own the descriptor.
class stream_reader {
  public:
    stream_reader(int fd, std::string name) : fd_{fd}, name_{std::move(name)} {}

    std::size_t read(bytes_span into) {
        auto const n = detail::retry_interrupted([&] { return ::read(fd_, into.data(), into.size()); });
        if (n < 0) throw system_error{"read", name_, errno};
        return static_cast<std::size_t>(n);
    }

  private:
    int fd_;
    std::string name_;
};

/// What a staged_file is for.
enum class staging {
    publication, ///< written to disk from the start, so that publish() has little to wait for
    scratch,     ///< will probably vanish again: need never reach the disk
};

/// A new file without a name. See the top of this header.
class staged_file {
  public:
    /// A file that can later be published anywhere on the file system of `folder`, which must exist.
    explicit staged_file(std::string const& folder, staging purpose = staging::publication)
        : label_{folder}, flush_interval_{purpose == staging::publication ? 8U << 20 : UINT64_MAX} {
        fd_ = unique_fd{detail::retry_interrupted(
            [&] { return ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600); })};
        if (fd_) return;
        if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
            throw system_error{"create file in", folder, errno};
        temporary_ = folder + "/.shiplap-XXXXXX";
        fd_ = unique_fd{::mkostemp(temporary_.data(), O_CLOEXEC)};
        if (!fd_) throw system_error{"create file in", folder, errno};
    }
    staged_file(staged_file&& other) noexcept
        : label_{std::move(other.label_)},
          temporary_{std::exchange(other.temporary_, {})},
          fd_{std::move(other.fd_)},
          flush_interval_{other.flush_interval_},
          size_{other.size_},
          flushing_{other.flushing_} {}
    staged_file& operator=(staged_file&& other) noexcept {
        std::swap(label_, other.label_);
        std::swap(temporary_, other.temporary_);
        std::swap(fd_, other.fd_);
        std::swap(flush_interval_, other.flush_interval_);
        std::swap(size_, other.size_);
        std::swap(flushing_, other.flushing_);
        return *this;
    }
    ~staged_file() {
        if (!temporary_.empty()) ::unlink(temporary_.c_str());
    }

    void write(bytes_view in) {
        detail::write_fully(fd_.get(), in, label_);
        size_ += in.size();
        if (size_ - flushing_ >= flush_interval_) start_writing();
    }

    /// Bytes written so far.
    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

    /// Lets the disk begin with what was written so far, and does not wait for it.
    void start_writing() noexcept {
        // Only a hint: fsync() tells of failures.
        (void)::sync_file_range(fd_.get(), static_cast<::off64_t>(flushing_),
                                static_cast<::off64_t>(size_ - flushing_), SYNC_FILE_RANGE_WRITE);
        flushing_ = size_;
    }

    /// Bytes written so far, from the start, through a descriptor of its own.
    [[nodiscard]] file_reader reader() const {
        unique_fd copy{::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0)};
        if (!copy) throw system_error{"open", label_, errno};
        return {std::move(copy), label_};
    }

    /// Makes the content durable and visible as `path`, replacing a file of that name. `mode` is exact: no
    /// umask.
    void publish(std::string const& path, ::mode_t mode) {
        settle(path, mode);
        name(path);
    }

    /// The two halves of publish(): who has many files settles them all before the first one gets its name, for a
    /// journaling file system writes its journal at each fsync() that follows a change of names.
    void settle(std::string const& path, ::mode_t mode) {
        if (::fchmod(fd_.get(), mode) != 0) throw system_error{"set mode of", path, errno};
        detail::sync_file(fd_.get(), path);
    }
    void name(std::string const& path) {
        if (temporary_.empty()) link_beside(path);
        if (::rename(temporary_.c_str(), path.c_str()) != 0) throw system_error{"write", path, errno};
        temporary_.clear();
    }

  private:
    // linkat() does not replace, rename() does: link under a free hidden name first.
    void link_beside(std::string const& path) {
        auto const self = "/proc/self/fd/" + std::to_string(fd_.get());
        auto const folder = detail::parent_of(path);
        for (unsigned attempt = 0;; ++attempt) {
            auto name = folder + "/.shiplap-" + std::to_string(::getpid()) + "-" + std::to_string(attempt);
            if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
                temporary_ = std::move(name);
                return;
            }
            if (errno != EEXIST || attempt == 10'000) throw system_error{"write", path, errno};
        }
    }

    std::string label_;     // for messages
    std::string temporary_; // the hidden name, if there is one
    unique_fd fd_;
    std::uint64_t flush_interval_;          // bytes
    std::uint64_t size_ = 0, flushing_ = 0; // written; of these handed to the disk
};

/// Reads a whole small file; one that has more than `limit` bytes is a format_error.
inline std::string read_file(std::string const& path, std::uint64_t limit) {
    file_reader file{path};
    std::string text;
    std::array<std::byte, 16 * 1024>
        buffer; // NOLINT(cppcoreguidelines-pro-type-member-init): filled by read()
    while (auto const n = file.read(buffer)) {
        text.append(as_text(bytes_view{buffer}.first(n)));
        if (text.size() > limit)
            throw format_error{"read", path, "larger than the limit of " + std::to_string(limit) + " bytes"};
    }
    return text;
}

/// Writes a whole small file atomically, with exactly this mode.
inline void write_file(std::string const& path, std::string_view text, ::mode_t mode = 0644) {
    staged_file file{detail::parent_of(path)};
    file.write(as_bytes(text));
    file.publish(path, mode);
}

/// Holds an exclusive advisory lock on a directory until destroyed; waits for other holders, threads
/// included. It locks the directory itself, not a file in it: nothing has to be created, so nothing is left
/// behind or removed while others wait for it. Throws system_error, with ENOENT if there is no such directory
/// any more.
class folder_lock {
  public:
    explicit folder_lock(std::string const& path) {
        for (;;) {
            fd_ = detail::open_file(path, O_RDONLY | O_DIRECTORY);
            if (detail::retry_interrupted([&] { return ::flock(fd_.get(), LOCK_EX); }) != 0)
                throw system_error{"lock", path, errno};
            // While we waited the directory may have been removed, and another one made in its place.
            struct ::stat held {
            }, there{};
            if (::fstat(fd_.get(), &held) != 0 || ::stat(path.c_str(), &there) != 0)
                throw system_error{"lock", path, errno};
            if (held.st_dev == there.st_dev && held.st_ino == there.st_ino) return;
        }
    }

  private:
    unique_fd fd_; // closing it releases the lock
};

} // namespace shiplap
