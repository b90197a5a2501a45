// layer/: walking a tree, making its headers and reading its files, beside the system calls that this takes at least.

#include "support.hpp"

#include <memory>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace shiplap::benchmarks {
namespace {

/// Visits all below an open directory, which it closes, in the order of readdir: use(folder, name, facts).
template <class Use>
void bare_walk(int folder, Use const& use) {
    std::unique_ptr<::DIR, int (*)(::DIR*)> const stream{::fdopendir(folder), &::closedir};
    if (!stream) give_up("read a directory");
    while (auto const* entry = ::readdir(stream.get())) {
        std::string_view const name{entry->d_name};
        if (name == "." || name == "..") continue;
        struct ::stat facts {};
        if (::fstatat(folder, entry->d_name, &facts, AT_SYMLINK_NOFOLLOW) != 0)
            give_up("look at " + std::string{name});
        use(folder, entry->d_name, facts);
        if (S_ISDIR(facts.st_mode))
            bare_walk(::openat(folder, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), use);
    }
}

template <class Use>
void bare_walk(std::string const& path, Use const& use) {
    bare_walk(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), use);
}

void bare_read(int folder, char const* name, std::vector<char>& space) {
    int const file = ::openat(folder, name, O_RDONLY | O_CLOEXEC);
    if (file < 0) give_up("open " + std::string{name});
    while (::read(file, space.data(), space.size()) > 0) benchmark::ClobberMemory();
    ::close(file);
}

void compare_walk(generated_tree const& tree) {
    compare(
        "tree_walker", {0, tree.files},
        [path = tree.path] {
            tree_walker walk{path};
            while (auto const* item = walk.next()) benchmark::DoNotOptimize(item->facts.st_size);
        },
        [path = tree.path] {
            bare_walk(path, [](int, char const*, struct ::stat const& facts) {
                benchmark::DoNotOptimize(facts.st_size);
            });
        });
}

void write_layer(std::string const& path) {
    counting_sink out;
    gather chunks;
    pipeline pipe{chunks, out};
    directory_layer{path}.write_tar(pipe, layer_context{});
    pipe.finish();
}

void compare_layer(std::string const& name, generated_tree const& tree) {
    compare(
        name, {tree.bytes, tree.files}, [path = tree.path] { write_layer(path); },
        [path = tree.path, space = std::vector<char>(transfer_size)]() mutable {
            bare_walk(path, [&](int folder, char const* file, struct ::stat const& facts) {
                if (S_ISREG(facts.st_mode) && facts.st_size != 0) bare_read(folder, file, space);
            });
        });
}

/// One step down: source_file alone.
void compare_source_file(std::string const& kind, generated_tree const& tree) {
    compare(
        "source_file, " + kind, {tree.bytes, tree.files},
        [path = tree.path, space = std::vector<std::byte>(transfer_size)]() mutable {
            bare_walk(path, [&](int folder, char const* name, struct ::stat const& facts) {
                if (!S_ISREG(facts.st_mode)) return;
                tree_item const item{.path = name, .name_at = 0, .facts = facts, .folder = folder};
                source_file file{item, source_label{name, {}}};
                while (file.read(space) != 0) benchmark::ClobberMemory();
            });
        },
        [path = tree.path, space = std::vector<char>(transfer_size)]() mutable {
            bare_walk(path, [&](int folder, char const* name, struct ::stat const& facts) {
                if (S_ISREG(facts.st_mode)) bare_read(folder, name, space);
            });
        });
}

} // namespace

void compare_trees() {
    auto const& empty = tree_of(2000, 0);
    auto const& small = tree_of(2000, 2048);
    auto const& large = tree_of(8, 4U << 20U);
    compare_walk(empty);
    compare_layer("directory_layer, empty files", empty);
    compare_layer("directory_layer, small files", small);
    compare_layer("directory_layer, large files", large);
    compare_source_file("small files", small);
    compare_source_file("large files", large);
}

} // namespace shiplap::benchmarks
