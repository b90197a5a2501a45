#include <shiplap/tar/decode.hpp>

#include "support/catch.hpp"
#include "tar/support.hpp"

using namespace shiplap;
using namespace shiplap::detail;
using namespace tar_tests;
using namespace std::string_literals;

namespace {

tar_entry decode(std::string const& header, tar_extensions const& extensions = {}) {
    auto const block = block_of(header);
    return entry_decoder{block, extensions, {"a.tar", 512, block.text(tar_fields::name)}}.decode();
}

std::string decode_error(std::string const& header, tar_extensions const& extensions = {}) {
    try {
        decode(header, extensions);
    } catch (error const& failure) {
        return failure.what();
    }
    return {};
}

std::string const no_magic(8, '\0');

} // namespace

TEST_CASE("A prefix belongs to ustar and star, each with its own length") {
    auto const prefix = std::string(131, 'p') + std::string(24, 'q');
    auto const with = [&](std::string const& magic) {
        return encode_header(regular("n")).replace(257, 8, magic).replace(345, 155, prefix);
    };
    CHECK(decode(with("ustar\00000"s)).name == prefix + "/n");
    CHECK(decode(with("ustar\00000"s).replace(508, 4, "tar\0"s)).name == std::string(131, 'p') + "/n");
    CHECK(decode(with("ustar  \0"s)).name == "n");
    CHECK(decode(with(no_magic)).name == "n");
}

TEST_CASE("V7 has neither user names nor devices") {
    auto device = of_type(entry_type::character_device, "n");
    device.device_major = 5;
    device.user_name = "root";
    auto const header = encode_header(device);
    CHECK(decode(header) == device);
    auto const old = decode(std::string{header}.replace(257, 8, no_magic));
    CHECK(old.device_major == 0);
    CHECK(old.user_name.empty());
}

TEST_CASE("Types") {
    struct row {
        char flag;
        std::string name;
        bool v7;
        entry_type type;
        std::string decoded_name;
    };
    auto const [flag, name, v7, type, decoded_name] = GENERATE(values<row>({
        {'0', "n", false, entry_type::regular, "n"},
        {'7', "n", false, entry_type::regular, "n"},
        {'\0', "n", false, entry_type::regular, "n"},
        {'\0', "n", true, entry_type::regular, "n"},
        {'\0', "n/", true, entry_type::directory, "n/"},
        {'\0', "n/", false, entry_type::directory, "n/"},
        {'0', "n/", true, entry_type::directory, "n/"},
        {'5', "n", false, entry_type::directory, "n/"},
        {'5', "n/", false, entry_type::directory, "n/"},
        {'5', ".", false, entry_type::directory, "./"},
        {'6', "n", false, entry_type::fifo, "n"},
        {'3', "n", false, entry_type::character_device, "n"},
        {'4', "n", false, entry_type::block_device, "n"},
    }));
    CAPTURE(flag, name, v7);
    auto header = encode_header(of_type(entry_type::directory, name)).replace(156, 1, 1, flag);
    if (v7) header.replace(257, 8, no_magic);
    auto const entry = decode(header);
    CHECK(entry.type == type);
    CHECK(entry.name == decoded_name);
}

TEST_CASE("Only links have a target, only regular files a size") {
    for (char const flag : "01234567"s) {
        CAPTURE(flag);
        auto const header = encode_header(of_type(entry_type::symbolic_link, "n", "t"))
                                .replace(156, 1, 1, flag)
                                .replace(124, 12, "00000000011\0"s);
        auto const entry = decode(header);
        CHECK(entry.link_name == (flag == '1' || flag == '2' ? "t" : ""));
        CHECK(entry.size == (flag == '0' || flag == '7' ? 9 : 0));
    }
}

TEST_CASE("The file type in a mode is dropped") {
    CHECK(decode(encode_header(regular("n")).replace(100, 8, "0104755\0"s)).mode == 04755);
}

