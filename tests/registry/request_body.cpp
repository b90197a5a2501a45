#include <shiplap/registry/request_body.hpp>

#include <string>

#include <support/catch.hpp>

using namespace shiplap;

TEST_CASE("a request's body is a piece of its source", "[registry]") {
    span_source source{"0123456789"};
    detail::request_body body{http_body{source, 5, 3}};
    std::byte space[10];
    CHECK(body.left() == 5);
    CHECK_FALSE(body.touched());
    CHECK(body.read(bytes_span{space}.first(2)) == 2);
    CHECK(body.read(space) == 3);
    CHECK(body.read(space) == 0);
    CHECK(body.left() == 0);
    body.restart();
    CHECK(body.touched());
    CHECK(body.read(space) == 5);
    CHECK(as_text(bytes_view{space}.first(5)) == "34567");
    body.restart();
    body.release();
    CHECK_THROWS_AS(body.read(space), error);

    detail::request_body none;
    none.restart();
    CHECK(none.read(space) == 0);
}

TEST_CASE("a source that ends too early is an error", "[registry]") {
    span_source source{"0123456789"};
    std::byte space[20];
    detail::request_body body{http_body{source, 8, 3}};
    CHECK_THROWS_WITH(body.read(space), contains("1 bytes too early"));
    CHECK_THROWS_WITH((detail::request_body{http_body{source, 1, 11}}), contains("too early"));
}
