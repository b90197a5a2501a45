#include <shiplap/registry/authenticated.hpp>
#include <shiplap/registry/curl_transport.hpp>

#include "support/catch.hpp"
#include "support/test_registry.hpp"

#include <atomic>
#include <deque>
#include <thread>

using namespace shiplap;

namespace {

std::string authorization_of(http_request const& request) {
    return request.headers.get("Authorization");
}

http_response reply(int status, std::string text = {}, http_headers headers = {}) {
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
    return reply(status, "no entry", std::move(headers));
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
            return reply(200, "{\"token\":\"t" + std::to_string(++s->tokens) + "\",\"expires_in\":300}");
        };
        all->registry = [](http_request const& request) {
            return authorization_of(request).starts_with("Bearer t") ? reply(200) : challenged(bearer);
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

/// The same over sockets.
auto login_at(test_registry const& registry, credential who, std::vector<std::string> trusted) {
    return authenticated{
        curl_transport{{.trusted = std::move(trusted), .user_agent = "shiplap/test"}},
        fixed_credentials{url::parse("http://" + registry.authority()).from(), std::move(who)}};
}
http_request upload_at(test_registry const& registry) {
    auto const home = "http://" + registry.authority();
    return {.method = "POST",
            .target = url::parse(home + "/v2/app/blobs/uploads/"),
            .access = {url::parse(home).from(), registry.authority(), "app", {"repository:app:pull,push"}}};
}

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

TEST_CASE("many threads make one token request for each set of scopes", "[authenticated]") {
    world w;
    auto registry = w.login();
    std::atomic<int> right = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 100; ++i)
        threads.emplace_back([&, i] {
            auto const scope = i % 2 == 0 ? "repository:app:pull" : "repository:app:pull,push";
            right += registry.send(get(blob, {scope})).status == 200;
        });
    for (auto& one : threads) one.join();
    CHECK(right == 100);
    CHECK(w.count("/token") == 2);
    CHECK(w.all->requests.size() == 103);
}

TEST_CASE("many threads share one refusal, each with an exception of its own", "[authenticated]") {
    world w;
    w.all->token_service = [](http_request const&) {
        std::this_thread::sleep_for(std::chrono::milliseconds{100}); // for the others to come
        return reply(403);
    };
    auto registry = w.login();
    CHECK_THROWS_AS(registry.send(get(blob)), registry_error);
    std::atomic<int> refused = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 20; ++i)
        threads.emplace_back([&, i] {
            try {
                registry.send(get(blob));
            } catch (registry_error& failure) {
                failure.within("thread " + std::to_string(i));
                refused +=
                    std::string{failure.what()}.starts_with("thread " + std::to_string(i) + ": auth") &&
                    failure.facts().http_status == 403;
            }
        });
    for (auto& one : threads) one.join();
    CHECK(refused == 20);
    CHECK(w.count("/token") < 20);
    CHECK(w.count("/blobs/") == 1);
}

TEST_CASE("a token is renewed when four fifths of its life have passed", "[authenticated]") {
    world w;
    auto registry = w.login();
    registry.send(get(blob));
    w.all->now += std::chrono::seconds{239};
    registry.send(get(blob));
    CHECK(w.all->tokens == 1);
    w.all->now += std::chrono::seconds{1};
    registry.send(get(blob));
    CHECK(w.all->tokens == 2);
    CHECK(w.all->requests.back().authorization == "Bearer t2");
    CHECK(w.count("/blobs/") == 4);
}

TEST_CASE("a token serves to its end if no other is to be had", "[authenticated]") {
    world w;
    auto registry = w.login();
    registry.send(get(blob));
    w.all->token_service = [](http_request const&) { return reply(503); };
    w.all->now += std::chrono::seconds{299};
    CHECK(registry.send(get(blob)).status == 200);
    w.all->now += std::chrono::seconds{1};
    CHECK(failure_of([&] { registry.send(get(blob)); }).facts().retryable);
}

TEST_CASE("clocks of servers do not matter", "[authenticated]") {
    auto const issued =
        GENERATE(as<std::string>{}, "2001-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "yesterday");
    world w;
    w.all->token_service = [s = w.all.get(), issued](http_request const&) {
        ++s->tokens;
        return reply(200, R"({"token":"t","expires_in":60,"issued_at":")" + issued + "\"}");
    };
    auto registry = w.login();
    for (int i = 0; i < 5; ++i) registry.send(get(blob));
    CHECK(w.all->tokens == 1);
}

