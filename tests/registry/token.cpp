#include <shiplap/registry/token.hpp>

#include "support/catch.hpp"

#include <deque>

using namespace shiplap;
using namespace std::chrono_literals;

namespace {

struct owned_text {
    std::string text;
    std::size_t at = 0;
    std::size_t read(bytes_span into) {
        auto const n = text.copy(reinterpret_cast<char*>(into.data()), into.size(), at);
        at += n;
        return n;
    }
};

/// Gives the answers that it was told, and remembers the requests.
struct token_service {
    struct seen {
        std::string method, target, authorization, body;
        address_rule addresses;
        bool insecure;
    };
    std::deque<std::pair<int, std::string>> answers;
    std::vector<seen> requests{};
    http_headers headers{};

    http_response send(http_request const& request) {
        std::string body;
        if (request.body) {
            body.resize(request.body->size);
            auto from = request.body->from;
            read_fully(from, {reinterpret_cast<std::byte*>(body.data()), body.size()});
        }
        requests.push_back({request.method, request.target.text(), request.headers.get("Authorization"), body,
                            request.addresses, request.access.insecure});
        auto [status, text] = answers.front();
        answers.pop_front();
        return {status, headers, any_byte_source{owned_text{std::move(text)}}};
    }
};

registry_access const r_io{.registry = {"https", "r.io", 443}, .name = "r.io", .insecure = true};
credential const bob{.user = "bob", .password = secret{"hush"}, .found_in = "config.json"};
credential const token_of_bob{
    .user = "bob", .password = secret{"hush"}, .identity_token = secret{"i&d"}, .found_in = "config.json"};
credential const bare_token{.identity_token = secret{"i&d"}, .found_in = "docker-credential-x"};
std::string const good = R"({"token":"t"})";

token_request const app{
    url::parse("https://auth.r.io/token?a=b"), "r io", {"repository:a:pull", "repository:b:pull"}};

registry_error refusal(token_service service, std::optional<credential> const& who = {}) {
    try {
        static_cast<void>(fetch_token(service, r_io, app, who));
    } catch (registry_error const& failure) {
        return failure;
    }
    FAIL("nothing was thrown");
    throw;
}

} // namespace

TEST_CASE("anybody may ask for a token", "[token]") {
    token_service service{{{200, good}}};
    CHECK(fetch_token(service, r_io, app, {}).value.reveal() == "t");
    auto const& request = service.requests.at(0);
    CHECK(request.method == "GET");
    CHECK(request.target == "https://auth.r.io/token?a=b&service=r+io&scope=repository%3aa%3apull"
                            "&scope=repository%3ab%3apull");
    CHECK(request.authorization.empty());
}

TEST_CASE("a password goes to the realm as Basic", "[token]") {
    token_service service{{{200, good}}};
    fetch_token(service, r_io, app, bob);
    CHECK(service.requests.at(0).authorization == "Basic Ym9iOmh1c2g=");
}

TEST_CASE("an identity token is exchanged by POST", "[token]") {
    token_service service{{{200, R"({"access_token":"t2"})"}}};
    CHECK(fetch_token(service, r_io, app, bare_token).value.reveal() == "t2");
    auto const& request = service.requests.at(0);
    CHECK(request.method == "POST");
    CHECK(request.target == "https://auth.r.io/token?a=b");
    CHECK(request.authorization.empty());
    CHECK(request.body ==
          "grant_type=refresh_token&refresh_token=i%26d&service=r%20io&client_id=shiplap&access_type="
          "online&scope=repository%3Aa%3Apull%20repository%3Ab%3Apull");
}

TEST_CASE("services that know one way only are asked the other way", "[token]") {
    auto const status = GENERATE(400, 401, 404, 405);
    token_service service{{{status, ""}, {200, good}}};
    fetch_token(service, r_io, app, token_of_bob);
    REQUIRE(service.requests.size() == 2);
    CHECK(service.requests[0].method == "POST");
    CHECK(service.requests[1].method == "GET");
    CHECK(service.requests[1].authorization == "Basic Ym9iOmh1c2g=");

    service = {{{status, ""}, {200, good}}};
    CHECK_THROWS_AS(fetch_token(service, r_io, app, bare_token), registry_error);
    CHECK(service.requests.size() == 1);

    service = {{{status, ""}, {200, good}}};
    if (status == 404 || status == 405) {
        fetch_token(service, r_io, app, bob);
        CHECK(service.requests.at(1).body.starts_with("grant_type=password&username=bob&password=hush&"));
    } else {
        CHECK_THROWS_AS(fetch_token(service, r_io, app, bob), registry_error);
        CHECK(service.requests.size() == 1);
    }
}

TEST_CASE("only the registry's own host may have a private address, or a certificate that nobody checks",
          "[token]") {
    auto const [realm, home] = GENERATE(table<std::string, bool>({
        {"https://r.io/token", true},
        {"https://r.io:443/token", true},
        {"https://r.io:444/token", false},
        {"https://auth.r.io/token", false},
    }));
    token_service service{{{200, good}}};
    fetch_token(service, r_io, {url::parse(realm)}, bob);
    CHECK(service.requests.at(0).addresses == (home ? address_rule::any : address_rule::public_only));
    CHECK(service.requests.at(0).insecure == home);
}

