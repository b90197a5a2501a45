#include <shiplap/registry/challenge.hpp>

#include "support/catch.hpp"

using namespace shiplap;

namespace {

/// "scheme name=value name=value", one challenge a line; a token68 in braces.
std::string shown(std::vector<std::string> const& values) {
    std::string out;
    for (auto const& one : parse_challenges(values)) {
        out += out.empty() ? one.scheme : "\n" + one.scheme;
        for (auto const& [name, value] : one.parameters) out += " " + name + "=<" + value + ">";
        if (!one.token68.empty()) out += " {" + one.token68 + "}";
    }
    return out;
}

} // namespace

TEST_CASE("challenges are read in all their forms", "[challenge]") {
    struct row {
        std::vector<std::string> values;
        std::string expected;
    };
    auto const [headers, expected] = GENERATE(values<row>({
        {{}, ""},
        {{""}, ""},
        {{" , ,"}, ""},
        {{"Basic"}, "basic"},
        {{"Basic realm=\"r.io\""}, "basic realm=<r.io>"},
        {{"Bearer realm=\"https://a/t\",service=\"r.io\",scope=\"repository:a:pull,push\""},
         "bearer realm=<https://a/t> service=<r.io> scope=<repository:a:pull,push>"},
        {{"bEARER REALM=\"x\" , Service = y"}, "bearer realm=<x> service=<y>"},
        {{"Bearer realm=\"x\" service=\"y\""}, "bearer realm=<x> service=<y>"}, // the comma is missing
        {{"Bearer realm=https://a/t?b=c,service=y"}, "bearer realm=<https://a/t?b=c> service=<y>"},
        {{"Basic realm=\"say \\\"hi\\\", \\\\\""}, "basic realm=<say \"hi\", \\>"},
        {{"Basic realm=\"a\", Bearer realm=\"b\",error=\"insufficient_scope\""},
         "basic realm=<a>\nbearer realm=<b> error=<insufficient_scope>"},
        {{"Bearer realm=\"b\"", "Basic realm=\"a\""}, "bearer realm=<b>\nbasic realm=<a>"},
        {{"Basic, Bearer realm=b"}, "basic\nbearer realm=<b>"},
        {{"Negotiate YWJj+/==, Basic realm=\"a\""}, "negotiate {YWJj+/==}\nbasic realm=<a>"},
        {{"NTLM, Negotiate"}, "ntlm\nnegotiate"},
        {{"Bearer service=\"y\""}, "bearer service=<y>"},
        {{"Bearer realm=\"\""}, "bearer realm=<>"},
        {{"Bearer realm=\"a,b=c\",,, scope=\"x y\","}, "bearer realm=<a,b=c> scope=<x y>"},
    }));
    CHECK(shown(headers) == expected);
}

TEST_CASE("challenges that two readers may read differently are refused", "[challenge]") {
    auto const value = GENERATE(as<std::string>{}, "Basic realm=\"a", "Basic realm=\"a\\", "realm=\"a\"",
                                "\"Basic\"", "Basic realm=a, REALM=b", "Basic@home", "=a", "Basic =a");
    CHECK_THROWS_AS(parse_challenges({value}), format_error);
}

TEST_CASE("parameters are found by their names", "[challenge]") {
    http_headers headers;
    headers.add("www-authenticate", "Bearer realm=a");
    auto const found = parse_challenges(headers);
    REQUIRE(found.size() == 1);
    CHECK(found[0].get("realm") == "a");
    CHECK(found[0].get("service").empty());
    CHECK(found[0].find("service") == nullptr);
}

TEST_CASE("challenges end at 64 KiB, in all", "[challenge]") {
    auto const of_size = [](std::size_t n) { return "Basic realm=\"" + std::string(n - 14, 'x') + "\""; };
    CHECK(parse_challenges({of_size(max_challenge_size)}).size() == 1);
    CHECK_THROWS_AS(parse_challenges({of_size(max_challenge_size + 1)}), format_error);
    CHECK_THROWS_AS(parse_challenges({of_size(max_challenge_size), "Basic"}), format_error);
}