TEST_CASE("a 401 in spite of a token renews it, once", "[authenticated]") {
    world w;
    auto registry = w.login();
    registry.send(get(blob));
    w.all->registry = [](http_request const& request) {
        return authorization_of(request) == "Bearer t2" ? reply(200)
                                                        : challenged(bearer + ",error=\"invalid_token\"");
    };
    CHECK(registry.send(get(blob)).status == 200);
    CHECK(w.all->tokens == 2);
    CHECK(w.count("/blobs/") == 4);

    w.all->registry = [](http_request const&) { return challenged(bearer); };
    auto const failure = failure_of([&] { registry.send(get(blob)); });
    CHECK(failure.facts().http_status == 401);
    CHECK_FALSE(failure.facts().retryable);
    CHECK_THAT(failure.what(),
               contains("it does not accept the login (as user 'bob'): log in with 'docker login r.io'") &&
                   contains("no entry"));
    CHECK(w.all->tokens == 3);
    CHECK(w.count("/blobs/") == 6);
}

TEST_CASE("a 401 loop ends: from the start, and for what is not repeatable", "[authenticated]") {
    world w;
    w.all->registry = [](http_request const&) { return challenged(bearer); };
    auto registry = w.login();
    SECTION("from the start") {
        failure_of([&] { registry.send(get(blob)); });
        CHECK(w.all->tokens == 1);
        CHECK(w.count("/blobs/") == 2);
    }
    SECTION("what is not repeatable") {
        auto piece = get(blob);
        piece.method = "PATCH";
        piece.repeatable = false;
        auto response = registry.send(piece); // bare
        CHECK(response.status == 401);
        CHECK(read_text(response, 100) == "no entry");
        CHECK(registry.send(piece).status == 401); // with the first token
        failure_of([&] { registry.send(piece); });
        CHECK(w.all->tokens == 2);
        CHECK(w.count("/blobs/") == 3);
    }
}

TEST_CASE("the sender of what is not repeatable finds a new token", "[authenticated]") {
    world w;
    auto registry = w.login();
    registry.send(get(blob));
    w.all->registry = [](http_request const& request) {
        return authorization_of(request) == "Bearer t2" ? reply(202) : challenged(bearer);
    };
    auto piece = get(blob);
    piece.repeatable = false;
    CHECK(registry.send(piece).status == 401);
    CHECK(w.count("/blobs/") == 3);
    CHECK(registry.send(piece).status == 202);
    CHECK(w.count("/blobs/") == 4);
    CHECK(w.all->tokens == 2);
}

TEST_CASE("scopes of a challenge are asked for, too, and from then on", "[authenticated]") {
    world w;
    w.all->registry = [](http_request const& request) {
        return authorization_of(request).starts_with("Bearer t")
                   ? reply(200)
                   : challenged(bearer + ",scope=\"repository:app:delete repository:b:pull\"");
    };
    auto registry = w.login();
    registry.send(get(blob, {"repository:app:push,pull", "repository:c:pull"}));
    CHECK(w.all->requests[1].target ==
          "https://auth.r.io/token?service=r.io&scope=repository%3aapp%3adelete%2cpull%2cpush"
          "&scope=repository%3ab%3apull&scope=repository%3ac%3apull");
    registry.send(get(blob, {"repository:c:pull", "repository:app:pull,push"}));
    CHECK(w.all->tokens == 1);
    CHECK(w.all->requests.size() == 4);
}

TEST_CASE("what the token should allow is not asked for again", "[authenticated]") {
    world w;
    auto registry = w.login();
    registry.send(get(blob));
    w.all->registry = [](http_request const& request) {
        return authorization_of(request) == "Bearer t1"
                   ? challenged(bearer + ",scope=\"repository:app:pull\",error=\"insufficient_scope\"")
                   : reply(200);
    };
    auto const failure = failure_of([&] { registry.send(get(blob)); });
    CHECK_THAT(failure.what(), contains("access to 'app' is denied to the user"));
    CHECK(failure.facts().http_status == 401);
    CHECK(w.all->tokens == 1);
    CHECK(w.count("/blobs/") == 3);
}

TEST_CASE("who may not do this is not told to check the password", "[authenticated]") {
    world w;
    w.all->registry = [](http_request const&) {
        return challenged(bearer + ",error=\"insufficient_scope\"");
    };
    auto const told = [](auto registry) {
        return std::string{failure_of([&] { registry.send(get(blob)); }).what()};
    };
    CHECK_THAT(told(w.login()),
               contains("access to 'app' is denied to the user 'bob'") && !contains("password"));
    CHECK_THAT(told(w.anonymous()), contains("access to 'app' is denied without a login"));
    CHECK(w.all->tokens == 2);
}