TEST_CASE("realms where a login may go", "[token]") {
    auto const realm_for = [](std::string const& scheme, std::string const& realm) {
        auto access = r_io;
        access.registry.scheme = scheme;
        return detail::realm_of({"bearer", {{"realm", realm}}}, access).text();
    };
    CHECK(realm_for("https", "https://auth.io/t") == "https://auth.io/t");
    CHECK(realm_for("http", "https://auth.io/t") == "https://auth.io/t");
    CHECK(realm_for("http", "http://auth.io/t") == "http://auth.io/t");
    auto const bad =
        GENERATE(as<std::string>{}, "http://auth.io/t", "http://r.io/t", "https://me:x@auth.io/t",
                 "https://me@auth.io/t", "/token", "", "auth.io/t", "file:///etc/passwd", "gopher://auth.io/",
                 "https://auth.io/t\r\nX: y", "https://auth.io/ t", "https://");
    try {
        static_cast<void>(realm_for("https", bad));
        FAIL("nothing was thrown");
    } catch (registry_error const& failure) {
        CHECK_THAT(failure.what(), contains("authenticate with 'r.io': its token service "));
        CHECK_THAT(failure.what(), !contains("me:x") && !contains("\n"));
    }
}

TEST_CASE("answers of token services", "[token]") {
    auto const [text, value, life] = GENERATE(table<std::string, std::string, std::chrono::milliseconds>({
        {R"({"token":"a"})", "a", 60s},
        {R"({"access_token":"b"})", "b", 60s},
        {R"({"token":"a","access_token":"a"})", "a", 60s},
        {R"({"token":"","access_token":"b"})", "b", 60s},
        {R"({"token":"a","expires_in":300,"issued_at":"2099-01-01T00:00:00Z"})", "a", 300s},
        {R"({"token":"a","expires_in":0})", "a", 60s},
        {R"({"token":"a","expires_in":-5})", "a", 60s},
        {R"({"token":"a","expires_in":"300"})", "a", 300s},
        {R"({"token":"a","expires_in":"soon"})", "a", 60s},
        {R"({"token":"a","expires_in":"nan"})", "a", 60s},
        {R"({"token":"a","expires_in":null})", "a", 60s},
        {R"({"token":"a","expires_in":[]})", "a", 60s},
        {R"({"token":"a","expires_in":1.5})", "a", 1500ms},
        {R"({"token":"a","expires_in":1e300})", "a", std::chrono::hours{365 * 24}},
    }));
    token_service service{{{200, text}}};
    auto const token = fetch_token(service, r_io, app, bob);
    CHECK(token.value.reveal() == value);
    CHECK(token.lifetime == life);
}

TEST_CASE("junk of token services is an error that does not repeat it", "[token]") {
    auto const text = GENERATE(as<std::string>{}, "", "swordfish", "[]", "null", "{}", R"({"token":1})",
                               R"({"token":null})", R"({"token":"swordfish)", R"({"token":"sword fish"})",
                               R"({"token":"swordfish\r\nX: y"})", R"({"token":"a"} swordfish)",
                               R"({"token":"a","token":"swordfish"})",
                               "{\"token\":\"" + std::string(max_token_answer, 'x') + "\"}");
    auto const failure = refusal({{{200, text}}}, bob);
    CHECK(failure.facts().http_status == 200);
    CHECK_FALSE(failure.facts().retryable);
    CHECK_THAT(failure.what(), contains("its token service ") && !contains("swordfish"));
}

TEST_CASE("a refusal says who, where and what to do", "[token]") {
    auto const status = GENERATE(401, 403);
    auto failure = refusal({{{status, "wrong \033password"}}}, bob);
    CHECK(failure.what() ==
          "authenticate with 'r.io': its token service https://auth.r.io/token?... answers " +
              std::to_string(status) +
              " to the user 'bob' (from config.json): log in with 'docker login r.io', or check the "
              "password (it says: wrong \\x1bpassword)");
    CHECK(failure.facts().http_status == status);
    CHECK_FALSE(failure.facts().retryable);

    CHECK_THAT(refusal({{{status, ""}}}).what(), contains("to a request without a login: log in with"));
    CHECK_THAT(refusal({{{status, ""}}}, bare_token).what(),
               contains("identity token (from docker-credential-x): log in again"));
    failure =
        refusal({{{status, R"({"errors":[{"code":"UNAUTHORIZED","message":"wrong password"}]})"}}}, bob);
    CHECK(failure.facts().registry_code == "UNAUTHORIZED");
    CHECK(failure.facts().registry_message == "wrong password");
    CHECK_THAT(failure.what(), contains("(it says: wrong password)"));
    auto const echo = GENERATE(as<std::string>{}, "hush is wrong", "no: Basic Ym9iOmh1c2g=");
    CHECK_THAT(refusal({{{status, echo}}}, bob).what(), !contains("hush") && !contains("Ym9i"));
}

TEST_CASE("a service in trouble may be asked again, one that redirects may not", "[token]") {
    token_service busy{{{429, "later"}}};
    busy.headers.add("Retry-After", "7");
    CHECK(refusal(busy).facts().retryable);
    CHECK(refusal(busy).facts().retry_after == 7s);
    CHECK(refusal({{{503, ""}}}).facts().retryable);
    CHECK_FALSE(refusal({{{404, ""}}}).facts().retryable);

    token_service astray{{{GENERATE(301, 302, 303, 307, 308), ""}, {200, good}}};
    astray.headers.add("Location", "http://169.254.169.254/");
    auto const failure = refusal(astray, bob);
    CHECK_FALSE(failure.facts().retryable);
    CHECK_THAT(failure.what(), contains("redirects"));
}
