#include <shiplap/registry/known_repositories.hpp>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <support/catch.hpp>
#include <support/temp.hpp>
#include <sys/wait.h>
#include <unistd.h>

using namespace shiplap;

namespace {

using names = std::vector<std::string>;

auto const registry = url::parse("https://r.io/").from();

digest blob(int n) {
    return digest::of<sha256>(as_bytes(std::to_string(n)));
}

std::size_t written(temp_dir const& folder) {
    std::ifstream file{folder / "repositories/r.io.json"};
    return nlohmann::json::parse(file).size();
}

} // namespace

TEST_CASE("a blob is had by those that were seen to have it", "[registry]") {
    known_repositories known;
    CHECK(known.having(registry, blob(1), "app").empty());
    known.add(registry, "base", blob(1));
    known.add(registry, "base", blob(1));
    known.add(registry, "app", blob(1));
    CHECK(known.having(registry, blob(1), "app") == names{"base"});
    CHECK(known.having(registry, blob(1), "base") == names{"app"});
    CHECK(known.having(registry, blob(2), "app").empty());
    for (auto const* const other : {"http://r.io/", "https://r.io:5000/", "https://r2.io/"})
        CHECK(known.having(url::parse(other).from(), blob(1), "app").empty());
    CHECK_NOTHROW(known.save()); // to nowhere
}

TEST_CASE("the next of kin come first", "[registry]") {
    known_repositories known;
    for (auto const* const name : {"team/app/web", "a", "team", "team/app2", "tea", "team/app/api/v2",
                                   "team/application/api", "z/team/app/api"})
        known.add(registry, name, blob(1));
    CHECK(known.having(registry, blob(1), "team/app/api") == names{"team/app/api/v2", "team/app/web", "team",
                                                                   "team/app2", "team/application/api", "a",
                                                                   "tea", "z/team/app/api"});
}

TEST_CASE("what is known is known to the next process", "[registry]") {
    temp_dir const folder;
    {
        known_repositories known{folder / "deep/state"};
        known.add(registry, "base", blob(1));
        known.save();
        known.add(registry, "never saved", blob(2));
    }
    known_repositories known{folder / "deep/state"};
    CHECK(known.having(registry, blob(1), "app") == names{"base"});
    CHECK(known.having(registry, blob(2), "app").empty());
}

TEST_CASE("nothing new, nothing written", "[registry]") {
    temp_dir const folder;
    known_repositories first{folder.path().string()};
    CHECK(first.having(registry, blob(1), "app").empty());
    first.save();
    CHECK(std::filesystem::is_empty(folder.path()));
    first.add(registry, "base", blob(1));
    first.save();

    auto const file = folder / "repositories/r.io.json";
    std::filesystem::remove(file);
    first.add(registry, "base", blob(1));
    first.save();
    CHECK_FALSE(std::filesystem::exists(file));
}

TEST_CASE("each registry has a file of its own, whatever its name", "[registry]") {
    temp_dir const folder;
    struct {
        char const *url, *file;
    } const cases[] = {{"https://r.io/", "r.io.json"},
                       {"https://r.io:5000/", "r.io:5000.json"},
                       {"http://[::1]:5000/", "[::1]:5000.json"},
                       {"https://[2001:db8::1]/", "[2001:db8::1].json"},
                       {"https://../", "...json"}};
    known_repositories known{folder.path().string()};
    for (auto const& one : cases) known.add(url::parse(one.url).from(), one.url, blob(1));
    known.save();
    known_repositories next{folder.path().string()};
    for (auto const& one : cases) {
        CAPTURE(one.url);
        CHECK(std::filesystem::exists(folder / ("repositories/" + std::string{one.file})));
        CHECK(next.having(url::parse(one.url).from(), blob(1), "app") == names{one.url});
    }
}

TEST_CASE("two processes that know different things lose nothing", "[registry]") {
    temp_dir const folder;
    known_repositories a{folder.path().string()}, b{folder.path().string()};
    a.add(registry, "a", blob(1));
    b.add(registry, "b", blob(1)); // both have read the file that is not there
    b.add(registry, "b", blob(2));
    a.save();
    b.save();
    known_repositories next{folder.path().string()};
    CHECK(next.having(registry, blob(1), "app") == names{"a", "b"});
    CHECK(next.having(registry, blob(2), "app") == names{"b"});
}

TEST_CASE("real processes that write at once lose nothing", "[registry]") {
    temp_dir const folder;
    std::vector<::pid_t> children;
    for (int child = 0; child < 4; ++child) {
        auto const id = ::fork();
        if (id == 0) {
            for (int n = 0; n < 10; ++n) {
                known_repositories known{folder.path().string()};
                known.add(registry, "app" + std::to_string(child), blob(n));
                known.save();
            }
            ::_exit(0);
        }
        children.push_back(id);
    }
    for (auto const id : children) {
        int status = -1;
        ::waitpid(id, &status, 0);
        CHECK(status == 0);
    }
    CHECK(written(folder) == 40);
}

TEST_CASE("threads share it", "[registry]") {
    temp_dir const folder;
    known_repositories known{folder.path().string()};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&, i] {
            for (int n = 0; n < 50; ++n) {
                known.add(registry, "app" + std::to_string(i), blob(n));
                (void)known.having(registry, blob(n), "app");
                if (n % 25 == 0) known.save();
            }
        });
    for (auto& one : threads) one.join();
    known.save();
    CHECK(written(folder) == 200);
}

TEST_CASE("a file that cannot be understood is forgotten and replaced", "[registry]") {
    temp_dir const folder;
    std::filesystem::create_directories(folder / "repositories");
    auto const hash = blob(1).text();
    for (auto const& junk :
         {std::string{}, std::string{"{"}, std::string{"null"}, std::string{"{\"" + hash + "\":[\"base\"]}"},
          std::string(1'000'000, '['),
          "[[\"" + hash + "\"],[1,2],[\"" + hash + "\",7],\"x\",[\"" + hash + "\",\"good\"]]",
          std::string{"[[\"\xff\",\"\xfe\"]]"}}) {
        CAPTURE(junk.substr(0, 100));
        std::ofstream{folder / "repositories/r.io.json", std::ios::trunc} << junk;
        known_repositories known{folder.path().string()};
        bool const has_one = junk.find("good") != junk.npos;
        CHECK(known.having(registry, blob(1), "app") == (has_one ? names{"good"} : names{}));
        known.add(registry, "base", blob(1));
        known.save();
        CHECK(written(folder) == (has_one ? 2 : 1));
    }
    // Far too large to be ours.
    std::filesystem::resize_file(folder / "repositories/r.io.json", std::uintmax_t{65} << 20);
    CHECK(known_repositories{folder.path().string()}.having(registry, blob(1), "app").empty());
}

TEST_CASE("what was not seen for long is forgotten", "[registry]") {
    temp_dir const folder;
    constexpr int most = 20'000;
    {
        known_repositories known{folder.path().string()};
        for (int n = 0; n < most; ++n) known.add(registry, "base", blob(n));
        known.save();
    }
    CHECK(written(folder) == most);
    {
        known_repositories known{folder.path().string()};
        known.add(registry, "base", blob(0)); // seen again
        known.add(registry, "app", blob(most));
        known.save();
    }
    CHECK(written(folder) == most);
    known_repositories known{folder.path().string()};
    CHECK(known.having(registry, blob(0), "x") == names{"base"});
    CHECK(known.having(registry, blob(1), "x").empty());
    CHECK(known.having(registry, blob(2), "x") == names{"base"});
    CHECK(known.having(registry, blob(most), "x") == names{"app"});
}