TEST_CASE("a refused mount is told from the rest by its status", "[authenticated]") {
    world w;
    w.all->token_service = [](http_request const& request) {
        return request.target.text().find("other") == std::string::npos ? reply(200, R"({"token":"t"})")
                                                                        : reply(403);
    };
    auto registry = w.login();
    auto const failure = failure_of([&] {
        registry.send(get(blob, {"repository:app:pull,push", "repository:other:pull"}));
    });
    CHECK(failure.facts().http_status == 403);
    CHECK(registry.send(get(blob, {"repository:app:pull,push"})).status == 200);
}

TEST_CASE("Basic is learned, and sent from then on", "[authenticated]") {
    world w;
    w.all->registry = [](http_request const& request) {
        return authorization_of(request) == basic_bob ? reply(200) : challenged("basic Realm=\"x\"");
    };
    auto registry = w.login();
    for (int i = 0; i < 3; ++i) CHECK(registry.send(get(blob)).status == 200);
    CHECK(w.all->requests.size() == 4);
    CHECK(w.count("/token") == 0);

    auto wrong = w.login({.user = "eve", .password = secret{"hush"}});
    auto const failure = failure_of([&] { wrong.send(get(blob)); });
    CHECK_THAT(failure.what(), contains("(as user 'eve')") && !contains("hush"));
    CHECK(w.all->requests.size() == 6);
    failure_of([&] { wrong.send(get(blob)); });
    CHECK(w.all->requests.size() == 7); // the same password is not sent twice for one request
}

TEST_CASE("a login that is missing is told, with the places where it was looked for", "[authenticated]") {
    world w;
    w.all->registry = [](http_request const&) { return challenged("Basic"); };
    environment const env{{"HOME", "/nowhere"}, {"XDG_RUNTIME_DIR", "/no/run"}};
    authenticated registry{w, configured_credentials{env}};
    CHECK(failure_of([&] { registry.send(get(blob)); }).what() ==
          std::string{"authenticate with 'r.io': it wants a login, and there is none: use 'docker login "
                      "r.io' (looked in "
                      "/nowhere/.docker/config.json, /no/run/containers/auth.json, "
                      "/nowhere/.config/containers/auth.json)"});
    // Others may still see what is public.
    w.all->registry = [](http_request const&) { return reply(200); };
    CHECK(registry.send(get(blob)).status == 200);
}

TEST_CASE("a password that was changed meanwhile is sent", "[authenticated]") {
    struct changing {
        std::shared_ptr<std::string> password = std::make_shared<std::string>("old");
        std::optional<credential> find(registry_access const&) const {
            return credential{.user = "bob", .password = secret{*password}};
        }
    };
    world w;
    w.all->registry = [](http_request const& request) {
        return authorization_of(request) == basic_bob ? reply(200) : challenged("Basic");
    };
    changing source;
    authenticated registry{w, source};
    failure_of([&] { registry.send(get(blob)); });
    *source.password = "hush";
    CHECK(registry.send(get(blob)).status == 200);
}

TEST_CASE("a registry token is sent as it is", "[authenticated]") {
    world w;
    auto registry = w.login({.registry_token = secret{"t-mine"}});
    CHECK(registry.send(get(blob)).status == 200);
    CHECK(w.all->requests.size() == 2);
    CHECK(w.all->requests[1].authorization == "Bearer t-mine");
}

TEST_CASE("answers that are no challenge are passed on", "[authenticated]") {
    world w;
    w.all->registry = [](http_request const&) { return reply(401, "go away"); };
    auto registry = w.login();
    auto response = registry.send(get(blob));
    CHECK(response.status == 401);
    CHECK(read_text(response, 100) == "go away");

    w.all->registry = [](http_request const&) { return reply(403, "denied"); };
    CHECK(registry.send(get(blob)).status == 403);

    w.all->registry = [](http_request const&) { return challenged("Negotiate"); };
    CHECK_THAT(failure_of([&] { registry.send(get(blob)); }).what(),
               contains("'negotiate', which is not known"));
    w.all->registry = [](http_request const&) { return challenged("Basic realm=\""); };
    CHECK_THAT(failure_of([&] { registry.send(get(blob)); }).what(), contains("cannot be understood"));
}

