#include <shiplap/sink/layer_changes.hpp>

#include "support/catch.hpp"
#include "support/trees.hpp"
#include "support/unprivileged.hpp"

#include <filesystem>

using namespace shiplap;
namespace fs = std::filesystem;

namespace {

root_directory open_root(std::string const& path) {
    return root_directory{detail::open_file(path, O_PATH | O_DIRECTORY)};
}

struct ::stat stat_of(std::string const& path) {
    struct ::stat facts {};
    if (::lstat(path.c_str(), &facts) != 0) throw system_error{"stat", path, errno};
    return facts;
}

} // namespace

TEST_CASE("a directory that a layer works in gets its time and mode back", "[layer_changes]") {
    temp_dir const tmp;
    fs::create_directories(tmp / "d/e");
    REQUIRE(::chmod((tmp / "d").c_str(), 02755) == 0);
    trees::set_time(tmp / "d/e", {1'000, 5});
    trees::set_time(tmp / "d", {-7, 999'999'999});
    auto const root = open_root(tmp.path());
    detail::layer_changes changes{root};
    CHECK(changes.has_lower());
    for (auto const* path : {"d", "d/e"}) {
        auto const folder = root.find_directory(path);
        changes.touch(folder.get(), path);
        changes.touch(folder.get(), path);
        trees::write(tmp / (std::string{path} + "/new"), "text");
    }
    changes.settle(root);
    auto const d = stat_of(tmp / "d"), e = stat_of(tmp / "d/e");
    CHECK((d.st_mode & 07777) == 02755);
    CHECK(d.st_mtim.tv_sec == -7);
    CHECK(d.st_mtim.tv_nsec == 999'999'999);
    CHECK(e.st_mtim.tv_sec == 1'000);
    CHECK(e.st_mtim.tv_nsec == 5);
}

TEST_CASE("what an entry says of a directory wins over what it was", "[layer_changes]") {
    temp_dir const tmp;
    fs::create_directory(tmp / "d");
    auto const root = open_root(tmp.path());
    detail::layer_changes changes{root};
    auto const facts = stat_of(tmp / "d");
    CHECK(changes.remember(facts, "d"));
    CHECK_FALSE(changes.remember(facts, "d"));
    changes.set(file_identity{facts}, {"d", 0700, {42, 0}});
    CHECK_FALSE(changes.remember(facts, "d"));
    changes.settle(root);
    CHECK((stat_of(tmp / "d").st_mode & 07777) == 0700);
    CHECK(stat_of(tmp / "d").st_mtim.tv_sec == 42);
}

TEST_CASE("modes that forbid the way are set last", "[layer_changes]") {
    temp_dir const tmp;
    hand_over(tmp.path());
    auto const folder = tmp / "";
    CHECK(run_unprivileged([&] {
              fs::create_directories(folder + "d/e");
              REQUIRE(::chmod((folder + "d").c_str(), 0555) == 0);
              auto const root = open_root(folder);
              detail::layer_changes changes{root};
              changes.touch(root.find_directory("d").get(), "d"); // makes it writable
              trees::write(folder + "d/new", "text");
              changes.set(file_identity{stat_of(folder + "d/e")}, {"d/e", 0, {}});
              changes.settle(root);
          }) == "");
    CHECK((stat_of(tmp / "d").st_mode & 07777) == 0555);
    CHECK((stat_of(tmp / "d/e").st_mode & 07777) == 0);
    CHECK(fs::exists(tmp / "d/new"));
}

TEST_CASE("removal spares what the layer has brought, through any path", "[layer_changes]") {
    temp_dir const tmp;
    for (auto const* name : {"d/old", "d/new", "d/sub/old", "d/sub/new"}) trees::write(tmp / name, "text");
    auto const root = open_root(tmp.path());
    detail::layer_changes changes{root};
    changes.add(root.find_directory("d").get(), "new");
    changes.add(root.find_directory("d/sub").get(), "new");
    SECTION("of one name") {
        changes.remove_lower(root.descriptor(), "d", "");
        CHECK(fs::exists(tmp / "d/new"));
        CHECK(fs::exists(tmp / "d/sub/new"));
        CHECK_FALSE(fs::exists(tmp / "d/old"));
        CHECK_FALSE(fs::exists(tmp / "d/sub/old"));
    }
    SECTION("of all in a directory") {
        changes.empty_lower(root.find_directory("d/sub").get(), "d/sub");
        CHECK(fs::exists(tmp / "d/old"));
        CHECK(fs::exists(tmp / "d/sub/new"));
        CHECK_FALSE(fs::exists(tmp / "d/sub/old"));
    }
    SECTION("not where room is needed") {
        changes.remove(root.descriptor(), "d", "");
        CHECK(fs::is_empty(tmp.path()));
    }
    changes.settle(root);
}

TEST_CASE("a directory that is gone is forgotten, one that changed places is an error", "[layer_changes]") {
    temp_dir const tmp;
    fs::create_directories(tmp / "d/e");
    fs::create_directory(tmp / "f");
    auto const root = open_root(tmp.path());
    detail::layer_changes changes{root};
    changes.touch(root.find_directory("d/e").get(), "d/e");
    changes.touch(root.find_directory("f").get(), "f");
    changes.remove(root.descriptor(), "d", "");
    SECTION("gone") {
        fs::create_directory(tmp / "d");
        CHECK_NOTHROW(changes.settle(root));
    }
    SECTION("swapped") {
        fs::rename(tmp / "f", tmp / "g");
        fs::create_directory(tmp / "f");
        REQUIRE_THROWS_AS(changes.settle(root), error);
    }
    SECTION("vanished") {
        fs::remove(tmp / "f");
        REQUIRE_THROWS_AS(changes.settle(root), error);
    }
}

TEST_CASE("without lower layers nothing needs to be remembered", "[layer_changes]") {
    temp_dir const tmp;
    CHECK_FALSE(detail::layer_changes{open_root(tmp.path())}.has_lower());
}
