#include <shiplap/registry/response_head.hpp>

#include <string>

#include <support/catch.hpp>

using namespace shiplap;

TEST_CASE("an answer's head is gathered line by line", "[registry]") {
    detail::response_head head;
    for (char const* line : {"HTTP/1.1 100 Continue\r\n", "Link: early\r\n", "\r\n"}) head.add(line);
    CHECK_FALSE(head.complete());
    for (char const* line : {"HTTP/1.1 202 Accepted\r\n", "Location:  /x \r\n", "X: one\r\n", "\t two\r\n",
                             "no header\r\n", ": nameless\r\n", "A b: c\r\n", "Empty:\r\n"})
        head.add(line);
    CHECK_FALSE(head.complete());
    head.add("\r\n");
    CHECK(head.complete());
    head.add("X-Trailer: late\r\n");
    CHECK(head.status() == 202);
    CHECK(head.headers().fields() ==
          std::vector<http_headers::field>{{"Location", "/x"}, {"X", "one two"}, {"Empty", ""}});
}

TEST_CASE("a strange head does no harm", "[registry]") {
    detail::response_head head;
    SECTION("without a status") {
        for (char const* line : {"HTTP/\r\n", "\r\n", "HTTP/1.1\r\n", "\r\n", "HTTP/1.1 x\r\n", "\r\n"})
            head.add(line);
        CHECK_FALSE(head.complete());
    }
    SECTION("with a line break inside") {
        head.add("HTTP/1.1 200\n");
        head.add("A: b\rC: d\n");
        head.add("\n");
        CHECK(head.complete());
        CHECK(head.headers().fields().empty());
    }
    SECTION("without an end") {
        head.add("HTTP/1.1 200 OK\r\n");
        auto const line = "X: " + std::string(1000, 'x') + "\r\n";
        for (int i = 0; i < 250; ++i) head.add(line);
        CHECK_FALSE(head.too_long());
        for (int i = 0; i < 50; ++i) head.add(line);
        CHECK(head.too_long());
    }
}
