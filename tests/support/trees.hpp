#pragma once
// For tests of layers: makes files with given facts, and reads what a layer wrote.

#include <shiplap/layer/concept.hpp>
#include <shiplap/tar/scanner.hpp>

#include "support/temp.hpp"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace trees {

inline bool is_root() {
    return ::geteuid() == 0;
}

inline void expect(bool done, std::string const& what) {
    if (!done) throw shiplap::system_error{"prepare test", what, errno};
}

/// Sets the modification time of a file, folder or link; folders need it after their content is made.
inline void set_time(std::string const& path, shiplap::timestamp time) {
    ::timespec const times[] = {{0, UTIME_OMIT}, {time.seconds, time.nanoseconds}};
    expect(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0, path);
}

/// A regular file with exactly this content, mode and time; makes the folders above it.
inline void write(std::string const& path, std::string_view content, ::mode_t mode = 0644,
                  shiplap::timestamp time = {1'600'000'000, 0}) {
    std::filesystem::create_directories(std::filesystem::path{path}.parent_path());
    std::ofstream{path, std::ios::binary} << content;
    expect(::chmod(path.c_str(), mode) == 0, path);
    set_time(path, time);
}

/// One entry as it was read back.
struct read_entry {
    shiplap::tar_entry header;
    std::string content;
};

/// Parses a whole, well-formed archive.
inline std::vector<read_entry> read_tar(std::string_view tar) {
    using shiplap::tar_scanner;
    tar_scanner scanner{"test.tar"};
    std::vector<read_entry> found;
    for (auto rest = shiplap::as_bytes(tar); !rest.empty();) {
        auto const event = scanner.next(rest);
        if (event == tar_scanner::event::entry) found.push_back({scanner.entry(), {}});
        if (event == tar_scanner::event::payload) found.back().content += shiplap::as_text(scanner.payload());
    }
    scanner.finish();
    if (!scanner.at_end_marker()) throw std::runtime_error{"no end of archive"};
    return found;
}

template <shiplap::layer_source L>
std::string tar_of(L const& layer, shiplap::layer_context const& context = {}) {
    shiplap::string_sink out;
    layer.write_tar(out, context);
    return out.text;
}

template <shiplap::layer_source L>
std::vector<read_entry> entries_of(L const& layer, shiplap::layer_context const& context = {}) {
    return read_tar(tar_of(layer, context));
}

inline std::vector<std::string> names_of(std::vector<read_entry> const& entries) {
    std::vector<std::string> names;
    for (auto const& entry : entries) names.push_back(entry.header.name);
    return names;
}

/// The error that an action throws; fails the test if it throws none.
template <class Action>
shiplap::error error_of(Action action) {
    try {
        action();
    } catch (shiplap::error const& problem) {
        return problem;
    }
    throw std::runtime_error{"nothing was thrown"};
}

} // namespace trees
