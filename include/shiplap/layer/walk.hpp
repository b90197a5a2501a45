#pragma once
// Walks a directory tree in the one order that layers have: depth-first, the children of a directory sorted
// by the bytes of their names ("a", "a/b", then "a-b"), whatever readdir, the locale or the file system say.
//
//     tree_walker walk{"app"};
//     while (auto const* item = walk.next()) use(item->path, item->facts);
//
// Every step is relative to an open directory and follows no symbolic link, so that a path may be longer than
// PATH_MAX and a directory that is swapped for a link leads nowhere. Only the names in the directories on the
// current path are kept, and at most `open_levels` descriptors. What changes under the walk is an
// error{source_changed} that names the path.

#include <shiplap/bytes/file.hpp>
#include <shiplap/tar/whiteout.hpp>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace shiplap {

/// What to do with a source file whose name starts with ".wh.": in a layer that name is a deletion.
enum class reserved_names {
    refuse, ///< an error that names the path
    skip,   ///< left out, and what lies below it
};

/// One thing met on a walk; never the root itself. Valid until the walker moves.
struct tree_item {
    std::string path;       ///< relative to the root, no '/' at either end
    std::size_t name_at;    ///< where the last component of `path` starts
    struct ::stat facts {}; ///< of the thing itself: links are not followed
    int folder = -1;        ///< descriptor of the directory that holds it

    [[nodiscard]] char const* name() const noexcept { return path.c_str() + name_at; }
    [[nodiscard]] bool is_directory() const noexcept { return S_ISDIR(facts.st_mode); }
    [[nodiscard]] bool is_regular() const noexcept { return S_ISREG(facts.st_mode); }
    [[nodiscard]] bool is_symbolic_link() const noexcept { return S_ISLNK(facts.st_mode); }
};

/// The order of a walk as an order of paths: '/' sorts before every other byte. Negative, zero or positive.
inline int compare_walk_order(std::string_view a, std::string_view b) noexcept {
    auto const [at_a, at_b] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
    auto const rank = [](auto at, auto end) {
        return at == end ? -1 : *at == '/' ? 0 : static_cast<int>(static_cast<unsigned char>(*at));
    };
    return rank(at_a, a.end()) - rank(at_b, b.end());
}

namespace detail {

inline struct ::stat stat_open(int fd, std::string const& path) {
    struct ::stat facts {};
    if (::fstat(fd, &facts) != 0) throw system_error{"read", path, errno};
    return facts;
}

/// True if nothing happened to a file between two looks at it. The change time covers mode and owner.
inline bool untouched(struct ::stat const& a, struct ::stat const& b) noexcept {
    auto const same = [](::timespec x, ::timespec y) {
        return x.tv_sec == y.tv_sec && x.tv_nsec == y.tv_nsec;
    };
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_mode == b.st_mode && a.st_size == b.st_size &&
           same(a.st_mtim, b.st_mtim) && same(a.st_ctim, b.st_ctim);
}

[[noreturn]] inline void throw_changed(std::string path) {
    throw error{error_code::source_changed, "read", std::move(path),
                "changed while it was read; export again when nothing writes to it"};
}

/// The names in a directory, in descending byte order, so that the next one is at the back.
inline std::vector<std::string> names_in(int fd, std::string const& path) {
    struct closer {
        void operator()(::DIR* stream) const { ::closedir(stream); }
    };
    auto const copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0); // closedir() closes it
    if (copy < 0) throw system_error{"read directory", path, errno};
    std::unique_ptr<::DIR, closer> const stream{::fdopendir(copy)};
    if (!stream) {
        auto const reason = errno;
        ::close(copy);
        throw system_error{"read directory", path, reason};
    }

    std::vector<std::string> names;
    for (;;) {
        errno = 0;
        auto const* entry = ::readdir(stream.get());
        if (entry == nullptr) break;
        std::string_view const name{entry->d_name};
        if (name != "." && name != "..") names.emplace_back(name);
    }
    if (errno != 0) throw system_error{"read directory", path, errno};
    std::sort(names.begin(), names.end(), std::greater<>{});
    return names;
}

} // namespace detail

class tree_walker {
  public:
    /// Descriptors held open at once; directories further up are opened again on the way back.
    static constexpr std::size_t open_levels = 64;

