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
//
// Who reads every file asks for walk_access::contents: then files and directories are opened first and looked at
// through the descriptor, which takes a path lookup less for each than a look, an opening and a second look.

#include <shiplap/bytes/file.hpp>
#include <shiplap/tar/whiteout.hpp>

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
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

/// What the user of a walk does with the files on it.
enum class walk_access {
    facts,    ///< reads few or none: nothing but directories is opened
    contents, ///< reads them: each item has a descriptor, if it is a file or directory that can be opened
};

/// A path in a tree, for messages; put together only when there is one.
struct source_label {
    std::string_view root{}, path{};

    source_label() = default;
    source_label(std::string_view of_root, std::string_view below) noexcept : root{of_root}, path{below} {}
    source_label(
        std::string const& whole) noexcept // NOLINT(google-explicit-constructor): a reference, as to a string
        : root{whole} {}

    [[nodiscard]] std::string text() const {
        std::string full{root};
        if (!path.empty() && !full.empty() && full.back() != '/') full += '/';
        return full.append(path);
    }
};

/// One thing met on a walk; never the root itself. Valid until the walker moves.
struct tree_item {
    std::string path;       ///< relative to the root, no '/' at either end
    std::size_t name_at;    ///< where the last component of `path` starts
    struct ::stat facts {}; ///< of the thing itself: links are not followed
    int folder = -1;        ///< descriptor of the directory that holds it
    int opened = -1;        ///< its own, from which `facts` are; -1 if the walk has not opened it

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

inline struct ::stat stat_open(int fd, source_label path) {
    struct ::stat facts {};
    if (::fstat(fd, &facts) != 0) throw system_error{"read", path.text(), errno};
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

[[noreturn]] inline void throw_changed(source_label path) {
    throw error{error_code::source_changed, "read", path.text(),
                "changed while it was read; export again when nothing writes to it"};
}

/// How a regular file is opened. O_NONBLOCK: should a fifo have taken its place, that must not wait for a writer.
inline constexpr int file_flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
inline constexpr int folder_flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

/// The names in a directory, without an allocation for each. The next in byte order is at the back.
class folder_names {
  public:
    struct entry {
        std::size_t at;     // in bytes_
        unsigned char type; // as d_type: a hint
    };

    folder_names() = default;
    /// Reads them from the start of an open directory, through `space`.
    folder_names(int fd, std::span<char> space, source_label path) {
        for (;;) {
            auto const n = ::getdents64(fd, space.data(), space.size());
            if (n < 0) throw system_error{"read directory", path.text(), errno};
            if (n == 0) break;
            for (auto rest = space.first(static_cast<std::size_t>(n)); !rest.empty();) {
                auto const* const found = reinterpret_cast<::dirent64 const*>(rest.data());
                add(found->d_name, found->d_type);
                rest = rest.subspan(found->d_reclen);
            }
        }
        std::sort(entries_.begin(), entries_.end(), [this](entry const& a, entry const& b) {
            return std::strcmp(name(a), name(b)) > 0; // compares unsigned bytes
        });
    }

    [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
    [[nodiscard]] entry const& back() const noexcept { return entries_.back(); }
    /// Valid for an entry that was popped, too.
    [[nodiscard]] char const* name(entry const& of) const noexcept { return bytes_.c_str() + of.at; }
    void pop_back() noexcept { entries_.pop_back(); }

    /// Those that are left, in descending order: as vectors have them that are used up from the back.
    [[nodiscard]] std::vector<std::string> all() const {
        std::vector<std::string> names;
        names.reserve(entries_.size());
        for (auto const& one : entries_) names.emplace_back(name(one));
        return names;
    }

  private:
    void add(std::string_view name, unsigned char type) {
        if (name == "." || name == "..") return;
        entries_.push_back({bytes_.size(), type});
        bytes_.append(name).push_back('\0');
    }

    std::string bytes_; // each name with the NUL behind it
    std::vector<entry> entries_;
};

/// Bytes that folder_names reads at once: some 1000 names.
inline constexpr std::size_t names_space = 32 * 1024;

/// The names in an open directory, in descending byte order.
inline std::vector<std::string> names_in(int fd, std::string const& path) {
    auto const space = std::make_unique_for_overwrite<char[]>(names_space);
    return folder_names{fd, {space.get(), names_space}, path}.all();
}

} // namespace detail

class tree_walker {
  public:
    /// Descriptors held open at once; directories further up are opened again on the way back.
    static constexpr std::size_t open_levels = 64;

    /// Opens the directory `root`, which may itself be reached through a symbolic link. Throws option_error
    /// for an empty name, system_error if there is no such directory.
    explicit tree_walker(std::string root, reserved_names reserved = reserved_names::refuse,
                         walk_access access = walk_access::facts)
        : root_{std::move(root)}, reserved_{reserved}, access_{access} {
        if (root_.empty())
            throw option_error{"read directory", "", "needs the name of a directory, got an empty one"};
        unique_fd fd{detail::retry_interrupted(
            [&] { return ::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); })};
        if (!fd) throw system_error{"read directory", root_, errno};
        auto const facts = detail::stat_open(fd.get(), label({}));
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
            auto const entry = here.names.back();
            here.names.pop_back();
            std::string_view const name{here.names.name(entry)};
            item_.path.resize(here.path_size);
            if (!item_.path.empty()) item_.path += '/';
            item_.name_at = item_.path.size();
            item_.path += name;
            if (is_reserved_name(name) && passes_over_reserved()) continue;
            item_.folder = here.fd.get();
            look(entry.type);
            into_item_ = item_.is_directory();
            return &item_;
        }
    }

