#include <shiplap/sink/apply.hpp>

#include "support/catch.hpp"
#include "support/trees.hpp"
#include "support/unprivileged.hpp"
#include "tar/support.hpp"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>
#include <thread>

#include <sys/stat.h>
#include <sys/xattr.h>

using namespace shiplap;
namespace fs = std::filesystem;
using tar_tests::archive_of;
using tar_tests::stored_entry;

namespace {

// Entries ---------------------------------------------------------------------------------------------------

stored_entry item(entry_type type, std::string name, std::string link = {}, std::uint32_t mode = 0644,
                  timestamp mtime = {1'000'000, 0}) {
    auto entry = tar_tests::of_type(type, std::move(name), std::move(link));
    entry.mode = mode;
    entry.mtime = mtime;
    return {entry, {}};
}
stored_entry file(std::string name, std::string content = "text", std::uint32_t mode = 0644) {
    auto made = item(entry_type::regular, std::move(name), {}, mode);
    made.entry.size = content.size();
    made.payload = std::move(content);
    return made;
}
stored_entry dir(std::string name, std::uint32_t mode = 0755, timestamp mtime = {2'000'000, 0}) {
    return item(entry_type::directory, std::move(name), {}, mode, mtime);
}
stored_entry soft(std::string name, std::string to) {
    return item(entry_type::symbolic_link, std::move(name), std::move(to), 0777);
}
stored_entry hard(std::string name, std::string to) {
    return item(entry_type::hard_link, std::move(name), std::move(to));
}
stored_entry gone(std::string const& path) {
    return {whiteout_entry(path), {}};
}
stored_entry opaque(std::string const& folder) {
    return file(folder + ".wh..wh..opq", "");
}

using layer = std::vector<stored_entry>;

// Trees -----------------------------------------------------------------------------------------------------

/// Everything about a tree that an extraction decides: path, type, mode, owner, links, time, content.
std::vector<std::string> snapshot(std::string const& root) {
    std::vector<std::string> all;
    auto const note = [&](fs::path const& path) {
        struct ::stat facts {};
        if (::lstat(path.c_str(), &facts) != 0) throw system_error{"stat", path.string(), errno};
        std::string text = std::to_string(facts.st_mode) + " " + std::to_string(facts.st_uid) + ":" +
                           std::to_string(facts.st_gid);
        if (!S_ISDIR(facts.st_mode)) text += " links " + std::to_string(facts.st_nlink);
        text += " at " + std::to_string(facts.st_mtim.tv_sec) + "." + std::to_string(facts.st_mtim.tv_nsec);
        if (S_ISLNK(facts.st_mode)) text += " -> " + fs::read_symlink(path).string();
        if (S_ISREG(facts.st_mode)) {
            std::ifstream in{path, std::ios::binary};
            text += " " + std::string{std::istreambuf_iterator<char>{in}, {}};
        }
        if (S_ISCHR(facts.st_mode) || S_ISBLK(facts.st_mode)) text += " dev " + std::to_string(facts.st_rdev);
        all.push_back(path.lexically_relative(root).string() + ": " + text);
    };
    note(root);
    for (auto const& entry : fs::recursive_directory_iterator{root}) note(entry.path());
    std::sort(all.begin(), all.end());
    return all;
}

std::vector<std::string> paths_in(std::string const& root) {
    std::vector<std::string> paths;
    for (auto const& entry : fs::recursive_directory_iterator{root})
        paths.push_back(entry.path().lexically_relative(root).string());
    std::sort(paths.begin(), paths.end());
    return paths;
}

struct ::stat stat_of(std::string const& path) {
    struct ::stat facts {};
    if (::lstat(path.c_str(), &facts) != 0) throw system_error{"stat", path, errno};
    return facts;
}

std::string text_of(std::string const& path) {
    std::ifstream in{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
}

// A root to extract into, and precious things beside it -----------------------------------------------------

struct sandbox {
    temp_dir tmp{};
    std::vector<std::string> warnings{};
    std::function<void(progress_event const&)> hear = [this](progress_event const& event) {
        warnings.emplace_back(event.text);
    };
    std::vector<std::string> before{};
    std::optional<layer_applier> applier{};

    explicit sandbox(path_resolver how = path_resolver::kernel, extraction_options options = {}) {
        fs::create_directory(tmp / "root");
        trees::set_time(tmp / "root", {});
        trees::write(tmp / "outside/precious", "precious", 0640);
        trees::write(tmp / "outside/dir/inner", "inner");
        fs::create_directory(tmp / "outside/empty");
        before = snapshot(tmp / "outside");
        options.progress = progress_ref{hear};
        applier.emplace(root_directory{detail::open_file(tmp / "root", O_PATH | O_DIRECTORY), how}, options);
    }

    void apply_bytes(std::string_view tar) {
        span_source source{tar};
        applier->apply(source, "the layer");
    }
    void apply(layer const& entries) { apply_bytes(archive_of(entries)); }

    /// What applying throws, as text, or "".
    std::string try_bytes(std::string_view tar) {
        try {
            apply_bytes(tar);
            return {};
        } catch (error const& refusal) {
            return refusal.what();
        }
    }
    std::string operator/(std::string const& path) const { return tmp / ("root/" + path); }
    std::vector<std::string> paths() const { return paths_in(tmp / "root"); }
    void check_outside() const { CHECK(snapshot(tmp / "outside") == before); }
};

} // namespace

// Hostile archives: each is refused with its entry named, nothing outside is touched
// --------------------------

TEST_CASE("hostile archives are refused by name and touch nothing outside", "[apply][hostile]") {
    auto const how = GENERATE(path_resolver::kernel, path_resolver::steps);
    sandbox box{how};
    auto const outside = box.tmp / "outside";
    struct example {
        std::string what;
        std::vector<std::string> tars; // the last one is refused
        std::string entry;             // as it is named
        std::string reason;            // part of the message
    };
    auto const one = [&](std::string what, layer const& entries, std::string reason) {
        return example{std::move(what), {archive_of(entries)}, entries.back().entry.name, std::move(reason)};
    };
    auto const two = [&](std::string what, layer const& lower, layer const& upper, std::string reason) {
        return example{std::move(what),
                       {archive_of(lower), archive_of(upper)},
                       upper.back().entry.name,
                       std::move(reason)};
    };
    auto const deep = [] {
        std::string path;
        for (std::size_t i = 0; i <= max_path_depth; ++i) path += "d/";
        return path;
    };
    auto const lying = [](std::string header, std::string rest) {
        return header + tar_tests::padded(std::move(rest));
    };

    std::vector<example> const corpus{
        one("dot-dot", {file("../outside/precious", "evil")}, "'..'"),
        one("dot-dot inside", {file("a/../../outside/precious", "evil")}, "'..'"),
        one("dot-dot at the end", {dir("a/..")}, "'..'"),
        one("dot-dot alone", {dir("..")}, "'..'"),
        one("absolute", {file(outside + "/precious", "evil")}, "absolute"),
        one("absolute, twice", {file("/" + outside + "/precious", "evil")}, "absolute"),
        one("absolute folder", {dir("/")}, "absolute"),
        one("long component", {file("a/" + std::string(256, 'n'))}, "256 bytes"),
        one("too deep", {dir(deep())}, "deep"),
        one("link, then through it", {soft("l", outside), file("l/precious", "evil")}, "'l'"),
        one("relative link, then through it", {soft("l", "../outside"), file("l/precious", "evil")}, "'l'"),
        one("link to a file's folder", {soft("l", outside + "/dir"), dir("l/inner")}, "'l'"),
        one("chain of links", {soft("a", "b"), soft("b", "c"), soft("c", outside), file("a/x")}, "'a'"),
        one("link below a folder", {dir("d"), soft("d/l", "../../outside"), file("d/l/x")}, "'d/l'"),
        one("link loop", {soft("a", "b"), soft("b", "a"), file("a/x")}, "too many symbolic links"),
        one("link to itself, as a folder", {soft("a", "a/a"), file("a/x")}, "too many symbolic links"),
        one("below a file", {file("a"), file("a/b")}, "not a directory"),
        one("device through a link", {soft("l", outside), item(entry_type::character_device, "l/null")},
            "'l'"),
        one("whiteout through a loop", {file("x"), soft("a", "a"), file("a/y")}, "too many symbolic links"),
        two("link in one layer, write in the next", {soft("l", outside)}, {file("l/x", "evil")}, "'l'"),
        two("folder swapped for a link", {dir("d"), file("d/x")}, {soft("d", outside), file("d/precious")},
            "'d'"),
        one("root as a link", {soft(".", outside)}, "root"),
        one("root as a link, spelled out", {soft("./.", outside)}, "root"),
        one("root as a file", {file(".", "evil")}, "root"),
        one("root as a hard link", {hard(".", "x")}, "root"),
        one("hard link to dot-dot", {hard("h", "../outside/precious")}, "hard link target"),
        one("hard link to absolute", {hard("h", outside + "/precious")}, "hard link target"),
        one("hard link through a link", {soft("l", outside), hard("h", "l/precious")}, "not in the image"),
        one("hard link through an upward link", {soft("l", "../outside"), hard("h", "l/precious")},
            "not in the image"),
        one("hard link to nothing", {hard("h", "nothing")}, "not in the image"),
        one("hard link to itself", {hard("h", "h")}, "not in the image"),
        one("hard link to a folder", {dir("d"), hard("h", "d")}, "directory"),
        one("hard link to the root", {hard("h", "./.")}, "root"),
        one("bare whiteout", {file(".wh.", "")}, "whiteout"),
        one("bare whiteout in a folder", {dir("etc"), file("etc/.wh.", "")}, "whiteout"),
        one("whiteout of .", {file("etc/.wh..", "")}, "whiteout"),
        one("whiteout of ..", {file("etc/.wh...", "")}, "whiteout"),
        one("whiteout that is a folder", {dir(".wh.x/")}, "whiteout"),
        one("file below a whiteout", {file(".wh.x/y")}, "whiteout"),
        two("bare whiteout over a lower layer", {file("etc/passwd")}, {file("etc/.wh.", "")}, "whiteout"),
        {"NUL in a PAX path",
         {tar_tests::extension('x', tar_tests::record("path", std::string("a\0b", 3))) +
          archive_of({file("harmless")})},
         "extension",
         "malformed"},
        {"dot-dot in a PAX path",
         {tar_tests::extension('x', tar_tests::record("path", "../outside/precious")) +
          archive_of({file("harmless", "evil")})},
         "../outside/precious",
         "'..'"},
        {"dot-dot in a GNU long name",
         {tar_tests::extension('L', std::string("../outside/precious\0", 20)) +
          archive_of({file("harmless", "evil")})},
         "../outside/precious",
         "'..'"},
        {"absolute PAX link target",
         {tar_tests::extension('x', tar_tests::record("linkpath", outside + "/precious")) +
          archive_of({hard("h", "x")})},
         "h",
         "hard link target"},
        {"PAX size lie",
         {tar_tests::extension('x', tar_tests::record("size", "4096")) +
          archive_of({file("short", std::string(512, 's')), file("eaten")})},
         "short",
         "truncated"},
        {"PAX size that is no number",
         {tar_tests::extension('x', tar_tests::record("size", "-1")) + archive_of({file("x")})},
         "x",
         ""},
        {"size lie",
         {lying(encode_header(tar_tests::regular("big", 1u << 20)), "only this")},
         "big",
         "truncated"},
        {"size beyond all bounds",
         {lying(encode_header(tar_tests::regular("huge", std::uint64_t{1} << 62)), "x")},
         "huge",
         "truncated"},
        {"wrong checksum", {archive_of({file("fine")}).replace(4, 1, "X")}, "fineX", "checksum"},
    };
    for (auto const& [what, tars, entry, reason] : corpus) {
        CAPTURE(what);
        sandbox victim{how};
        // Targets name the outside of `box`: its twin has its own, both are watched.
        for (std::size_t i = 0; i + 1 < tars.size(); ++i) REQUIRE(victim.try_bytes(tars[i]).empty());
        auto const said = victim.try_bytes(tars.back());
        REQUIRE_FALSE(said.empty());
        CHECK_THAT(said, Catch::Matchers::Contains(printable(entry)));
        CHECK_THAT(said, Catch::Matchers::Contains(reason));
        CHECK_THAT(said, Catch::Matchers::Contains("the layer"));
        victim.check_outside();
        box.check_outside();
    }
}

TEST_CASE("archives that replace links do not reach what these name", "[apply][hostile]") {
    auto const how = GENERATE(path_resolver::kernel, path_resolver::steps);
    sandbox box{how};
    auto const outside = box.tmp / "outside";
    auto const last = GENERATE_COPY(values<stored_entry>({
        file("l", "evil"),
        dir("l"),
        dir("l/", 0777),
        soft("l", "elsewhere"),
        item(entry_type::fifo, "l"),
        item(entry_type::character_device, "l"),
        hard("l", "x"),
    }));
    for (bool const same_layer : {true, false}) {
        auto const target =
            GENERATE_COPY(outside + "/precious", outside + "/dir", outside + "/empty", outside + "/new");
        CAPTURE(static_cast<char>(last.entry.type), target, same_layer);
        if (same_layer) {
            box.apply({file("x"), soft("l", target), last});
        } else {
            box.apply({file("x"), soft("l", target)});
            box.apply({last});
        }
        box.check_outside();
        if (last.entry.type == entry_type::symbolic_link)
            CHECK(fs::read_symlink(box / "l") == "elsewhere");
        else
            CHECK_FALSE(fs::is_symlink(fs::symlink_status(box / "l")));
    }
}

TEST_CASE("a hard link to a symbolic link is one more name for the link itself", "[apply][hostile]") {
    sandbox box{GENERATE(path_resolver::kernel, path_resolver::steps)};
    auto const precious = box.tmp / "outside/precious";
    box.apply({soft("l", precious), hard("h", "l")});
    CHECK(fs::read_symlink(box / "h") == precious);
    CHECK(stat_of(box / "h").st_ino == stat_of(box / "l").st_ino);
    box.apply({file("h", "evil", 0777)});
    CHECK(text_of(box / "h") == "evil");
    box.check_outside();
}

TEST_CASE("removal does not follow links out of the root", "[apply][hostile]") {
    sandbox box{GENERATE(path_resolver::kernel, path_resolver::steps)};
    auto const outside = box.tmp / "outside";
    box.apply({dir("d"), soft("d/l", outside), soft("d/f", outside + "/precious"), soft("top", outside),
               file("x")});
    SECTION("whiteouts") {
        box.apply({gone("d"), gone("top"), gone("nothing"), gone("top/precious"), gone("x/y")});
    }
    SECTION("opaque") {
        box.apply({opaque("d/"), opaque("top/"), opaque("")});
    }
    SECTION("a file in the way") {
        box.apply({file("d"), file("top")});
    }
    box.check_outside();
}

TEST_CASE("device nodes follow the policy", "[apply][hostile]") {
    auto const null = [](std::string name) {
        auto made = item(entry_type::character_device, std::move(name), {}, 0666);
        made.entry.device_major = 1;
        made.entry.device_minor = 3;
        return made;
    };
    SECTION("skipped with a warning by default, and links to them") {
        sandbox box;
        box.apply({file("lower"), dir("dev"), null("dev/null"), hard("dev/zero", "dev/null"), file("after")});
        box.apply({null("lower")});
        CHECK(box.paths() == std::vector<std::string>{"after", "dev"});
        REQUIRE(box.warnings.size() == 3);
        CHECK_THAT(box.warnings[0], Catch::Matchers::Contains("dev/null"));
        CHECK_THAT(box.warnings[1], Catch::Matchers::Contains("dev/zero"));
        CHECK_THAT(box.warnings[2], Catch::Matchers::Contains("lower"));
    }
    SECTION("refused") {
        extraction_options options;
        options.devices = device_policy::refuse;
        sandbox box{path_resolver::kernel, options};
        CHECK_THAT(box.try_bytes(archive_of({null("null")})),
                   Catch::Matchers::Contains("'null': is a device node"));
        CHECK(box.paths().empty());
    }
    SECTION("made") {
        extraction_options options;
        options.devices = device_policy::create;
        sandbox box{path_resolver::kernel, options};
        if (!trees::is_root()) {
            WARN("not root: that device nodes are made is not tested");
            CHECK_THAT(box.try_bytes(archive_of({null("null")})), Catch::Matchers::Contains("null"));
            return;
        }
        box.apply({null("null"), item(entry_type::block_device, "loop")});
        auto const facts = stat_of(box / "null");
        CHECK(S_ISCHR(facts.st_mode));
        CHECK(facts.st_rdev == ::makedev(1, 3));
        CHECK((facts.st_mode & 07777) == 0666);
        CHECK(S_ISBLK(stat_of(box / "loop").st_mode));
    }
}

TEST_CASE("a tree that is changed by another process is never left", "[apply][hostile][race]") {
    sandbox box{GENERATE(path_resolver::kernel, path_resolver::steps)};
    box.apply({dir("d"), file("d/lower"), soft("evil", box.tmp / "outside"), dir("d/dir")});
    std::atomic<bool> stop = false;
    std::thread racer{[&] {
        auto const d = box / "d", evil = box / "evil";
        while (!stop) ::renameat2(AT_FDCWD, d.c_str(), AT_FDCWD, evil.c_str(), RENAME_EXCHANGE);
    }};
    auto const archive =
        archive_of({file("d/precious", "evil"), dir("d/dir", 0777), file("d/dir/inner", "evil"),
                    gone("d/empty"), hard("d/x", "d/precious"), opaque("d/dir/"), file("evil/precious")});
    std::size_t done = 0, refused = 0;
    for (int i = 0; i < 500; ++i) ++(box.try_bytes(archive).empty() ? done : refused);
    stop = true;
    racer.join();
    CHECK(refused > 0);
    box.check_outside();
}

TEST_CASE("any mixture of entries stays inside, and both resolvers make the same of it", "[apply][hostile]") {
    std::mt19937 dice{GENERATE(range(1u, 41u))};
    auto const pick = [&](std::size_t bound) { return static_cast<std::size_t>(dice()) % bound; };
    sandbox kernel{path_resolver::kernel}, steps{path_resolver::steps};
    std::vector<std::string> const words{"a", "b", "c", "d"};
    auto const path = [&] {
        std::string text;
        for (auto left = 1 + pick(4); left > 0; --left)
            text += words[pick(words.size())] + (left > 1 ? "/" : "");
        return text;
    };
    auto const target = [&]() -> std::string {
        switch (pick(6)) {
        case 0:
            return "../outside";
        case 1:
            return "../../outside/dir";
        case 2:
            return "/" + path();
        case 3:
            return "../" + path();
        case 4:
            return "/outside";
        default:
            return path();
        }
    };
    for (int i = 0; i < 4; ++i) {
        layer entries;
        for (auto left = 1 + pick(12); left > 0; --left) {
            switch (pick(9)) {
            case 0:
                entries.push_back(soft(path(), target()));
                break;
            case 1:
                entries.push_back(hard(path(), path()));
                break;
            case 2:
                entries.push_back(gone(path()));
                break;
            case 3:
                entries.push_back(opaque(pick(4) == 0 ? "" : path() + "/"));
                break;
            case 4:
                entries.push_back(item(entry_type::fifo, path()));
                break;
            case 5:
            case 6:
                entries.push_back(dir(path() + "/", static_cast<std::uint32_t>(0700 | pick(01000))));
                break;
            default:
                entries.push_back(file(path(), std::string(pick(2000), 'x')));
                break;
            }
        }
        auto tar = archive_of(entries);
        if (pick(4) == 0) tar[pick(tar.size())] = static_cast<char>(dice());
        auto const said = kernel.try_bytes(tar);
        REQUIRE(steps.try_bytes(tar) == said);
        if (!said.empty()) break;
        REQUIRE(snapshot(kernel.tmp / "root") == snapshot(steps.tmp / "root"));
    }
    kernel.check_outside();
    steps.check_outside();
}

// What images really hold
// -------------------------------------------------------------------------------------

TEST_CASE("every kind of entry arrives as it is", "[apply]") {
    sandbox box{GENERATE(path_resolver::kernel, path_resolver::steps)};
    auto const umask_before = ::umask(GENERATE(022u, 077u));
    auto suid = file("bin/su", "elf", 04755);
    suid.entry.mtime = {-1, 500'000'000};
    box.apply({dir("./", 0750, {3'000'000, 0}), dir("bin/", 0555, {-77, 1}), suid, soft("bin/sh", "/bin/su"),
               hard("bin/su2", "bin/su"), hard("./bin/sh2", "bin//sh"),
               item(entry_type::fifo, "run/pipe", {}, 0622), file("empty", ""),
               file("odd\n\xff" + std::string(240, 'n')), dir("tmp/", 01777)});
    ::umask(umask_before);
    CHECK(box.warnings.empty());

    auto const su = stat_of(box / "bin/su"), bin = stat_of(box / "bin"), sh = stat_of(box / "bin/sh");
    CHECK(su.st_mode == (S_IFREG | 04755));
    CHECK(su.st_nlink == 2);
    CHECK(su.st_mtim.tv_sec == -1);
    CHECK(su.st_mtim.tv_nsec == 500'000'000);
    CHECK(bin.st_mode == (S_IFDIR | 0555));
    CHECK(bin.st_mtim.tv_sec == -77);
    CHECK(bin.st_mtim.tv_nsec == 1);
    CHECK(stat_of(box / "bin/sh2").st_ino == sh.st_ino);
    CHECK(sh.st_mtim.tv_sec == 1'000'000);
    CHECK(fs::read_symlink(box / "bin/sh") == "/bin/su");
    CHECK(stat_of(box / "run/pipe").st_mode == (S_IFIFO | 0622));
    CHECK(stat_of(box / "run").st_mode == (S_IFDIR | 0755)); // had no entry
    CHECK(stat_of(box / "run").st_mtim.tv_sec == 0);
    CHECK(stat_of(box / "tmp").st_mode == (S_IFDIR | 01777));
    CHECK(stat_of(box / "empty").st_size == 0);
    CHECK(stat_of(box / ".").st_mode == (S_IFDIR | 0750));
    CHECK(stat_of(box / ".").st_mtim.tv_sec == 3'000'000);
}

TEST_CASE("parents may be links inside the root", "[apply]") {
    sandbox box{GENERATE(path_resolver::kernel, path_resolver::steps)};
    box.apply({dir("usr/lib/", 0755, {5, 0}), soft("lib", "usr/lib"), soft("lib64", "/usr/lib"),
               soft("usr/up", "../../../lib")});
    box.apply({file("lib/a", "a"), file("lib64/b", "b"), dir("usr/up/c/", 0700, {6, 0}), file("lib/c/d"),
               hard("lib64/e", "lib/a")});
    CHECK(box.paths() == std::vector<std::string>{"lib", "lib64", "usr", "usr/lib", "usr/lib/a", "usr/lib/b",
                                                  "usr/lib/c", "usr/lib/c/d", "usr/lib/e", "usr/up"});
    CHECK(stat_of(box / "usr/lib/a").st_ino == stat_of(box / "usr/lib/e").st_ino);
    CHECK(stat_of(box / "usr/lib").st_mtim.tv_sec == 5);
    CHECK(stat_of(box / "usr/lib/c").st_mtim.tv_sec == 6);
    box.apply({gone("lib64/a"), gone("lib")});
    CHECK_FALSE(fs::exists(box / "usr/lib/a"));
    CHECK(fs::exists(box / "usr/lib/e"));
    CHECK_FALSE(fs::is_symlink(box / "lib"));
}

TEST_CASE("a layer replaces what lower layers have", "[apply]") {
    sandbox box;
    struct example {
        std::string what;
        layer lower, upper;
        std::vector<std::string> left;
    };
    auto const examples = std::vector<example>{
        {"file by file", {file("a", "old")}, {file("a", "new")}, {"a"}},
        {"folder by file", {dir("a"), file("a/b"), file("a/c/d")}, {file("a")}, {"a"}},
        {"file by folder", {file("a")}, {dir("a"), file("a/b")}, {"a", "a/b"}},
        {"link by folder",
         {soft("a", "b"), dir("b"), file("b/x")},
         {dir("a"), file("a/y")},
         {"a", "a/y", "b", "b/x"}},
        {"folder by folder", {dir("a"), file("a/b")}, {dir("a"), file("a/c")}, {"a", "a/b", "a/c"}},
        {"folder by link", {dir("a"), file("a/b")}, {soft("a", "x")}, {"a"}},
        {"fifo by hard link", {item(entry_type::fifo, "a"), file("b")}, {hard("a", "b")}, {"a", "b"}},
        {"twice in a layer", {file("a", "1"), file("a", "2"), dir("a"), file("a/b")}, {}, {"a", "a/b"}},
        {"hard link to itself across layers", {file("a")}, {hard("a", "a")}, {"a"}},
    };
    for (auto const& [what, lower, upper, left] : examples) {
        CAPTURE(what);
        sandbox fresh;
        fresh.apply(lower);
        fresh.apply(upper);
        CHECK(fresh.paths() == left);
    }
}

TEST_CASE("replacing one name of a file leaves its other names alone", "[apply]") {
    sandbox box;
    box.apply({file("a", "old"), hard("b", "a")});
    box.apply({file("a", "new", 0600), hard("c", "b")});
    CHECK(text_of(box / "a") == "new");
    CHECK(text_of(box / "b") == "old");
    CHECK(stat_of(box / "b").st_ino == stat_of(box / "c").st_ino);
    CHECK(stat_of(box / "a").st_nlink == 1);
    CHECK((stat_of(box / "b").st_mode & 07777) == 0644);
}

TEST_CASE("whiteouts remove what is below and spare their own layer, in any order", "[apply]") {
    struct example {
        std::string what;
        layer lower, upper;
        std::vector<std::string> left;
    };
    auto const examples = std::vector<example>{
        {"file", {file("a"), file("b")}, {gone("a")}, {"b"}},
        {"folder", {dir("a"), file("a/b/c"), file("d")}, {gone("a")}, {"d"}},
        {"missing", {file("a")}, {gone("b"), gone("x/y/z"), gone("a/b")}, {"a"}},
        {"added again", {file("a", "old")}, {gone("a"), file("a", "new")}, {"a"}},
        {"folder added again",
         {file("a/old"), file("a/sub/old")},
         {gone("a"), dir("a"), file("a/new")},
         {"a", "a/new"}},
        {"folder without an entry",
         {file("a/old"), file("a/b/old")},
         {gone("a"), file("a/b/new")},
         {"a", "a/b", "a/b/new"}},
        {"opaque", {file("d/old"), file("d/s/old")}, {dir("d"), opaque("d/"), file("d/new")}, {"d", "d/new"}},
        {"opaque below",
         {file("d/s/old"), file("d/s/both")},
         {opaque("d/"), dir("d/s"), file("d/s/both"), file("d/s/new")},
         {"d", "d/s", "d/s/both", "d/s/new"}},
        {"opaque root", {file("a"), dir("b")}, {opaque(""), file("c")}, {"c"}},
        {"opaque in nothing", {file("a")}, {opaque("x/"), opaque("a/")}, {"a"}},
        {"link to a lower file", {file("a")}, {hard("b", "a"), gone("a")}, {"b"}},
        {"bookkeeping of AUFS",
         {file("a")},
         {file(".wh..wh.aufs", ""), dir(".wh..wh.plnk/"), file(".wh..wh.plnk/1")},
         {"a"}},
    };
    for (auto const& [what, lower, upper, left] : examples) {
        CAPTURE(what);
        std::optional<std::vector<std::string>> tree;
        // The link must see its target, all else may come in any order that has folders before their content.
        auto order = upper;
        for (int turn = 0; turn < (what == "link to a lower file" ? 1 : 6); ++turn) {
            sandbox box;
            box.apply(lower);
            box.apply(order);
            CHECK(box.paths() == left);
            auto const now = snapshot(box.tmp / "root");
            CHECK(tree.value_or(now) == now);
            tree = now;
            std::mt19937 dice{static_cast<unsigned>(turn)};
            std::shuffle(order.begin(), order.end(), dice);
            std::stable_sort(order.begin(), order.end(), [](auto const& a, auto const& b) {
                return a.entry.type == entry_type::directory && b.entry.name.starts_with(a.entry.name) &&
                       a.entry.name != b.entry.name;
            });
        }
    }
}

TEST_CASE("a whiteout in the bottom layer removes nothing", "[apply]") {
    sandbox box;
    box.apply({file("a"), gone("a"), opaque(""), dir("d"), file("d/x"), opaque("d/")});
    CHECK(box.paths() == std::vector<std::string>{"a", "d", "d/x"});
}

TEST_CASE("directories keep their times through changes that do not name them", "[apply]") {
    sandbox box;
    box.apply({dir("d", 0755, {5, 0}), dir("d/e", 0755, {6, 0}), file("d/e/f"), dir("g", 0755, {7, 0}),
               file("g/h")});
    auto const times = [&] {
        return std::vector<std::int64_t>{stat_of(box / "d").st_mtim.tv_sec,
                                         stat_of(box / "d/e").st_mtim.tv_sec,
                                         stat_of(box / "g").st_mtim.tv_sec};
    };
    CHECK(times() == std::vector<std::int64_t>{5, 6, 7});
    box.apply({file("d/new"), gone("d/e/f"), opaque("g/")});
    CHECK(times() == std::vector<std::int64_t>{5, 6, 7});
    box.apply({dir("d", 0700, {8, 0}), file("d/newer")});
    CHECK(times() == std::vector<std::int64_t>{8, 6, 7});
}

TEST_CASE("content of any size arrives, zeros as holes", "[apply]") {
    sandbox box;
    auto const zeros = std::string(3 * transfer_size, '\0');
    for (auto const& content :
         {std::string{"x"}, std::string(1, '\0'), zeros, zeros + "x", "x" + zeros, zeros + "x" + zeros,
          std::string(transfer_size, 'x'), std::string(transfer_size + 1, '\0')}) {
        box.apply({file("a", content)});
        CHECK((text_of(box / "a") == content));
    }
    box.apply({file("a", std::string(64 * transfer_size, '\0'))});
    CHECK(stat_of(box / "a").st_size == 64 * static_cast<std::int64_t>(transfer_size));
    CHECK(stat_of(box / "a").st_blocks * 512 < static_cast<std::int64_t>(transfer_size));
}

TEST_CASE("attributes of files and directories arrive", "[apply]") {
    sandbox box;
    if (::setxattr((box / ".").c_str(), "user.probe", "x", 1, 0) != 0) {
        WARN("no user attributes on this file system: not tested");
        return;
    }
    auto with = [](stored_entry made, std::vector<extended_attribute> xattrs) {
        made.entry.xattrs = std::move(xattrs);
        return made;
    };
    box.apply({with(file("f"), {{"trusted.overlay.opaque", "y"}, {"user.note", "text"}}),
               with(dir("d"), {{"user.old", "1"}})});
    box.apply({with(dir("d"), {{"user.new", "2"}})});
    auto const value = [&](std::string const& path, char const* name) {
        std::string text(100, '\0');
        auto const size = ::getxattr((box / path).c_str(), name, text.data(), text.size());
        return size < 0 ? "none" : text.substr(0, static_cast<std::size_t>(size));
    };
    CHECK(value("f", "user.note") == "text");
    CHECK(value("f", "trusted.overlay.opaque") == "none");
    CHECK(value("d", "user.old") == "none");
    CHECK(value("d", "user.new") == "2");
    CHECK(box.warnings.empty());
}

TEST_CASE("owners are kept by root", "[apply]") {
    sandbox box;
    auto owned = file("f", "text", 06755);
    owned.entry.uid = 1'234;
    owned.entry.gid = 567;
    auto folder = dir("d/", 02775);
    folder.entry.gid = 89;
    auto link = soft("l", "f");
    link.entry.uid = 4'000'000'000;
    box.apply({owned, folder, link, file("d/x")});
    CHECK((stat_of(box / "f").st_mode & 07777) == 06755);
    if (!trees::is_root()) {
        WARN("not root: that owners are kept is not tested");
        CHECK(stat_of(box / "f").st_uid == ::geteuid());
        return;
    }
    CHECK(stat_of(box / "f").st_uid == 1'234);
    CHECK(stat_of(box / "f").st_gid == 567);
    CHECK(stat_of(box / "d").st_gid == 89);
    CHECK((stat_of(box / "d").st_mode & 07777) == 02775);
    CHECK(stat_of(box / "d/x").st_gid == 0); // not inherited from its directory
    CHECK(stat_of(box / "l").st_uid == 4'000'000'000);
    CHECK(stat_of(box / "f").st_uid == 1'234);
}

TEST_CASE("a user without privileges extracts directories that forbid it", "[apply]") {
    sandbox box;
    hand_over(box.tmp.path());
    hand_over(box / "");
    auto owned = file("d/f");
    owned.entry.uid = 1'234;
    CHECK(run_unprivileged([&] {
              box.applier.emplace(root_directory{detail::open_file(box / "", O_PATH | O_DIRECTORY)});
              box.apply({dir("./", 0555), dir("d", 0555, {5, 0}), owned, dir("d/e", 0), file("d/e/x"),
                         file("top")});
              if ((stat_of(box / "d").st_mode & 07777) != 0555) throw std::runtime_error{"d is not 0555"};
              box.apply({file("d/f", "new"), gone("top"), file("d/g"), dir("n", 0111)});
              box.apply({gone("d/e"), gone("n")});
              box.apply({file("d2/x"), gone("d")});
          }) == "");
    CHECK(box.paths() == std::vector<std::string>{"d2", "d2/x"});
    CHECK((stat_of(box / ".").st_mode & 07777) == 0555);
    box.check_outside();
}

TEST_CASE("an archive without end marker and one with data behind it are read to the end", "[apply]") {
    sandbox box;
    auto const tar = archive_of({file("a")});
    box.apply_bytes(std::string_view{tar}.substr(0, tar.size() - 1024));
    span_source source{tar};
    auto const longer = tar + std::string(1000, 'x');
    span_source whole{longer};
    box.applier->apply(whole, "the layer");
    CHECK(box.paths() == std::vector<std::string>{"a"});
    std::byte rest{};
    CHECK(whole.read({&rest, 1}) == 0);
}

TEST_CASE("the number of entries is limited", "[apply]") {
    extraction_options options;
    options.limits.tar.max_entries = 3;
    sandbox box{path_resolver::kernel, options};
    CHECK(box.try_bytes(archive_of({file("a"), file("b"), file("c")})).empty());
    CHECK_THAT(box.try_bytes(archive_of({file("a"), file("b"), file("c"), file("d")})),
               Catch::Matchers::Contains("3 entries"));
}

TEST_CASE("a path may be deeper than the kernel takes at once", "[apply]") {
    sandbox box{GENERATE(path_resolver::kernel, path_resolver::steps)};
    std::string path;
    layer entries;
    for (int i = 0; i < 200; ++i) {
        path += std::string(60, 'd') + "/";
        entries.push_back(dir(path, 0755, {i, 0}));
    }
    entries.push_back(file(path + "file"));
    box.apply(entries);
    box.apply({gone(path + "file"), file(path + "new")});
    auto const folder = box.applier->root().find_directory(path);
    REQUIRE(folder);
    struct ::stat facts {};
    CHECK(::fstatat(folder.get(), "new", &facts, 0) == 0);
    CHECK(::fstatat(folder.get(), "file", &facts, 0) != 0);
    REQUIRE(::fstat(folder.get(), &facts) == 0);
    CHECK(facts.st_mtim.tv_sec == 199);
    box.apply({gone(std::string(60, 'd'))});
    CHECK(box.paths().empty());
}
