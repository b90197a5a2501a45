#pragma once
// tree_removal: takes a thing out of a directory, with all that lies below it, and never leaves the tree.
//
//     remove_tree(folder_fd, "name", "path/for/messages/name");
//
// Links are removed, not followed. One descriptor is open at a time, however deep the tree: an archive can
// build trees deeper than a process may have files, or than a path can name. The way back up is "..",
// accepted only if it leads to the directory that was left.
//
// What stays is the caller's to say, with a type of this shape (keep_nothing is one):
//
//     rules.keeps(folder, name) -> bool    this name in this directory stays; if it is a directory, what lies
//     below it
//                                          is asked for one by one
//     rules.entering(facts, path)          before a directory is looked into: how it was
//     rules.removed(identity)              a directory is gone

#include <shiplap/layer/walk.hpp>
#include <shiplap/sink/root_directory.hpp>

#include <concepts>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace shiplap {

template <class R>
concept removal_rules = requires(R& rules, file_identity const& folder, std::string_view name,
                                 struct ::stat const& facts, std::string const& path) {
    { rules.keeps(folder, name) } -> std::same_as<bool>;
    rules.entering(facts, path);
    rules.removed(folder);
};

/// All goes.
struct keep_nothing {
    [[nodiscard]] static bool keeps(file_identity const&, std::string_view) noexcept { return false; }
    static void entering(struct ::stat const&, std::string const&) noexcept {}
    static void removed(file_identity const&) noexcept {}
};

namespace detail {

/// What a name in a directory is; links are not followed.
inline struct ::stat stat_name(int folder, char const* name, std::string const& path) {
    struct ::stat facts {};
    if (::fstatat(folder, name, &facts, AT_SYMLINK_NOFOLLOW) != 0) throw system_error{"read", path, errno};
    return facts;
}

/// An owner without privileges must be able to list, search and change a directory to work in it.
inline bool needs_access(::mode_t mode) noexcept {
    return (mode & S_IRWXU) != S_IRWXU && ::geteuid() != 0;
}

/// Mode bits of a name, exactly these, whatever the umask; a link is refused, never followed.
inline void set_mode_at(int folder, char const* name, ::mode_t mode, std::string const& path) {
    if (::fchmodat(folder, name, mode, AT_SYMLINK_NOFOLLOW) != 0)
        throw system_error{"set mode of", path, errno};
}

template <removal_rules Rules>
class tree_remover {
  public:
    tree_remover(Rules& rules, std::string path) : rules_{rules}, path_{std::move(path)} {}

    /// Removes `names` from `folder`, whose path was given; false if something stays.
    bool run(int folder, std::vector<std::string> names) {
        here_ = unique_fd{::fcntl(folder, F_DUPFD_CLOEXEC, 0)};
        if (!here_) throw system_error{"remove", path_, errno};
        levels_.push_back(
            {file_identity{stat_open(here_.get(), path_)}, path_.size(), std::move(names), false});
        for (;;) {
            auto& current = levels_.back();
            if (!current.names.empty()) {
                auto const name = std::move(current.names.back());
                current.names.pop_back();
                if (!path_.empty()) path_ += '/';
                path_ += name;
                take(name);
            } else if (levels_.size() == 1) {
                return !current.keeps;
            } else {
                leave();
            }
        }
    }

  private:
    struct level {
        file_identity self;
        std::size_t path_size;
        std::vector<std::string> names; // those still to come
        bool keeps;                     // itself, or something in it, stays
    };

    void take(std::string const& name) {
        auto& current = levels_.back();
        bool const keep = rules_.keeps(current.self, name);
        if (!keep && (::unlinkat(here_.get(), name.c_str(), 0) == 0 || errno == ENOENT)) return drop_name();
        if (!keep && errno != EISDIR) throw system_error{"remove", path_, errno};
        auto const facts = stat_name(here_.get(), name.c_str(), path_);
        if (S_ISDIR(facts.st_mode)) return enter(name, facts, keep);
        if (!keep) throw system_error{"remove", path_, EISDIR}; // it was a directory a moment ago
        current.keeps = true;
        drop_name();
    }

    void enter(std::string const& name, struct ::stat const& facts, bool keep) {
        rules_.entering(facts, path_);
        if (needs_access(facts.st_mode))
            set_mode_at(here_.get(), name.c_str(), (facts.st_mode & 07777) | S_IRWXU, path_);
        unique_fd fd{::openat(here_.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        if (!fd) throw system_error{"remove", path_, errno};
        if (file_identity{stat_open(fd.get(), path_)} != file_identity{facts}) throw_moved();
        auto names = names_in(fd.get(), path_);
        here_ = std::move(fd);
        levels_.push_back({file_identity{facts}, path_.size(), std::move(names), keep});
    }

    void leave() {
        auto const done = std::move(levels_.back());
        levels_.pop_back();
        auto& parent = levels_.back();
        unique_fd up{::openat(here_.get(), "..", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        if (!up) throw system_error{"remove", path_, errno};
        if (file_identity{stat_open(up.get(), path_)} != parent.self) throw_moved();
        here_ = std::move(up);
        if (done.keeps) {
            parent.keeps = true;
        } else {
            auto const name = path_.substr(parent.path_size == 0 ? 0 : parent.path_size + 1);
            if (::unlinkat(here_.get(), name.c_str(), AT_REMOVEDIR) != 0)
                throw system_error{"remove", path_, errno};
            rules_.removed(done.self);
        }
        drop_name();
    }

    void drop_name() { path_.resize(levels_.back().path_size); }

    [[noreturn]] void throw_moved() const {
        throw error{error_code::unsafe_entry, "remove", path_,
                    "was moved by another process meanwhile; nothing else may work in this tree"};
    }

    Rules& rules_;
    std::string path_;
    unique_fd here_;
    std::vector<level> levels_;
};

} // namespace detail

/// Removes `name` from the directory `folder`; `path` is where that directory lies, for messages and rules.
/// Returns true if nothing of it stays; it is no error if there was nothing. Throws system_error, and
/// error{unsafe_entry} if another process moves directories meanwhile.
template <removal_rules Rules>
bool remove_tree(int folder, std::string name, std::string path, Rules& rules) {
    return detail::tree_remover<Rules>{rules, std::move(path)}.run(folder, {std::move(name)});
}
inline void remove_tree(int folder, std::string name, std::string path) {
    keep_nothing all;
    remove_tree(folder, std::move(name), std::move(path), all);
}

/// Removes all that is in the directory `folder`, but not itself.
template <removal_rules Rules>
bool empty_directory(int folder, std::string path, Rules& rules) {
    unique_fd const readable{::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!readable) throw system_error{"read directory", path, errno};
    auto names = detail::names_in(readable.get(), path);
    return detail::tree_remover<Rules>{rules, std::move(path)}.run(folder, std::move(names));
}

} // namespace shiplap