TEST_CASE("a registry that asks for nothing gets nothing, and nobody waits", "[authenticated]") {
    world w;
    w.all->registry = [](http_request const&) { return reply(200); };
    auto registry = w.anonymous();
    std::vector<std::thread> threads;
    for (int i = 0; i < 20; ++i) threads.emplace_back([&] { registry.send(get(blob)); });
    for (auto& one : threads) one.join();
    CHECK(w.all->requests.size() == 20);
    CHECK(w.count("/token") == 0);
}

TEST_CASE("the next one goes first if the first one fails", "[authenticated]") {
    world w;
    w.all->registry = [](http_request const&) -> http_response {
        throw transport_error{transport_failure::connect, "connect to", "r.io", "nobody is there", {}};
    };
    auto registry = w.login();
    std::atomic<int> failed = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 10; ++i)
        threads.emplace_back([&] {
            try {
                registry.send(get(blob));
            } catch (transport_error const&) {
                ++failed;
            }
        });
    for (auto& one : threads) one.join();
    CHECK(failed == 10);
}

// Who sees which credential: everyone who is asked says what it saw.
TEST_CASE("a credential goes to its registry and to the realm that this names, nowhere else",
          "[authenticated]") {
    struct row {
        std::string registry, target, challenge, seen; ///< host=what it saw, in the order of requests
    };
    auto const row_ = GENERATE(values<row>({
        // The registry itself.
        {"https://r.io", "https://r.io/v2/", "Basic", "r.io=- r.io=password"},
        {"http://r.io:5000", "http://r.io:5000/v2/", "Basic", "r.io:5000=- r.io:5000=password"},
        // Redirects and upload addresses elsewhere: the request is the client's, on behalf of the same registry.
        {"https://r.io", "https://cdn.io/x", "Basic", "cdn.io=-"},
        {"https://r.io", "https://r.io:444/x", "Basic", "r.io:444=-"},
        {"https://r.io", "http://r.io:443/x", "Basic", "r.io:443=-"},
        {"https://r.io", "http://r.io/x", "Basic", "r.io=-"},
        {"https://r.io", "https://x.r.io/x", "Basic", "x.r.io=-"},
        {"https://r.io", "https://cdn.io/x", "Bearer realm=\"https://cdn.io/token\"", "cdn.io=-"},
        {"https://r.io", "https://cdn.io/x", "Bearer realm=\"https://r.io/token\"", "cdn.io=-"},
        // Realms.
        {"https://r.io", "https://r.io/v2/", "Bearer realm=\"https://r.io/token\"",
         "r.io=- r.io=password r.io=token"},
        {"https://r.io", "https://r.io/v2/", "Bearer realm=\"https://auth.io/token\"",
         "r.io=- auth.io=password! r.io=token"},
        {"https://r.io", "https://r.io/v2/", "Bearer realm=\"https://r.io:444/token\"",
         "r.io=- r.io:444=password! r.io=token"},
        {"https://r.io", "https://r.io/v2/", "Bearer realm=\"https://127.0.0.1/token\"",
         "r.io=- 127.0.0.1=password! r.io=token"}, // which the transport refuses: !
        {"http://r.io", "http://r.io/v2/", "Bearer realm=\"http://r.io/token\"",
         "r.io=- r.io=password r.io=token"},
        {"http://r.io", "http://r.io/v2/", "Bearer realm=\"http://auth.io/token\"",
         "r.io=- auth.io=password! r.io=token"},
        {"http://r.io", "http://r.io/v2/", "Bearer realm=\"https://auth.io/token\"",
         "r.io=- auth.io=password! r.io=token"},
        {"https://r.io", "https://r.io/v2/", "Bearer realm=\"http://auth.io/token\"", "r.io=- refused"},
        {"https://r.io", "https://r.io/v2/", "Bearer realm=\"http://r.io/token\"", "r.io=- refused"},
        {"https://r.io", "https://r.io/v2/", "Bearer realm=\"https://me:you@auth.io/token\"",
         "r.io=- refused"},
        {"https://r.io", "https://r.io/v2/", "Bearer realm=\"https://auth.io\\\r\\\nX: y/token\"", "refused"},
        {"https://r.io", "https://r.io/v2/", "Bearer realm=\"file:///token\"", "r.io=- refused"},
        {"https://r.io", "https://r.io/v2/", "Bearer realm=\"https://auth.io/token/moved\"",
         "r.io=- auth.io=password! refused"},
        // A realm that cannot be had is no reason to send the password to the registry instead.
        {"https://r.io", "https://r.io/v2/", "Bearer realm=\"http://auth.io/token\", Basic realm=\"x\"",
         "r.io=- refused"},
    }));
    CAPTURE(row_.target, row_.challenge);

    struct everyone {
        row const* of;
        std::shared_ptr<std::string> seen = std::make_shared<std::string>();
        http_response send(http_request const& request) {
            auto const authorization = authorization_of(request);
            auto const what = authorization == basic_bob     ? "password"
                              : authorization == "Bearer tt" ? "token"
                              : authorization.empty()        ? "-"
                                                             : "something else";
            if (!seen->empty()) *seen += " ";
            *seen += request.target.from().authority() + "=" + what;
            if (request.addresses == address_rule::public_only) *seen += "!";
            if (request.target.path() == "/token") return reply(200, R"({"token":"tt"})");
            if (request.target.path() == "/token/moved") return reply(307);
            return authorization.empty() ? challenged(of->challenge) : reply(200);
        }
    };
    everyone all{&row_};
    auto const home = url::parse(row_.registry).from();
    authenticated registry{all, fixed_credentials{home, {.user = "bob", .password = secret{"hush"}}}};
    try {
        registry.send({.method = "GET", .target = url::parse(row_.target), .access = {home, "r.io", "app"}});
    } catch (error const&) {
        *all.seen = (all.seen->empty() || row_.seen == "refused" ? "" : *all.seen + " ") + "refused";
    }
    CHECK(*all.seen == row_.seen);
    // And what a registry was told is of no use for another.
    registry_access const other{{"https", "other.io", 443}, "other.io", "app"};
    all.seen->clear();
    try {
        registry.send({.method = "GET", .target = url::parse("https://other.io/v2/"), .access = other});
    } catch (error const&) {
        all.seen->append(" refused");
    }
    CHECK_THAT(*all.seen, !contains("password"));
}

