#include <shiplap/registry/http.hpp>

#include <string>
#include <vector>

#include <support/catch.hpp>

using namespace shiplap;

TEST_CASE("headers are found without case, in their order", "[registry]") {
    http_headers headers;
    headers.add("Accept", "a");
    headers.add("X", "1");
    headers.add("accept", "b");
    CHECK(headers.get("ACCEPT") == "a");
    CHECK(headers.all("accept") == std::vector<std::string>{"a", "b"});
    CHECK(headers.find("Accep") == nullptr);
    CHECK(headers.get("Y").empty());
    headers.set("Accept", "c");
    CHECK(headers.fields() == std::vector<http_headers::field>{{"X", "1"}, {"Accept", "c"}});
    headers.remove("x");
    CHECK(headers.fields().size() == 1);
}

TEST_CASE("a header stays one header", "[registry]") {
    http_headers headers;
    for (auto const& value :
         {std::string{"a\r\nX: y"}, std::string{"a\n"}, std::string{"\r"}, std::string(1, '\0')})
        CHECK_THROWS_AS(headers.add("A", value), format_error);
    for (char const* name : {"", "A B", "A:", "A\n", " A", "\x80"})
        CHECK_THROWS_AS(headers.add(name, "v"), format_error);
    CHECK(headers.fields().empty());
    CHECK_THROWS_WITH(headers.add("Authorization", "secret\n"), !contains("secret"));
}

TEST_CASE("text of a body is read up to a limit", "[registry]") {
    http_response response{200, {}, any_byte_source{span_source{"0123456789"}}};
    CHECK(read_text(response, 4) == "0123");
    CHECK(read_text(response, 100) == "456789");
    CHECK(read_text(response, 100).empty());
}
