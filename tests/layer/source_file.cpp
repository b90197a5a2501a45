#include <shiplap/layer/source_file.hpp>

#include "support/catch.hpp"
#include "support/trees.hpp"

using namespace shiplap;

namespace {

/// The item that a walk over a folder of one file finds; the walk stands on it.
struct looked_at {
    temp_dir& folder;
    tree_walker walk;
    tree_item const& item;

    explicit looked_at(temp_dir& in, walk_access access = walk_access::facts)
        : folder{in}, walk{in.path(), reserved_names::refuse, access}, item{*walk.next()} {}
    source_file source() const { return {item, walk.label(item.path)}; }
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
    auto const access = GENERATE(walk_access::facts, walk_access::contents);
    looked_at const look{temp, access};
    auto file = look.source();
    CHECK(file.descriptor() >= 0);
    CHECK((file.descriptor() == look.item.opened) == (access == walk_access::contents));
    CHECK(read_all(file, piece) == content);
    CHECK(read_all(file, piece).empty());
}

TEST_CASE("holes read as zeros, wherever they are", "[layer][source_file]") {
    constexpr std::size_t unit = 64 * 1024;
    struct piece {
        std::size_t at, size;
    };
    struct sparse_case {
        char const* name;
        std::size_t size;
        std::vector<piece> data;
    };
    auto const [name, size, data] = GENERATE(values<sparse_case>({
        {"all hole", 8 * unit, {}},
        {"all hole, odd size", 8 * unit + 1, {}},
        {"at the end", 8 * unit, {{0, unit}}},
        {"at the end, data not of whole blocks", 8 * unit + 77, {{0, 5}}},
        {"at the start", 8 * unit, {{7 * unit, unit}}},
        {"at the start, data to an odd end", 8 * unit - 3, {{8 * unit - 4, 1}}},
        {"in the middle", 8 * unit, {{0, unit}, {7 * unit, unit}}},
        {"around data", 8 * unit, {{3 * unit, unit}}},
        {"several", 32 * unit, {{unit, 1}, {5 * unit + 100, unit}, {20 * unit, 2 * unit}}},
        {"none", 4 * unit, {{0, 4 * unit}}},
        {"too small to ask for", 2 * 4096, {{4096, 1}}},
    }));
    INFO(name);
    temp_dir temp;
    std::string expected(size, '\0');
    {
        auto const fd = detail::open_file(temp / "f", O_WRONLY | O_CREAT, 0644);
        REQUIRE(::ftruncate(fd.get(), static_cast<::off_t>(size)) == 0);
        for (auto const& [at, length] : data) {
            for (std::size_t i = at; i < at + length; ++i) expected[i] = static_cast<char>('a' + i % 23);
            REQUIRE(::pwrite(fd.get(), expected.data() + at, length, static_cast<::off_t>(at)) ==
                    static_cast<::ssize_t>(length));
        }
    }
    auto const step = GENERATE(as<std::size_t>{}, 1'000, 65'536, transfer_size, 4'000'000);
    looked_at const look{temp};
    auto file = look.source();
    CHECK(read_all(file, step) == expected);
    CHECK(read_all(file, step).empty());
}

TEST_CASE("a file that changes while its holes are passed over is an error", "[layer][source_file]") {
    constexpr std::size_t size = 1 << 20;
    struct change {
        char const* name;
        void (*make)(std::string const&);
    };
    auto const how = GENERATE(values<change>({
        {"shorter, within a hole", [](auto const& file) { std::filesystem::resize_file(file, 200'000); }},
        {"empty", [](auto const& file) { std::filesystem::resize_file(file, 0); }},
        {"longer", [](auto const& file) { std::filesystem::resize_file(file, 2 * size); }},
        {"a hole filled",
         [](auto const& file) {
             std::fstream{file, std::ios::in | std::ios::out}.seekp(500'000) << "data";
         }},
    }));
    INFO(how.name);
    temp_dir temp;
    trees::write(temp / "f", "x");
    std::filesystem::resize_file(temp / "f", size);
    auto const access = GENERATE(walk_access::facts, walk_access::contents);
    looked_at const look{temp, access};
    auto file = look.source();
    std::array<std::byte, 100'000> some{};
    CHECK(read_fully(file, some) == some.size());
    how.make(temp / "f");
    auto const problem = trees::error_of([&] { read_all(file, 300'000); });
    CHECK(problem.code() == error_code::source_changed);
    CHECK(problem.subject() == temp / "f");
}

TEST_CASE("a file that changes between the look and the last byte is an error", "[layer][source_file]") {
    temp_dir temp;
    trees::write(temp / "f", std::string(10'000, 'x'));
    auto const access = GENERATE(walk_access::facts, walk_access::contents);
    looked_at const look{temp, access};
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

    SECTION("before it is opened or read") {
        how.make(path);
        auto const problem = trees::error_of([&] {
            auto file = look.source();
            read_all(file, 4'000);
        });
        CHECK(problem.code() == error_code::source_changed);
        CHECK(problem.subject() == path);
    }
    SECTION("while it is read") {
        auto file = look.source();
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
    looked_at const look{temp};
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
    CHECK(trees::error_of([&] { look.source(); }).code() == error_code::source_changed);
}

TEST_CASE("a file that vanished is an error that names it", "[layer][source_file]") {
    temp_dir temp;
    trees::write(temp / "f", "old");
    looked_at const look{temp};
    std::filesystem::remove(temp / "f");
    auto const problem = trees::error_of([&] { look.source(); });
    CHECK(problem.code() == error_code::io);
    CHECK(problem.subject() == temp / "f");
}
