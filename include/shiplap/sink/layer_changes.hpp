#pragma once
// layer_changes: what one layer does to a tree while it is applied.
//
//   - which names it has brought: its whiteouts spare them, whatever comes first in the archive;
//   - how the directories that it works in shall be at the end: their modes may forbid the work (0555), and
//   their
//     times change with every name that comes or goes. A directory that has no entry gets back what it had.
//
// Directories are known by device and inode, names by the directory that they are in: links among the parents
// may give one thing several paths.
//
// Memory: about 100 bytes and the name for each entry, but none while there are no lower layers; about 150
// bytes and the path for each directory that changes.

#include <shiplap/sink/tree_removal.hpp>
#include <shiplap/tar/entry.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace shiplap::detail {

/// atime and mtime of an entry.
inline std::array<::timespec, 2> file_times(timestamp time) noexcept {
    ::timespec const both{time.seconds, time.nanoseconds};
    return {both, both};
}

/// From any descriptor of a directory to one that its attributes can be changed through.
inline unique_fd open_directory(int handle, std::string const& path) {
    unique_fd fd{::openat(handle, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!fd) throw system_error{"open", path, errno};
    return fd;
}

/// How a directory shall be in the end; `path` leads to it inside the root, "" is the root.
struct directory_state {
    std::string path;
    ::mode_t mode = 0;
    timestamp mtime;
};

class layer_changes {
  public:
    layer_changes() = default;
    explicit layer_changes(root_directory const& root)
        : has_lower_{!names_in(open_directory(root.descriptor(), ".").get(), ".").empty()} {}

    /// Was there anything before this layer?
    [[nodiscard]] bool has_lower() const noexcept { return has_lower_; }

    /// This layer has brought `name` into the directory `folder`.
    void add(int folder, std::string_view name) {
        if (has_lower_) added_.insert(key(file_identity{stat_open(folder, std::string{name})}, name));
    }

    /// How an entry wants a directory.
    void set(file_identity const& directory, directory_state wanted) {
        directories_.insert_or_assign(directory, std::move(wanted));
    }

    /// Notes how a directory is, if nothing is known of it yet; true if so.
    bool remember(struct ::stat const& facts, std::string_view path) {
        auto const [known, is_new] = directories_.try_emplace(file_identity{facts});
        if (is_new)
            known->second = {std::string{path},
                             facts.st_mode & 07777,
                             {facts.st_mtim.tv_sec, static_cast<std::int32_t>(facts.st_mtim.tv_nsec)}};
        return is_new;
    }

    /// The names in this directory are about to change.
    void touch(int folder, std::string const& path) {
        auto const facts = stat_open(folder, path);
        if (!remember(facts, path) || !needs_access(facts.st_mode)) return;
        auto const self = "/proc/self/fd/" + std::to_string(folder); // fchmod() refuses an O_PATH descriptor
        if (::chmod(self.c_str(), (facts.st_mode & 07777) | S_IRWXU) != 0)
            throw system_error{"set mode of", path, errno};
    }

    /// Removes a name, whoever has brought it. `path` is that of `folder`.
    void remove(int folder, char const* name, std::string path) {
        removal all{*this, false};
        remove_tree(folder, name, std::move(path), all);
    }

    /// Removes what lower layers have brought at and below `name`.
    void remove_lower(int folder, char const* name, std::string path) {
        removal lower{*this, true};
        remove_tree(folder, name, std::move(path), lower);
    }

    /// Removes what lower layers have brought into `folder`.
    void empty_lower(int folder, std::string path) {
        removal lower{*this, true};
        empty_directory(folder, std::move(path), lower);
    }

    /// The layer is complete: directories get their modes and times, children before their parents, which may
    /// forbid the way.
    void settle(root_directory const& root) {
        std::vector<std::pair<file_identity, directory_state>> all{directories_.begin(), directories_.end()};
        directories_.clear();
        added_.clear();
        std::sort(all.begin(), all.end(),
                  [](auto const& a, auto const& b) { return a.second.path > b.second.path; });
        for (auto const& [id, wanted] : all) {
            auto const handle = root.find_directory(wanted.path);
            if (!handle) throw system_error{"set time of", wanted.path, errno};
            if (file_identity{stat_open(handle.get(), wanted.path)} != id)
                throw error{error_code::unsafe_entry, "set time of", wanted.path,
                            "leads to another directory than when it was extracted"};
            auto const fd = open_directory(handle.get(), wanted.path);
            if (::fchmod(fd.get(), wanted.mode) != 0) throw system_error{"set mode of", wanted.path, errno};
            if (::futimens(fd.get(), file_times(wanted.mtime).data()) != 0)
                throw system_error{"set time of", wanted.path, errno};
        }
    }

  private:
    /// The rules for tree_removal.
    struct removal {
        layer_changes& self;
        bool spare_added;

        [[nodiscard]] bool keeps(file_identity const& folder, std::string_view name) const {
            return spare_added && self.added_.contains(key(folder, name));
        }
        void entering(struct ::stat const& facts, std::string const& path) const {
            self.remember(facts, path);
        }
        void removed(file_identity const& id) const { self.directories_.erase(id); }
    };

    static std::string key(file_identity const& folder, std::string_view name) {
        std::string text(sizeof folder.device + sizeof folder.inode, '\0');
        std::memcpy(text.data(), &folder.device, sizeof folder.device);
        std::memcpy(text.data() + sizeof folder.device, &folder.inode, sizeof folder.inode);
        return text.append(name);
    }

    bool has_lower_ = false;
    std::set<std::string> added_; // key() of each name
    std::map<file_identity, directory_state> directories_;
};

} // namespace shiplap::detail
