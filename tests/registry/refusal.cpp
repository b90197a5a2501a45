#include <shiplap/registry/refusal.hpp>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <string>

#include <support/catch.hpp>
#include <support/registry/text.hpp>

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
struct cut_text {
    static std::size_t read(bytes_span) {
        throw transport_error{transport_failure::cut, "GET", "https://r.io/", "cut", {.retryable = true}};
    }
};

registry_access const docker_hub{.registry = url::parse("https://registry-1.docker.io/").from(),
                                 .name = "docker.io",
                                 .repository = "me/app",
                                 .scopes = {"repository:me/app:pull,push"}};

registry_error refused(int status, std::string const& body, http_headers headers = {},
                       origin const& by = docker_hub.registry) {
    http_response answer{status, std::move(headers), any_byte_source{owned_text{body}}};
    return refusal("push", "docker.io/me/app:1", docker_hub, by, answer);
}

std::string json_error(std::string const& code, std::string const& message) {
    return nlohmann::json{{"errors", {{{"code", code}, {"message", message}, {"detail", nullptr}}}}}.dump();
}

std::optional<std::chrono::seconds> retry_after(std::string const& text, std::time_t now = 1'000'000'000) {
    return detail::parse_retry_after(text, now);
}

} // namespace

TEST_CASE("a refusal is one sentence that says what to do", "[registry]") {
    struct {
        int status;
        char const *code, *message, *reason;
    } const cases[] = {
        {401, "UNAUTHORIZED", "authentication required",
         "401 UNAUTHORIZED (authentication required); log in with 'docker login docker.io', or check the "
         "password"},
        {403, "DENIED", "requested access to the resource is denied",
         "403 DENIED (requested access to the resource is denied); push access denied, repository does not "
         "exist or may require authorization: check the name, or log in with 'docker login docker.io'"},
        {405, "UNSUPPORTED", "this registry is read-only",
         "405 UNSUPPORTED (this registry is read-only); it is read-only, or does not offer this: choose "
         "another "
         "registry"},
        {403, "UNSUPPORTED", "this registry is read-only",
         "403 UNSUPPORTED (this registry is read-only); it is read-only, or does not offer this: choose "
         "another "
         "registry"},
        {404, "NAME_UNKNOWN", "repository name not known",
         "404 NAME_UNKNOWN (repository name not known); it has no such repository: check the name"},
        {429, "TOOMANYREQUESTS", "slow down",
         "429 TOOMANYREQUESTS (slow down); it limits how often it is asked: try again later, or log in for a "
         "higher "
         "limit"},
        {403, "DENIED", "You have exceeded a secondary rate limit",
         "403 DENIED (You have exceeded a secondary rate limit); it limits how often it is asked: try again "
         "later, "
         "or log in for a higher limit"},
        {503, "UNAVAILABLE", "maintenance",
         "503 UNAVAILABLE (maintenance); it is out of order: try again later"},
        {307, "", "x", "307; a redirection is no answer to this request"},
        // Where the code says what is wrong, nothing is added.
        {400, "MANIFEST_INVALID", "bad", "400 MANIFEST_INVALID (bad)"},
        {404, "BLOB_UPLOAD_UNKNOWN", "gone", "404 BLOB_UPLOAD_UNKNOWN (gone)"},
        {501, "", "", "501"},
    };
    for (auto const& one : cases) {
        CAPTURE(one.status, one.code);
        std::string const code = one.code;
        auto const failure = refused(one.status, code.empty() ? "" : json_error(code, one.message));
        CHECK(failure.reason() == "registry-1.docker.io answered " + std::string{one.reason});
        CHECK(failure.what() == "push 'docker.io/me/app:1': " + failure.reason());
        CHECK(failure.facts().http_status == one.status);
        CHECK(failure.facts().registry_code == code);
        CHECK(failure.facts().registry_message == (code.empty() ? "" : one.message));
    }
    CHECK(refused(413, "<html><body>Request Entity Too Large</body></html>").reason() ==
          "registry-1.docker.io answered 413 (Request Entity Too Large); raise the limit of the proxy in "
          "front of "
          "it, which seems not to take requests of this size");
    CHECK(
        refused(400, "Client sent an HTTP request to an HTTPS server.\n").reason() ==
        "registry-1.docker.io answered 400 (Client sent an HTTP request to an HTTPS server.); it speaks TLS: "
        "put its "
        "certificate authority into ~/.config/containers/certs.d/docker.io/ca.crt, or use "
        "registry.insecure=true "
        "(--insecure)");
}

