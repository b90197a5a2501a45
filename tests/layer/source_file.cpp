#include <shiplap/layer/source_file.hpp>

#include "support/catch.hpp"
#include "support/trees.hpp"

using namespace shiplap;

namespace {

/// Opens `name` in `folder` as a walk would.
struct opened {
    temp_dir& folder;
    unique_fd fd{detail::open_file(folder.path(), O_RDONLY | O_DIRECTORY)};
    struct ::stat facts {};

    opened(temp_dir& in, char const* name) : folder{in} {
        trees::expect(::fstatat(fd.get(), name, &facts, AT_SYMLINK_NOFOLLOW) == 0, name);
    }
    source_file source(char const* name) { return {fd.get(), name, facts, folder / name}; }
};

std::string read_all(source_file& file, std::size_t piece) {
    std::string space(piece, '\0'), text;
    while (auto const n = file.read({reinterpret_cast<std::byte*>(space.data()), space.size()}))
        text += space.substr(0, n);
    return text;
}

} // namespace

TEST_CASE("a source file gives exactly its bytes", "[layer][source_file]") {
    temp_dir temp;
    auto const size = GENERATE(as<std::size_t>{}, 0, 1, 4095, 4096, 100'000);
    auto const piece = GENERATE(as<std::size_t>{}, 1, 4096, 200'000);
    std::string content;
    for (std::size_t i = 0; i < size; ++i) content += static_cast<char>(i * 31 % 251);
    trees::write(temp / "f", content);
    auto file = opened{temp, "f"}.source("f");
    CHECK(read_all(file, piece) == content);
    CHECK(read_all(file, piece).empty());
}

TEST_CASE("holes read as zeros", "[layer][source_file]") {
    temp_dir temp;
    trees::write(temp / "f", "x");
    std::filesystem::resize_file(temp / "f", 1 << 20);
    auto file = opened{temp, "f"}.source("f");
    CHECK(read_all(file, transfer_size) == "x" + std::string((1 << 20) - 1, '\0'));
}

TEST_CASE("a file that changes between the look and the last byte is an error", "[layer][source_file]") {
    temp_dir temp;
    trees::write(temp / "f", std::string(10'000, 'x'));
    opened look{temp, "f"};
    auto const path = temp / "f";

    struct change {
        char const* name;
        void (*make)(std::string const&);
    };
    auto const how = GENERATE(values<change>({
        {"longer",
         [](auto const& file) {
             std::ofstream{file, std::ios::app} << "y";
         }},
        {"shorter", [](auto const& file) { std::filesystem::resize_file(file, 5'000); }},
        {"empty", [](auto const& file) { std::filesystem::resize_file(file, 0); }},
        {"time",
         [](auto const& file) {
             trees::set_time(file, {1'600'000'000, 1});
         }},
        {"mode", [](auto const& file) { ::chmod(file.c_str(), 0600); }},
        {"rewritten, old time", [](auto const& file) { trees::write(file, std::string(10'000, 'z')); }},
    }));
    INFO(how.name);

    SECTION("before it is opened") {
        how.make(path);
        auto const problem = trees::error_of([&] { look.source("f"); });
        CHECK(problem.code() == error_code::source_changed);
        CHECK(problem.subject() == path);
    }
    SECTION("while it is read") {
        auto file = look.source("f");
        std::array<std::byte, 4'000> some{};
        CHECK(file.read(some) == some.size());
        how.make(path);
        auto const problem = trees::error_of([&] { read_all(file, 4'000); });
        CHECK(problem.code() == error_code::source_changed);
        CHECK(problem.subject() == path);
    }
}

TEST_CASE("another file in its place is an error", "[layer][source_file]") {
    temp_dir temp;
    trees::write(temp / "f", "old");
    opened look{temp, "f"};
    std::filesystem::rename(temp / "f", temp / "away"); // keeps the old file's inode busy
    SECTION("a file") {
        trees::write(temp / "f", "new");
    }
    SECTION("a link to the file itself") {
        std::filesystem::create_symlink("away", temp / "f");
    }
    SECTION("a fifo, without waiting for a writer") {
        REQUIRE(::mkfifo((temp / "f").c_str(), 0644) == 0);
    }
    CHECK(trees::error_of([&] { look.source("f"); }).code() == error_code::source_changed);
}

TEST_CASE("a file that vanished is an error that names it", "[layer][source_file]") {
    temp_dir temp;
    trees::write(temp / "f", "old");
    opened look{temp, "f"};
    std::filesystem::remove(temp / "f");
    auto const problem = trees::error_of([&] { look.source("f"); });
    CHECK(problem.code() == error_code::io);
    CHECK(problem.subject() == temp / "f");
}
