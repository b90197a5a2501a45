#include <shiplap/image/json.hpp>

#include "support/catch.hpp"

#include <string>
#include <vector>

using namespace shiplap;

namespace {

bool accepts(std::string_view text) {
    try {
        parse_json(text, "test");
        return true;
    } catch (format_error const&) {
        return false;
    }
}

std::string refusal(std::string_view text) {
    try {
        parse_json(text, "test");
    } catch (format_error const& wrong) {
        return wrong.what();
    }
    return "accepted";
}

std::string nested(std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
}

} // namespace

TEST_CASE("json: what is well-formed is read and written as Go writes it") {
    struct row {
        std::string_view in, out;
    };
    auto const [in, out] = GENERATE(values<row>({
        {"null", "null"},
        {" {\n} ", "{}"},
        {"[ ]", "[]"},
        {R"({"b":1,"a":[true,false,null]})", R"({"b":1,"a":[true,false,null]})"},
        {R"("\u0041\/")", R"("A/")"},
        {R"("<>&")", R"("\u003c\u003e\u0026")"},
        {"\"\u2028\u2029\u2027\u202a\"", "\"\\u2028\\u2029\u2027\u202a\""},
        {R"("\b\f\n\r\t\u0000\u001f\u007f\"\\")", "\"\\b\\f\\n\\r\\t\\u0000\\u001f\x7f\\\"\\\\\""},
        {"\"\u00e9\u20ac\U0001f600\"", "\"\u00e9\u20ac\U0001f600\""},
        {R"("\ud83d\ude00")", "\"\U0001f600\""},
        {"9223372036854775807", "9223372036854775807"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"18446744073709551615", "18446744073709551615"},
        {R"({"<a>":"&"})", R"({"\u003ca\u003e":"\u0026"})"},
    }));
    CHECK(compact(parse_json(in, "test")) == out);
    CHECK(parse_json(compact(parse_json(in, "test")), "test") == parse_json(in, "test"));
}

TEST_CASE("json: pretty is two spaces, nothing inside what is empty, no newline at the end") {
    CHECK(
        pretty(parse_json(R"({"a":[1,{"b":"<"}],"c":{},"d":[]})", "test")) ==
        "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"\\u003c\"\n    }\n  ],\n  \"c\": {},\n  \"d\": []\n}");
}

TEST_CASE("json: what two readers may understand differently is refused") {
    auto const text = GENERATE(values<std::string>({
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\"}",
        "{a:1}",
        "'a'",
        "nul",
        "NaN",
        "Infinity",
        "01",
        "+1",
        ".5",
        "1.",
        "0x1",
        "1e",
        "1e999",
        "{} {}",
        "{}x",
        "// comment\n{}",
        "/* comment */{}",
        "\xef\xbb\xbf{}",
        std::string("{}\0", 3),
        std::string("{\0}", 3),
        std::string("\"\0\"", 3),
        "\"\n\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\xff\"",
        "\"\xc0\xaf\"",         // overlong
        "\"\xed\xa0\x80\"",     // a surrogate
        "\"\xf4\x90\x80\x80\"", // beyond U+10FFFF
        "\"\xe2\x82\"",         // cut off
        R"({"a":1,"a":1})",
        R"({"a":1,"b":2,"A":1})",
        R"({"a":1,"\u0061":1})",
        R"({"x":[{"layers":1,"Layers":2}]})",
        "{\"os\":1,\"o\u017f\":2}",       // long s folds into s
        "{\"links\":1,\"lin\u212as\":2}", // kelvin sign folds into k
        R"({"annotations":{"a":"1","a":"2"}})",
        R"({"annotations":[{"a":"1","A":"2"}]})",
    }));
    CAPTURE(text);
    CHECK_FALSE(accepts(text));
}

