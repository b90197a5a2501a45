#include <shiplap/codec/estargz_json.hpp>

#include "support/catch.hpp"

using namespace shiplap;
using namespace std::string_literals;

TEST_CASE("strings are escaped as Go's encoding/json does") {
    auto const [plain, json] = GENERATE(table<std::string, std::string>({
        {"", R"("")"},
        {"usr/bin/", R"("usr/bin/")"},
        {"a\"b\\c/d", R"("a\"b\\c/d")"},
        {"\b\f\n\r\t\x01\x1f\x7f", "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\""},
        {"\0"s, R"("\u0000")"},
        {"<a&b><", R"("\u003ca\u0026b\u003e\u003c")"},
        {"\u00e4\u20ac\U0001f600", "\"\u00e4\u20ac\U0001f600\""},
        {"x\u2028\u2029", R"("x\u2028\u2029")"},
    }));
    CHECK(detail::go_json_string(plain) == json);
}

TEST_CASE("what stands for itself is what Go leaves alone") {
    for (int c = 0; c < 128; ++c) {
        std::string const text(1, static_cast<char>(c));
        CHECK(detail::stands_for_itself(text) == (detail::go_json_string(text) == '"' + text + '"'));
    }
    CHECK_FALSE(detail::stands_for_itself("\u00e4"));
    CHECK_FALSE(detail::stands_for_itself("\xff"));
    CHECK(detail::stands_for_itself(""));
}

TEST_CASE("strings that are not UTF-8 are refused") {
    auto const text = GENERATE("\xff", "a\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80");
    CHECK_THROWS_AS(detail::go_json_string(text), nlohmann::json::type_error);
}

TEST_CASE("base64 is padded and has no line breaks") {
    CHECK(detail::base64_of("").empty());
    CHECK(detail::base64_of("a") == "YQ==");
    CHECK(detail::base64_of("ab\xff") == "YWL/");
    CHECK(detail::base64_of(std::string(100, 'x')).size() == 136);
    CHECK(detail::base64_of(std::string(100, 'x')).find('\n') == std::string::npos);
}

TEST_CASE("times are rounded to seconds, in UTC") {
    auto const [time, text] = GENERATE(table<timestamp, std::string>({
        {{0, 0}, ""},
        {{0, 999'999'999}, ""},
        {{1, 0}, "1970-01-01T00:00:01Z"},
        {{1, 499'999'999}, "1970-01-01T00:00:01Z"},
        {{1, 500'000'000}, "1970-01-01T00:00:02Z"},
        {{-1, 0}, "1969-12-31T23:59:59Z"},
        {{-1, 600'000'000}, "1970-01-01T00:00:00Z"},
        {{1'700'000'000, 0}, "2023-11-14T22:13:20Z"},
        {{-62'135'596'800, 0}, "0001-01-01T00:00:00Z"},
        {{253'402'300'800, 0}, "10000-01-01T00:00:00Z"},
        {{-62'200'000'000'000, 0}, ""},
        {{INT64_MAX, 999'999'999}, ""},
        {{INT64_MIN, 0}, ""},
    }));
    CHECK(detail::toc_time(time) == text);
}

TEST_CASE("an object leaves out what is zero or empty") {
    std::string text;
    detail::toc_object object{text};
    object.text("name", "a");
    object.text("linkName", "");
    object.number("size", 0);
    object.number("mode", 420);
    object.xattrs({});
    object.xattrs({{"user.a", "1"}, {"user.b", ""}});
    object.finish();
    CHECK(text == R"(
		{
			"name": "a",
			"mode": 420,
			"xattrs": {
				"user.a": "MQ==",
				"user.b": ""
			}
		})");
}
