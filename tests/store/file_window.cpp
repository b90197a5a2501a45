#include <shiplap/store/file_window.hpp>

#include "support/catch.hpp"
#include "support/temp.hpp"

#include <filesystem>

namespace {

using namespace shiplap;

static_assert(replayable_source<file_window>);

std::string all_of(file_window& window) {
    string_sink out;
    transfer(window, out);
    return std::move(out.text);
}

TEST_CASE("a window is its part of the file, as often as wanted") {
    temp_dir folder;
    write_file(folder / "file", "0123456789");
    auto const file = std::make_shared<file_reader const>(folder / "file");
    struct {
        std::uint64_t offset, size;
        std::string expected;
    } const cases[] = {{0, 10, "0123456789"}, {0, 0, ""}, {3, 4, "3456"}, {9, 1, "9"}, {10, 0, ""}};
    for (auto const& [offset, size, expected] : cases) {
        file_window window{file, offset, size};
        CHECK(all_of(window) == expected);
        CHECK(all_of(window).empty());
        window.rewind();
        CHECK(all_of(window) == expected);
        CHECK(window.offset() == offset);
        CHECK(window.size() == size);
    }
}

TEST_CASE("windows do not disturb each other and keep the file open") {
    temp_dir folder;
    write_file(folder / "file", "0123456789");
    auto file = std::make_shared<file_reader const>(folder / "file");
    file_window first{file, 1, 8}, second{file, 1, 8};
    file.reset();
    std::filesystem::remove(folder / "file");
    std::byte three[3];
    CHECK(read_fully(first, three) == 3);
    CHECK(all_of(second) == "12345678");
    CHECK(all_of(first) == "45678");
}

TEST_CASE("a file that became shorter is noticed") {
    temp_dir folder;
    write_file(folder / "file", "0123456789");
    file_window window{std::make_shared<file_reader const>(folder / "file"), 2, 6};
    std::filesystem::resize_file(folder / "file", 5);
    std::byte some[8];
    CHECK(window.read(some) == 3);
    CHECK_THROWS_WITH(window.read(some), contains("truncated at offset 5"));
}

} // namespace
