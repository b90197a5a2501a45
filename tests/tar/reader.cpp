#include <shiplap/bytes/file.hpp>
#include <shiplap/digest/digest.hpp>
#include <shiplap/tar/reader.hpp>

#include "support/catch.hpp"
#include "support/temp.hpp"
#include "tar/support.hpp"

#include <cstdlib>
#include <map>

#include <sys/stat.h>

using namespace shiplap;
using namespace tar_tests;
using namespace std::string_literals;

namespace {

// Hands out at most `most` bytes at a time.
struct dribble {
    span_source source;
    std::size_t most;
    std::size_t read(bytes_span into) { return source.read(into.first(std::min(most, into.size()))); }
};

template <byte_source R>
std::vector<stored_entry> read_all(tar_reader<R>& tar, std::size_t buffer_size) {
    std::vector<stored_entry> all;
    std::vector<std::byte> buffer(buffer_size);
    while (auto const* entry = tar.next()) {
        stored_entry stored{*entry, {}};
        while (auto const n = tar.read(buffer)) stored.payload.append(as_text(bytes_view{buffer}.first(n)));
        all.push_back(std::move(stored));
    }
    return all;
}

std::vector<stored_entry> read_file_at(std::string const& path) {
    file_reader file{path};
    tar_reader tar{file, path};
    auto all = read_all(tar, 1000);
    CHECK(tar.saw_end_marker());
    return all;
}

bool run(std::string const& command) {
    return std::system(("( " + command + " ) >/dev/null 2>&1").c_str()) == 0;
}

// Names to what matters of an entry, so that the order, which is up to readdir, does not.
std::map<std::string, std::string> summary(std::vector<stored_entry> const& entries) {
    std::map<std::string, std::string> lines;
    for (auto const& [entry, payload] : entries) {
        auto& line = lines[entry.name];
        line += static_cast<char>(entry.type);
        line += ' ' + std::to_string(entry.mode) + ' ' + std::to_string(entry.mtime.seconds) + ' ' +
                entry.link_name + ' ' + payload;
    }
    return lines;
}

} // namespace

TEST_CASE("Entries and payloads are read, whatever the sizes of source and buffer") {
    random_entries random{3};
    auto const entries = random.archive(60);
    auto const bytes = archive_of(entries);
    for (auto const& [most, buffer] : std::vector<std::pair<std::size_t, std::size_t>>{
             {1, 1000}, {511, 1}, {100'000, 100'000}, {513, 512}}) {
        dribble source{span_source{bytes}, most};
        tar_reader tar{source, "a.tar"};
        CHECK(read_all(tar, buffer) == entries);
        CHECK(tar.saw_end_marker());
        CHECK_FALSE(tar.trailing_data());
        CHECK(tar.next() == nullptr);
    }
}

TEST_CASE("Payload that is not read is skipped") {
    random_entries random{4};
    auto const entries = random.archive(60);
    auto const bytes = archive_of(entries);
    span_source source{bytes};
    tar_reader tar{source, "a.tar"};
    std::vector<std::byte> buffer(300);
    for (auto const& [entry, payload] : entries) {
        auto const* found = tar.next();
        REQUIRE(found != nullptr);
        CHECK(*found == entry);
        auto const n = tar.read(bytes_span{buffer}.first(random.below(300)));
        CHECK(as_text(bytes_view{buffer}.first(n)) == payload.substr(0, n));
    }
    CHECK(tar.next() == nullptr);
}

TEST_CASE("A reader is a source of the current payload, and reads nothing between entries") {
    auto const bytes = archive_of({{regular("a", 3), "abc"}, {regular("b", 2), "de"}});
    span_source source{bytes};
    tar_reader tar{source, "a.tar"};
    string_sink out;
    CHECK(transfer(tar, out) == 0);
    REQUIRE(tar.next() != nullptr);
    CHECK(transfer(tar, out) == 3);
    CHECK(transfer(tar, out) == 0);
    REQUIRE(tar.next() != nullptr);
    CHECK(transfer(tar, out) == 2);
    CHECK(out.text == "abcde");
    CHECK(tar.next() == nullptr);
    CHECK(transfer(tar, out) == 0);
}

