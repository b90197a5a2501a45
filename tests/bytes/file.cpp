#include <shiplap/bytes/file.hpp>

#include "support/catch.hpp"
#include "support/temp.hpp"

#include <atomic>
#include <csignal>
#include <fstream>
#include <thread>

#include <sys/resource.h>

using namespace shiplap;

namespace {

static_assert(replayable_source<file_reader> && byte_source<stream_reader> && byte_sink<staged_file>);

std::size_t names_in(std::filesystem::path const& folder) {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator{folder}, {}));
}

::mode_t mode_of(std::string const& path) {
    struct ::stat facts {};
    REQUIRE(::stat(path.c_str(), &facts) == 0);
    return facts.st_mode & 07777;
}

} // namespace

TEST_CASE("what write_file writes, read_file reads", "[file]") {
    temp_dir dir;
    std::string const text(100'000, 'x');
    write_file(dir / "a", text);
    CHECK(read_file(dir / "a", text.size()) == text);
    CHECK_THROWS_AS(read_file(dir / "a", text.size() - 1), format_error);
    CHECK(names_in(dir.path()) == 1);
}

TEST_CASE("modes are exact whatever the umask", "[file]") {
    temp_dir dir;
    auto const before = ::umask(GENERATE(as<::mode_t>{}, 0000, 0022, 0077));
    write_file(dir / "a", "x", 0664);
    ::umask(before);
    CHECK(mode_of(dir / "a") == 0664);
}

TEST_CASE("a staged_file has no name until it is published", "[file]") {
    temp_dir dir;
    {
        staged_file file{dir.path().string()};
        file.write(as_bytes("new"));
        CHECK(names_in(dir.path()) <= 1); // a hidden one where the file system has no O_TMPFILE
        CHECK_FALSE(std::filesystem::exists(dir / "a"));
        auto early = file.reader();
        string_sink seen;
        transfer(early, seen);
        CHECK(seen.text == "new");
        file.publish(dir / "a", 0644);
    }
    CHECK(read_file(dir / "a", 10) == "new");
    CHECK(names_in(dir.path()) == 1);
}

TEST_CASE("publishing replaces; giving up does not", "[file]") {
    temp_dir dir;
    write_file(dir / "a", "old");
    {
        staged_file file{dir.path().string()};
        file.write(as_bytes("abandoned"));
    }
    CHECK(read_file(dir / "a", 10) == "old");
    write_file(dir / "a", "new");
    CHECK(read_file(dir / "a", 10) == "new");
    CHECK(names_in(dir.path()) == 1);
}

TEST_CASE("files can be settled first and named later", "[file]") {
    temp_dir dir;
    std::vector<staged_file> files;
    for (int i = 0; i < 3; ++i) {
        files.emplace_back(dir.path().string());
        files.back().write(as_bytes(std::string(static_cast<std::size_t>(i), 'x')));
        CHECK(files.back().size() == static_cast<std::uint64_t>(i));
        files.back().start_writing();
    }
    for (auto& file : files) file.settle(dir / "file", 0640);
    CHECK(names_in(dir.path()) == 0); // as long as the file system knows O_TMPFILE
    for (int i = 0; i < 3; ++i) files[static_cast<std::size_t>(i)].name(dir / std::to_string(i));
    CHECK(names_in(dir.path()) == 3);
    CHECK(read_file(dir / "2", 10) == "xx");
    struct ::stat facts {};
    REQUIRE(::stat((dir / "2").c_str(), &facts) == 0);
    CHECK((facts.st_mode & 07777) == 0640);
}

TEST_CASE("a publish that fails leaves the old file and no other", "[file]") {
    temp_dir dir;
    std::filesystem::create_directory(dir / "a");
    staged_file file{dir.path().string()};
    file.write(as_bytes("x"));
    CHECK_THROWS_AS(file.publish(dir / "a", 0644), system_error);
    CHECK(std::filesystem::is_directory(dir / "a"));
    file = staged_file{dir.path().string()};
    CHECK(names_in(dir.path()) == 1);
}

TEST_CASE("errors name the path", "[file]") {
    temp_dir dir;
    CHECK_THROWS_WITH(file_reader{dir / "missing"}, contains("missing") && contains("No such file"));
    CHECK_THROWS_WITH(staged_file{dir / "missing"}, contains("missing"));
    CHECK_THROWS_WITH(write_file(dir / "missing/a", "x"), contains("missing"));
}

TEST_CASE("a full disk is an error, and nothing appears", "[file]") {
    temp_dir dir;
    auto const before = std::signal(SIGXFSZ, SIG_IGN);
    struct rlimit old {
    }, small{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
    small = {1000, old.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    bool failed = false;
    try {
        write_file(dir / "a", std::string(5000, 'x'));
    } catch (system_error const& problem) {
        failed = problem.number() == EFBIG;
    }
    ::setrlimit(RLIMIT_FSIZE, &old);
    std::signal(SIGXFSZ, before);
    CHECK(failed);
    CHECK(names_in(dir.path()) == 0);
}

TEST_CASE("readers of one file do not disturb each other", "[file]") {
    temp_dir dir;
    write_file(dir / "a", "0123456789");
    file_reader first{dir / "a"}, second{dir / "a"};
    std::byte four[4];
    CHECK(first.read(four) == 4);
    string_sink all;
    transfer(second, all);
    CHECK(all.text == "0123456789");
    first.rewind();
    string_sink again;
    transfer(first, again);
    CHECK(again.text == "0123456789");
}

TEST_CASE("a folder_lock keeps others out", "[file]") {
    temp_dir dir;
    std::atomic<int> inside = 0, most = 0, entered = 0; // the thread sanitizer knows nothing of flock()
    auto const visit = [&] {
        for (int i = 0; i < 50; ++i) {
            folder_lock const lock{dir.path().string()};
            most = std::max(most.load(), ++inside);
            std::this_thread::yield();
            --inside;
            ++entered;
        }
    };
    std::thread a{visit}, b{visit};
    a.join();
    b.join();
    CHECK(most == 1);
    CHECK(entered == 100);
    CHECK(names_in(dir.path()) == 0);
}

TEST_CASE("existing_ancestor finds the nearest folder that is there", "[file]") {
    temp_dir dir;
    CHECK(detail::existing_ancestor(dir / "a/b/c") == dir.path().string());
    CHECK(detail::existing_ancestor(dir.path().string()) == dir.path().string());
    CHECK(detail::existing_ancestor("no-such-folder-here/x") == ".");
}