    /// Called after next() has returned a directory: its children are passed over, unread.
    void skip_children() noexcept { into_item_ = false; }

    /// Descriptor of the root.
    [[nodiscard]] int root() const noexcept { return levels_.front().fd.get(); }

    /// A relative path with the root in front, for messages.
    [[nodiscard]] std::string full_path(std::string_view path) const { return label(path).text(); }
    /// The same, not put together yet. Refers to the walker and to `path`.
    [[nodiscard]] source_label label(std::string_view path) const noexcept { return {root_, path}; }

  private:
    struct level {
        unique_fd fd; // closed while the walk is far below
        ::dev_t device;
        ::ino_t inode;
        std::size_t path_size;
        detail::folder_names names; // those still to come
    };

    [[nodiscard]] bool passes_over_reserved() const {
        if (reserved_ == reserved_names::skip) return true;
        throw error{
            error_code::unsupported, "pack", full_path(item_.path),
            "names that start with '.wh.' mean deletions in a layer; rename it or leave such names out"};
    }

    // Facts of the new item. `type` is what its directory says, which may be out of date or nothing at all.
    void look(unsigned char type) {
        opened_ = unique_fd{};
        if (access_ == walk_access::contents && (type == DT_REG || type == DT_DIR))
            opened_ = open_item(type == DT_DIR ? detail::folder_flags : detail::file_flags);
        item_.opened = opened_.get();
        if (opened_) {
            item_.facts = detail::stat_open(opened_.get(), label(item_.path));
            return;
        }
        // What cannot be opened may be an entry all the same: an empty file, or one that is a link to another.
        if (::fstatat(item_.folder, item_.name(), &item_.facts, AT_SYMLINK_NOFOLLOW) != 0)
            throw system_error{"read", full_path(item_.path), errno};
    }

    [[nodiscard]] unique_fd open_item(int flags) const {
        return unique_fd{
            detail::retry_interrupted([&] { return ::openat(item_.folder, item_.name(), flags); })};
    }

    void enter_item() {
        auto fd = opened_ ? std::move(opened_) : open_item(detail::folder_flags);
        if (!fd) throw system_error{"read directory", full_path(item_.path), errno};
        enter(std::move(fd), item_.facts, item_.path.size());
        if (auto const depth = levels_.size(); depth > open_levels)
            levels_[depth - open_levels].fd = unique_fd{};
    }

    // `before` is what was known of the directory when its entry was made.
    void enter(unique_fd fd, struct ::stat const& before, std::size_t path_size) {
        auto const path = label(item_.path);
        detail::folder_names names{fd.get(), {space_.get(), detail::names_space}, path};
        if (!detail::untouched(before, detail::stat_open(fd.get(), path))) detail::throw_changed(path);
        levels_.push_back({std::move(fd), before.st_dev, before.st_ino, path_size, std::move(names)});
    }

    void leave() {
        auto const child = std::move(levels_.back());
        levels_.pop_back();
        auto& parent = levels_.back();
        if (parent.fd) return;
        auto const path = label(std::string_view{item_.path}.substr(0, parent.path_size));
        parent.fd = unique_fd{::openat(child.fd.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC)};
        if (!parent.fd) throw system_error{"read directory", path.text(), errno};
        auto const facts = detail::stat_open(parent.fd.get(), path);
        if (facts.st_dev != parent.device || facts.st_ino != parent.inode) detail::throw_changed(path);
    }

    std::string root_;
    reserved_names reserved_;
    walk_access access_;
    std::unique_ptr<char[]> space_ = std::make_unique_for_overwrite<char[]>(detail::names_space);
    std::vector<level> levels_;
    tree_item item_{};
    unique_fd opened_;       // item_.opened
    bool into_item_ = false; // item_ is a directory whose children come next
};

} // namespace shiplap
