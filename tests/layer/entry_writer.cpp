#include <shiplap/layer/entry_writer.hpp>

#include "support/catch.hpp"
#include "support/trees.hpp"

#include <sys/socket.h>
#include <sys/un.h>

using namespace shiplap;

namespace {

std::vector<trees::read_entry> written(temp_dir const& folder, layer_context const& context = {}) {
    string_sink out;
    tree_walker walk{folder.path()};
    detail::entry_writer<string_sink> writer{out, context, {}, walk};
    while (auto const* item = walk.next()) writer.put(*item);
    writer.finish();
    return trees::read_tar(out.text);
}

} // namespace

TEST_CASE("content follows the header, whatever its size", "[layer][entry_writer]") {
    temp_dir temp;
    auto const size = GENERATE(as<std::size_t>{}, 0, 1, 511, 512, 513, transfer_size, 2 * transfer_size + 7);
    std::string content;
    for (std::size_t i = 0; i < size; ++i) content += static_cast<char>(i % 253);
    trees::write(temp / "f", content);
    auto const entries = written(temp);
    REQUIRE(entries.size() == 1);
    CHECK(entries[0].header.size == size);
    CHECK(entries[0].content == content);
}

TEST_CASE("all but the first name of a file are hard links, whatever kind of file", "[layer][entry_writer]") {
    temp_dir temp;
    auto const kind = GENERATE(entry_type::regular, entry_type::symbolic_link, entry_type::fifo,
                               entry_type::character_device);
    auto const first = temp / "m/first";
    trees::write(temp / "m/other", "");
    switch (kind) {
    case entry_type::regular:
        trees::write(first, "content");
        break;
    case entry_type::symbolic_link:
        std::filesystem::create_symlink("target", first);
        break;
    case entry_type::fifo:
        REQUIRE(::mkfifo(first.c_str(), 0644) == 0);
        break;
    default:
        if (!trees::is_root()) {
            WARN("needs root to make devices: not tested");
            return;
        }
        REQUIRE(::mknod(first.c_str(), S_IFCHR | 0644, ::gnu_dev_makedev(5, 6)) == 0);
    }
    for (auto const* name : {"a", "z"}) REQUIRE(::link(first.c_str(), (temp / name).c_str()) == 0);

    auto const entries = written(temp); // a, m/, m/first, m/other, z
    REQUIRE(entries.size() == 5);
    CHECK(entries[0].header.type == kind);
    CHECK(entries[0].content == (kind == entry_type::regular ? "content" : ""));
    for (auto const* link : {&entries[2], &entries[4]}) {
        CHECK(link->header.type == entry_type::hard_link);
        CHECK(link->header.link_name == "a");
        CHECK(link->header.size == 0);
        CHECK(link->header.mode == entries[0].header.mode);
        CHECK(link->header.mtime == entries[0].header.mtime);
    }
    CHECK(entries[3].header.type == entry_type::regular);
}

TEST_CASE("a file whose other names lie elsewhere is an ordinary entry", "[layer][entry_writer]") {
    temp_dir temp, elsewhere;
    trees::write(elsewhere / "f", "content");
    REQUIRE(::link((elsewhere / "f").c_str(), (temp / "f").c_str()) == 0);
    auto const entries = written(temp);
    REQUIRE(entries.size() == 1);
    CHECK(entries[0].header.type == entry_type::regular);
    CHECK(entries[0].content == "content");
}

TEST_CASE("capabilities are repeated on hard links", "[layer][entry_writer]") {
    if (!trees::is_root()) {
        WARN("needs root to give capabilities: not tested");
        return;
    }
    temp_dir temp;
    auto const content = GENERATE(as<std::string>{}, "", "x");
    trees::write(temp / "a", content);
    std::string const value{"\1\0\0\2\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20};
    REQUIRE(::setxattr((temp / "a").c_str(), "security.capability", value.data(), value.size(), 0) == 0);
    std::filesystem::create_hard_link(temp / "a", temp / "b");
    auto const entries = written(temp);
    REQUIRE(entries.size() == 2);
    std::vector<extended_attribute> const stored{{"security.capability", value}};
    CHECK(entries[0].header.xattrs == stored);
    CHECK(entries[1].header.xattrs == stored);
}

TEST_CASE("a socket is left out with a warning", "[layer][entry_writer]") {
    temp_dir temp;
    trees::write(temp / "f", "");
    unique_fd const socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    ::sockaddr_un address{};
    address.sun_family = AF_UNIX;
    auto const path = temp / "s";
    REQUIRE(path.size() < sizeof address.sun_path);
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(::bind(socket.get(), reinterpret_cast<::sockaddr const*>(&address), sizeof address) == 0);

    std::vector<std::string> told;
    auto observer = [&told](progress_event const& event) {
        if (event.what == progress_event::kind::warning) told.emplace_back(event.text);
    };
    CHECK(trees::names_of(written(temp, {{}, observer})) == std::vector<std::string>{"f"});
    REQUIRE(told.size() == 1);
    CHECK(told[0].find(path) != std::string::npos);
}

TEST_CASE("further names and whiteouts", "[layer][entry_writer]") {
    temp_dir temp;
    trees::write(temp / "d/f", "content");
    string_sink out;
    layer_context const context;
    tree_walker walk{temp.path()};
    detail::entry_writer<string_sink> writer{out, context, {}, walk};
    walk.next();
    auto const entry = writer.put(*walk.next());
    REQUIRE(entry);
    writer.put_link(*entry, "other");
    writer.put_whiteout("d/gone");
    writer.finish();

    auto const entries = trees::read_tar(out.text);
    REQUIRE(entries.size() == 3);
    CHECK(entries[1].header.name == "other");
    CHECK(entries[1].header.type == entry_type::hard_link);
    CHECK(entries[1].header.link_name == "d/f");
    CHECK(entries[1].header.mtime == entries[0].header.mtime);
    CHECK(entries[2].header == whiteout_entry("d/gone"));
}