TEST_CASE("a refusal of who keeps the blobs is not one of the registry", "[registry]") {
    auto const storage = url::parse("https://s3.cloud:8443/").from();
    CHECK(refused(403, "", {}, storage).reason() ==
          "s3.cloud:8443 answered 403; docker.io sent us there: try again, or tell who runs it");
}

TEST_CASE("error bodies of any form become words", "[registry]") {
    std::string const esc = "\x1b[31mred\x1b[0m";
    struct {
        std::string body, words;
    } const cases[] = {
        {"", ""},
        {"  \n\t ", ""},
        {"bad gateway", "bad gateway"},
        {"<html>\n<head><title>502 Bad Gateway</title><style>a{b:c}</style></head>\n<body>\r\n<h1>Sorry</h1>",
         "502 Bad Gateway Sorry"},
        {"<SCRIPT>if (a > b) x();</SCRIPT>hello", "hello"},
        {"<script>never ends", ""},
        {"half a <tag", "half a"},
        {R"({"errors":[{"code":"DENIED","message":"no"},{"code":"OTHER"}]})", "no"},
        {R"({"errors":[{"code":"DENIED"}]})", ""},
        {R"({"errors":[{"code":17,"message":["x"]}]})", ""},
        {R"({"errors":[]})", ""},
        {R"({"errors":{"message":"x"}})", ""},
        {R"({"errors":["x"],"message":"outside"})", "outside"},
        {R"({"details":"incorrect username or password"})", "incorrect username or password"},
        {R"({"error":"quota"})", "quota"},
        {"[1,2]", "[1,2]"},
        {R"({"errors":[{"message":)", R"({"errors":[{"message":)"},
        {json_error("X", esc), esc},
        {esc, esc},
    };
    for (auto const& [body, words] : cases) {
        CAPTURE(body);
        CHECK(detail::parse_error_body(body).message == words);
    }
}

