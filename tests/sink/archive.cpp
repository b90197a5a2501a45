#include <shiplap/sink/archive.hpp>
#include <shiplap/sink/copy.hpp>
#include <shiplap/sink/docker_archive.hpp>
#include <shiplap/sink/oci_archive.hpp>

#include "support/catch.hpp"
#include "support/sample_image.hpp"
#include "support/temp.hpp"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include <sys/resource.h>

// What is true of archives of both kinds. Their contents: oci_archive.cpp and docker_archive.cpp.

namespace {

using namespace shiplap;

struct quiet {
    no_progress progress;
};

constexpr std::uint64_t no_limit = 1 << 30;

template <class Sink>
void deliver(sample_image const& image, Sink& sink) {
    quiet env;
    std::vector<image_name> const names{name_of(reference::parse("app:1"))};
    copy(image.root, names, image.blobs, sink, env);
}

std::vector<std::string> names_in(std::filesystem::path const& folder) {
    std::vector<std::string> names;
    for (auto const& entry : std::filesystem::directory_iterator{folder})
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

/// Files cannot grow beyond `bytes` while this lives: a full disk that needs no disk.
class file_size_limit {
  public:
    explicit file_size_limit(::rlim_t bytes) : old_signal_{std::signal(SIGXFSZ, SIG_IGN)} {
        ::getrlimit(RLIMIT_FSIZE, &old_);
        ::rlimit const now{bytes, old_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &now);
    }
    file_size_limit(file_size_limit const&) = delete;
    file_size_limit& operator=(file_size_limit const&) = delete;
    ~file_size_limit() {
        ::setrlimit(RLIMIT_FSIZE, &old_);
        std::signal(SIGXFSZ, old_signal_);
    }

  private:
    ::rlimit old_{};
    void (*old_signal_)(int);
};

/// A blob whose bytes are not those of its digest.
struct damaged_store {
    memory_store const& from;
    digest victim;
    std::string wrong;
    [[nodiscard]] bool contains(digest const& which) const { return from.contains(which); }
    [[nodiscard]] span_source reader(digest const& which) const {
        return which == victim ? span_source{wrong} : from.reader(which);
    }
};

TEMPLATE_TEST_CASE("an archive is refused before any work where it cannot be written", "", oci_archive_sink,
                   docker_archive_sink) {
    temp_dir folder;
    write_file(folder / "file", "x");
    struct {
        std::string path;
        int number;
    } const cases[] = {
        {folder.path().string(), EISDIR},
        {folder / "missing/app.tar", ENOENT},
        {folder / "file/app.tar", ENOTDIR},
    };
    for (auto const& [path, number] : cases) {
        CAPTURE(path);
        try {
            TestType sink{path};
            FAIL("was accepted");
        } catch (system_error const& refused) {
            CHECK(refused.number() == number);
            CHECK(path.starts_with(refused.subject()));
        }
    }
    CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}

TEMPLATE_TEST_CASE("an archive appears at commit and not before", "", oci_archive_sink, docker_archive_sink) {
    temp_dir folder;
    auto const path = folder / "app.tar";
    auto const image = make_image();
    {
        TestType unfinished{path};
        for (auto const& what : unfinished.arrange(read_graph(image.root, image.blobs))) {
            auto blob = image.blobs.reader(what.digest);
            unfinished.put(what, blob);
        }
        CHECK_FALSE(std::filesystem::exists(path));
    }
    CHECK(names_in(folder.path()).empty());

    TestType sink{path};
    deliver(image, sink);
    CHECK(names_in(folder.path()) == std::vector<std::string>{"app.tar"});
    auto const status = std::filesystem::status(path);
    CHECK(status.permissions() == std::filesystem::perms{0644});
}

TEMPLATE_TEST_CASE("a failed archive leaves the old file as it was", "", oci_archive_sink,
                   docker_archive_sink) {
    temp_dir folder;
    auto const path = folder / "app.tar";
    write_file(path, "old content", 0600);
    auto const image = make_image(table_of<oci_media_types>, "", 2, std::string(100'000, 'x'));
    quiet env;

    SECTION("disk full") {
        TestType sink{path};
        file_size_limit const full{::rlim_t{64} * 1024};
        try {
            deliver(image, sink);
            FAIL("was written");
        } catch (system_error const& refused) {
            CHECK(refused.number() == EFBIG);
            CHECK(refused.subject() == path);
        }
        CHECK_THROWS_AS(sink.commit(), error);
    }
    SECTION("disk full in the last block") {
        std::uint64_t size = 0;
        {
            TestType whole{folder / "whole.tar"};
            deliver(image, whole);
            size = std::filesystem::file_size(folder / "whole.tar");
            std::filesystem::remove(folder / "whole.tar");
        }
        TestType sink{path};
        file_size_limit const full{size - 1};
        CHECK_THROWS_AS(deliver(image, sink), system_error);
    }
    SECTION("damaged source") {
        auto wrong = image.blobs.blobs().at(image.manifest.layers[0].digest);
        wrong.back() = '\x7f';
        damaged_store const damaged{image.blobs, image.manifest.layers[0].digest, wrong};
        TestType sink{path};
        CHECK_THROWS_AS(copy(image.root, {}, damaged, sink, env), digest_mismatch);
        CHECK_THROWS_AS(sink.commit(), error);
    }
    SECTION("source that ends early") {
        damaged_store const damaged{image.blobs, image.manifest.layers[0].digest, "short"};
        TestType sink{path};
        CHECK_THROWS_AS(copy(image.root, {}, damaged, sink, env), digest_mismatch);
    }
    CHECK(read_file(path, no_limit) == "old content");
    CHECK(names_in(folder.path()) == std::vector<std::string>{"app.tar"});
}

TEST_CASE("an archive replaces an existing file, through a symbolic link") {
    temp_dir folder;
    write_file(folder / "real.tar", "old");
    std::filesystem::create_symlink("real.tar", folder / "link.tar");
    oci_archive_sink sink{folder / "link.tar"};
    deliver(make_image(), sink);
    CHECK(std::filesystem::is_symlink(folder / "link.tar"));
    CHECK(std::filesystem::file_size(folder / "real.tar") > 1024);
}

TEST_CASE("an archive is written to a stream as to a file") {
    temp_dir folder;
    auto const image = make_image();
    oci_archive_sink to_file{folder / "file.tar"};
    deliver(image, to_file);
    auto const expected = read_file(folder / "file.tar", no_limit);

    SECTION("given as a descriptor") {
        auto const out = detail::open_file(folder / "stream.tar", O_WRONLY | O_CREAT, 0644);
        oci_archive_sink sink{archive_output{out.get(), "stream"}};
        deliver(image, sink);
        CHECK(read_file(folder / "stream.tar", no_limit) == expected);
        // What was written cannot be taken back.
        CHECK_THROWS_AS(deliver(image, sink), error);
        CHECK(sink.staging_folder() == std::filesystem::temp_directory_path().string());
    }
    SECTION("given as a pipe by name, which stays a pipe") {
        auto const path = folder / "pipe";
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        std::string received;
        std::thread reader{[&] {
            std::ifstream in{path, std::ios::binary};
            received.assign(std::istreambuf_iterator<char>{in}, {});
        }};
        {
            oci_archive_sink sink{path};
            deliver(image, sink);
        }
        reader.join();
        CHECK(received == expected);
        CHECK(std::filesystem::is_fifo(path));
    }
    SECTION("refused by the stream") {
        auto const closed = detail::open_file(folder / "file.tar", O_RDONLY);
        oci_archive_sink sink{archive_output{closed.get(), "stream"}};
        CHECK_THROWS_AS(deliver(image, sink), system_error);
    }
}

TEST_CASE("an archive sink takes one image after the other") {
    temp_dir folder;
    auto const path = folder / "app.tar";
    oci_archive_sink sink{path};
    deliver(make_image(table_of<oci_media_types>, "", 3, "first"), sink);
    deliver(make_image(), sink);
    auto const twice = read_file(path, no_limit);

    oci_archive_sink fresh{path};
    deliver(make_image(), fresh);
    CHECK(read_file(path, no_limit) == twice);

    // It can be moved in between.
    auto moved = std::move(fresh);
    deliver(make_image(), moved);
    CHECK(read_file(path, no_limit) == twice);
}

TEST_CASE("an archive starts anew after a failure") {
    temp_dir folder;
    auto const path = folder / "app.tar";
    auto const image = make_image();
    damaged_store const damaged{image.blobs, image.manifest.layers[0].digest, "short"};
    oci_archive_sink sink{path};
    quiet env;
    CHECK_THROWS_AS(copy(image.root, {}, damaged, sink, env), digest_mismatch);
    deliver(image, sink);

    oci_archive_sink fresh{folder / "fresh.tar"};
    deliver(image, fresh);
    CHECK(read_file(path, no_limit) == read_file(folder / "fresh.tar", no_limit));
}

TEST_CASE("an archive accepts blobs in their order only") {
    temp_dir folder;
    auto const image = make_image();
    oci_archive_sink sink{folder / "app.tar"};
    auto const order = sink.arrange(read_graph(image.root, image.blobs));
    REQUIRE(order.size() == 4);
    REQUIRE(std::is_sorted(order.begin(), order.end(),
                           [](auto const& a, auto const& b) { return a.digest < b.digest; }));
    auto const put = [&](descriptor const& what) {
        auto blob = image.blobs.reader(what.digest);
        sink.put(what, blob);
    };
    CHECK_THROWS_AS(sink.commit(), error); // no image yet
    CHECK_THROWS_AS(sink.tag(image.root, {}), error);
    put(order[1]);
    CHECK(sink.exists(order[1]));
    CHECK_FALSE(sink.exists(order[0]));
    put(order[1]); // is there already
    CHECK_THROWS_AS(put(order[0]), error);
    put(order[2]);
    put(order[3]);
    CHECK_THROWS_AS(sink.commit(), error); // not tagged
    CHECK(names_in(folder.path()).empty());
}

} // namespace