TEST_CASE("A reader can be moved in the middle of a payload") {
    auto const bytes = archive_of({{regular("a", 3000), std::string(3000, 'a')}});
    span_source source{bytes};
    tar_reader first{source, "a.tar"};
    REQUIRE(first.next() != nullptr);
    std::vector<std::byte> buffer(100);
    CHECK(first.read(buffer) == 100);
    auto second = std::move(first);
    string_sink out;
    CHECK(transfer(second, out) == 2900);
    CHECK(second.next() == nullptr);
}

TEST_CASE("The source is read to its end, so that one that verifies does") {
    struct verifying {
        span_source source;
        bool ended = false;
        std::size_t read(bytes_span into) {
            auto const n = source.read(into.first(std::min<std::size_t>(into.size(), 100)));
            ended = ended || n == 0;
            return n;
        }
    };
    auto const bytes = archive_of({{regular("a"), ""}}) + std::string(200'000, '\0') + "behind";
    verifying source{span_source{bytes}};
    tar_reader tar{source, "a.tar"};
    CHECK(tar.next() != nullptr);
    CHECK_FALSE(source.ended);
    CHECK(tar.next() == nullptr);
    CHECK(source.ended);
    CHECK(tar.saw_end_marker());
    CHECK(tar.trailing_data());
}

TEST_CASE("Truncation is told wherever the reader stands") {
    auto const bytes = archive_of({{regular("some/file", 3000), std::string(3000, 'a')}});
    auto const cut = std::string_view{bytes}.substr(0, 2000);
    string_sink out;
    {
        span_source source{cut};
        tar_reader tar{source, "cut.tar"};
        REQUIRE(tar.next() != nullptr);
        CHECK_THROWS_WITH(transfer(tar, out),
                          contains("cut.tar") && contains("truncated") && contains("some/file"));
    }
    span_source source{cut};
    tar_reader tar{source, "cut.tar"};
    REQUIRE(tar.next() != nullptr);
    CHECK_THROWS_AS(tar.next(), format_error);
}

TEST_CASE("A missing end marker is told, not refused") {
    auto const bytes = encode_header(regular("a"));
    span_source source{bytes};
    tar_reader tar{source, "a.tar"};
    CHECK(tar.next() != nullptr);
    CHECK(tar.next() == nullptr);
    CHECK_FALSE(tar.saw_end_marker());
}

TEST_CASE("Archives of other programs are read alike") {
    temp_dir const dir;
    auto const tree = dir / "tree";
    auto const folder = std::string(90, 'd');
    auto const long_name = folder + "/" + std::string(120, 'n');
    std::filesystem::create_directories(tree + "/" + folder);
    write_file(tree + "/" + long_name, "long", 0600);
    write_file(tree + "/odd \n\xc3\xa4", "odd", 04755);
    write_file(tree + "/data", std::string(70'000, 'x'), 0640);
    std::filesystem::create_hard_link(tree + "/data", tree + "/data2");
    std::filesystem::create_symlink(std::string(130, 't'), tree + "/link");
    REQUIRE(::mkfifo((tree + "/pipe").c_str(), 0644) == 0);
    REQUIRE(
        run("cd '" + tree + "' && chmod 0644 pipe && chmod 0755 . */ && touch -h -d @1500000000 . * */*"));

    auto const archive = dir / "a.tar";
    auto const path_list = " --no-recursion -T '" + (dir / "list") + "'";
    REQUIRE(
        run("cd '" + tree + "' && find . -mindepth 1 -printf '%P\\0' | sort -z > '" + (dir / "list") + "'"));
    auto const read_by = [&](std::string const& program) {
        std::filesystem::remove(archive);
        REQUIRE(run("cd '" + tree + "' && LC_ALL=C.UTF-8 " + program));
        return summary(read_file_at(archive));
    };
    auto const expected = read_by("tar --format=pax --null" + path_list + " -cf '" + archive + "'");
    REQUIRE(expected.size() == 7);
    CHECK(expected.at(long_name) == "0 384 1500000000  long");
    CHECK(expected.at("odd \n\xc3\xa4") == "0 2541 1500000000  odd");
    CHECK(expected.at("link") == "2 511 1500000000 " + std::string(130, 't') + " ");
    CHECK(expected.at("pipe") == "6 420 1500000000  ");
    CHECK(expected.at(folder + "/") == "5 493 1500000000  ");
    CHECK(expected.at("data2") == "1 416 1500000000 data ");

    CHECK(read_by("tar --format=gnu --null" + path_list + " -cf '" + archive + "'") == expected);
    CHECK(read_by("tar --format=gnu -b1 --null" + path_list + " -cf '" + archive + "'") == expected);
    if (run("command -v bsdtar"))
        CHECK(read_by("bsdtar --format=pax --null -n -T '" + (dir / "list") + "' -cf '" + archive + "'") ==
              expected);
    if (run("command -v python3"))
        for (auto const* format : {"PAX_FORMAT", "GNU_FORMAT"})
            CHECK(read_by("python3 -c \"import os, tarfile\nt = tarfile.open('" + archive +
                          "', 'w', format=tarfile." + format + ")\n" + "for n in open('" + (dir / "list") +
                          "', 'rb').read().split(b'\\0')[:-1]: t.add(os.fsdecode(n), "
                          "recursive=False)\nt.close()\"") == expected);
    // These cannot hold the long names, and V7 no fifo.
    for (auto const* format : {"ustar", "v7", "oldgnu"}) {
        CAPTURE(format);
        auto const found =
            read_by("tar --no-recursion --format="s + format + " -cf '" + archive + "' data data2 " + folder);
        for (auto const& name : {"data"s, "data2"s, folder + "/"}) CHECK(found.at(name) == expected.at(name));
    }
}

TEST_CASE("Other programs read what the writer wrote") {
    temp_dir const dir;
    auto const archive = dir / "a.tar";
    std::vector<stored_entry> entries;
    auto const add = [&](tar_entry entry, std::string payload) {
        entry.size = payload.size();
        entry.mtime = {1'500'000'000, 0};
        entries.push_back({std::move(entry), std::move(payload)});
    };
    auto const folder = std::string(120, 'f');
    add(of_type(entry_type::directory, folder + "/"), "");
    add(regular(folder + "/" + std::string(60, 'n')), "ustar with a prefix");
    add(regular(folder + "/" + std::string(160, 'n')), "PAX");
    add(regular("\xc3\xa4"), std::string(100'000, 'x'));
    add(of_type(entry_type::symbolic_link, "s", std::string(140, 't')), "");
    add(of_type(entry_type::hard_link, "h", "\xc3\xa4"), "");
    write_file(archive, archive_of(entries));
    for (std::string const program : {"tar", "bsdtar"}) {
        if (!run("command -v " + program)) continue;
        CAPTURE(program);
        auto const out = dir / program;
        std::filesystem::create_directory(out);
        REQUIRE(run("cd '" + out + "' && LC_ALL=C.UTF-8 " + program + " -xf '" + archive + "'"));
        CHECK(read_file(out + "/" + entries[1].entry.name, 1000) == "ustar with a prefix");
        CHECK(read_file(out + "/" + entries[2].entry.name, 1000) == "PAX");
        CHECK(read_file(out + "/h", 1'000'000) == entries[3].payload);
        CHECK(std::filesystem::hard_link_count(out + "/h") == 2);
        CHECK(std::filesystem::read_symlink(out + "/s") == std::string(140, 't'));
        struct ::stat facts {};
        REQUIRE(::stat((out + "/h").c_str(), &facts) == 0);
        CHECK(facts.st_mtim.tv_sec == 1'500'000'000);
        CHECK((facts.st_mode & 07777) == 0644);
    }
}
