#include <shiplap/registry/journal.hpp>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <support/catch.hpp>
#include <support/temp.hpp>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace shiplap;

namespace {

auto const registry = url::parse("https://r.io/").from();
auto const blob = digest::of<sha256>(as_bytes("blob"));

upload_session session_at(std::string const& location, std::uint64_t min_chunk = 0) {
    return {url::parse(location), min_chunk};
}

std::filesystem::path only_file(temp_dir const& in) {
    std::vector<std::filesystem::path> files;
    for (auto const& one : std::filesystem::directory_iterator{in / "uploads"}) files.push_back(one.path());
    REQUIRE(files.size() == 1);
    return files.front();
}

std::string text_of(std::filesystem::path const& path) {
    std::ifstream file{path};
    return {std::istreambuf_iterator<char>{file}, {}};
}

void write(std::filesystem::path const& path, std::string const& text) {
    std::ofstream{path, std::ios::trunc} << text;
}

unsigned mode_of(std::filesystem::path const& path) {
    struct ::stat facts {};
    REQUIRE(::stat(path.c_str(), &facts) == 0);
    return facts.st_mode & 07777U;
}

} // namespace

TEST_CASE("an upload under way is remembered until it ends", "[registry]") {
    temp_dir const folder;
    std::string const location = "https://r.io/v2/app/blobs/uploads/1?_state=a%2Bb%3D&x=%22";
    upload_journal const journal{folder / "state"};
    {
        auto entry = journal.open(registry, "app", blob);
        REQUIRE(entry);
        CHECK_FALSE(entry->session());
        entry->keep(session_at("https://r.io/v2/app/blobs/uploads/1?_state=" + std::string(500, 'x')));
        entry->keep(session_at(location, 7)); // the latest counts, also when it is shorter
        CHECK(entry->session()->location.text() == location);
    }
    upload_journal const next_run{folder / "state"};
    {
        auto entry = next_run.open(registry, "app", blob);
        REQUIRE(entry);
        REQUIRE(entry->session());
        CHECK(entry->session()->location.text() == location);
        CHECK(entry->session()->min_chunk == 7);
        entry->forget();
    }
    CHECK(std::filesystem::is_empty(folder / "state/uploads"));
    CHECK_FALSE(next_run.open(registry, "app", blob)->session());
}

TEST_CASE("what is remembered is for its owner's eyes", "[registry]") {
    temp_dir const folder;
    ::mkdir((folder / "uploads").c_str(), 0755);
    auto const old_mask = ::umask(0);
    upload_journal const journal{folder.path().string()};
    journal.open(registry, "app", blob)->keep(session_at("https://r.io/secret"));
    ::umask(old_mask);
    CHECK(mode_of(folder / "uploads") == 0700);
    CHECK(mode_of(only_file(folder)) == 0600);

    // Also if somebody has opened it to others.
    ::chmod(only_file(folder).c_str(), 0666);
    CHECK(journal.open(registry, "app", blob)->session());
    CHECK(mode_of(only_file(folder)) == 0600);
}

TEST_CASE("without a folder nothing is remembered", "[registry]") {
    CHECK_FALSE(upload_journal{}.open(registry, "app", blob));
}

TEST_CASE("a folder that cannot be made is told of", "[registry]") {
    temp_dir const folder;
    write(folder / "file", "");
    CHECK_THROWS_AS(upload_journal{folder / "file"}.open(registry, "app", blob), system_error);
}

TEST_CASE("an entry is for one blob of one repository", "[registry]") {
    temp_dir const folder;
    upload_journal const journal{folder.path().string()};
    journal.open(registry, "app", blob)->keep(session_at("https://r.io/1"));

    CHECK_FALSE(journal.open(registry, "app2", blob)->session());
    CHECK_FALSE(journal.open(url::parse("https://r.io:5000/").from(), "app", blob)->session());
    CHECK_FALSE(journal.open(url::parse("http://r.io/").from(), "app", blob)->session());
    CHECK_FALSE(journal.open(registry, "app", digest::of<sha256>(as_bytes("other")))->session());
    CHECK_FALSE(journal.open(registry, "app", digest::of<sha512>(as_bytes("blob")))->session());
    CHECK(journal.open(registry, "app", blob)->session());
}

