#pragma once
// A small directory that is the same on every machine: content, modes and times are fixed. The examples pack
// it with
// `.owners = root_owned`, so that it does not matter who runs them.

#include <filesystem>
#include <fstream>
#include <string>

#include <fcntl.h>
#include <sys/stat.h>

/// Makes `root` anew and returns its path.
inline std::string demo_tree(std::string const& root) {
    namespace fs = std::filesystem;
    fs::remove_all(root);
    fs::create_directories(root + "/bin");
    std::ofstream{root + "/bin/hello"} << "#!/bin/sh\necho hello from a layer\n";
    std::ofstream{root + "/motd"} << std::string(2000, '=') + "\n";
    fs::create_symlink("bin/hello", root + "/start");
    for (std::string const name : {"/bin/hello", "/motd", "/start", "/bin", ""}) {
        if (name != "/start") ::chmod((root + name).c_str(), name == "/motd" ? 0644 : 0755);
        struct timespec const times[2] = {{1'700'000'000, 0}, {1'700'000'000, 0}};
        ::utimensat(AT_FDCWD, (root + name).c_str(), times, AT_SYMLINK_NOFOLLOW);
    }
    return root;
}
