#include <shiplap/store/layout.hpp>

#include "store/properties.hpp"
#include "support/catch.hpp"
#include "support/temp.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <map>
#include <thread>

#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

using namespace samples;
using Catch::Matchers::Contains;

namespace {

std::string const big(300'000, 'b');

// Packs an image of several layers and publishes it under a tag.
descriptor export_image(std::string const& path, std::string const& tag,
                        std::vector<std::string> const& layers) {
    layout_store layout{path};
    auto const root = put_image(layout, layers);
    layout.publish(std::vector{named_entry(root, name(tag))});
    return root;
}

// Every image of the layout is there, whole.
std::size_t check_whole(std::string const& path) {
    layout_store layout{path};
    auto const entries = layout.entries();
    for (auto const& entry : entries) {
        auto const manifest = parse_manifest(read_all(layout.reader(entry.digest)), "manifest");
        CHECK(layout.holds({manifest.config.digest, manifest.config.size}));
        for (auto const& layer : manifest.layers) CHECK(layout.holds({layer.digest, layer.size}));
    }
    return entries.size();
}

} // namespace

TEST_CASE("layout_store is a blob store", "[layout]") {
    temp_dir folder;
    auto const path = GENERATE(as<std::string>{}, "new", "new/deeper/down", "empty", "existing/");
    std::filesystem::create_directory(folder / "empty");
    if (path == "existing/") export_image(folder / "existing", "1", {"a"});
    check_store(layout_store{folder / path});
}

TEST_CASE("publish makes a layout", "[layout]") {
    temp_dir folder;
    auto const path = folder / "some/where";
    auto const mask = ::umask(GENERATE(as<::mode_t>{}, 0, 022, 077, 0777));
    auto const root = [&] {
        layout_store layout{path};
        auto const packed = put_image(layout, {"bottom", "top"});
        CHECK(layout.contains(packed.digest));
        CHECK(snapshot(folder.path().string()).size() == 1); // the folder itself: nothing was made yet
        CHECK(layout.owns({packed.digest, packed.size}));
        layout.publish(std::vector{named_entry(packed, name("1"))});
        CHECK_FALSE(layout.owns({packed.digest, packed.size})); // others could change it
        CHECK(read_all(layout.reader(packed.digest)).size() == packed.size);
        return packed;
    }();
    ::umask(mask);
    CHECK(check_whole(path) == 1);
    CHECK(layout_store{path}.resolve("1").digest == root.digest);
    CHECK(layout_store{path}.resolve("").digest == root.digest);

    auto const files = snapshot(path);
    CHECK(files.size() == 1 + 4 + 4); // ., oci-layout, index.json, blobs, blobs/sha256, and four blobs
    for (auto const& [file, facts] : files) {
        auto const expected =
            facts.ends_with('/') || file == "." ? std::to_string(0755) : std::to_string(0644) + ":";
        CHECK_THAT(facts, Catch::Matchers::StartsWith(expected));
    }
    CHECK(mode_of(folder / "some") == 0755);
    CHECK(files.at("/oci-layout") == std::to_string(0644) + R"(:{"imageLayoutVersion":"1.0.0"})");
}

TEST_CASE("images join those that are there", "[layout]") {
    temp_dir folder;
    auto const path = folder / "layout";
    auto const first = export_image(path, "1", {"shared", "one"});
    auto const second = export_image(path, "2", {"shared", "two"});
    write_text(path + "/manifest.json", "[]"); // other programs' files stay
    auto const third = export_image(path, "1", {"shared", "three"});
    CHECK(check_whole(path) == 2);
    layout_store const layout{path};
    CHECK(layout.resolve("docker.io/library/app:1").digest == third.digest);
    CHECK(layout.resolve("2").digest == second.digest);
    CHECK(layout.contains(first.digest)); // not collected: that is for others
    CHECK(read_text(path + "/manifest.json") == "[]");
}

TEST_CASE("an image that is there already changes no file", "[layout]") {
    temp_dir folder;
    auto const root = export_image(folder / "l", "1", {"a", "b"});
    auto const inode = [&] {
        struct ::stat facts {};
        REQUIRE(::stat((folder / "l/index.json").c_str(), &facts) == 0);
        return facts.st_ino;
    };
    auto const before = inode();
    auto const all = snapshot(folder / "l");
    layout_store again{folder / "l"};
    again.publish(std::vector{named_entry(root, name("1"))});
    CHECK(inode() == before);
    again.publish(std::vector{named_entry(root, name("2"))});
    CHECK(inode() != before);
    CHECK(snapshot(folder / "l") != all);
}

TEST_CASE("publish removes nothing that was there, and reports no debris", "[layout]") {
    temp_dir folder;
    auto const path = folder / "layout";
    export_image(path, "1", {"a"});
    auto const before = snapshot(path);
    export_image(path, "1", {"a"});
    CHECK(snapshot(path) == before); // the same again: not a byte differs
    layout_store layout{path};
    put(layout, "never published");
    CHECK(snapshot(path) == before);
}

TEST_CASE("a blob is held if its bytes are right", "[layout]") {
    temp_dir folder;
    auto const path = folder / "layout";
    export_image(path, "1", {"hello"});
    auto const hello = facts_of("hello");
    auto const file = blob_path(path, hello.digest);

    CHECK(layout_store{path}.holds(hello));
    CHECK_FALSE(layout_store{path}.holds({hello.digest, 6}));
    CHECK_FALSE(layout_store{path}.holds(facts_of("something else")));
    write_text(file, "hellO");
    CHECK(layout_store{path}.contains(hello.digest));
    CHECK_FALSE(layout_store{path}.holds(hello));
    std::filesystem::remove(file);
    std::filesystem::create_directory(file);
    CHECK_FALSE(layout_store{path}.contains(hello.digest));
    CHECK_FALSE(layout_store{path}.holds(hello));
    std::filesystem::remove(file);

    // A staged blob is trusted, for the size that it has.
    layout_store layout{path};
    put(layout, "hello");
    CHECK(layout.holds(hello));
    CHECK_FALSE(layout.holds({hello.digest, 4}));
}

TEST_CASE("a damaged blob is replaced by what was packed", "[layout]") {
    temp_dir folder;
    auto const path = folder / "layout";
    export_image(path, "1", {"hello"});
    auto const file = blob_path(path, facts_of("hello").digest);
    write_text(file, "damaged");
    export_image(path, "2", {"hello"});
    CHECK(read_text(file) == "hello");
    CHECK(check_whole(path) == 2);
}

TEST_CASE("a blob that vanishes during an export fails it", "[layout]") {
    temp_dir folder;
    auto const path = folder / "layout";
    export_image(path, "1", {"hello"});
    auto const before = read_text(path + "/index.json");
    layout_store layout{path};
    CHECK(layout.holds(facts_of("hello")));
    std::filesystem::remove(blob_path(path, facts_of("hello").digest));
    CHECK_THROWS_WITH(layout.publish({}), Contains("was removed while the image was exported"));
    CHECK(read_text(path + "/index.json") == before);
}

TEST_CASE("blobs may be elsewhere", "[layout]") {
    temp_dir folder;
    auto const path = folder / "layout";
    std::filesystem::create_directory(path);
    std::filesystem::create_directory(folder / "pool");
    write_text(path + "/oci-layout", layout_header);
    std::filesystem::create_directory_symlink(folder / "pool", path + "/blobs");
    export_image(path, "1", {"hello"});
    CHECK(check_whole(path) == 1);
    CHECK(std::filesystem::exists(folder / "pool/sha256"));
}

TEST_CASE("what is no layout is refused before anything is done", "[layout]") {
    temp_dir folder;
    struct row {
        std::string file, text, path, message;
    };
    auto const c = GENERATE(values<row>({
        {"file", "x", "file", "Not a directory"},
        {"file", "x", "file/below", "Not a directory"},
        {"dir/notes.txt", "x", "dir", "is not an OCI image layout and not empty"},
        {"dir/index.json", R"({"schemaVersion":2,"manifests":[]})", "dir",
         "is not an OCI image layout and not empty"},
        {"dir/oci-layout", R"({"imageLayoutVersion":"2.0.0"})", "dir", "only layout version 1.0.0"},
        {"dir/oci-layout", "", "dir", "parse JSON"},
    }));
    write_text(folder / c.file, c.text);
    auto const before = snapshot(folder.path().string());
    CHECK_THROWS_WITH(layout_store{folder / c.path}, Contains(c.message) && Contains(c.path));
    CHECK(snapshot(folder.path().string()) == before);
    CHECK_THROWS_AS(layout_store{""}, option_error);
}

TEST_CASE("reading needs a layout", "[layout]") {
    temp_dir folder;
    auto const header = GENERATE(true, false);
    if (header) write_text(folder / "layout/oci-layout", layout_header);
    layout_store const layout{folder / "layout"};
    try {
        (void)layout.resolve("");
        FAIL("no error");
    } catch (error const& failure) {
        CHECK(failure.code() == error_code::not_found);
        CHECK_THAT(failure.what(), Contains("there is no OCI image layout"));
    }
}

TEST_CASE("a broken index.json is not touched", "[layout]") {
    temp_dir folder;
    auto const path = folder / "layout";
    export_image(path, "1", {"a"});
    auto const text =
        GENERATE(as<std::string>{}, "", "{", R"({"schemaVersion":2,"manifests":[],"manifests":[]})");
    write_text(path + "/index.json", text);
    auto const before = snapshot(path);
    CHECK_THROWS_AS(export_image(path, "2", {"b"}), format_error);
    CHECK(snapshot(path) == before);
    CHECK_THROWS_AS(layout_store{path}.entries(), format_error);
}

// --- things that go wrong half-way -----------------------------------------------------------------------

TEST_CASE("a file that cannot grow leaves the layout as it was", "[layout]") {
    temp_dir folder;
    auto const path = folder / "layout";
    auto const existing = GENERATE(true, false);
    if (existing) export_image(path, "1", {"a"});
    // A layer that is too large; small ones, but an index.json that is too large.
    auto const [layer, annotation] = GENERATE(table<std::string, std::string>({{big, ""}, {"small", big}}));
    auto const before = snapshot(folder.path().string());

    auto const status = in_child([&, layer = layer, annotation = annotation] {
        ::signal(SIGXFSZ, SIG_IGN);
        ::rlimit const limit{100'000, 100'000};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        try {
            layout_store layout{path};
            auto root = put_image(layout, {"first", layer, "last"});
            root.annotations["org.example.note"] = annotation;
            layout.publish(std::vector{named_entry(root, name("2"))});
        } catch (system_error const& failure) {
            return failure.number() == EFBIG ? 7 : 8;
        }
        return 0;
    });
    CHECK(exited_with(status, 7));
    CHECK(snapshot(folder.path().string()) == before);
}

TEST_CASE("a full disk leaves the layout as it was", "[layout]") {
    temp_dir folder;
    auto const mount_point = folder.path().string();
    auto const existing = GENERATE(true, false);
    // From too small for anything to large enough for all: the disk fills up at any point in between.
    auto const status = in_child([&] {
        if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
            return 77;
        unsigned failures = 0, successes = 0;
        for (unsigned pages = 8; pages < 200; pages += existing ? 3 : 1) {
            auto const size =
                "size=" + std::to_string(4096 * pages) + ",nr_inodes=" + std::to_string(pages / 2);
            if (::mount("none", mount_point.c_str(), "tmpfs", 0, size.c_str()) != 0) return 77;
            auto const path = folder / "layout";
            bool ready = true;
            try {
                if (existing) export_image(path, "1", {"a"});
            } catch (system_error const&) {
                ready = false;
            }
            auto const before = snapshot(mount_point);
            try {
                if (ready) export_image(path, "2", {"b", big, std::string(4096, 'c'), "d"});
                successes += ready;
            } catch (system_error const& failure) {
                if (failure.number() != ENOSPC) return 1;
                if (snapshot(mount_point) != before) return 2;
                ++failures;
            }
            ::umount(mount_point.c_str());
        }
        return failures > 20 && successes > 10 ? 0 : 3;
    });
    if (exited_with(status, 77))
        WARN("cannot mount a tmpfs here");
    else
        CHECK(exited_with(status, 0));
}

TEST_CASE("a directory that may not be written is refused", "[layout]") {
    temp_dir folder;
    auto const path = folder / GENERATE(as<std::string>{}, "new", "layout");
    export_image(folder / "layout", "1", {"a"});
    auto const folders = {folder / "layout/blobs/sha256", folder / "layout/blobs", folder / "layout",
                          folder.path().string()};
    for (auto const& one : folders) ::chmod(one.c_str(), 0555);
    auto const before = snapshot(folder.path().string());
    auto const status = in_child([&] {
        if (::getuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) return 77; // root may write anywhere
        try {
            export_image(path, "2", {"b"});
        } catch (system_error const& failure) {
            return failure.number() == EACCES ? 7 : 8;
        }
        return 0;
    });
    if (exited_with(status, 77))
        WARN("cannot become another user here");
    else
        CHECK(exited_with(status, 7));
    CHECK(snapshot(folder.path().string()) == before);
    for (auto const& one : folders) ::chmod(one.c_str(), 0755); // so that it can be removed
}

TEST_CASE("a process killed before publish leaves nothing", "[layout]") {
    temp_dir folder;
    auto const path = folder / "layout";
    auto const existing = GENERATE(true, false);
    if (existing) export_image(path, "1", {"a"});
    auto const before = snapshot(folder.path().string());
    auto const status = in_child([&] {
        layout_store layout{path};
        put_image(layout, {"b", big});
        auto writer = layout.open();
        writer.write(as_bytes(big));
        ::raise(SIGKILL);
        return 0;
    });
    CHECK(WIFSIGNALED(status));
    CHECK(snapshot(folder.path().string()) == before);
}

TEST_CASE("a process killed at any time leaves a whole layout", "[layout]") {
    temp_dir folder;
    auto const path = folder / "layout";
    export_image(path, "first", {"a"});
    for (int round = 0; round < 25; ++round) {
        auto const child = ::fork();
        if (child == 0) {
            for (int i = 0;; ++i) {
                auto const tag = std::to_string(round) + "." + std::to_string(i);
                export_image(path, tag, {"layer of " + tag, "shared"});
            }
        }
        ::usleep(static_cast<::useconds_t>(3000 + 977 * round));
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
        CHECK(check_whole(path) >= 1);
        CHECK_NOTHROW(layout_store{path}.resolve("first"));
    }
    export_image(path, "last", {"z"});
    CHECK(layout_store{path}.resolve("last").digest == layout_store{path}.entries().back().digest);
}

TEST_CASE("all images of concurrent exports are there", "[layout]") {
    // 1000 exports, each with its fsyncs: in memory where there is such a file system.
    auto const* const before = ::getenv("TMPDIR");
    std::string const usual = before ? before : "";
    if (::access("/dev/shm", W_OK) == 0) ::setenv("TMPDIR", "/dev/shm", 1);
    temp_dir folder;
    usual.empty() ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", usual.c_str(), 1);

    auto const path = folder / "layout"; // does not exist: they also race to make it
    constexpr int processes = 2, threads = 2, tags = 25, rounds = 10;
    auto const tag = [](int process, int thread, int i) {
        return std::to_string(process) + "-" + std::to_string(thread) + "-" + std::to_string(i);
    };
    std::vector<::pid_t> children;
    for (int process = 0; process < processes; ++process) {
        auto const child = ::fork();
        if (child == 0) {
            std::atomic<int> failures{0};
            std::vector<std::thread> running;
            for (int thread = 0; thread < threads; ++thread)
                running.emplace_back([&, thread] {
                    try {
                        for (int i = 0; i < rounds * tags; ++i) {
                            auto const mine = tag(process, thread, i % tags);
                            auto const text = mine + " in round " + std::to_string(i / tags);
                            auto const root = export_image(path, mine, {"shared", text});
                            if (i % 10 == 0 && layout_store{path}.resolve(mine).digest != root.digest)
                                ++failures;
                        }
                    } catch (...) {
                        ++failures;
                    }
                });
            for (auto& one : running) one.join();
            ::_exit(failures);
        }
        children.push_back(child);
    }
    for (auto const child : children) {
        int status = 0;
        ::waitpid(child, &status, 0);
        CHECK(exited_with(status, 0));
    }
    layout_store const layout{path};
    auto const entries = layout.entries();
    CHECK(entries.size() == processes * threads * tags);
    std::map<std::string, digest> found;
    for (auto const& entry : entries) found.emplace(name_of_entry(entry).ref_name, entry.digest);
    for (int process = 0; process < processes; ++process)
        for (int thread = 0; thread < threads; ++thread)
            for (int i = 0; i < tags; ++i) {
                auto const mine = tag(process, thread, i);
                REQUIRE(found.contains(mine));
                auto const manifest = parse_manifest(read_all(layout.reader(found.at(mine))), mine);
                auto const text = mine + " in round " + std::to_string(rounds - 1);
                CHECK(manifest.layers.at(1).digest == facts_of(text).digest);
            }
    auto const files = snapshot(path);
    CHECK(std::none_of(files.begin(), files.end(),
                       [](auto const& file) { return file.first.find(".shiplap") != std::string::npos; }));
}
