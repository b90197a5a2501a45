#include <shiplap/image/json_node.hpp>

#include "support/catch.hpp"

#include <functional>
#include <string>

using namespace shiplap;

namespace {

using reading = std::function<void(json_node const&)>;

std::string complaint(std::string_view text, reading const& what) {
    auto const document = parse_json(text, "doc");
    try {
        what(json_node{document, "doc"});
    } catch (format_error const& wrong) {
        return wrong.reason();
    }
    return "";
}

} // namespace

TEST_CASE("json_node: reads values") {
    auto const document =
        parse_json(R"({"s":"x","n":7,"t":true,"a":["p","q"],"o":{"k":1},"null":null})", "doc");
    json_node const root{document, "doc"};
    CHECK(root["s"].text() == "x");
    CHECK(root["n"].integer() == 7);
    CHECK(root["t"].boolean());
    CHECK(root["a"].length() == 2);
    CHECK(root["a"].item(1).text() == "q");
    CHECK(root["a"].texts() == std::vector<std::string>{"p", "q"});
    CHECK(root["o"]["k"].integer() == 1);
    CHECK(root["o"].object().size() == 1);
    CHECK(root.text_of("s") == "x");
}

TEST_CASE("json_node: absent and null mean the same, but can be told apart") {
    auto const document = parse_json(R"({"null":null})", "doc");
    json_node const root{document, "doc"};
    for (auto const* name : {"null", "absent"}) {
        CAPTURE(name);
        CHECK_FALSE(root[name]);
        CHECK(root[name].length() == 0);
        CHECK(root[name].texts().empty());
        CHECK(root.text_of(name).empty());
        CHECK_THROWS_AS(root[name].text(), format_error);
        CHECK_THROWS_AS(root[name].object(), format_error);
    }
    CHECK(root.has("null"));
    CHECK_FALSE(root.has("absent"));
}

TEST_CASE("json_node: an integer is one from 0 to 2^63-1 and looks like one") {
    auto const good = GENERATE(values<std::string>({"0", "1", "9223372036854775807"}));
    CHECK(complaint("[" + good + "]", [](auto const& root) { (void)root.item(0).integer(); }).empty());
    auto const bad = GENERATE(values<std::string>(
        {"-1", "9223372036854775808", "18446744073709551616", "1.0", "1e3", "\"1\"", "true", "[]"}));
    CHECK(complaint("[" + bad + "]", [](auto const& root) { (void)root.item(0).integer(); }) ==
          "at '/0': must be an integer from 0 to 2^63-1");
}

TEST_CASE("json_node: complaints tell the place") {
    struct row {
        std::string text;
        reading what;
        std::string reason;
    };
    auto const rows = std::vector<row>{
        {"[]", [](auto const& n) { (void)n["a"]; }, "the document must be an object"},
        {"{}", [](auto const& n) { (void)n["a"].text(); }, "at '/a': is missing"},
        {"{}", [](auto const& n) { (void)n["a"]["b"]; }, "at '/a': is missing"},
        {R"({"a":null})", [](auto const& n) { (void)n["a"].integer(); }, "at '/a': is missing"},
        {R"({"a":1})", [](auto const& n) { (void)n["a"].text(); }, "at '/a': must be a string"},
        {R"({"a":1})", [](auto const& n) { (void)n["a"].boolean(); }, "at '/a': must be true or false"},
        {R"({"a":{}})", [](auto const& n) { (void)n["a"].length(); }, "at '/a': must be an array"},
        {R"({"a":["x",2]})", [](auto const& n) { (void)n["a"].texts(); }, "at '/a/1': must be a string"},
        {R"({"a/b":[{"~":1}]})", [](auto const& n) { (void)n["a/b"].item(0)["~"].text(); },
         "at '/a~1b/0/~0': must be a string"},
        {R"({"\u001b":1})", [](auto const& n) { (void)n["\x1b"].text(); }, "at '/\\x1b': must be a string"},
    };
    for (auto const& [text, what, reason] : rows) {
        CAPTURE(text);
        CHECK(complaint(text, what) == reason);
    }
}