TEST_CASE("json: names that are data may differ in case only") {
    CHECK(accepts(R"({"annotations":{"a":"1","A":"2"}})"));
    CHECK(accepts(R"({"config":{"Labels":{"maintainer":"1","Maintainer":"2"}}})"));
    CHECK_FALSE(accepts(R"({"config":{"labels":{"maintainer":"1","Maintainer":"2"}}})"));
    CHECK(accepts(R"([{"a":1},{"A":1}])"));
}

TEST_CASE("json: limits hold at the limit and not beyond") {
    CHECK(accepts(nested(max_document_depth)));
    CHECK_FALSE(accepts(nested(max_document_depth + 1)));
    CHECK(refusal(nested(max_document_depth + 1)).find("deeper than 64") != std::string::npos);
    CHECK(accepts("{\"a\":" + nested(max_document_depth - 1) + "}"));
    CHECK_FALSE(accepts("{\"a\":" + nested(max_document_depth) + "}"));
    CHECK(accepts("\"" + std::string(max_document_size - 2, 'x') + "\""));
    CHECK_FALSE(accepts("\"" + std::string(max_document_size - 1, 'x') + "\""));
    CHECK_FALSE(accepts(std::string(1'000'000, '[')));
}

TEST_CASE("json: an object with very many members takes linear time") {
    std::string text = "{";
    for (int i = 0; i < 200'000; ++i) text += "\"m" + std::to_string(i) + "\":" + std::to_string(i) + ",";
    text.back() = '}';
    CHECK(parse_json(text, "test").size() == 200'000); // a quadratic reader would need minutes
}

TEST_CASE("json: messages name the document and the place") {
    CHECK(refusal("{\n\"a\": x}").starts_with("parse JSON 'test': parse error at line 2, column 6"));
    CHECK(refusal(R"({"a":[0,{"b/c":{"d":1,"D":1}}]})") ==
          "parse JSON 'test': the object at '/a/1/b~1c' has the names \"d\" and \"D\", which some readers "
          "take for "
          "the same");
    CHECK(refusal("\xef\xbb\xbf{}").find("byte order mark") != std::string::npos);
    CHECK(refusal(std::string("{\0}", 3)).find("offset 1") != std::string::npos);
    CHECK(refusal("\"\x1b[2J\"").find('\x1b') == std::string::npos);
}

TEST_CASE("json: accepts nothing that the parser alone refuses, and refuses only for a reason of its own") {
    // every single-byte change of a document that has one of everything
    std::string const whole = R"({"a":[1,-2.5e3,true,null],"b":{"c":"x\u00e9\n"},"d":""})";
    int same = 0;
    for (std::size_t at = 0; at < whole.size(); ++at)
        for (int byte = 0; byte < 256; ++byte) {
            auto text = whole;
            text[at] = static_cast<char>(byte);
            bool const mine = accepts(text);
            if (mine == json::accept(text)) {
                ++same;
                continue;
            }
            INFO(printable(text));
            REQUIRE_FALSE(mine);
            auto const why = refusal(text);
            bool const own_reason =
                why.find("has the names") != std::string::npos || why.find("zero byte") != std::string::npos;
            REQUIRE(own_reason);
        }
    CHECK(same > 10'000);
}

TEST_CASE("text that is not UTF-8 cannot be written", "[json]") {
    json const document{{"key", "\xff"}};
    CHECK_THROWS_WITH(pretty(document), contains("not UTF-8"));
    CHECK_THROWS_AS(compact(document), format_error);
}

TEST_CASE("json: a document that is only passed on may be larger, and name things alike") {
    std::string const text = R"({"a":{"http_proxy":"1","HTTP_PROXY":"2"}})";
    CHECK_FALSE(accepts(text));
    CHECK(compact(parse_json(text, "test", {.names_are_data = true})) == text);
    CHECK_THROWS_WITH(parse_json(R"({"a":1,"a":2})", "test", {.names_are_data = true}), contains("same"));
    auto const large = "\"" + std::string(max_document_size, 'x') + "\"";
    CHECK_FALSE(accepts(large));
    CHECK_NOTHROW(parse_json(large, "test", {.max_size = 2 * max_document_size}));
}
