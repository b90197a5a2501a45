#pragma once
// root_directory: a directory as a jail. Names that come from an archive are resolved inside it and nowhere
// else.
//
//     root_directory root{detail::open_file("rootfs", O_PATH | O_DIRECTORY)};
//     auto const where = entry_path::parse("lib/x86_64-linux-gnu/libc.so.6");  // throws error{unsafe_entry}
//     auto const parent = root.find_directory(where.parent());                 // follows /lib -> usr/lib, in
//     the root
//     ::openat(parent.get(), where.base(), O_NOFOLLOW | ...);                  // the last component: never
//     followed
//
// Symbolic links among the parents are legitimate in images. They are resolved as chroot(2) would: an
// absolute target starts at the root, ".." stops at the root. openat2(2) does that in one step with the open,
// so there is no check that a later system call could understand differently. Where it is missing (before
// Linux 5.6, or filtered by seccomp) the path is opened component by component, each with O_NOFOLLOW, links
// read through the very descriptor that was found to be one.

#include <shiplap/bytes/file.hpp>
#include <shiplap/error.hpp>

#include <climits>

#include <algorithm>
#include <compare>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace shiplap {

/// Components of a name at most; the deepest path of 4096 bytes has fewer.
inline constexpr std::size_t max_path_depth = 2048;
/// Bytes of a component at most (NAME_MAX of Linux file systems).
inline constexpr std::size_t max_component_length = 255;

/// A name from an archive, checked: relative, without "..", NUL, or oversized parts. "." and repeated slashes
/// are dropped, so is a slash at the end.
class entry_path {
  public:
    /// Throws error{unsafe_entry} with `name` as its subject.
    static entry_path parse(std::string_view name) {
        auto const refuse = [name](std::string reason) {
            throw error{error_code::unsafe_entry, "extract", std::string{name}, std::move(reason)};
        };
        if (name.empty()) refuse("an entry needs a name");
        if (name.find('\0') != name.npos) refuse("a name must not contain a NUL byte");
        if (name.front() == '/') refuse("a name must be relative, this one is absolute");
        entry_path path;
        std::size_t depth = 0;
        for (auto rest = name; !rest.empty();) {
            auto const part = rest.substr(0, rest.find('/'));
            rest.remove_prefix(std::min(rest.size(), part.size() + 1));
            if (part.empty() || part == ".") continue;
            if (part == "..") refuse("a name must not contain '..'");
            if (part.size() > max_component_length)
                refuse("a component has " + std::to_string(part.size()) + " bytes, at most " +
                       std::to_string(max_component_length) + " are allowed");
            if (++depth > max_path_depth)
                refuse("lies more than " + std::to_string(max_path_depth) + " directories deep");
            if (!path.text_.empty()) path.text_ += '/';
            path.base_at_ = path.text_.size();
            path.text_ += part;
        }
        return path;
    }

    /// True for "." and the like: the root itself.
    [[nodiscard]] bool is_root() const noexcept { return text_.empty(); }
    /// The normal form; empty for the root.
    [[nodiscard]] std::string const& text() const noexcept { return text_; }
    /// All but the last component; empty for the root and its children.
    [[nodiscard]] std::string_view parent() const noexcept {
        return std::string_view{text_}.substr(0, base_at_ == 0 ? 0 : base_at_ - 1);
    }
    /// The last component.
    [[nodiscard]] char const* base() const noexcept { return text_.c_str() + base_at_; }

  private:
    std::string text_;
    std::size_t base_at_ = 0;
};

/// What makes a file the same file, whatever its name.
struct file_identity {
    ::dev_t device = 0;
    ::ino_t inode = 0;

    file_identity() = default;
    explicit file_identity(struct ::stat const& facts) noexcept : device{facts.st_dev}, inode{facts.st_ino} {}
    friend bool operator==(file_identity const&, file_identity const&) = default;
    friend auto operator<=>(file_identity const&, file_identity const&) = default;
};

/// How a root_directory finds things.
enum class path_resolver {
    kernel, ///< openat2(2), if it works here, else step by step
    steps,  ///< component by component
};

class root_directory {
  public:
    /// `root` is any descriptor of the directory, O_PATH included.
    explicit root_directory(unique_fd root, path_resolver how = path_resolver::kernel)
        : root_{std::move(root)}, how_{how} {
        if (how_ == path_resolver::kernel && !ask_kernel(".")) how_ = path_resolver::steps;
    }

    /// An O_PATH descriptor of the directory `path`, the root for "". Empty, with errno set, if there is
    /// none: ENOENT, ENOTDIR, ELOOP, EACCES, ...
    [[nodiscard]] unique_fd find_directory(std::string_view path) const {
        if (path.empty()) path = ".";
        // The kernel takes a path in one piece only; a piece of it would be a root of its own.
        if (how_ == path_resolver::steps || path.size() >= PATH_MAX) return go_by_steps(path);
        auto found = ask_kernel(std::string{path});
        // EAGAIN: something is being renamed meanwhile, so the kernel cannot vouch for "..".
        return found || errno != EAGAIN ? std::move(found) : go_by_steps(path);
    }

