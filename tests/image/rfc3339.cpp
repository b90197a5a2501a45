#include <shiplap/image/rfc3339.hpp>

#include "support/catch.hpp"

#include <string>

using namespace shiplap;

TEST_CASE("rfc3339: times in their one form") {
    struct row {
        std::string text;
        zoned_time time;
    };
    auto const [text, time] = GENERATE(values<row>({
        {"1970-01-01T00:00:00Z", {{0, 0}, 0}},
        {"2017-07-14T02:40:00Z", {{1500000000, 0}, 0}},
        {"2019-01-01T00:00:00.5Z", {{1546300800, 500'000'000}, 0}},
        {"1969-12-31T23:59:59.999999999Z", {{-1, 999'999'999}, 0}},
        {"2000-02-29T12:00:00.000000001Z", {{951825600, 1}, 0}},
        {"0001-01-01T00:00:00Z", {{-62135596800, 0}, 0}},
        {"9999-12-31T23:59:59.999999999Z", {{253402300799, 999'999'999}, 0}},
        {"2019-01-01T00:00:00+02:00", {{1546293600, 0}, 120}},
        {"2018-12-31T17:30:00-06:30", {{1546300800, 0}, -390}},
        {"9999-12-31T23:59:59-23:59", {{253402300799 + 86340, 0}, -1439}},
    }));
    CAPTURE(text);
    CHECK(parse_rfc3339(text) == time);
    CHECK(format_rfc3339(time) == text);
}

TEST_CASE("rfc3339: longer forms of the same time") {
    CHECK(parse_rfc3339("2019-01-01T00:00:00.500000000999Z") == zoned_time{{1546300800, 500'000'000}, 0});
    CHECK(parse_rfc3339("2019-01-01T00:00:00.000+00:00") == zoned_time{{1546300800, 0}, 0});
    CHECK(parse_rfc3339("2019-01-01T00:00:00-00:00") == zoned_time{{1546300800, 0}, 0});
}

TEST_CASE("rfc3339: anything else is refused") {
    auto const text = GENERATE(values<std::string>({
        "",
        "2019",
        "2019-01-01",
        "2019-01-01T00:00:00",
        "2019-01-01 00:00:00Z",
        "2019-01-01t00:00:00Z",
        "2019-01-01T00:00:00z",
        "2019-1-01T00:00:00Z",
        "2019-13-01T00:00:00Z",
        "2019-00-01T00:00:00Z",
        "2019-02-29T00:00:00Z",
        "2019-04-31T00:00:00Z",
        "2019-01-00T00:00:00Z",
        "2019-01-01T24:00:00Z",
        "2019-01-01T00:60:00Z",
        "2019-01-01T00:00:60Z",
        "2019-01-01T00:00:00.Z",
        "2019-01-01T00:00:00,5Z",
        "2019-01-01T00:00:00+0200",
        "2019-01-01T00:00:00+24:00",
        "2019-01-01T00:00:00+02:60",
        "2019-01-01T00:00:00Zx",
        "0000-01-01T00:00:00Z",
        "12019-01-01T00:00:00Z",
        "-019-01-01T00:00:00Z",
        "2019-01-01T00:00:00.5",
        "2019-01-01T00:00:00 Z",
    }));
    CAPTURE(text);
    CHECK_FALSE(parse_rfc3339(text));
}

TEST_CASE("rfc3339: years beyond 0001..9999 cannot be written") {
    auto const seconds =
        GENERATE(values<std::int64_t>({-62135596801, 253402300800, std::numeric_limits<std::int64_t>::min(),
                                       std::numeric_limits<std::int64_t>::max()}));
    CHECK_THROWS_AS(format_rfc3339(timestamp{seconds, 0}), error);
    CHECK_THROWS_AS(format_rfc3339(zoned_time{{253402300799, 0}, 1}), error);
}

TEST_CASE("rfc3339: every day of eight centuries survives") {
    for (std::int64_t day = -150'000; day < 150'000; ++day) {
        timestamp const time{day * 86400 + (day & 0xffff), 0};
        auto const back = parse_rfc3339(format_rfc3339(time));
        if (!back || back->at != time) FAIL(time.seconds);
    }
}