    /// Opens the directory `root`, which may itself be reached through a symbolic link. Throws option_error
    /// for an empty name, system_error if there is no such directory.
    explicit tree_walker(std::string root, reserved_names reserved = reserved_names::refuse)
        : root_{std::move(root)}, reserved_{reserved} {
        if (root_.empty())
            throw option_error{"read directory", "", "needs the name of a directory, got an empty one"};
        unique_fd fd{detail::retry_interrupted(
            [&] { return ::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); })};
        if (!fd) throw system_error{"read directory", root_, errno};
        auto const facts = detail::stat_open(fd.get(), root_);
        enter(std::move(fd), facts, 0);
    }

    /// The next thing in order, or nullptr after the last. The children of a directory follow it.
    tree_item const* next() {
        if (std::exchange(into_item_, false)) enter_item();
        for (;;) {
            auto& here = levels_.back();
            if (here.names.empty()) {
                if (levels_.size() == 1) return nullptr;
                leave();
                continue;
            }
            auto const name = std::move(here.names.back());
            here.names.pop_back();
            item_.path.resize(here.path_size);
            if (!item_.path.empty()) item_.path += '/';
            item_.name_at = item_.path.size();
            item_.path += name;
            if (is_reserved_name(name) && passes_over_reserved()) continue;
            item_.folder = here.fd.get();
            if (::fstatat(item_.folder, item_.name(), &item_.facts, AT_SYMLINK_NOFOLLOW) != 0)
                throw system_error{"read", full_path(item_.path), errno};
            into_item_ = item_.is_directory();
            return &item_;
        }
    }

    /// Called after next() has returned a directory: its children are passed over, unread.
    void skip_children() noexcept { into_item_ = false; }

    /// Descriptor of the root.
    [[nodiscard]] int root() const noexcept { return levels_.front().fd.get(); }

    /// A relative path with the root in front, for messages.
    [[nodiscard]] std::string full_path(std::string_view path) const {
        auto full = root_;
        if (!path.empty() && full.back() != '/') full += '/';
        return full.append(path);
    }

  private:
    struct level {
        unique_fd fd; // closed while the walk is far below
        ::dev_t device;
        ::ino_t inode;
        std::size_t path_size;
        std::vector<std::string> names; // those still to come
    };

    [[nodiscard]] bool passes_over_reserved() const {
        if (reserved_ == reserved_names::skip) return true;
        throw error{
            error_code::unsupported, "pack", full_path(item_.path),
            "names that start with '.wh.' mean deletions in a layer; rename it or leave such names out"};
    }

    void enter_item() {
        unique_fd fd{detail::retry_interrupted([&] {
            return ::openat(item_.folder, item_.name(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        })};
        if (!fd) throw system_error{"read directory", full_path(item_.path), errno};
        enter(std::move(fd), item_.facts, item_.path.size());
        if (auto const depth = levels_.size(); depth > open_levels)
            levels_[depth - open_levels].fd = unique_fd{};
    }

    // `before` is what was known of the directory when its entry was made.
    void enter(unique_fd fd, struct ::stat const& before, std::size_t path_size) {
        auto const path = full_path(item_.path);
        auto names = detail::names_in(fd.get(), path);
        if (!detail::untouched(before, detail::stat_open(fd.get(), path))) detail::throw_changed(path);
        levels_.push_back({std::move(fd), before.st_dev, before.st_ino, path_size, std::move(names)});
    }

    void leave() {
        auto const child = std::move(levels_.back());
        levels_.pop_back();
        auto& parent = levels_.back();
        if (parent.fd) return;
        auto const path = full_path(std::string_view{item_.path}.substr(0, parent.path_size));
        parent.fd = unique_fd{::openat(child.fd.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC)};
        if (!parent.fd) throw system_error{"read directory", path, errno};
        auto const facts = detail::stat_open(parent.fd.get(), path);
        if (facts.st_dev != parent.device || facts.st_ino != parent.inode) detail::throw_changed(path);
    }

    std::string root_;
    reserved_names reserved_;
    std::vector<level> levels_;
    tree_item item_{};
    bool into_item_ = false; // item_ is a directory whose children come next
};

} // namespace shiplap
