#include <shiplap/sink/root_directory.hpp>

#include "support/catch.hpp"
#include "support/temp.hpp"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include <sys/stat.h>

using namespace shiplap;
namespace fs = std::filesystem;

namespace {

root_directory open_root(std::string const& path, path_resolver how) {
    return root_directory{detail::open_file(path, O_PATH | O_DIRECTORY), how};
}

file_identity identity_of(std::string const& path) {
    struct ::stat facts {};
    if (::lstat(path.c_str(), &facts) != 0) throw system_error{"stat", path, errno};
    return file_identity{facts};
}

file_identity identity_of(unique_fd const& fd) {
    struct ::stat facts {};
    if (::fstat(fd.get(), &facts) != 0) throw system_error{"stat", "fd", errno};
    return file_identity{facts};
}

/// errno, or 0 if it is found.
int trouble(root_directory const& root, std::string_view path) {
    errno = 0;
    auto const found = root.find_directory(path);
    return found ? 0 : errno;
}

} // namespace

TEST_CASE("entry paths are checked and normalised", "[root_directory]") {
    struct example {
        std::string name, text, parent, base;
    };
    auto const good = GENERATE(values<example>({
        {"a", "a", "", "a"},
        {"a/", "a", "", "a"},
        {"./a", "a", "", "a"},
        {"a//b/./c/", "a/b/c", "a/b", "c"},
        {"...", "...", "", "..."},
        {"..a/b..", "..a/b..", "..a", "b.."},
        {"\xff\n", "\xff\n", "", "\xff\n"},
        {".", "", "", ""},
        {"./", "", "", ""},
        {".//.", "", "", ""},
    }));
    auto const path = entry_path::parse(good.name);
    CHECK(path.text() == good.text);
    CHECK(path.parent() == good.parent);
    CHECK(path.base() == good.base);
    CHECK(path.is_root() == good.text.empty());
}

TEST_CASE("entry paths that could leave the root are refused", "[root_directory]") {
    auto const name =
        GENERATE(values<std::string>({"", "/", "/etc/passwd", "//", "..", "../", "../a", "a/..", "a/../b",
                                      "./..", "a/b/../../..", std::string("a\0b", 3), std::string(1, '\0')}));
    CAPTURE(name);
    try {
        entry_path::parse(name);
        FAIL("accepted");
    } catch (error const& refusal) {
        CHECK(refusal.code() == error_code::unsafe_entry);
        CHECK(refusal.subject() == name);
    }
}

TEST_CASE("entry paths are bounded", "[root_directory]") {
    CHECK(entry_path::parse(std::string(max_component_length, 'n')).text().size() == max_component_length);
    CHECK_THROWS_AS(entry_path::parse("a/" + std::string(max_component_length + 1, 'n')), error);

    std::string deep;
    for (std::size_t i = 0; i < max_path_depth; ++i) deep += "d/";
    CHECK(entry_path::parse(deep).text().size() == 2 * max_path_depth - 1);
    CHECK_THROWS_AS(entry_path::parse(deep + "d"), error);
}

TEST_CASE("openat2 is used where it is available", "[root_directory]") {
    temp_dir const tmp;
    auto const kernel = open_root(tmp.path(), path_resolver::kernel);
    if (kernel.resolver() == path_resolver::steps)
        WARN("openat2 does not work here: only the fallback is tested");
    CHECK(open_root(tmp.path(), path_resolver::steps).resolver() == path_resolver::steps);
}

