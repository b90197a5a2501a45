#include <shiplap/store/archive.hpp>

#include "support/catch.hpp"
#include "support/sample_image.hpp"
#include "support/temp.hpp"

#include <filesystem>
#include <fstream>
#include <thread>

#include <sys/stat.h>

namespace {

using namespace shiplap;

tar_member folder_member(std::string name) {
    tar_entry entry;
    entry.name = std::move(name);
    entry.type = entry_type::directory;
    entry.mode = 0755;
    return {std::move(entry), {}};
}

tar_member symlink(std::string name, std::string target) {
    return tar_link(std::move(name), std::move(target), entry_type::symbolic_link);
}

tar_member hard_link(std::string name, std::string target) {
    return tar_link(std::move(name), std::move(target), entry_type::hard_link);
}

/// An archive in a file.
struct archive_file {
    explicit archive_file(std::string const& bytes) { write_file(path, bytes); }
    temp_dir folder;
    std::string path = folder / "test.tar";
};

/// The code of the error that opening, or reading `name`, throws; none if both work.
std::optional<error_code> refusal(std::string const& bytes, std::string_view name) {
    archive_file const file{bytes};
    try {
        archive_files const files{file.path};
        (void)files.text(name);
        return {};
    } catch (error const& refused) {
        UNSCOPED_INFO(refused.what());
        CHECK(std::string_view{refused.what()}.find(file.path) != std::string_view::npos);
        return refused.code();
    }
}

std::string some_bytes(std::size_t n) {
    std::string out(n, '\0');
    for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<char>((i * 31 + i / 256) & 0xff);
    return out;
}

TEST_CASE("members are found by name, in place, whatever their order and size") {
    std::vector<tar_member> members;
    for (std::size_t const n : {0u, 1u, 511u, 512u, 513u, 300'000u, 700'001u})
        members.push_back(tar_file("file" + std::to_string(n), some_bytes(n)));
    members.push_back(folder_member("dir/"));
    members.push_back(tar_file("dir/" + std::string(300, 'n'), "a name that needs PAX"));
    archive_file const file{make_tar(members)};
    archive_files const files{file.path};

    for (auto const& [entry, content] : members) {
        CAPTURE(entry.name);
        if (entry.type == entry_type::directory) {
            CHECK_FALSE(files.contains(entry.name));
            continue;
        }
        CHECK(files.contains(entry.name));
        auto window = files.open(entry.name);
        CHECK(window.size() == content.size());
        string_sink once, again;
        transfer(window, once);
        std::byte beyond{};
        CHECK(window.read({&beyond, 1}) == 0);
        window.rewind();
        transfer(window, again);
        CHECK(once.text == content);
        CHECK(again.text == content);
    }
    CHECK_FALSE(files.contains("file2"));
    CHECK_FALSE(files.contains(""));
    CHECK_THROWS_AS(files.open("file2"), error);
}

TEST_CASE("names are looked up as paths inside of the archive") {
    archive_file const file{make_tar({
        folder_member("./"), folder_member("./dir/"), tar_file("./dir/file", "content"),
        symlink("dir/beside", "file"), symlink("link", "dir/file"), symlink("other/up", "../dir/./beside"),
        hard_link("hard", "dir/file"), hard_link("hard2", "./hard"), symlink("dangling", "nowhere"),
        symlink("to-folder", "dir"),
        folder_member("dir/"), // tools repeat folders
    })};
    archive_files const files{file.path};
    for (auto const* name : {"dir/file", "./dir/file", "dir//file", "dir/../dir/file", "dir/beside", "link",
                             "other/up", "hard", "hard2"}) {
        CAPTURE(name);
        CHECK(files.contains(name));
        CHECK(files.text(name) == "content");
    }
    for (auto const* name : {"dangling", "to-folder", "dir", "nowhere", "dir/file/x"}) {
        CAPTURE(name);
        CHECK_FALSE(files.contains(name));
    }
}

TEST_CASE("what leaves the archive or means two things is refused") {
    auto const file = tar_file("a", "content");
    struct {
        char const* name;
        std::vector<tar_member> members;
        error_code expected;
    } const cases[] = {
        {"../etc/passwd", {file}, error_code::unsafe_entry},
        {"/etc/passwd", {file}, error_code::unsafe_entry},
        {"a/../../a", {file}, error_code::unsafe_entry},
        {"link", {file, symlink("link", "../etc/passwd")}, error_code::unsafe_entry},
        {"link", {file, symlink("link", "/etc/passwd")}, error_code::unsafe_entry},
        {"d/link", {file, symlink("d/link", "../../a")}, error_code::unsafe_entry},
        {"link", {file, hard_link("link", "../a")}, error_code::unsafe_entry},
        {"a", {file, tar_file("../b", "")}, error_code::unsafe_entry},
        {"a", {file, tar_file("/b", "")}, error_code::unsafe_entry},
        {"a", {file, file}, error_code::format},
        {"a", {file, symlink("./a", "b")}, error_code::format},
        {"x", {symlink("x", "y"), symlink("y", "x")}, error_code::format},
        {"x", {symlink("x", "x")}, error_code::format},
        {"b", {file}, error_code::not_found},
        {"link", {file, symlink("link", "b")}, error_code::not_found},
    };
    for (auto const& [name, members, expected] : cases) {
        CAPTURE(name, members.size());
        CHECK(refusal(make_tar(members), name) == expected);
    }
    // A link that nobody follows harms nobody.
    CHECK(refusal(make_tar({file, symlink("link", "/etc/passwd")}), "a") == std::nullopt);
}

TEST_CASE("a small file is small") {
    CHECK(refusal(make_tar({tar_file("a", some_bytes(max_document_size))}), "a") == std::nullopt);
    CHECK(refusal(make_tar({tar_file("a", some_bytes(max_document_size + 1))}), "a") == error_code::format);
}

TEST_CASE("an archive that ends early is refused when it is opened") {
    auto const whole = make_tar({tar_file("a", some_bytes(1000)), tar_file("b", some_bytes(600))});
    // a: header 0, payload 512..1512, padding to 1536; b: header 1536, payload 2048..2648, padding to 3072
    REQUIRE(whole.size() == 3072 + 1024);
    for (std::size_t const length : {1u, 511u, 512u, 513u, 1511u, 1535u, 1537u, 2047u, 2048u, 2647u, 3071u}) {
        CAPTURE(length);
        CHECK(refusal(whole.substr(0, length), "a") == error_code::format);
    }
    for (std::size_t const length : {3072u, 3584u, 4096u}) { // as if the end marker were missing
        CAPTURE(length);
        CHECK(refusal(whole.substr(0, length), "a") == std::nullopt);
    }
    CHECK(refusal(whole + std::string(10'240, '\0'), "b") == std::nullopt);
    CHECK(refusal("", "a") == error_code::not_found);
    CHECK(refusal("this is not a tar file but it is longer than a block of one" + std::string(600, '.'),
                  "a") == error_code::format);
}

TEST_CASE("a size that lies about the file is refused without reading that far") {
    auto bytes = make_tar({tar_file("a", "content")});
    auto const checksum = [&] {
        bytes.replace(148, 8, 8, ' ');
        unsigned sum = 0;
        for (std::size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(bytes[i]);
        char text[8];
        std::snprintf(text, sizeof text, "%06o", sum);
        bytes.replace(148, 7, text, 7);
    };
    bytes.replace(124, 12, std::string("\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12)); // 2^63 - 1
    checksum();
    CHECK(refusal(bytes, "a") == error_code::format);
    bytes.replace(124, 12, std::string("77777777777\0", 12));
    checksum();
    CHECK(refusal(bytes, "a") == error_code::format);
}

TEST_CASE("a compressed archive is unpacked first, and a pipe as well") {
    auto const encoding = GENERATE("", "gzip", "zstd");
    auto const plain = make_tar({tar_file("a", some_bytes(1'000'000)), tar_file("b", "content")});
    auto const bytes = encoded(encoding, plain);
    CHECK((bytes == plain) == (encoding == std::string_view{}));
    archive_file const file{bytes};

    SECTION("file") {
        archive_files const files{file.path};
        CHECK(files.text("a") == some_bytes(1'000'000));
        CHECK(files.text("b") == "content");
        CHECK(std::distance(std::filesystem::directory_iterator{file.folder.path()}, {}) == 1);
    }
    SECTION("pipe") {
        auto const path = file.folder / "pipe";
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        std::thread writer{[&] { std::ofstream{path, std::ios::binary} << bytes; }};
        archive_files const files{path};
        writer.join();
        CHECK(files.text("b") == "content");
        CHECK(files.text("a") == some_bytes(1'000'000));
    }
    SECTION("cut") {
        if (encoding == std::string_view{}) return;
        CHECK(refusal(bytes.substr(0, bytes.size() / 2), "a") == error_code::format);
    }
}

TEST_CASE("an archive that is packed otherwise is refused by name") {
    archive_file const file{std::string{"\xfd"
                                        "7zXZ\0",
                                        6} +
                            some_bytes(100)};
    CHECK_THROWS_WITH(archive_files{file.path}, contains("xz"));
}

TEST_CASE("what is no file is refused") {
    temp_dir folder;
    CHECK_THROWS_AS(archive_files{folder / "missing"}, system_error);
    CHECK_THROWS_AS(archive_files{folder.path().string()}, system_error);
}

} // namespace
