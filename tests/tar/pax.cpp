#include <shiplap/tar/pax.hpp>

#include "support/catch.hpp"

#include <vector>

using namespace shiplap;
using namespace shiplap::detail;
using namespace std::string_literals;

TEST_CASE("A record counts its own length") {
    struct row {
        std::string key, value, record;
    };
    auto const [key, value, text] = GENERATE(values<row>({
        {"k", "", "5 k=\n"},
        {"path", "a", "9 path=a\n"},
        {"path", "ab", "11 path=ab\n"}, // its second digit counts too: there is no record of 10 bytes
        {"path", "", "8 path=\n"},
        {"mtime", "1350244992.023960108", "30 mtime=1350244992.023960108\n"},
        {"k", "a=b\n\0"s, "11 k=a=b\n\0\n"s},
    }));
    std::string out = "kept";
    append_pax_record(out, key, value);
    CHECK(out == "kept" + text);
}

TEST_CASE("Records of every length are taken off as they were appended") {
    for (std::size_t size = 0; size < 11'000; size = size < 1100 ? size + 1 : size + 997) {
        std::string body;
        append_pax_record(body, "SCHILY.xattr.user.x", std::string(size, '\n'));
        append_pax_record(body, "uid", "7");
        auto const length = body.size() - std::string_view{"9 uid=7\n"}.size();
        REQUIRE(body.starts_with(std::to_string(length) + " "));
        std::string_view rest{body};
        auto const first = take_pax_record(rest);
        REQUIRE(first);
        CHECK(first->key == "SCHILY.xattr.user.x");
        CHECK(first->value.size() == size);
        auto const second = take_pax_record(rest);
        REQUIRE(second);
        CHECK((second->key == "uid" && second->value == "7"));
        CHECK(rest.empty());
    }
}

TEST_CASE("Malformed records are refused and nothing is taken") {
    auto const body = GENERATE(values<std::string>({
        "",
        " ",
        "5",
        "5 ",
        "5 k=",
        "5 k\n\n",
        "4 k=\n",
        "6 k=\n",
        "05k=\n",
        "-5 k=\n",
        "+5 k=\n",
        "0x5 k=\n",
        "5  k=\n",
        "99999999999999999999 k=\n",
        "18446744073709551621 k=\n",
        "9223372036854775807 k=\n",
        "0 k=\n",
        "1 k=\n",
        "2 k=\n",
        "3 =\n",
        "4 =\n",
        "5 =v\n",
        "4 k\n",
        "x k=\n",
        "7 k\0=v\n"s,
        "10 path=\0\n"s,
        "14 linkpath=\0\n"s,
        "10 uname=\0"s,
        "\0\0\0\0\0\0\0\0"s,
    }));
    CAPTURE(body);
    std::string_view rest{body};
    CHECK_FALSE(take_pax_record(rest));
    CHECK(rest == body);
}

TEST_CASE("Times are written with a sign and without trailing zeros") {
    struct row {
        timestamp time;
        std::string text;
    };
    auto const [time, text] = GENERATE(values<row>({
        {{0, 0}, "0"},
        {{1'600'000'000, 0}, "1600000000"},
        {{1, 500'000'000}, "1.5"},
        {{0, 1}, "0.000000001"},
        {{-1, 0}, "-1"},
        {{-1, 500'000'000}, "-0.5"},
        {{-2, 750'000'000}, "-1.25"},
        {{-1, 999'999'999}, "-0.000000001"},
        {{-10, 10}, "-9.99999999"},
        {{8'589'934'592, 120'000'000}, "8589934592.12"},
        {{std::numeric_limits<std::int64_t>::max(), 999'999'999}, "9223372036854775807.999999999"},
        {{std::numeric_limits<std::int64_t>::min(), 1}, "-9223372036854775807.999999999"},
    }));
    CHECK(pax_time(time) == text);
    CHECK(parse_pax_time(text) == time);
}

TEST_CASE("Times are read with any number of digits, and strictly") {
    struct row {
        std::string text;
        std::optional<timestamp> time;
    };
    auto const [text, time] = GENERATE(values<row>({
        {"5.", timestamp{5, 0}},
        {"5.0000000000", timestamp{5, 0}},
        {"5.1234567899", timestamp{5, 123'456'789}},
        {"-5.1234567899", timestamp{-6, 876'543'211}},
        {"-0", timestamp{0, 0}},
        {"007", timestamp{7, 0}},
        {"", {}},
        {"-", {}},
        {".5", {}},
        {"--5", {}},
        {"+5", {}},
        {" 5", {}},
        {"5 ", {}},
        {"5.5.5", {}},
        {"5.-5", {}},
        {"5e3", {}},
        {"5,5", {}},
        {"9223372036854775808", {}},
        {"99999999999999999999", {}},
    }));
    CAPTURE(text);
    CHECK(parse_pax_time(text) == time);
}

TEST_CASE("Numbers are decimal digits of at most 63 bits") {
    CHECK(parse_decimal("0") == 0u);
    CHECK(parse_decimal("0012") == 12u);
    CHECK(parse_decimal("9223372036854775807") == 9'223'372'036'854'775'807u);
    for (auto const* text : {"", "-1", "-0", "+1", " 1", "1 ", "1.0", "0x1", "1e3", "9223372036854775808",
                             "18446744073709551616"})
        CHECK_FALSE(parse_decimal(text));
}