TEST_CASE("directories are found inside the root", "[root_directory]") {
    auto const how = GENERATE(path_resolver::kernel, path_resolver::steps);
    temp_dir const tmp;
    fs::create_directories(tmp / "outside/secret");
    fs::create_directories(tmp / "root/usr/lib/deep");
    auto const link = [&](std::string const& name, std::string const& target) {
        fs::create_symlink(target, tmp / ("root/" + name));
    };
    std::ofstream{tmp / "root/file"} << "text";
    link("lib", "usr/lib");
    link("abs", "/usr/lib");
    link("up", "../../../../../usr");
    link("usr/lib/back", "../..");
    link("slashes", "//usr///lib/.//");
    link("twice", "abs/deep/../deep");
    link("loop", "loop");
    link("ping", "pong");
    link("pong", "ping");
    link("dangling", "nowhere");
    link("to_file", "file");
    link("out_abs", tmp / "outside");
    link("out_up", "../outside");
    for (int i = 0; i < 41; ++i)
        link("chain" + std::to_string(i), i == 0 ? "usr" : "chain" + std::to_string(i - 1));

    struct example {
        std::string path, leads_to;
        int trouble = 0;
    };
    auto const examples = std::vector<example>{
        {"", "."},
        {"usr/lib", "usr/lib"},
        {"lib", "usr/lib"},
        {"lib/deep", "usr/lib/deep"},
        {"abs/deep", "usr/lib/deep"},
        {"up/lib", "usr/lib"},
        {"lib/back", "."},
        {"lib/back/lib/back/usr", "usr"},
        {"slashes", "usr/lib"},
        {"twice", "usr/lib/deep"},
        {"chain39", "usr"},
        {"chain40", "", ELOOP},
        {"loop", "", ELOOP},
        {"ping/x", "", ELOOP},
        {"dangling", "", ENOENT},
        {"nowhere", "", ENOENT},
        {"file", "", ENOTDIR},
        {"file/x", "", ENOTDIR},
        {"to_file", "", ENOTDIR},
        {"out_abs", "", ENOENT},
        {"out_abs/secret", "", ENOENT},
        {"out_up", "", ENOENT},
        {"out_up/secret", "", ENOENT},
    };
    auto const root = open_root(tmp / "root", how);
    for (auto const& [path, leads_to, expected] : examples) {
        CAPTURE(path);
        errno = 0;
        auto const found = root.find_directory(path);
        if (expected == 0) {
            REQUIRE(found);
            CHECK(identity_of(found) == identity_of(tmp / ("root/" + leads_to)));
        } else {
            CHECK(!found);
            CHECK(errno == expected);
        }
    }
}

TEST_CASE("both resolvers agree on any tree of links, and stay inside", "[root_directory]") {
    temp_dir const tmp;
    std::mt19937 dice{GENERATE(range(1u, 9u))};
    auto const pick = [&](std::size_t bound) { return static_cast<std::size_t>(dice()) % bound; };
    std::vector<std::string> const words{"a", "b", "c", "..", ".", ""};
    auto const some_path = [&](std::size_t longest) {
        std::string path;
        for (auto left = 1 + pick(longest); left > 0; --left)
            path += words[pick(words.size())] + (left > 1 ? "/" : "");
        return path;
    };
    fs::create_directories(tmp / "jail/root");
    fs::create_directories(tmp / "jail/a/b/c"); // what a leak would find
    std::vector<std::string> folders{""};
    std::set<file_identity> inside{identity_of(tmp / "jail/root")};
    for (int i = 0; i < 40; ++i) {
        auto const name = folders[pick(folders.size())] + words[pick(3)];
        auto const full = tmp / ("jail/root/" + name);
        if (fs::symlink_status(full).type() != fs::file_type::not_found) continue;
        if (pick(2) == 0) {
            fs::create_directory(full);
            folders.push_back(name + "/");
            inside.insert(identity_of(full));
        } else {
            fs::create_symlink((pick(3) == 0 ? "/" : "") + some_path(5) + "/.", full);
        }
    }
    auto const kernel = open_root(tmp / "jail/root", path_resolver::kernel);
    auto const steps = open_root(tmp / "jail/root", path_resolver::steps);
    for (int i = 0; i < 500; ++i) {
        std::string path;
        for (auto left = 1 + pick(6); left > 0; --left)
            path += words[pick(words.size())] + (left > 1 ? "/" : "");
        CAPTURE(path);
        REQUIRE(trouble(kernel, path) == trouble(steps, path));
        if (trouble(steps, path) != 0) continue;
        auto const found = identity_of(steps.find_directory(path));
        REQUIRE(found == identity_of(kernel.find_directory(path)));
        REQUIRE(inside.contains(found));
    }
}

