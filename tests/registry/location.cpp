#include <shiplap/registry/location.hpp>

#include <string>
#include <vector>

#include <support/catch.hpp>

using namespace shiplap;

// Where the repository follows it is in repository.cpp; here is what it is read as.

namespace {

http_response answer_with(std::vector<std::string> const& locations) {
    http_headers headers;
    for (auto const& one : locations) headers.add("location", one);
    return {202, std::move(headers), any_byte_source{null_source{}}};
}

} // namespace

TEST_CASE("a Location is seen from what was asked", "[registry]") {
    auto const asked = url::parse("https://r.io/v2/app/blobs/uploads/?mount=x");
    struct {
        char const *given, *means;
    } const cases[] = {
        {"https://r.io/u?_state=a%2Bb%3D&x", "https://r.io/u?_state=a%2Bb%3D&x"},
        {"/u/1", "https://r.io/u/1"},
        {"1?x=y", "https://r.io/v2/app/blobs/uploads/1?x=y"},
        {"?x=y", "https://r.io/v2/app/blobs/uploads/?x=y"},
        {"//up.io:5000/u", "https://up.io:5000/u"},
        {"https://R.IO/u#part", "https://r.io/u"},
    };
    for (auto const& [given, means] : cases) {
        CAPTURE(given);
        auto const found = location_of(asked, answer_with({given}));
        REQUIRE(found);
        CHECK(found->from() == url::parse(means).from());
        CHECK(found->path() == url::parse(means).path());
        CHECK(found->query() == url::parse(means).query());
    }
    CHECK_FALSE(location_of(asked, answer_with({})));
}

TEST_CASE("a Location that must not be followed is an error that shows no secrets", "[registry]") {
    auto const asked = url::parse("https://r.io/v2/?token=secret");
    for (auto const& given : std::vector<std::vector<std::string>>{{"/a", "/b"},
                                                                   {"http://r.io/"},
                                                                   {"http://up.io/?x=secret"},
                                                                   {"ftp://r.io/"},
                                                                   {"file:///etc/passwd"},
                                                                   {"https://me:secret@r.io/"},
                                                                   {"https://r.io/a b?x=secret"},
                                                                   {"https://r.io:99999/"}}) {
        CAPTURE(given);
        try {
            (void)location_of(asked, answer_with(given));
            FAIL("it was followed");
        } catch (registry_error const& failure) {
            CHECK(std::string{failure.what()}.find("secret") == std::string::npos);
            CHECK(failure.facts().http_status == 202);
            CHECK_FALSE(failure.facts().retryable);
        }
    }
    // Where there is no https to lose.
    CHECK(location_of(url::parse("http://localhost/"), answer_with({"http://localhost:1/"})));
}

TEST_CASE("a private address is the registry's own at most", "[registry]") {
    auto const registry = url::parse("https://r.io/").from();
    CHECK(rule_for(url::parse("https://r.io/x"), registry) == address_rule::any);
    for (auto const* const other : {"https://r.io:5000/x", "http://r.io/x", "https://s3.io/x"})
        CHECK(rule_for(url::parse(other), registry) == address_rule::public_only);
}
