#pragma once
// staged_directory: a directory that appears whole or not at all, as staged_file is for files.
//
//     staged_directory tree{"rootfs"};         // rootfs does not exist, or is an empty directory
//     fill(tree.descriptor());                 // .shiplap-XXXXXX/tree beside it, which nobody else can look
//     into tree.publish();                          // now it is rootfs
//
// Without publish() the destructor removes everything, jail-safe: whatever was extracted cannot lead it
// astray.

#include <shiplap/bytes/file.hpp>
#include <shiplap/sink/tree_removal.hpp>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace shiplap {

class staged_directory {
  public:
    /// Checks the destination and makes the directory, with mode 0755 and time 0. Folders above the
    /// destination may be missing. Throws option_error if there is something already, system_error.
    explicit staged_directory(std::string destination) : staged_directory{} {
        destination_ = checked(std::move(destination));
        auto const folder = detail::existing_ancestor(detail::parent_of(destination_));
        folder_ = detail::open_file(folder, O_PATH | O_DIRECTORY);
        auto pattern = folder + "/.shiplap-XXXXXX";
        if (::mkdtemp(pattern.data()) == nullptr) throw system_error{"create directory in", folder, errno};
        label_ = pattern;
        name_ = pattern.substr(pattern.rfind('/') + 1);
        outer_ =
            unique_fd{::openat(folder_.get(), name_.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        if (!outer_ || ::mkdirat(outer_.get(), inner_name, 0700) != 0) fail();
        inner_ =
            unique_fd{::openat(outer_.get(), inner_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        std::array<::timespec, 2> const epoch{};
        if (!inner_ || ::fchmod(inner_.get(), 0755) != 0 || ::futimens(inner_.get(), epoch.data()) != 0)
            fail();
    }
    staged_directory(staged_directory&& other) noexcept : staged_directory{} { *this = std::move(other); }
    staged_directory& operator=(staged_directory&& other) noexcept {
        std::swap(destination_, other.destination_);
        std::swap(label_, other.label_);
        std::swap(name_, other.name_);
        std::swap(folder_, other.folder_);
        std::swap(outer_, other.outer_);
        std::swap(inner_, other.inner_);
        return *this;
    }
    ~staged_directory() {
        if (name_.empty()) return;
        try {
            remove_tree(folder_.get(), name_, label_);
        } catch (error const&) { // NOLINT(bugprone-empty-catch): on the way out of a failure already
        }
    }

    [[nodiscard]] int descriptor() const noexcept { return inner_.get(); }
    /// Where it will be.
    [[nodiscard]] std::string const& destination() const noexcept { return destination_; }
    /// Where it is, for messages.
    [[nodiscard]] std::string const& label() const noexcept { return label_; }

    /// Makes all of it durable, then visible. Throws system_error, also if the destination is no longer
    /// empty.
    void publish() {
        if (::syncfs(inner_.get()) != 0) throw system_error{"sync", destination_, errno};
        auto const folder = detail::parent_of(destination_);
        std::filesystem::create_directories(folder);
        // A directory that moves gets another "..": its owner needs write permission for that.
        auto const mode = detail::stat_open(inner_.get(), label_).st_mode;
        bool const locked = detail::needs_access(mode);
        if (locked) set_mode(mode | S_IRWXU);
        if (::renameat(outer_.get(), inner_name, AT_FDCWD, destination_.c_str()) != 0)
            throw system_error{"write", destination_, errno};
        if (locked) set_mode(mode);
        detail::sync_directory(folder);
        if (::unlinkat(folder_.get(), name_.c_str(), AT_REMOVEDIR) != 0) fail();
        name_.clear();
    }

  private:
    static constexpr char const* inner_name = "tree";

    staged_directory() = default;

    [[noreturn]] void fail() const { throw system_error{"create directory", label_, errno}; }

    void set_mode(::mode_t mode) const {
        if (::fchmod(inner_.get(), mode & 07777) != 0) throw system_error{"set mode of", destination_, errno};
    }

    /// The path to rename to: without a link at its end, which a rename would not follow.
    static std::string checked(std::string path) {
        while (path.size() > 1 && path.back() == '/') path.pop_back();
        if (path.empty()) throw option_error{"extract to", path, "needs the name of a directory"};
        struct ::stat facts {};
        if (::lstat(path.c_str(), &facts) != 0) {
            if (errno != ENOENT) throw system_error{"extract to", path, errno};
            return path;
        }
        if (S_ISLNK(facts.st_mode) && ::stat(path.c_str(), &facts) != 0)
            throw option_error{"extract to", path, "is a symbolic link that leads nowhere"};
        if (!S_ISDIR(facts.st_mode)) throw option_error{"extract to", path, "exists and is not a directory"};
        if (!detail::names_in(detail::open_file(path, O_RDONLY | O_DIRECTORY).get(), path).empty())
            throw option_error{"extract to", path, "is not empty; name a new directory or an empty one"};
        return std::filesystem::canonical(path).string();
    }

    std::string destination_, label_, name_; // name_: of the outer directory, empty if there is none
    unique_fd folder_, outer_, inner_;
};

} // namespace shiplap