TEST_CASE("missing directories are made, inside the root", "[root_directory]") {
    auto const how = GENERATE(path_resolver::kernel, path_resolver::steps);
    temp_dir const tmp;
    fs::create_directories(tmp / "root/usr/lib");
    fs::create_directories(tmp / "outside");
    fs::create_symlink("usr/lib", tmp / "root/lib");
    fs::create_symlink(tmp / "outside", tmp / "root/out");
    fs::create_symlink("../outside", tmp / "root/up");
    auto const root = open_root(tmp / "root", how);
    std::vector<std::string> made;
    auto const before = [&](int folder, std::string_view path) {
        CHECK(identity_of(root.find_directory(path)) == identity_of(unique_fd{::dup(folder)}));
        made.push_back("in " + std::string{path});
    };
    auto const hear = [&](int folder, int fd, std::string_view path) {
        CHECK(folder >= 0);
        CHECK(fd >= 0);
        made.emplace_back(path);
    };

    auto const found = root.make_directories("lib/x/y", before, hear);
    REQUIRE(found);
    CHECK(identity_of(found) == identity_of(tmp / "root/usr/lib/x/y"));
    CHECK(made == std::vector<std::string>{"in lib", "lib/x", "in lib/x", "lib/x/y"});
    CHECK((fs::status(tmp / "root/usr/lib/x").permissions() & fs::perms::all) == fs::perms::owner_all);

    made.clear();
    REQUIRE(root.make_directories("usr/lib/x", before, hear));
    CHECK(root.make_directories("", before, hear));
    CHECK(made.empty());

    for (auto const* path : {"out/x", "up/x", "out", "up"}) {
        CAPTURE(path);
        errno = 0;
        CHECK(!root.make_directories(path, before, hear));
        CHECK(errno == ENOENT);
    }
    CHECK(std::none_of(made.begin(), made.end(), [](auto const& text) { return !text.starts_with("in "); }));
    CHECK(fs::is_empty(tmp / "outside"));
}

TEST_CASE("a path may be longer than the kernel takes at once", "[root_directory]") {
    temp_dir const tmp;
    auto const root = open_root(tmp.path(), path_resolver::kernel);
    std::string path;
    while (path.size() < 2 * PATH_MAX) path += (path.empty() ? "" : "/") + std::string(200, 'd');
    std::size_t made = 0;
    auto const found = root.make_directories(
        path, [](int, std::string_view) {}, [&](int, int, std::string_view) { ++made; });
    REQUIRE(found);
    CHECK(made == (path.size() + 1) / 201);
    CHECK(identity_of(root.find_directory(path)) == identity_of(found));
}

TEST_CASE("a link target full of '..' cannot keep the fallback busy for ever", "[root_directory]") {
    temp_dir const tmp;
    std::string deep, around;
    for (int i = 0; i < 1000; ++i) deep += "d/";
    fs::create_directories(tmp / deep);
    while (around.size() < 4000) around += "../d/";
    fs::create_symlink(around, tmp / (deep + "around"));
    auto const root = open_root(tmp.path(), path_resolver::steps);
    CHECK(trouble(root, deep + "around") == ELOOP);
}

TEST_CASE("a directory that is swapped for a link all the time never leads outside",
          "[root_directory][race]") {
    auto const how = GENERATE(path_resolver::kernel, path_resolver::steps);
    temp_dir const tmp;
    fs::create_directories(tmp / "root/d/sub");
    fs::create_directories(tmp / "outside/sub");
    fs::create_symlink(tmp / "outside", tmp / "root/evil");
    auto const root = open_root(tmp / "root", how);
    std::atomic<bool> stop = false;
    std::thread racer{[&] {
        auto const d = tmp / "root/d", evil = tmp / "root/evil";
        while (!stop) ::renameat2(AT_FDCWD, d.c_str(), AT_FDCWD, evil.c_str(), RENAME_EXCHANGE);
    }};
    std::size_t found = 0, refused = 0, wrong = 0;
    auto const outside = identity_of(tmp / "outside/sub");
    for (int i = 0; i < 20'000; ++i) {
        if (auto const sub = root.find_directory(i % 2 == 0 ? "d/sub" : "d/../evil/sub"))
            ++(identity_of(sub) == outside ? wrong : found);
        else
            ++refused;
    }
    stop = true;
    racer.join();
    CHECK(wrong == 0);
    CHECK(found > 0);
    CHECK(refused > 0);
}
