#include <shiplap/tar/header.hpp>

#include "support/catch.hpp"

#include <string>

using namespace shiplap;
using namespace shiplap::detail;
using namespace std::string_literals;

namespace {

// A number field of this content, at the place of the size.
std::optional<std::int64_t> number_in(std::string const& content) {
    tar_block block;
    std::copy(content.begin(), content.end(), block.bytes.begin() + 124);
    return block.number({124, content.size()});
}

} // namespace

TEST_CASE("Payloads are padded to whole blocks") {
    CHECK(tar_padding(0) == 0);
    CHECK(tar_padding(1) == 511);
    CHECK(tar_padding(511) == 1);
    CHECK(tar_padding(512) == 0);
    CHECK(tar_padding(513) == 511);
    CHECK(tar_padding(~std::uint64_t{0}) == 1);
}

TEST_CASE("Octal fields are filled with zeros and hold what fits") {
    struct row {
        std::uint64_t number;
        std::size_t size;
        std::string content;
    };
    auto const [number, size, content] = GENERATE(values<row>({
        {0, 8, "0000000\0"s},
        {0644, 8, "0000644\0"s},
        {2'097'151, 8, "7777777\0"s},
        {2'097'152, 8, "0000000\0"s},
        {8'589'934'591, 12, "77777777777\0"s},
        {8'589'934'592, 12, "00000000000\0"s},
        {~std::uint64_t{0}, 12, "00000000000\0"s},
    }));
    tar_block block;
    block.put_octal({124, size}, number);
    CHECK(block.raw({124, size}) == content);
    CHECK(fits_octal({124, size}, number) == (number == static_cast<std::uint64_t>(*number_in(content))));
}

TEST_CASE("Numbers that octal cannot hold become base-256 and are read back") {
    auto const number = GENERATE(values<std::uint64_t>({0, 1, 2'097'151, 2'097'152, 0xffffffff}));
    tar_block block;
    block.put_number(tar_fields::device_minor, number);
    CHECK(((block.raw(tar_fields::device_minor)[0] & '\x80') != 0) == (number > 2'097'151));
    CHECK(block.number(tar_fields::device_minor) == static_cast<std::int64_t>(number));
}

TEST_CASE("Any time can be put into a field and read back") {
    auto const number =
        GENERATE(as<std::int64_t>{}, 0, 1, -1, -60, 8'589'934'591, 8'589'934'592, -62'135'596'800,
                 std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min() / 2);
    tar_block block;
    block.put_signed({136, 12}, number);
    CHECK(block.number({136, 12}) == number);
    block.put_checksum();
    CHECK(block.intact());
}

TEST_CASE("Number fields are read strictly") {
    struct row {
        std::string content;
        std::optional<std::int64_t> number;
    };
    auto const [content, number] = GENERATE(values<row>({
        {"00000000644\0"s, 0644},
        {"        644\0"s, 0644},
        {"        644 "s, 0644},
        {"644\0\0\0\0\0\0\0\0\0"s, 0644},
        {"644 \0 \0 \0 \0 "s, 0644},
        {"777777777777"s, 0777777777777}, // some fill the field to its end
        {"\0\0\0\0\0\0\0\0\0\0\0\0"s, 0},
        {"            "s, 0},
        {"00000000648\0"s, {}},
        {"-0000000644\0"s, {}},
        {"+0000000644\0"s, {}},
        {"0x000000644\0"s, {}},
        {"644\0000000644\0"s, {}},
        {"64 4\0\0\0\0\0\0\0\0"s, {}},
        {"\0\0\0\000000644\0"s, {}},
        {"abcdefghijkl"s, {}},
        {"\x80\0\0\0\0\0\0\0\0\0\1\2"s, 258},
        {"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"s, std::numeric_limits<std::int64_t>::max()},
        {"\x80\0\0\0\x80\0\0\0\0\0\0\0"s, {}},
        {"\x80\1\0\0\0\0\0\0\0\0\0\0"s, {}},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"s, -1},
        {"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0"s, std::numeric_limits<std::int64_t>::min()},
        {"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff"s, {}},
        {"\xbf\0\0\0\0\0\0\0\0\0\0\0"s, {}},
    }));
    CAPTURE(content);
    CHECK(number_in(content) == number);
}

TEST_CASE("Text is cut at the field's end, never after a slash") {
    struct row {
        std::string text, content;
    };
    auto const [text, content] = GENERATE(values<row>({
        {"", "\0\0\0\0\0\0\0\0"s},
        {"abc", "abc\0\0\0\0\0"s},
        {"abcdefgh", "abcdefgh"},
        {"abcdefg/", "abcdefg/"},
        {"abcdefghi", "abcdefgh"},
        {"abcdefg/i", "abcdefg\0"s},
        {"abcde///i", "abcde\0//"s}, // only the first of them becomes a NUL: that ends the text
        {"/////////", "\0///////"s},
    }));
    tar_block block;
    block.put({0, 8}, text);
    CHECK(block.raw({0, 8}) == content);
    CHECK(block.raw({8, 1}) == "\0"s);
}

TEST_CASE("A sealed block is intact, a damaged one is not") {
    tar_block block;
    block.put(tar_fields::name, "h\xc3\xa4\xff");
    block.seal();
    CHECK(block.intact());
    CHECK(block.dialect() == tar_dialect::ustar);
    CHECK(block.raw(tar_fields::checksum).substr(6) == "\0 "s);
    for (std::size_t i = 0; i < tar_block_size; ++i) {
        if (i >= 148 && i < 156) continue;
        auto damaged = block;
        damaged.bytes[i] = static_cast<char>(damaged.bytes[i] ^ 1);
        CAPTURE(i);
        CHECK_FALSE(damaged.intact());
    }
}

TEST_CASE("A checksum of signed bytes is accepted") {
    tar_block block;
    block.put(tar_fields::name, "\xff");
    block.seal(); // counts 0xff as 255; signed it is -1, 256 less
    auto const sum = *block.number(tar_fields::checksum);
    block.put_octal({148, 7}, static_cast<std::uint64_t>(sum - 256));
    CHECK(block.intact());
    block.put_octal({148, 7}, static_cast<std::uint64_t>(sum - 255));
    CHECK_FALSE(block.intact());
}

TEST_CASE("Magic and version tell the dialect") {
    struct row {
        std::string magic, trailer;
        tar_dialect dialect;
    };
    auto const [magic, trailer, dialect] = GENERATE(values<row>({
        {"ustar\00000"s, "", tar_dialect::ustar},
        {"ustar\0\0\0"s, "", tar_dialect::ustar},
        {"ustar\00000"s, "tar\0"s, tar_dialect::star},
        {"ustar  \0"s, "", tar_dialect::gnu},
        {"ustar 00"s, "", tar_dialect::v7},
        {"\0\0\0\0\0\0\0\0"s, "", tar_dialect::v7},
        {"\0\0\0\0\0\0\0\0"s, "tar\0"s, tar_dialect::v7},
    }));
    tar_block block;
    block.put({257, 8}, magic);
    block.put({508, 4}, trailer);
    CHECK(block.dialect() == dialect);
}

TEST_CASE("Only a block without any bit set is zero") {
    CHECK(tar_block{}.is_zero());
    for (std::size_t const i : {0u, 148u, 511u}) {
        tar_block block;
        block.bytes[i] = '\x80';
        CHECK_FALSE(block.is_zero());
    }
}
