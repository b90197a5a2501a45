#include <shiplap/layer/walk.hpp>

#include "support/catch.hpp"
#include "support/trees.hpp"

#include <random>

#include <sys/resource.h>

using namespace shiplap;

namespace {

std::vector<std::string> paths_in(std::string const& root, reserved_names reserved = reserved_names::refuse) {
    tree_walker walk{root, reserved};
    std::vector<std::string> found;
    while (auto const* item = walk.next()) found.push_back(item->path);
    return found;
}

/// Makes a chain of `depth` folders called `name` and a file at its end, by steps that no limit on paths
/// touches.
void make_chain(std::string const& root, std::string const& name, int depth) {
    auto at = detail::open_file(root, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < depth; ++i) {
        trees::expect(::mkdirat(at.get(), name.c_str(), 0755) == 0, name);
        at = unique_fd{::openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
        trees::expect(static_cast<bool>(at), name);
    }
    unique_fd const file{::openat(at.get(), "end", O_WRONLY | O_CREAT | O_CLOEXEC, 0644)};
    trees::expect(static_cast<bool>(file), "end");
}

} // namespace

TEST_CASE("a walk goes depth-first in byte order of names", "[layer][walk]") {
    temp_dir temp;
    for (auto const* name :
         {"b", "a-b", "a/z", "a/b/c", "a/b-", "a.d/x", "Z", "\xc3\xa4", "\xff", "a b", "a\n"})
        trees::write(temp / name, "");
    CHECK(paths_in(temp.path()) == std::vector<std::string>{"Z", "a", "a/b", "a/b/c", "a/b-", "a/z", "a\n",
                                                            "a b", "a-b", "a.d", "a.d/x", "b", "\xc3\xa4",
                                                            "\xff"});
}

TEST_CASE("the order of a walk is an order of paths", "[layer][walk]") {
    temp_dir temp;
    std::mt19937 numbers{7};
    auto const dice = [&] { return static_cast<unsigned>(numbers()); };
    static constexpr std::string_view letters = "ab-.0\n\x01\xff";
    for (int i = 0; i < 200; ++i) {
        std::string path;
        for (unsigned parts = 1 + dice() % 3; parts != 0; --parts) {
            for (unsigned length = 1 + dice() % 2; length != 0; --length)
                path += letters[dice() % letters.size()];
            if (path.ends_with("..") || path == "." || path.ends_with("/.")) path += 'x';
            if (parts > 1) path += '/';
        }
        auto const parent = std::filesystem::path{temp / path}.parent_path();
        std::error_code taken; // by a file where a folder is wanted
        if (std::filesystem::create_directories(parent, taken); taken) continue;
        if (!std::filesystem::exists(temp / path)) trees::write(temp / path, "");
    }
    auto const found = paths_in(temp.path());
    REQUIRE(found.size() > 50);
    for (std::size_t i = 0; i + 1 < found.size(); ++i) {
        INFO(printable(found[i]) << " before " << printable(found[i + 1]));
        CHECK(compare_walk_order(found[i], found[i + 1]) < 0);
        CHECK(compare_walk_order(found[i + 1], found[i]) > 0);
        CHECK(compare_walk_order(found[i], found[i]) == 0);
    }
}

TEST_CASE("a walk gives the facts of the things themselves", "[layer][walk]") {
    temp_dir temp;
    trees::write(temp / "file", "12345", 0640);
    std::filesystem::create_symlink("file", temp / "link");
    std::filesystem::create_symlink(".", temp / "loop");
    tree_walker walk{temp.path()};
    auto const* item = walk.next();
    REQUIRE(item != nullptr);
    CHECK(item->is_regular());
    CHECK(item->facts.st_size == 5);
    CHECK((item->facts.st_mode & 07777u) == 0640);
    item = walk.next();
    REQUIRE(item != nullptr);
    CHECK(item->is_symbolic_link());
    CHECK(std::string{item->name()} == "link");
    item = walk.next();
    REQUIRE(item != nullptr);
    CHECK(item->is_symbolic_link());
    CHECK(walk.next() == nullptr);
    CHECK(walk.next() == nullptr);
}

TEST_CASE("children can be passed over without a look at them", "[layer][walk]") {
    temp_dir temp;
    trees::write(temp / "a/1", "");
    trees::write(temp / "b/2", "");
    tree_walker walk{temp.path()};
    CHECK(walk.next()->path == "a");
    std::filesystem::remove_all(temp / "a"); // would be an error if it was entered
    walk.skip_children();
    CHECK(walk.next()->path == "b");
    CHECK(walk.next()->path == "b/2");
    CHECK(walk.next() == nullptr);
}

TEST_CASE("the root may be a symbolic link and may end in a slash", "[layer][walk]") {
    temp_dir temp;
    trees::write(temp / "real/x", "");
    std::filesystem::create_directory_symlink("real", temp / "link");
    CHECK(paths_in(temp / "link") == std::vector<std::string>{"x"});
    CHECK(paths_in(temp / "link/") == std::vector<std::string>{"x"});
    CHECK(tree_walker{temp / "real/"}.full_path("x") == temp / "real/x");
}

TEST_CASE("deep trees and long paths are walked with few descriptors", "[layer][walk]") {
    struct limit_descriptors { // to fewer than the tree is deep
        ::rlimit before{};
        limit_descriptors() {
            ::getrlimit(RLIMIT_NOFILE, &before);
            auto const low = ::rlimit{128, before.rlim_max};
            ::setrlimit(RLIMIT_NOFILE, &low);
        }
        ~limit_descriptors() { ::setrlimit(RLIMIT_NOFILE, &before); }
    };
    struct chain_shape {
        std::size_t length;
        int depth;
    };
    auto const chain =
        GENERATE(values<chain_shape>({{1, 3}, {1, 64}, {1, 65}, {100, 200}, {255, 40}, {1, 2000}}));
    temp_dir temp;
    auto const name = std::string(chain.length, 'n');
    make_chain(temp.path(), name, chain.depth);
    trees::write(temp / "z", "");
    limit_descriptors const limit;

    auto const found = paths_in(temp.path());
    REQUIRE(found.size() == static_cast<std::size_t>(chain.depth) + 2);
    CHECK(found.back() == "z"); // the way back out was found
    CHECK(found[found.size() - 2].size() == static_cast<std::size_t>(chain.depth) * (chain.length + 1) + 3);
    CHECK(found[found.size() - 2].ends_with(name + "/end"));
}

TEST_CASE("siblings on the way back from the depth are met", "[layer][walk]") {
    temp_dir temp;
    std::string path;
    for (int i = 0; i < 150; ++i) {
        path += "m/";
        trees::write(temp / (path + "a"), "");
        trees::write(temp / (path + "z"), "");
    }
    auto const found = paths_in(temp.path());
    CHECK(found.size() == 450);
    CHECK(found.back() == "m/z");
    CHECK(std::is_sorted(found.begin(), found.end(),
                         [](auto const& a, auto const& b) { return compare_walk_order(a, b) < 0; }));
}

TEST_CASE("what is no directory is refused at once, by name", "[layer][walk]") {
    temp_dir temp;
    trees::write(temp / "file", "");
    auto const no_directory = trees::error_of([&] { tree_walker{temp / "file"}; });
    CHECK(no_directory.code() == error_code::io);
    CHECK(no_directory.subject() == temp / "file");
    CHECK(no_directory.reason() == "Not a directory");
    auto const nothing = trees::error_of([&] { tree_walker{temp / "none"}; });
    CHECK(nothing.subject() == temp / "none");
    CHECK(nothing.reason() == "No such file or directory");
    CHECK(trees::error_of([] { tree_walker{""}; }).code() == error_code::option);
}

TEST_CASE("what vanishes or changes during a walk is an error that names it", "[layer][walk]") {
    temp_dir temp;
    trees::write(temp / "a", "");
    trees::write(temp / "b/x", "");
    trees::write(temp / "c", "");
    tree_walker walk{temp.path()};
    CHECK(walk.next()->path == "a");

    SECTION("a file") {
        std::filesystem::remove(temp / "c");
        CHECK(walk.next()->path == "b");
        CHECK(walk.next()->path == "b/x");
        auto const problem = trees::error_of([&] { walk.next(); });
        CHECK(problem.subject() == temp / "c");
    }
    SECTION("a directory that is gone") {
        CHECK(walk.next()->path == "b");
        std::filesystem::remove_all(temp / "b");
        CHECK(trees::error_of([&] { walk.next(); }).subject() == temp / "b");
    }
    SECTION("a directory that became a link") {
        CHECK(walk.next()->path == "b");
        std::filesystem::rename(temp / "b", temp / "moved");
        std::filesystem::create_directory_symlink("moved", temp / "b");
        CHECK(trees::error_of([&] { walk.next(); }).subject() == temp / "b");
    }
    SECTION("a directory that got another entry") {
        CHECK(walk.next()->path == "b");
        trees::write(temp / "b/y", "");
        trees::set_time(temp / "b", {1, 0});
        auto const problem = trees::error_of([&] { walk.next(); });
        CHECK(problem.code() == error_code::source_changed);
        CHECK(problem.subject() == temp / "b");
    }
}

TEST_CASE("names that layers give a meaning to are refused or left out", "[layer][walk]") {
    temp_dir temp;
    trees::write(temp / "a", "");
    auto const name = GENERATE(as<std::string>{}, ".wh.a", ".wh.", ".wh..wh..opq", ".wh.d/inside");
    trees::write(temp / ("dir/" + name), "");
    trees::write(temp / "dir/.whx", "");
    auto const problem = trees::error_of([&] { paths_in(temp.path()); });
    CHECK(problem.code() == error_code::unsupported);
    CHECK(problem.subject() == temp / ("dir/" + name.substr(0, name.find('/'))));
    CHECK(paths_in(temp.path(), reserved_names::skip) == std::vector<std::string>{"a", "dir", "dir/.whx"});
}

TEST_CASE("a walk that opens what it meets finds the same", "[layer][walk]") {
    temp_dir temp;
    trees::write(temp / "dir/file", "12345", 0640);
    trees::write(temp / "dir/empty", "");
    std::filesystem::create_directory(temp / "dir/folder");
    std::filesystem::create_symlink("file", temp / "dir/link");
    REQUIRE(::mkfifo((temp / "fifo").c_str(), 0644) == 0);
    trees::write(temp / "skipped/x", "");
    tree_walker plain{temp.path()}, opening{temp.path(), reserved_names::refuse, walk_access::contents};
    for (;;) {
        auto const *a = plain.next(), *b = opening.next();
        REQUIRE((a == nullptr) == (b == nullptr));
        if (a == nullptr) break;
        INFO(a->path);
        CHECK(a->path == b->path);
        CHECK(detail::untouched(a->facts, b->facts));
        CHECK(a->opened == -1);
        CHECK((b->opened >= 0) == (b->is_regular() || b->is_directory()));
        if (b->opened >= 0) CHECK(detail::stat_open(b->opened, {}).st_ino == a->facts.st_ino);
        if (a->path != "skipped") continue;
        plain.skip_children();
        opening.skip_children();
    }
}

TEST_CASE("what cannot be opened is met all the same", "[layer][walk]") {
    if (trees::is_root()) {
        WARN("root may open everything: not tested");
        return;
    }
    temp_dir temp;
    trees::write(temp / "f", "secret", 0000);
    tree_walker walk{temp.path(), reserved_names::refuse, walk_access::contents};
    auto const* item = walk.next();
    REQUIRE(item != nullptr);
    CHECK(item->opened == -1);
    CHECK(item->facts.st_size == 6);
}

TEST_CASE("a directory of many names is read whole", "[layer][walk]") {
    temp_dir temp;
    constexpr int many = 3'000; // some buffers full
    for (int i = 0; i < many; ++i) trees::write(temp / (std::string(40, 'n') + std::to_string(i)), "");
    auto const found = paths_in(temp.path());
    CHECK(found.size() == many);
    CHECK(std::is_sorted(found.begin(), found.end()));
}

TEST_CASE("a label is the path with the root in front", "[layer][walk]") {
    CHECK(source_label{"a", "b/c"}.text() == "a/b/c");
    CHECK(source_label{"a/", "b"}.text() == "a/b");
    CHECK(source_label{"/", "b"}.text() == "/b");
    CHECK(source_label{"a", ""}.text() == "a");
}
