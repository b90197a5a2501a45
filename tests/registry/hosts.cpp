#include <shiplap/bytes/file.hpp>
#include <shiplap/registry/hosts.hpp>

#include <string>
#include <vector>

#include <support/catch.hpp>
#include <support/temp.hpp>

using namespace shiplap;

namespace {

std::vector<std::string> candidates_of(std::string const& domain, bool insecure = false) {
    std::vector<std::string> texts;
    for (auto const& one : host_of(domain, insecure).candidates) texts.push_back(one.text());
    return texts;
}

/// Answers for those origins alone; the others have nobody who listens.
struct listeners {
    std::vector<std::string> at;
    std::string refusing{}; ///< this one wants a login that there is none for
    std::vector<std::string> asked{};

    http_response send(http_request const& request) {
        auto const where = request.target.from().text();
        asked.push_back(request.method + " " + request.target.text() + (request.repeatable ? "" : " once"));
        if (where == refusing) throw registry_error{"authenticate with", where, "no login", {}};
        for (auto const& one : at)
            if (one == where) return {404, {}, any_byte_source{null_source{}}};
        throw transport_error{transport_failure::connect, "GET", where, "refused", {.retryable = true}};
    }
};

} // namespace

TEST_CASE("a registry's name says where it is", "[registry]") {
    struct {
        char const *domain, *origin;
    } const cases[] = {
        {"docker.io", "https://registry-1.docker.io"},
        {"r.io", "https://r.io"},
        {"R.io", "https://r.io"},
        {"r.io:443", "https://r.io"},
        {"r.io:5000", "https://r.io:5000"},
        {"10.0.0.1:5000", "https://10.0.0.1:5000"},
        {"localhost", "http://localhost"},
        {"localhost:5000", "http://localhost:5000"},
        {"localhost:443", "http://localhost:443"},
        {"127.0.0.1:5000", "http://127.0.0.1:5000"},
        {"127.1.2.3", "http://127.1.2.3"},
        {"[::1]:5000", "http://[::1]:5000"},
        {"[2001:db8::1]:5000", "https://[2001:db8::1]:5000"},
        // Names that only look like those of this machine.
        {"localhost.r.io", "https://localhost.r.io"},
        {"127.0.0.1.r.io", "https://127.0.0.1.r.io"},
        {"1127.0.0.1.r.io", "https://1127.0.0.1.r.io"},
    };
    for (auto const& [domain, origin] : cases) {
        CAPTURE(domain);
        CHECK(candidates_of(domain) == std::vector<std::string>{origin});
        CHECK(host_of(domain, false).name == domain);
    }
}

TEST_CASE("this machine's registry speaks TLS if there are certificates for it", "[registry]") {
    temp_dir const home;
    std::string const before = std::getenv("HOME") == nullptr ? "" : std::getenv("HOME");
    ::setenv("HOME", home.path().c_str(), 1);
    auto const folder = home / ".config/containers/certs.d/127.0.0.1:5001";
    std::filesystem::create_directories(folder);
    write_file(folder + "/ca.crt", "any");
    CHECK(candidates_of("127.0.0.1:5001") == std::vector<std::string>{"https://127.0.0.1:5001"});
    CHECK(candidates_of("127.0.0.1:5000") == std::vector<std::string>{"http://127.0.0.1:5000"});
    ::setenv("HOME", before.c_str(), 1);
}

TEST_CASE("an insecure registry is looked for with https, then with http", "[registry]") {
    CHECK(candidates_of("r.io:5000", true) ==
          std::vector<std::string>{"https://r.io:5000", "http://r.io:5000"});
    CHECK(candidates_of("r.io", true) == std::vector<std::string>{"https://r.io", "http://r.io"});
    CHECK(candidates_of("localhost:1", true) ==
          std::vector<std::string>{"https://localhost:1", "http://localhost:1"});
    CHECK(host_of("r.io", true).insecure);
}

TEST_CASE("what is no host is no registry", "[registry]") {
    for (auto const* const domain : {"", "r.io/app", "user@r.io", "user:x@r.io", "r.io?x", "r.io#x", "r io",
                                     "r.io:99999", "r.io\\x", "r.io:x", "[::1", "%2f"}) {
        CAPTURE(domain);
        CHECK_THROWS_AS(host_of(domain, false), format_error);
    }
}

TEST_CASE("of several candidates the first that answers is the registry", "[registry]") {
    auto const host = host_of("r.io:5000", true);
    std::string const https = "https://r.io:5000", http = "http://r.io:5000";

    SECTION("https") {
        listeners over{{https, http}};
        CHECK(find_registry(over, host).text() == https);
        CHECK(over.asked == std::vector<std::string>{"GET https://r.io:5000/v2/ once"});
    }
    SECTION("http, if nobody speaks https; without many attempts at that") {
        listeners over{{http}};
        CHECK(find_registry(over, host).text() == http);
        CHECK(over.asked ==
              std::vector<std::string>{"GET https://r.io:5000/v2/ once", "GET http://r.io:5000/v2/"});
    }
    SECTION("a refusal is an answer: no second attempt without encryption") {
        listeners over{{http}, https};
        CHECK(find_registry(over, host).text() == https);
    }
    SECTION("none") {
        listeners over{{}};
        CHECK_THROWS_AS(find_registry(over, host), transport_error);
    }
    SECTION("a single candidate is not asked") {
        listeners over{{}};
        CHECK(find_registry(over, host_of("r.io", false)).text() == "https://r.io");
        CHECK(over.asked.empty());
    }
}
