#include <shiplap/sink/staged_directory.hpp>

#include "support/catch.hpp"
#include "support/temp.hpp"
#include "support/unprivileged.hpp"

#include <filesystem>
#include <fstream>

using namespace shiplap;
namespace fs = std::filesystem;

namespace {

void add_file(staged_directory const& tree) {
    unique_fd const file{::openat(tree.descriptor(), "file", O_CREAT | O_WRONLY | O_EXCL, 0644)};
    REQUIRE(file);
}

std::size_t names_in(fs::path const& path) {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator{path}, fs::directory_iterator{}));
}

} // namespace

TEST_CASE("a staged directory appears when it is published", "[staged_directory]") {
    temp_dir const tmp;
    auto const how =
        GENERATE(values<std::string>({"new", "new/", "empty", "empty/.", "link", "above/it/new"}));
    CAPTURE(how);
    fs::create_directory(tmp / "empty");
    fs::create_directory(tmp / "real");
    fs::create_directory_symlink("real", tmp / "link");
    {
        staged_directory tree{tmp / how};
        add_file(tree);
        CHECK_FALSE(fs::exists(tmp / (how + "/file")));
        CHECK((fs::status(tree.label()).permissions() & fs::perms::all) == fs::perms::owner_all);
        auto moved = std::move(tree);
        moved.publish();
    }
    CHECK(fs::exists(tmp / (how + "/file")));
    CHECK((fs::status(tmp / how).permissions() & fs::perms::all) == fs::perms{0755});
    CHECK(fs::is_symlink(tmp / "link"));
    CHECK(names_in(tmp.path()) ==
          (how.starts_with("empty") || how == "link" ? 3u : 4u)); // and nothing hidden
}

TEST_CASE("without publish() no trace is left", "[staged_directory]") {
    temp_dir const tmp;
    fs::create_directory(tmp / "outside");
    {
        staged_directory tree{tmp / "new"};
        add_file(tree);
        REQUIRE(::symlinkat((tmp / "outside").c_str(), tree.descriptor(), "link") == 0);
    }
    {
        staged_directory first{tmp / "new"};
        first = staged_directory{tmp / "new"}; // the first one goes
        CHECK(names_in(tmp.path()) == 2);
    }
    CHECK(names_in(tmp.path()) == 1);
}

TEST_CASE("a destination that is taken is refused before any work", "[staged_directory]") {
    temp_dir const tmp;
    fs::create_directory(tmp / "full");
    std::ofstream{tmp / "full/file"} << "text";
    fs::create_symlink("nowhere", tmp / "dangling");
    auto const path = GENERATE(values<std::string>({"full", "full/file", "dangling"}));
    CAPTURE(path);
    CHECK_THROWS_AS(staged_directory{tmp / path}, option_error);
    CHECK_THROWS_AS(staged_directory{""}, option_error);
    CHECK_THROWS_AS(staged_directory{tmp / "full/file/below"}, error);
    CHECK(names_in(tmp.path()) == 2);
}

TEST_CASE("a destination that is filled meanwhile is left alone", "[staged_directory]") {
    temp_dir const tmp;
    {
        staged_directory tree{tmp / "new"};
        fs::create_directory(tmp / "new");
        std::ofstream{tmp / "new/other"} << "text";
        CHECK_THROWS_AS(tree.publish(), system_error);
    }
    CHECK(fs::exists(tmp / "new/other"));
    CHECK(names_in(tmp.path()) == 1);
}

TEST_CASE("a folder that may not be written is told at once", "[staged_directory]") {
    temp_dir const tmp;
    fs::permissions(tmp.path(), fs::perms{0555});
    auto const folder = tmp / "";
    auto const said = run_unprivileged([&] { staged_directory{folder + "new"}; });
    fs::permissions(tmp.path(), fs::perms{0755});
    CHECK_THAT(said, Catch::Matchers::Contains("Permission denied"));
    CHECK(fs::is_empty(tmp.path()));
}

TEST_CASE("a root that its owner may not write can be published", "[staged_directory]") {
    temp_dir const tmp;
    hand_over(tmp.path());
    auto const folder = tmp / "";
    CHECK(run_unprivileged([&] {
              staged_directory tree{folder + "new"};
              if (::fchmod(tree.descriptor(), 0555) != 0) throw std::runtime_error{"fchmod"};
              tree.publish();
          }) == "");
    CHECK((fs::status(tmp / "new").permissions() & fs::perms::all) == fs::perms{0555});
}
