#include <shiplap/store/created_paths.hpp>

#include "store/samples.hpp"
#include "support/catch.hpp"
#include "support/temp.hpp"

using namespace samples;
using shiplap::detail::created_paths;
using shiplap::detail::make_folders;

TEST_CASE("what was made goes again unless it is kept", "[store]") {
    temp_dir folder;
    std::filesystem::create_directory(folder / "old");
    auto const before = snapshot(folder.path().string());
    auto const kept = GENERATE(true, false);
    {
        created_paths created;
        make_folders(folder / "old/new/deeper", created);
        write_text(folder / "old/new/deeper/file", "x");
        created.add(folder / "old/new/deeper/file");
        CHECK(created.paths().size() == 3);
        if (kept) created.keep();
    }
    CHECK((snapshot(folder.path().string()) == before) != kept);
    CHECK(std::filesystem::exists(folder / "old/new/deeper/file") == kept);
}

TEST_CASE("what others put into a new directory stays", "[store]") {
    temp_dir folder;
    {
        created_paths created;
        make_folders(folder / "a/b/c", created);
        write_text(folder / "a/b/theirs", "x");
    }
    CHECK(std::filesystem::exists(folder / "a/b/theirs"));
    CHECK_FALSE(std::filesystem::exists(folder / "a/b/c"));
}

TEST_CASE("new directories have mode 0755 and inherit the group bit", "[store]") {
    temp_dir folder;
    ::chmod(folder.path().c_str(), 02700);
    auto const mask = ::umask(077);
    created_paths created;
    make_folders(folder / "a/b", created);
    ::umask(mask);
    CHECK(mode_of(folder / "a") == 02755);
    CHECK(mode_of(folder / "a/b") == 02755);
    make_folders(folder / "a/b", created);
    CHECK(created.paths().size() == 2);
}

TEST_CASE("make_folders tells where it cannot", "[store]") {
    temp_dir folder;
    write_text(folder / "file", "x");
    created_paths created;
    try {
        make_folders(folder / "file/below", created);
        FAIL("no error");
    } catch (system_error const& failure) {
        CHECK(failure.number() == ENOTDIR);
        CHECK(failure.subject() == folder / "file/below");
    }
    CHECK(created.paths().empty());
}
