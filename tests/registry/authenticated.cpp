#include <shiplap/registry/authenticated.hpp>

#include "support/catch.hpp"

#include <atomic>
#include <deque>
#include <thread>

using namespace shiplap;

namespace {

std::string authorization_of(http_request const& request) {
    return request.headers.get("Authorization");
}

http_response answer(int status, std::string text = {}, http_headers headers = {}) {
    struct owned {
        std::string text;
        std::size_t at = 0;
        std::size_t read(bytes_span into) {
            auto const n = text.copy(reinterpret_cast<char*>(into.data()), into.size(), at);
            at += n;
            return n;
        }
    };
    return {status, std::move(headers), any_byte_source{owned{std::move(text)}}};
}

http_response challenged(std::string const& challenge, int status = 401) {
    http_headers headers;
    headers.add("WWW-Authenticate", challenge);
    return answer(status, "no entry", std::move(headers));
}

std::string const bearer = "Bearer realm=\"https://auth.r.io/token\",service=\"r.io\"";

/// A registry, its token service and whoever else is asked. Copies share it.
struct world {
    struct seen {
        std::string method, target, authorization, body;
        address_rule addresses;
    };
    struct state {
        std::mutex mutex;
        std::vector<seen> requests;
        std::function<http_response(http_request const&)> registry, token_service;
        std::chrono::steady_clock::time_point now{std::chrono::hours{1000}};
        int tokens = 0;
    };
    std::shared_ptr<state> all = std::make_shared<state>();

    world() {
        all->token_service = [s = all.get()](http_request const&) {
            return answer(200, "{\"token\":\"t" + std::to_string(++s->tokens) + "\",\"expires_in\":300}");
        };
        all->registry = [](http_request const& request) {
            return authorization_of(request).starts_with("Bearer t") ? answer(200) : challenged(bearer);
        };
    }

    http_response send(http_request const& request) {
        std::lock_guard lock{all->mutex};
        std::string body;
        if (request.body) {
            body.resize(request.body->size);
            auto from = request.body->from;
            read_fully(from, {reinterpret_cast<std::byte*>(body.data()), body.size()});
        }
        all->requests.push_back(
            {request.method, request.target.text(), authorization_of(request), body, request.addresses});
        return request.target.path() == "/token" ? all->token_service(request) : all->registry(request);
    }

    [[nodiscard]] auto login(credential who = {.user = "bob", .password = secret{"hush"}}) const {
        return authenticated{*this, fixed_credentials{{"https", "r.io", 443}, std::move(who)},
                             [s = all] { return s->now; }};
    }
    [[nodiscard]] auto anonymous() const {
        return authenticated{*this, no_credentials{}, [s = all] { return s->now; }};
    }
    [[nodiscard]] std::size_t count(std::string const& part) const {
        std::size_t n = 0;
        for (auto const& one : all->requests) n += one.target.find(part) != std::string::npos;
        return n;
    }
};

http_request get(std::string const& target, std::vector<std::string> scopes = {"repository:app:pull"}) {
    return {.method = "GET",
            .target = url::parse(target),
            .access = {{"https", "r.io", 443}, "r.io", "app", std::move(scopes)}};
}

std::string const blob = "https://r.io/v2/app/blobs/1";
std::string const basic_bob = "Basic Ym9iOmh1c2g=";

static_assert(transport<authenticated<world, no_credentials>>);
static_assert(transport<authenticated<world>>);

template <class Call>
registry_error failure_of(Call call) {
    try {
        call();
    } catch (registry_error const& failure) {
        return failure;
    }
    FAIL("nothing was thrown");
    throw;
}

} // namespace

TEST_CASE("the first request goes out bare, later ones carry the token", "[authenticated]") {
    world w;
    auto registry = w.login();
    for (int i = 0; i < 100; ++i) CHECK(registry.send(get(blob)).status == 200);
    REQUIRE(w.all->requests.size() == 102);
    CHECK(w.all->requests[0].authorization.empty());
    CHECK(w.all->requests[1].target == "https://auth.r.io/token?service=r.io&scope=repository%3aapp%3apull");
    CHECK(w.all->requests[1].authorization == basic_bob);
    CHECK(w.all->requests[1].addresses == address_rule::public_only);
    CHECK(w.all->requests[2].authorization == "Bearer t1");
    CHECK(w.all->requests[101].authorization == "Bearer t1");
}