TEST_CASE("an Authorization header of the caller stays, and nothing is added", "[authenticated]") {
    world w;
    auto registry = w.login();
    auto request = get(blob);
    request.headers.add("authorization", "Bearer t-own");
    request.headers.add("Accept", "a/b");
    CHECK(registry.send(request).status == 200);
    request.headers.set("Authorization", "Bearer other");
    CHECK(registry.send(request).status == 401);
    CHECK(w.all->requests.size() == 2);
}

TEST_CASE("it is movable, and copies share what they know", "[authenticated]") {
    world w;
    auto registry = w.login();
    auto copy = registry;
    registry.send(get(blob));
    auto moved = std::move(registry);
    moved.send(get(blob));
    copy.send(get(blob));
    CHECK(w.all->requests.size() == 5);
}

TEST_CASE("over sockets: many threads, one token, on every kind of service", "[authenticated]") {
    registry_test::quirks how;
    how.auth.mode = auth_mode::bearer;
    credential who{.user = "user", .password = secret{"secret"}};
    SECTION("as usual") {}
    SECTION("elsewhere") {
        how.auth.realm_on_other_port = true;
    }
    SECTION("with another name") {
        how.auth.names = token_names::access_token;
    }
    SECTION("with a life of 0") {
        how.auth.expires_in = "0";
    }
    SECTION("with a life in words") {
        how.auth.expires_in = "\"300\"";
    }
    SECTION("that has POST only") {
        how.auth.get_status = 404;
    }
    SECTION("for an identity token") {
        who = {.identity_token = secret{"refresh-me"}};
    }
    SECTION("that has no POST") {
        how.auth.post_status = 405;
        who.identity_token = secret{"refresh-me"};
    }
    test_registry registry{how};
    auto transport = login_at(registry, who, {"127.0.0.1"});
    std::atomic<int> right = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 20; ++i)
        threads.emplace_back([&] { right += transport.send(upload_at(registry)).status == 202; });
    for (auto& one : threads) one.join();
    CHECK(right == 20);
    CHECK(registry.count(request_kind::start_upload) == 21);
    CHECK(registry.count(request_kind::token, 200) == 1);

    registry.revoke_tokens();
    CHECK(transport.send(upload_at(registry)).status == 202);
    CHECK(registry.count(request_kind::token, 200) == 2);
    CHECK(registry.violations() == std::vector<std::string>{});
}

TEST_CASE("over sockets: a realm on a private address gets nothing unless it is trusted", "[authenticated]") {
    registry_test::quirks how;
    how.auth.mode = auth_mode::bearer;
    how.auth.realm_on_other_port = true;
    test_registry registry{how};
    auto transport = login_at(registry, {.user = "user", .password = secret{"secret"}}, {});
    CHECK_THROWS_AS(transport.send(upload_at(registry)), transport_error);
    CHECK(registry.token_requests() == 0);
}
