#include <shiplap/sink/tree_removal.hpp>

#include "support/catch.hpp"
#include "support/temp.hpp"
#include "support/unprivileged.hpp"

#include <filesystem>
#include <fstream>
#include <set>

#include <sys/resource.h>

using namespace shiplap;
namespace fs = std::filesystem;

namespace {

void put(std::string const& path) {
    fs::create_directories(fs::path{path}.parent_path());
    std::ofstream{path} << "text";
}

/// Keeps some names wherever they are, and remembers what it hears.
struct keep_some {
    std::set<std::string, std::less<>> names;
    std::vector<std::string> entered = {};
    std::size_t directories_removed = 0;

    [[nodiscard]] bool keeps(file_identity const&, std::string_view name) const {
        return names.contains(name);
    }
    void entering(struct ::stat const& facts, std::string const& path) {
        CHECK(S_ISDIR(facts.st_mode));
        entered.push_back(path);
    }
    void removed(file_identity const&) { ++directories_removed; }
};
static_assert(removal_rules<keep_some>);
static_assert(removal_rules<keep_nothing>);

} // namespace

TEST_CASE("a tree is removed, what its links name is not", "[tree_removal]") {
    temp_dir const tmp;
    put(tmp / "outside/precious");
    put(tmp / "root/tree/a/b/file");
    put(tmp / "root/tree/a/c");
    put(tmp / "root/other");
    fs::create_directory_symlink(tmp / "outside", tmp / "root/tree/link");
    fs::create_directory_symlink("../../../../outside", tmp / "root/tree/a/b/up");
    fs::create_hard_link(tmp / "outside/precious", tmp / "root/tree/a/hard");
    REQUIRE(::mkfifo((tmp / "root/tree/fifo").c_str(), 0600) == 0);
    auto const root = detail::open_file(tmp / "root", O_PATH | O_DIRECTORY);

    remove_tree(root.get(), "nothing", "");
    remove_tree(root.get(), "tree", "");
    CHECK(fs::exists(tmp / "outside/precious"));
    CHECK(fs::exists(tmp / "root/other"));
    CHECK(fs::symlink_status(tmp / "root/tree").type() == fs::file_type::not_found);

    fs::create_directory_symlink(tmp / "outside", tmp / "root/tree");
    remove_tree(root.get(), "tree", "");
    CHECK(fs::exists(tmp / "outside/precious"));
    CHECK(fs::symlink_status(tmp / "root/tree").type() == fs::file_type::not_found);
}

TEST_CASE("rules say what stays", "[tree_removal]") {
    temp_dir const tmp;
    for (auto const* name :
         {"t/a/keep", "t/a/go", "t/b/go", "t/c/d/e/keep", "t/c/d/go", "t/keep/x", "t/keep/y/keep"})
        put(tmp / name);
    auto const root = detail::open_file(tmp.path(), O_PATH | O_DIRECTORY);
    keep_some rules{{"keep"}};
    CHECK_FALSE(remove_tree(root.get(), "t", "pre/fix", rules));

    std::set<std::string> left;
    for (auto const& entry : fs::recursive_directory_iterator{tmp.path()})
        left.insert(fs::relative(entry.path(), tmp.path()).string());
    CHECK(left == std::set<std::string>{"t", "t/a", "t/a/keep", "t/c", "t/c/d", "t/c/d/e", "t/c/d/e/keep",
                                        "t/keep", "t/keep/y", "t/keep/y/keep"});
    CHECK(rules.directories_removed == 1);
    std::sort(rules.entered.begin(), rules.entered.end());
    CHECK(rules.entered == std::vector<std::string>{"pre/fix/t", "pre/fix/t/a", "pre/fix/t/b", "pre/fix/t/c",
                                                    "pre/fix/t/c/d", "pre/fix/t/c/d/e", "pre/fix/t/keep",
                                                    "pre/fix/t/keep/y"});

    keep_nothing all;
    CHECK(empty_directory(root.get(), "", all));
    CHECK(fs::is_empty(tmp.path()));
}

TEST_CASE("a tree may be deeper than descriptors and paths reach", "[tree_removal]") {
    temp_dir const tmp;
    auto const root = detail::open_file(tmp.path(), O_PATH | O_DIRECTORY);
    auto here = detail::open_file(tmp.path(), O_PATH | O_DIRECTORY);
    for (int i = 0; i < 6000; ++i) {
        REQUIRE(::mkdirat(here.get(), "d", 0700) == 0);
        here = unique_fd{::openat(here.get(), "d", O_PATH | O_DIRECTORY)};
    }
    struct ::rlimit before {};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    struct ::rlimit const few{64, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
    remove_tree(root.get(), "d", "");
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK(fs::is_empty(tmp.path()));
}

TEST_CASE("an owner without privileges can remove what forbids it", "[tree_removal]") {
    temp_dir const tmp;
    hand_over(tmp.path());
    auto const folder = tmp / "";
    CHECK(run_unprivileged([&] {
              put(folder + "t/a/file");
              put(folder + "t/b/c/file");
              fs::permissions(folder + "t/a", fs::perms{0555});
              fs::permissions(folder + "t/b/c", fs::perms{0});
              fs::permissions(folder + "t/b", fs::perms{0444});
              auto const root = detail::open_file(folder, O_PATH | O_DIRECTORY);
              remove_tree(root.get(), "t", "");
          }) == "");
    CHECK(fs::is_empty(tmp.path()));
}

TEST_CASE("a directory that is moved away while it is emptied leads nowhere else", "[tree_removal][race]") {
    temp_dir const tmp;
    put(tmp / "root/t/a/b/file");
    put(tmp / "outside/t");
    put(tmp / "outside/precious");
    auto const root = detail::open_file(tmp / "root", O_PATH | O_DIRECTORY);
    struct mover : keep_nothing {
        temp_dir const& tmp;
        explicit mover(temp_dir const& where) : tmp{where} {}
        void entering(struct ::stat const&, std::string const& path) const {
            if (path == "t/a/b") fs::rename(tmp / "root/t/a", tmp / "outside/a");
        }
    } rules{tmp};
    try {
        remove_tree(root.get(), "t", "", rules);
        FAIL("not noticed");
    } catch (error const& refusal) {
        CHECK(refusal.code() == error_code::unsafe_entry);
    }
    CHECK(fs::exists(tmp / "outside/precious"));
    CHECK(fs::exists(tmp / "outside/t"));
}

TEST_CASE("a directory that is swapped for a link before it is entered is not followed",
          "[tree_removal][race]") {
    temp_dir const tmp;
    put(tmp / "root/t/a/file");
    put(tmp / "outside/precious");
    auto const root = detail::open_file(tmp / "root", O_PATH | O_DIRECTORY);
    struct swapper : keep_nothing {
        temp_dir const& tmp;
        explicit swapper(temp_dir const& where) : tmp{where} {}
        void entering(struct ::stat const&, std::string const& path) const {
            if (path != "t/a") return;
            fs::rename(tmp / "root/t/a", tmp / "root/aside");
            fs::create_directory_symlink(tmp / "outside", tmp / "root/t/a");
        }
    } rules{tmp};
    CHECK_THROWS_AS(remove_tree(root.get(), "t", "", rules), error);
    CHECK(fs::exists(tmp / "outside/precious"));
}
