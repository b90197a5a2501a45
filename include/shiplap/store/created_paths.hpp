#pragma once
// created_paths: what a failed operation has to take back.
//
//     created_paths created;
//     make_folders("some/where", created);       // notes each directory that was not there
//     write_file("some/where/file", text);
//     created.add("some/where/file");
//     created.keep();                            // done; without it, the destructor removes all of it again

#include <shiplap/bytes/file.hpp>
#include <shiplap/error.hpp>

#include <cerrno>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sys/stat.h>

namespace shiplap::detail {

/// What stat(2) says; nothing if there is no such file.
inline std::optional<struct ::stat> file_facts(std::string const& path) {
    struct ::stat facts {};
    if (::stat(path.c_str(), &facts) == 0) return facts;
    if (errno == ENOENT) return {};
    throw system_error{"open", path, errno};
}

/// Files and directories that an operation made, in order; removed in the opposite one unless it succeeds.
class created_paths {
  public:
    created_paths() = default;
    created_paths(created_paths const&) = delete;
    created_paths& operator=(created_paths const&) = delete;
    ~created_paths() {
        // Directories that hold something of others by now refuse to go, as they should.
        for (; !paths_.empty(); paths_.pop_back()) (void)std::remove(paths_.back().c_str());
    }

    void add(std::string path) { paths_.push_back(std::move(path)); }
    void keep() noexcept { paths_.clear(); }
    [[nodiscard]] std::vector<std::string> const& paths() const noexcept { return paths_; }

  private:
    std::vector<std::string> paths_;
};

/// Makes a directory and those above it, where they do not exist, with mode 0755 whatever the umask. Leaves
/// alone what is there, directory or not: using it will tell.
inline void make_folders(std::string const& path, created_paths& created) {
    auto const make = [&] { return ::mkdir(path.c_str(), 0755) == 0 ? 0 : errno; };
    auto failure = make();
    if (failure == ENOENT && parent_of(path) != path) {
        make_folders(parent_of(path), created);
        failure = make();
    }
    if (failure == EEXIST) return;
    if (failure != 0) throw system_error{"create directory", path, failure};
    created.add(path);
    auto const made = file_facts(path); // may have inherited a set-group-ID bit, which stays
    if (!made || ::chmod(path.c_str(), (made->st_mode & 07000u) | 0755u) != 0)
        throw system_error{"set mode of", path, errno};
}

} // namespace shiplap::detail