TEST_CASE("Records replace fields; local ones replace global ones; empty ones undo") {
    tar_extensions extensions;
    extensions.global = {{"uid", "7"},
                         {"gid", "8"},
                         {"mtime", "9"},
                         {"uname", "g"},
                         {"SCHILY.xattr.user.a", "g"},
                         {"SCHILY.xattr.user.b", "g"}};
    extensions.local = {{"uid", "70"},
                        {"mtime", ""},
                        {"size", "12345678901"},
                        {"path", "p\xff"},
                        {"comment", "c"},
                        {"SCHILY.xattr.user.b", ""},
                        {"SCHILY.xattr.user.c", "l\0"s},
                        {"LIBARCHIVE.xattr.user.d", "eA"}};
    auto expected = regular("p\xff", 12'345'678'901);
    expected.uid = 70;
    expected.gid = 8;
    expected.mtime = {1, 0};
    expected.user_name = "g";
    expected.xattrs = {{"user.a", "g"}, {"user.b", ""}, {"user.c", "l\0"s}};
    auto stored = regular("n", 5);
    stored.mtime = {1, 0};
    CHECK(decode(encode_header(stored), extensions) == expected);
}

TEST_CASE("A field that a record replaces need not be valid") {
    tar_extensions extensions;
    extensions.local = {{"size", "1"}, {"uid", "2"}, {"mtime", "-3.5"}};
    auto header = encode_header(regular("n"));
    header.replace(108, 8, "junkjunk").replace(124, 12, 12, '9').replace(136, 12, 12, '-');
    auto const entry = decode(header, extensions);
    CHECK(entry.size == 1);
    CHECK(entry.uid == 2);
    CHECK(entry.mtime == timestamp{-4, 500'000'000});
}

TEST_CASE("Long names of GNU replace those of the header, but may not contradict PAX") {
    tar_extensions extensions;
    extensions.long_name = "long";
    extensions.long_link = "target";
    auto const header = encode_header(of_type(entry_type::hard_link, "n", "t"));
    CHECK(decode(header, extensions) == of_type(entry_type::hard_link, "long", "target"));
    extensions.local = {{"path", "long"}, {"linkpath", "target"}};
    CHECK(decode(header, extensions) == of_type(entry_type::hard_link, "long", "target"));
    extensions.local["path"] = "other";
    CHECK_THAT(decode_error(header, extensions), contains("contradict"));
}

TEST_CASE("What makes no valid entry is refused: archive, offset and entry are named") {
    struct row {
        std::string header;
        pax_records records;
        std::string reason;
    };
    auto const file = encode_header(regular("n"));
    auto const with = [&](std::size_t at, std::string const& bytes) {
        return std::string{file}.replace(at, bytes.size(), bytes);
    };
    auto const [header, records, reason] = GENERATE_COPY(values<row>({
        {with(0, "\0"s), {}, "has no name"},
        {with(100, "notoctal"), {}, "mode is no valid number: 'notoctal'"},
        {with(108, "\xff\xff\xff\xff\xff\xff\xff\xff"), {}, "uid is no valid number"},
        {with(116, "12 45678"), {}, "gid is no valid number"},
        {with(124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), {}, "size is no valid number"},
        {with(124, "\x80\1\0\0\0\0\0\0\0\0\0\0"s), {}, "size is no valid number"},
        {with(136, "tomorrow"), {}, "mtime is no valid number"},
        {with(156, "1"), {}, "link without a target"},
        {with(156, "S"), {}, "sparse"},
        {with(156, "D"), {}, "type 'D'"},
        {with(156, "V"), {}, "type 'V'"},
        {with(156, "M"), {}, "type 'M'"},
        {with(156, "8"), {}, "type '8'"},
        {with(156, "\xff"), {}, "type '\\xff'"},
        {encode_header(of_type(entry_type::directory, "n/")).replace(156, 1, "0"), {}, "ends in '/'"},
        {encode_header(of_type(entry_type::directory, "n/")).replace(156, 1, "7"), {}, "ends in '/'"},
        {with(156, "3").replace(329, 8, "\x80\0\0\1\0\0\0\0"s), {}, "device major number is too large"},
        {file, {{"size", "-1"}}, "PAX size is no valid number: '-1'"},
        {file, {{"size", "9223372036854775808"}}, "PAX size"},
        {file, {{"size", "12x"}}, "PAX size"},
        {file, {{"uid", "1.5"}}, "PAX uid"},
        {file, {{"gid", " 1"}}, "PAX gid"},
        {file, {{"mtime", "1,5"}}, "PAX mtime is no valid time: '1,5'"},
        {file, {{"path", "d/"}}, "ends in '/'"},
        {file, {{"SCHILY.xattr.", "v"}}, "attribute without a name"},
    }));
    tar_extensions extensions;
    extensions.local = records;
    CAPTURE(reason);
    auto const message = decode_error(header, extensions);
    CHECK_THAT(message, contains(reason) && contains("read tar 'a.tar'") && contains("at offset 512"));
}
