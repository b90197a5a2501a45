#include <shiplap/registry/url.hpp>

#include <string>

#include <support/catch.hpp>

using namespace shiplap;

TEST_CASE("a URL has an origin", "[registry]") {
    auto const from = [](char const* text) { return url::parse(text).from(); };
    CHECK(from("https://R.io/v2/") == origin{"https", "r.io", 443});
    CHECK(from("http://r.io/v2/") == origin{"http", "r.io", 80});
    CHECK(from("HTTPS://r.io:5000") == origin{"https", "r.io", 5000});
    CHECK(from("http://[::1]:5000/") == origin{"http", "::1", 5000});
    CHECK(from("http://2130706433/") == origin{"http", "127.0.0.1", 80});
    CHECK(origin{"https", "r.io", 443}.authority() == "r.io");
    CHECK(origin{"http", "r.io", 443}.authority() == "r.io:443");
    CHECK(origin{"http", "::1", 80}.text() == "http://[::1]");
}

TEST_CASE("a Location is read as seen from the request", "[registry]") {
    auto const base = url::parse("https://r.io:5000/v2/app/blobs/uploads/?mount=x");
    auto const [reference, expected] = GENERATE(table<std::string, std::string>({
        {"/v2/x?_state=a%2Fb&c=d", "https://r.io:5000/v2/x?_state=a%2Fb&c=d"},
        {"17", "https://r.io:5000/v2/app/blobs/uploads/17"},
        {"../17", "https://r.io:5000/v2/app/blobs/17"},
        {"?a=b", "https://r.io:5000/v2/app/blobs/uploads/?a=b"},
        {"//other.io/x", "https://other.io/x"},
        {"http://other.io:81/x?y#z", "http://other.io:81/x?y"},
    }));
    CHECK(base.resolve(reference).text() == expected);
}

TEST_CASE("a query grows and keeps what it has", "[registry]") {
    auto const target = url::parse("https://r.io/x?_state=a%2Fb%3D");
    CHECK(target.with_query("digest", "sha256:ab+c").query() == "_state=a%2Fb%3D&digest=sha256%3aab%2bc");
    CHECK(url::parse("https://r.io/x").with_query("a", "b c").query() == "a=b+c");
    CHECK(target.path() == "/x");
}

TEST_CASE("what is no http URL is refused, without its secrets", "[registry]") {
    auto const text = GENERATE(as<std::string>{}, "", "r.io/x", "file:///etc/passwd?secret",
                               "gopher://r.io/?secret", "https://", "https://r.io/a b?secret",
                               "https://r.io/\r\nX: y?secret", "https://user@r.io:99999/?secret", "unix:/x");
    CAPTURE(text);
    CHECK_THROWS_AS(url::parse(text), format_error);
    CHECK_THROWS_WITH(url::parse(text), !contains("secret"));
    CHECK_THROWS_AS(url::parse("https://r.io/").resolve("file:///etc/passwd"), format_error);
}

TEST_CASE("a URL is shown without what may be secret", "[registry]") {
    auto const target = url::parse("https://user:word@r.io:5000/v2/?token=abc#part");
    CHECK(target.shown() == "https://r.io:5000/v2/?...");
    CHECK(target.has_user());
    CHECK_FALSE(url::parse("https://r.io/").has_user());
    auto copy = url::parse("https://x.io/");
    copy = target;
    CHECK(copy.text() == target.text());
}