TEST_CASE("nothing that a registry says reaches a terminal as it is, or without an end", "[registry]") {
    std::string const nested(20'000, '[');
    std::string every_byte;
    for (int i = 0; i < 256; ++i) every_byte += static_cast<char>(i);
    std::string many_umlauts;
    for (int i = 0; i < 1000; ++i) many_umlauts += "\xc3\xbc";
    for (auto const& words : {std::string{"\x1b]0;title\x07"}, nested, every_byte, many_umlauts,
                              std::string(1'000'000, 'x'), std::string{"a\nb: fake log line"}}) {
        for (auto const& body :
             {words, "{\"errors\":[{\"code\":\"" + words + "\"}]}",
              json_error("A", words.size() > 300 && words == every_byte ? "" : "x" + many_umlauts),
              "{\"message\":" + nested}) {
            std::string const text = refused(400, body).what();
            CHECK(text.size() < 2000);
            CHECK(std::none_of(text.begin(), text.end(),
                               [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }));
        }
    }
    // A text is not cut within a character.
    CHECK(detail::parse_error_body(many_umlauts).message == many_umlauts.substr(0, 160) + "...");
    CHECK(detail::parse_error_body("x" + many_umlauts).message == "x" + many_umlauts.substr(0, 158) + "...");
    CHECK(refused(400, json_error(std::string(100, 'C'), "m")).facts().registry_code.size() == 67);
}

TEST_CASE("a refusal whose text is cut is still that refusal", "[registry]") {
    http_headers headers;
    headers.add("Retry-After", "7");
    http_response answer{503, std::move(headers), any_byte_source{cut_text{}}};
    auto const failure = refusal("push", "x", docker_hub, docker_hub.registry, answer);
    CHECK(failure.facts().http_status == 503);
    CHECK(failure.facts().retryable);
    CHECK(failure.facts().retry_after == 7s);
}

TEST_CASE("the registry's name for the request is kept", "[registry]") {
    for (auto const* const name :
         {"X-Request-Id", "docker-request-id", "X-GitHub-Request-Id", "x-amz-request-id"}) {
        http_headers headers;
        headers.add(name, "abc-1");
        CHECK(refused(500, "", std::move(headers)).facts().request_id == "abc-1");
    }
    CHECK(refused(500, "").facts().request_id.empty());
}

TEST_CASE("Retry-After is a number of seconds or a date", "[registry]") {
    constexpr std::time_t now = 1'000'000'000; // Sun, 09 Sep 2001 01:46:40 GMT
    constexpr auto year = std::chrono::seconds{365 * 24 * 3600};
    CHECK(retry_after("0") == 0s);
    CHECK(retry_after("120") == 120s);
    CHECK(retry_after("86400") == 86400s);
    CHECK(retry_after("Sun, 09 Sep 2001 01:46:43 GMT", now) == 3s);
    CHECK(retry_after("Sunday, 09-Sep-01 01:46:43 GMT", now) == 3s);
    CHECK(retry_after("Sun Sep  9 01:46:43 2001", now) == 3s);
    CHECK(retry_after("Sun, 09 Sep 2001 01:46:00 GMT", now) == 0s); // has passed
    // So long that sums with it would overflow.
    CHECK(retry_after("9223372036854775807") == year);
    CHECK(retry_after("99999999999999999999999") == year);
    CHECK(retry_after("Sun, 09 Sep 2035 01:46:43 GMT", now) == year);
    for (auto const* const junk : {"", "-1", "soon", "1.5.x", "0x10", "5 minutes"}) {
        CAPTURE(junk);
        CHECK(retry_after(junk) == std::nullopt);
    }
}

TEST_CASE("a date in Retry-After is meant by the registry's clock", "[registry]") {
    auto const wrong_by_hours = std::chrono::system_clock::now() - 5h;
    http_headers headers;
    headers.add("Date", registry_test::http_date(wrong_by_hours));
    headers.add("Retry-After", registry_test::http_date(wrong_by_hours + 3s));
    CHECK(refused(429, "", std::move(headers)).facts().retry_after == 3s);
}

TEST_CASE("which answers may be others the next time", "[registry]") {
    for (int status = 100; status < 600; ++status) {
        bool const listed = status == 408 || status == 425 || status == 429 || status == 499 ||
                            status == 500 || (status >= 502 && status <= 504) ||
                            (status >= 520 && status <= 524);
        CAPTURE(status);
        CHECK(detail::is_transient(status, {}, "") == listed);
        CHECK(detail::is_transient(status, {}, "rate limit") == (listed || status == 403));
    }
    for (auto const* const words : {"You have exceeded a secondary rate limit.", "API Rate Limit exceeded",
                                    R"({"errors":[{"code":"TOOMANYREQUESTS"}]})", "Too Many Requests"})
        CHECK(detail::is_transient(403, {}, words));
    for (auto const* const words :
         {"", "denied", "the rate of exchange", R"({"errors":[{"code":"DENIED"}]})"})
        CHECK_FALSE(detail::is_transient(403, {}, words));

    struct {
        char const *name, *value;
        bool transient;
    } const headers[] = {{"Retry-After", "60", true},
                         {"X-RateLimit-Remaining", "0", true},
                         {"X-RateLimit-Remaining", "9", false}};
    for (auto const& [name, value, transient] : headers) {
        http_headers one;
        one.add(name, value);
        CHECK(detail::is_transient(403, one, "") == transient);
    }
}

TEST_CASE("who may not pull is not told of a push", "[registry]") {
    auto access = docker_hub;
    access.scopes = {"repository:me/app:pull"};
    http_response answer{403, {}, any_byte_source{owned_text{json_error("DENIED", "no")}}};
    auto const failure = refusal("read manifest", "docker.io/me/app:1", access, access.registry, answer);
    CHECK_THAT(failure.reason(),
               Catch::Matchers::Contains("; pull access denied, repository does not exist"));
}