TEST_CASE("an entry of another user or machine, or no entry, is ignored and replaced", "[registry]") {
    temp_dir const folder;
    upload_journal const journal{folder.path().string()};
    journal.open(registry, "app", blob)->keep(session_at("https://r.io/1"));
    auto const path = only_file(folder);
    auto const good = text_of(path);
    auto const entry = nlohmann::json::parse(good);

    std::vector<std::string> bad{
        "", "{", "null", "[]", "{}", "\"x\"", std::string(100'000, '['), std::string(100, '\0')};
    for (std::size_t n = 0; n < good.size(); ++n) bad.push_back(good.substr(0, n));
    for (std::size_t part = 0; part < 5; ++part) { // registry, repository, digest, machine, user
        auto other = entry;
        other["key"][part] = part == 4 ? nlohmann::json(::geteuid() + 1) : nlohmann::json("other");
        bad.push_back(other.dump());
    }
    for (auto const* const member : {"key", "location", "minChunk"})
        for (auto const& value :
             {nlohmann::json(), nlohmann::json(-1), nlohmann::json("file:///etc/passwd")}) {
            auto other = entry;
            other[member] = value;
            bad.push_back(other.dump());
            other.erase(member);
            bad.push_back(other.dump());
        }
    for (auto const& text : bad) {
        CAPTURE(text.substr(0, 200));
        write(path, text);
        auto const found = journal.open(registry, "app", blob);
        REQUIRE(found);
        REQUIRE_FALSE(found->session());
    }
    write(path, good);
    CHECK(journal.open(registry, "app", blob)->session());
    write(path, std::string(100'000, 'x'));
    journal.open(registry, "app", blob)->keep(session_at("https://r.io/2"));
    CHECK(journal.open(registry, "app", blob)->session()->location.text() == "https://r.io/2");
}

TEST_CASE("what is no file in the place of an entry is left alone", "[registry]") {
    temp_dir const folder;
    upload_journal const journal{folder.path().string()};
    journal.open(registry, "app", blob)->keep(session_at("https://r.io/1"));
    auto const path = only_file(folder);
    std::filesystem::remove(path);

    SECTION("link") {
        write(folder / "target", "mine");
        std::filesystem::create_symlink(folder / "target", path);
        CHECK_FALSE(journal.open(registry, "app", blob));
        CHECK(text_of(folder / "target") == "mine");
    }
    SECTION("folder") {
        std::filesystem::create_directory(path);
        CHECK_FALSE(journal.open(registry, "app", blob));
    }
    SECTION("pipe") {
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        CHECK_FALSE(journal.open(registry, "app", blob));
    }
}

TEST_CASE("one at a time has an entry", "[registry]") {
    temp_dir const folder;
    upload_journal const journal{folder.path().string()}, other{folder.path().string()};
    auto mine = journal.open(registry, "app", blob);
    REQUIRE(mine);
    CHECK_FALSE(journal.open(registry, "app", blob));
    CHECK_FALSE(other.open(registry, "app", blob));
    CHECK(other.open(registry, "app2", blob));
    mine.reset();
    CHECK(other.open(registry, "app", blob));
}

TEST_CASE("a killed process leaves its entry, and no lock on it", "[registry]") {
    temp_dir const folder;
    upload_journal const journal{folder.path().string()};
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    auto const child = ::fork();
    if (child == 0) {
        auto entry = journal.open(registry, "app", blob);
        entry->keep(session_at("https://r.io/of-the-dead"));
        (void)!::write(ready[1], "x", 1);
        ::pause();
        ::_exit(0);
    }
    char byte = 0;
    REQUIRE(::read(ready[0], &byte, 1) == 1);
    CHECK_FALSE(journal.open(registry, "app", blob)); // another process is at it
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(ready[0]);
    ::close(ready[1]);
    auto const entry = journal.open(registry, "app", blob);
    REQUIRE(entry);
    CHECK(entry->session()->location.text() == "https://r.io/of-the-dead");
}

TEST_CASE("a location that is too long or no UTF-8 does no harm", "[registry]") {
    temp_dir const folder;
    upload_journal const journal{folder.path().string()};
    auto entry = journal.open(registry, "app", blob);
    entry->keep(session_at("https://r.io/?" + std::string(8192, 'x')));
    CHECK(entry->session()->location.text().size() > 8192);
    entry->keep(session_at("https://r.io/?" + std::string(40'000, 'x')));
    CHECK_FALSE(entry->session());
    CHECK_NOTHROW(entry->keep(session_at("https://r.io/?\xff\xfe")));
    entry->keep(session_at("https://r.io/2"));
    CHECK(entry->session()->location.text() == "https://r.io/2");
    CHECK_FALSE(journal.open(registry, "app", blob)); // the lock was kept all the while
}

TEST_CASE("entries that end while others come are never shared", "[registry]") {
    temp_dir const folder;
    upload_journal const journal{folder.path().string()};
    std::atomic<int> holders{0}, opened{0};
    std::atomic<bool> shared{false};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] {
            for (int n = 0; n < 300; ++n) {
                auto entry = journal.open(registry, "app", blob);
                if (!entry) continue;
                if (++holders != 1) shared = true;
                ++opened;
                entry->keep(session_at("https://r.io/1"));
                --holders;
                entry->forget();
            }
        });
    for (auto& one : threads) one.join();
    CHECK_FALSE(shared);
    CHECK(opened > 0);
    CHECK(std::filesystem::is_empty(folder / "uploads"));
}