    /// As find_directory(), but makes what is missing, with mode 0700. Before each new directory
    /// `before(folder, path)` hears where it will be made, then `made(folder, fd, path)` hears of itself:
    /// descriptors and the path of the last one.
    template <class Before, class Made>
    unique_fd make_directories(std::string_view path, Before before, Made made) const {
        auto found = find_directory(path);
        auto known = path;
        while (!found && errno == ENOENT && !known.empty()) {
            auto const slash = known.rfind('/');
            known = known.substr(0, slash == known.npos ? 0 : slash);
            found = find_directory(known);
        }
        while (found && known.size() < path.size()) {
            before(found.get(), known);
            auto const start = known.empty() ? 0 : known.size() + 1;
            known = path.substr(0, path.find('/', start));
            std::string const name{known.substr(start)};
            // EEXIST: a link that leads nowhere, which is ENOENT, or another process was quicker.
            if (::mkdirat(found.get(), name.c_str(), 0700) != 0) {
                found = errno == EEXIST ? find_directory(known) : unique_fd{};
                continue;
            }
            unique_fd next{::openat(found.get(), name.c_str(), directory_handle)};
            if (next) made(found.get(), next.get(), known);
            found = std::move(next);
        }
        return found;
    }

    [[nodiscard]] int descriptor() const noexcept { return root_.get(); }
    /// What is really used.
    [[nodiscard]] path_resolver resolver() const noexcept { return how_; }

  private:
    /// Links followed in one path at most, as in the kernel.
    static constexpr unsigned max_links = 40;
    /// Directories opened again for ".." in link targets at most; no real image comes near.
    static constexpr std::size_t max_retraced = 100'000;
    static constexpr int directory_handle = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

    [[nodiscard]] unique_fd ask_kernel(std::string const& path) const {
        struct ::open_how how {};
        how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
        how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
        return unique_fd{static_cast<int>(detail::retry_interrupted(
            [&] { return ::syscall(SYS_openat2, root_.get(), path.c_str(), &how, sizeof how); }))};
    }

    [[nodiscard]] unique_fd go_by_steps(std::string_view path) const {
        std::vector<std::string> way; // where `here` is: names that are directories, not links
        std::size_t work = 0;         // directories opened on the way back
        unique_fd here{::openat(root_.get(), ".", directory_handle)};
        auto to_do = split_reversed(path);
        for (unsigned links = 0; here && !to_do.empty();) {
            auto const name = std::move(to_do.back());
            to_do.pop_back();
            if (name == "..") {
                // From the root again: the kernel's ".." could be outside by now.
                if (!way.empty()) way.pop_back();
                if ((work += way.size()) > max_retraced) return fail(ELOOP);
                here = retrace(way);
                continue;
            }
            unique_fd next{::openat(here.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
            struct ::stat facts {};
            if (!next || ::fstat(next.get(), &facts) != 0) return {};
            if (S_ISDIR(facts.st_mode)) {
                here = std::move(next);
                way.push_back(name);
                continue;
            }
            if (!S_ISLNK(facts.st_mode)) return fail(ENOTDIR);
            if (++links > max_links) return fail(ELOOP);
            std::string target(PATH_MAX, '\0');
            auto const length = ::readlinkat(next.get(), "", target.data(), target.size());
            if (length < 0) return {};
            target.resize(static_cast<std::size_t>(length));
            if (target.empty()) return fail(ENOENT);
            if (target.front() == '/') {
                way.clear();
                here = retrace(way);
            }
            for (auto& part : split_reversed(target)) to_do.push_back(std::move(part));
        }
        return here;
    }

    [[nodiscard]] unique_fd retrace(std::vector<std::string> const& way) const {
        unique_fd here{::openat(root_.get(), ".", directory_handle)};
        for (auto const& name : way) {
            if (!here) break;
            here = unique_fd{::openat(here.get(), name.c_str(), directory_handle)};
        }
        return here;
    }

    static std::vector<std::string> split_reversed(std::string_view path) {
        std::vector<std::string> parts;
        while (!path.empty()) {
            auto const part = path.substr(0, path.find('/'));
            path.remove_prefix(std::min(path.size(), part.size() + 1));
            if (!part.empty() && part != ".") parts.emplace_back(part);
        }
        std::reverse(parts.begin(), parts.end());
        return parts;
    }

    static unique_fd fail(int number) noexcept {
        errno = number;
        return {};
    }

    unique_fd root_;
    path_resolver how_;
};

} // namespace shiplap
