#include <shiplap/registry/concept.hpp>
#include <shiplap/registry/curl_transport.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <future>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <support/catch.hpp>
#include <support/scripted_server.hpp>
#include <support/temp.hpp>
#include <support/tls_server.hpp>

using namespace shiplap;
using namespace std::chrono_literals;

namespace {

static_assert(transport<curl_transport>);
static_assert(std::copyable<curl_transport>);

http_request request_for(std::string method, std::string const& address) {
    auto target = url::parse(address);
    auto const from = target.from();
    return {std::move(method), std::move(target), {from}};
}

std::string all_of(http_response& response) {
    string_sink all;
    transfer(response.body, all);
    return all.text;
}

// What a server has seen.
class noted {
  public:
    void operator=(std::string text) {
        std::lock_guard const lock{mutex_};
        text_ = std::move(text);
        changed_.notify_all();
    }
    /// The server may note it a little after the client has all that it wants.
    [[nodiscard]] std::string text() {
        std::unique_lock lock{mutex_};
        changed_.wait_for(lock, std::chrono::seconds{10}, [this] { return text_.has_value(); });
        return text_.value_or("");
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::optional<std::string> text_;
};

std::string pattern(std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>((i * 2654435761U) >> 13);
    return text;
}

template <class Call>
transport_error failure_of(Call call) {
    try {
        call();
    } catch (transport_error const& failure) {
        return failure;
    }
    throw std::logic_error{"did not fail"};
}

// Answers every request with its own number.
void count_requests(scripted_connection& client, unsigned) {
    for (unsigned number = 0; !client.head().empty(); ++number)
        client.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + std::to_string(number % 10));
}

struct endless {
    std::uint64_t given = 0;
    std::size_t read(bytes_span into) {
        std::fill(into.begin(), into.end(), std::byte{'x'});
        given += into.size();
        return into.size();
    }
    void rewind() { given = 0; }
};

struct failing {
    span_source from;
    std::size_t read(bytes_span into) {
        auto const n = from.read(into);
        if (n == 0) throw std::out_of_range{"the source has failed"};
        return n;
    }
    void rewind() { from.rewind(); }
};

} // namespace

TEST_CASE("a connection is used again once an answer was read to its end", "[registry][curl]") {
    scripted_server server{count_requests};
    curl_transport transport;
    auto const request = request_for("GET", server.address());
    for (char const* expected : {"0", "1", "2"}) {
        auto response = transport.send(request);
        CHECK(response.status == 200);
        CHECK(all_of(response) == expected);
        CHECK(all_of(response).empty());
    }
    CHECK(server.connections() == 1);

    SECTION("by copies, too, and after its first owner has gone") {
        auto copy = std::make_unique<curl_transport>(transport);
        auto response = copy->send(request);
        copy.reset();
        CHECK(all_of(response) == "3");
        CHECK(server.connections() == 1);
    }
    SECTION("but not under other rules") {
        curl_transport trusting{{.trusted = {"127.0.0.1"}}};
        auto guarded = request;
        guarded.addresses = address_rule::public_only;
        (void)trusting.send(guarded);
        CHECK(server.connections() == 2);
        CHECK(failure_of([&] { transport.send(guarded); }).kind() == transport_failure::forbidden_address);
    }
}

TEST_CASE("threads share a transport", "[registry][curl]") {
    scripted_server server{count_requests};
    curl_transport transport;
    std::vector<std::future<std::size_t>> threads;
    for (int i = 0; i < 4; ++i)
        threads.push_back(std::async(std::launch::async, [&] {
            std::size_t bytes = 0;
            for (int k = 0; k < 50; ++k) {
                auto response = transport.send(request_for("GET", server.address()));
                bytes += all_of(response).size();
            }
            return bytes;
        }));
    for (auto& one : threads) CHECK(one.get() >= 50);
    CHECK(server.connections() <= 4);
}

TEST_CASE("a large answer is pulled, with its headers as they were sent", "[registry][curl]") {
    auto const content = pattern(9'000'000);
    std::atomic<bool> all_said = false;
    scripted_server server{[&](scripted_connection& client, unsigned) {
        client.head();
        client.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
                   "HTTP/1.1 200 OK\r\nX-Two: a\r\nx-two: b\r\nX-Folded: one\r\n two\r\nX-Empty:\r\n"
                   "Content-Length: 9000000\r\n\r\n" +
                   content);
        all_said = true;
        client.wait_for_end();
    }};
    curl_transport transport;
    auto response = transport.send(request_for("GET", server.address()));
    CHECK(response.headers.all("X-TWO") == std::vector<std::string>{"a", "b"});
    CHECK(response.headers.get("X-Folded") == "one two");
    CHECK(response.headers.find("X-Empty") != nullptr);
    CHECK(response.headers.find("Link") == nullptr);
    std::this_thread::sleep_for(100ms);
    CHECK_FALSE(all_said); // nobody reads: the server has to wait
    CHECK(all_of(response) == content);
}

TEST_CASE("requests are sent as they are", "[registry][curl]") {
    noted seen;
    scripted_server server{[&](scripted_connection& client, unsigned) {
        seen = client.head();
        client.say("HTTP/1.1 204 No Content\r\n\r\n");
        client.wait_for_end();
    }};
    curl_transport transport{{.user_agent = "test/1"}};
    SECTION("without a body") {
        auto const method = GENERATE(as<std::string>{}, "PUT", "POST", "PATCH");
        auto request = request_for(method, server.address("/v2/a%20b?x=1&y=%2f#z"));
        request.headers.add("X-Empty", "");
        request.headers.add("X-Some", "thing");
        CHECK(transport.send(request).status == 204);
        CHECK(seen.text().starts_with(method + " /v2/a%20b?x=1&y=%2f HTTP/1.1\r\n"));
        CHECK_THAT(seen.text(), contains("\r\nContent-Length: 0\r\n"));
        CHECK_THAT(seen.text(), contains("\r\nX-Empty:\r\n") && contains("\r\nX-Some: thing\r\n"));
        CHECK_THAT(seen.text(), contains("\r\nUser-Agent: test/1\r\n"));
        CHECK_THAT(seen.text(),
                   !contains("Accept-Encoding") && !contains("Content-Type") && !contains("Expect"));
    }
    SECTION("with a user in the URL, who is not sent") {
        auto const port = std::to_string(server.port());
        CHECK(transport.send(request_for("DELETE", "http://user:secret@127.0.0.1:" + port + "/")).status ==
              204);
        CHECK_THAT(seen.text(), !contains("Authorization"));
    }
}

TEST_CASE("HEAD has no body, whatever its headers say", "[registry][curl]") {
    scripted_server server{[](scripted_connection& client, unsigned) {
        while (!client.head().empty()) client.say("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
    }};
    curl_transport transport;
    for (int i = 0; i < 2; ++i) {
        auto response = transport.send(request_for("HEAD", server.address()));
        CHECK(response.headers.get("Content-Length") == "5000");
        CHECK(all_of(response).empty());
    }
    CHECK(server.connections() == 1);
}

TEST_CASE("a body is sent from its offset on, and no further than its size", "[registry][curl]") {
    auto const content = pattern(6'000'000);
    auto const offset = GENERATE(std::size_t{0}, std::size_t{100'001});
    auto const size = GENERATE(std::size_t{0}, std::size_t{1}, std::size_t{5'500'000});
    noted got;
    scripted_server server{[&](scripted_connection& client, unsigned) {
        client.head();
        got = client.body(size);
        client.say("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
        client.wait_for_end();
    }};
    curl_transport transport;
    span_source source{content};
    std::byte one[3];
    source.read(one); // it is rewound
    auto request = request_for("PUT", server.address());
    request.body.emplace(http_body{source, size, offset});
    auto response = transport.send(request);
    CHECK(response.status == 201);
    CHECK(got.text() == content.substr(offset, size));
}

TEST_CASE("a cut answer is told from a whole one", "[registry][curl]") {
    auto const [answer, kind] = GENERATE(table<std::string, int>({
        {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789", 0},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n", 0},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n0123456789", 0},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\nzz\r\n", 0},
        {"HTTP/1.1 200 OK\r\nContent-Le", 1},
        {"HTTP/1.1 100 Continue\r\n\r\n", 1},
        {"SSH-2.0-OpenSSH_9.2\r\n", 1},
        {"", 1},
    }));
    CAPTURE(answer);
    scripted_server server{[&, text = answer](scripted_connection& client, unsigned) {
        client.head();
        client.say(text);
    }};
    curl_transport transport;
    auto const attempt = [&] {
        auto response = transport.send(request_for("GET", server.address("/v2/?token=secret")));
        (void)all_of(response);
    };
    auto const failure = failure_of(attempt);
    CHECK(failure.kind() == transport_failure::cut);
    CHECK(failure.facts().retryable);
    CHECK(failure.facts().http_status == (kind == 0 ? 200 : 0));
    CHECK_THAT(failure.what(), contains("GET '" + server.address("/v2/?...") + "'"));
    CHECK_THAT(failure.what(), contains("127.0.0.1:" + std::to_string(server.port())) && !contains("secret"));
}

TEST_CASE("a reset inside the answer's body is an error after the bytes before it", "[registry][curl]") {
    scripted_server server{[](scripted_connection& client, unsigned) {
        client.head();
        client.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789");
        std::this_thread::sleep_for(100ms);
        client.reset();
    }};
    curl_transport transport;
    auto response = transport.send(request_for("GET", server.address()));
    std::array<std::byte, 100> space{};
    CHECK(response.body.read(space) == 10);
    auto const failure = failure_of([&] { response.body.read(space); });
    CHECK(failure.kind() == transport_failure::cut);
    CHECK_THAT(failure.what(), contains("reset"));
}

TEST_CASE("silence is an error, slowness is none", "[registry][curl]") {
    curl_transport transport{{.stall_timeout = 1s}};
    SECTION("an answer that stops in its middle") {
        scripted_server server{[](scripted_connection& client, unsigned) {
            client.head();
            client.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789");
            client.wait_for_end();
        }};
        auto response = transport.send(request_for("GET", server.address()));
        auto const failure = failure_of([&] { all_of(response); });
        CHECK(failure.kind() == transport_failure::stall);
        CHECK(failure.facts().retryable);
        CHECK(failure.facts().elapsed >= 1s);
        CHECK_THAT(failure.what(), contains("127.0.0.1") && contains("for 1 s"));
    }
    SECTION("an answer that does not begin, for longer than its patience") {
        scripted_server server{[](scripted_connection& client, unsigned) { client.wait_for_end(); }};
        auto request = request_for("GET", server.address());
        request.patience = 300ms;
        auto const failure = failure_of([&] { transport.send(request); });
        CHECK(failure.kind() == transport_failure::stall);
        CHECK(failure.facts().elapsed < 1s);
        CHECK_THAT(failure.what(), contains("0.3 s"));
    }
    SECTION("an answer that begins late, but within its patience") {
        scripted_server server{[](scripted_connection& client, unsigned) {
            client.head();
            std::this_thread::sleep_for(1500ms);
            client.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }};
        CHECK(transport.send(request_for("GET", server.address())).status == 200);
    }
    SECTION("a byte now and then") {
        scripted_server server{[](scripted_connection& client, unsigned) {
            client.head();
            client.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
            for (int i = 0; i < 4; ++i) {
                std::this_thread::sleep_for(600ms);
                client.say("x");
            }
        }};
        auto response = transport.send(request_for("GET", server.address()));
        CHECK(all_of(response) == "xxxx");
    }
    SECTION("a server that stops reading") {
        scripted_server server{[](scripted_connection& client, unsigned) {
            client.head();
            client.body(100'000);
            std::this_thread::sleep_for(1500ms);
        }};
        endless source;
        auto request = request_for("PUT", server.address());
        request.body.emplace(http_body{source, 1U << 30});
        CHECK(failure_of([&] { transport.send(request); }).kind() == transport_failure::stall);
    }
    SECTION("a server that reads slowly") {
        scripted_server server{[](scripted_connection& client, unsigned) {
                                   client.head();
                                   for (int i = 0; i < 8; ++i) {
                                       std::this_thread::sleep_for(350ms);
                                       client.body(200'000);
                                   }
                                   client.say("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
                               },
                               16 * 1024};
        endless source;
        auto request = request_for("PUT", server.address());
        request.body.emplace(http_body{source, 1'600'000});
        request.patience = 600ms; // counts from the last byte that the other side has taken
        CHECK(transport.send(request).status == 201);
    }
}

TEST_CASE("a refusal in the middle of a body is read, though sending fails", "[registry][curl]") {
    scripted_server server{[](scripted_connection& client, unsigned) {
        client.head();
        client.say("HTTP/1.1 100 Continue\r\n\r\n");
        client.body(500'000);
        client.say("HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large");
    }}; // closing with unread bytes resets the connection
    curl_transport transport;
    for (int i = 0; i < 100; ++i) {
        endless source;
        auto request = request_for("PATCH", server.address());
        request.body.emplace(http_body{source, 1U << 30});
        request.repeatable = false;
        auto response = transport.send(request);
        CHECK(response.status == 413);
        CHECK(read_text(response, 100) == "too large");
        CHECK(source.given < (1U << 30));
    }
}

TEST_CASE("a large early answer waits while the body is being sent", "[registry][curl]") {
    auto const content = pattern(5'000'000);
    noted got;
    scripted_server server{[&](scripted_connection& client, unsigned) {
        client.head();
        std::thread reader{[&] { got = client.body(8'000'000); }};
        client.say("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + content);
        reader.join();
        client.wait_for_end();
    }};
    curl_transport transport;
    endless source;
    auto request = request_for("POST", server.address());
    request.body.emplace(http_body{source, 8'000'000});
    auto response = transport.send(request);
    CHECK(response.status == 200);
    CHECK(all_of(response) == content);
    CHECK(got.text().size() == 8'000'000);
}

TEST_CASE("what the body's source throws comes out as it is", "[registry][curl]") {
    scripted_server server{[](scripted_connection& client, unsigned) { client.wait_for_end(); }};
    curl_transport transport;
    auto const content = pattern(3'000'000);
    auto request = request_for("PUT", server.address());
    SECTION("while it is read") {
        failing source{span_source{content}};
        request.body.emplace(http_body{source, 10'000'000});
        CHECK_THROWS_AS(transport.send(request), std::out_of_range);
    }
    SECTION("a source that ends early") {
        span_source source{content};
        request.body.emplace(http_body{source, 3'000'001});
        CHECK_THROWS_WITH(transport.send(request), contains("1 bytes too early"));
    }
    SECTION("a source that ends before the offset") {
        span_source source{content};
        request.body.emplace(http_body{source, 1, 3'000'001});
        CHECK_THROWS_WITH(transport.send(request), contains("too early"));
    }
}

TEST_CASE("the heartbeat runs while a request waits, and may end it", "[registry][curl]") {
    scripted_server server{[](scripted_connection& client, unsigned) { client.wait_for_end(); }};
    int beats = 0;
    curl_transport transport{{.heartbeat = [&] {
        if (++beats == 5) throw std::domain_error{"enough"};
    }}};
    auto const start = std::chrono::steady_clock::now();
    CHECK_THROWS_AS(transport.send(request_for("GET", server.address())), std::domain_error);
    CHECK(std::chrono::steady_clock::now() - start < 1s);
}

TEST_CASE("a kept connection that the server has closed is replaced unseen", "[registry][curl]") {
    auto const content = pattern(3'000'000);
    auto const before_reset = GENERATE(std::size_t{0}, std::size_t{1'000'000}); // bytes of the body
    noted got;
    scripted_server server{[&](scripted_connection& client, unsigned number) {
        client.head();
        if (number == 0) { // its second request gets no answer
            client.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            client.head();
            if (before_reset != 0) client.body(before_reset);
            return client.reset();
        }
        client.say("HTTP/1.1 100 Continue\r\n\r\n");
        got = client.body(content.size());
        client.say("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    }};
    curl_transport transport;
    (void)transport.send(request_for("GET", server.address()));
    span_source source{content};
    auto request = request_for("PUT", server.address());
    request.body.emplace(http_body{source, content.size()});
    SECTION("its body is sent again") {
        CHECK(transport.send(request).status == 201);
        CHECK(got.text() == content);
        CHECK(server.connections() == 2);
    }
    SECTION("unless some of it has gone, and it must not go twice") {
        request.repeatable = false;
        if (before_reset == 0) {
            CHECK(transport.send(request).status == 201);
        } else {
            auto const failure = failure_of([&] { transport.send(request); });
            CHECK(failure.kind() == transport_failure::cut);
            CHECK(failure.facts().retryable);
        }
    }
}

TEST_CASE("who cannot be reached is told why", "[registry][curl]") {
    curl_transport transport;
    SECTION("nobody listens") {
        std::string address;
        {
            scripted_server server{count_requests};
            address = server.address();
        }
        auto const failure = failure_of([&] { transport.send(request_for("GET", address)); });
        CHECK(failure.kind() == transport_failure::connect);
        CHECK(failure.facts().retryable);
        CHECK_THAT(failure.what(), contains("refuses connections"));
    }
    SECTION("nobody has the name") {
        auto const failure =
            failure_of([&] { transport.send(request_for("GET", "http://registry.invalid/v2/")); });
        CHECK(failure.kind() == transport_failure::resolve);
        CHECK(failure.facts().retryable);
        CHECK_THAT(failure.what(), contains("'registry.invalid' is not known"));
    }
    SECTION("it takes connections, and then says nothing of TLS") {
        scripted_server server{[](scripted_connection& client, unsigned) { client.wait_for_end(); }};
        curl_transport hasty{{.connect_timeout = 500ms}};
        auto const failure = failure_of([&] {
            hasty.send(request_for("GET", "https://127.0.0.1:" + std::to_string(server.port()) + "/"));
        });
        CHECK(failure.kind() == transport_failure::connect);
        CHECK_THAT(failure.what(), contains("within 0.5 s"));
    }
}

TEST_CASE("requests for the public internet do not go inside", "[registry][curl]") {
    scripted_server server{count_requests};
    auto const port = std::to_string(server.port());
    auto const host =
        GENERATE(as<std::string>{}, "127.0.0.1", "2130706433", "0x7f.1", "localhost", "[::ffff:127.0.0.1]");
    auto request = request_for("GET", "http://" + host + ":" + port + "/token?secret=1");
    request.addresses = address_rule::public_only;
    SECTION("the error says how to allow it") {
        curl_transport transport;
        auto const failure = failure_of([&] { transport.send(request); });
        CHECK(failure.kind() == transport_failure::forbidden_address);
        CHECK_FALSE(failure.facts().retryable);
        CHECK_THAT(failure.what(),
                   contains("127.0.0.1") && contains("--trust-realm ") && !contains("secret"));
        CHECK(server.connections() == 0);
    }
    SECTION("unless they may") {
        auto const name = request.target.from().host;
        for (auto const& trusted : {name, request.target.from().authority()}) {
            curl_transport transport{{.trusted = {"other", trusted}}};
            CHECK(transport.send(request).status == 200);
        }
        curl_transport other{{.trusted = {name + ":1"}}};
        CHECK_THROWS_AS(other.send(request), transport_error);
    }
}

TEST_CASE("certificates are verified", "[registry][curl]") {
    temp_dir folder;
    if (!make_certificate(folder / "server") || !make_certificate(folder / "client")) {
        WARN("openssl is not installed");
        return;
    }
    host_certificates known{folder.path().string(), {folder / "server.cert"}, {}};
    auto const with = [&](host_certificates found) {
        return curl_transport{{.certificates = [found = std::move(found)](origin const&) { return found; }}};
    };
    SECTION("of a server that nobody has heard of") {
        tls_server const server{folder / "server"};
        auto request = request_for("GET", server.address());
        auto plain = with({});
        auto const failure = failure_of([&] { plain.send(request); });
        CHECK(failure.kind() == transport_failure::tls);
        CHECK_FALSE(failure.facts().retryable);
        CHECK_THAT(failure.what(), contains("is not trusted: add its CA as ~/.config/containers/certs.d/" +
                                            server.authority() + "/ca.crt, or use registry.insecure=true"));

        auto knowing = with(known);
        for (int i = 0; i < 2; ++i) {
            auto response = knowing.send(request);
            CHECK(all_of(response) == "hello");
        }

        request.access.insecure = true;
        auto response = plain.send(request);
        CHECK(all_of(response) == "hello");
        // What was connected without a look at the certificate is not used where one is wanted.
        request.access.insecure = false;
        CHECK_THROWS_AS(plain.send(request), transport_error);
        // And it is the registry alone that need not show one.
        request.access.insecure = true;
        request.access.registry.port = 1;
        CHECK_THROWS_AS(plain.send(request), transport_error);
    }
    SECTION("for the name that was asked for") {
        REQUIRE(make_certificate(folder / "other", "DNS:other.example"));
        tls_server const server{folder / "other"};
        auto knowing = with({"", {folder / "other.cert"}, {}});
        auto const failure = failure_of([&] { knowing.send(request_for("GET", server.address())); });
        CHECK(failure.kind() == transport_failure::tls);
        CHECK_THAT(failure.what(), contains("is not good for it"));
    }
    SECTION("of clients") {
        tls_server const server{folder / "server", folder / "client.cert"};
        auto const request = request_for("GET", server.address());
        auto unknown = with(known);
        auto const failure = failure_of([&] { unknown.send(request); });
        CHECK(failure.kind() == transport_failure::tls);
        CHECK_THAT(failure.what(), contains("wants a client certificate"));
        known.clients.push_back({folder / "client.cert", folder / "client.key"});
        auto presented = with(known);
        CHECK(presented.send(request).status == 200);
        known.clients.front().key = folder / "server.key";
        auto mixed = with(known);
        CHECK(failure_of([&] { mixed.send(request); }).kind() == transport_failure::tls);
    }
}

TEST_CASE("HTTPS where plain HTTP is spoken is told", "[registry][curl]") {
    scripted_server server{[](scripted_connection& client, unsigned) {
        client.body(1);
        client.say("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }};
    curl_transport transport;
    auto const failure = failure_of([&] {
        transport.send(request_for("GET", "https://127.0.0.1:" + std::to_string(server.port()) + "/"));
    });
    CHECK(failure.kind() == transport_failure::tls);
    CHECK_FALSE(failure.facts().retryable);
    CHECK_THAT(failure.what(), contains("speaks plain HTTP") && contains("registry.insecure=true"));
}

TEST_CASE("a proxy gets no credentials", "[registry][curl]") {
    std::mutex mutex;
    std::string seen;
    scripted_server proxy{[&](scripted_connection& client, unsigned) {
        auto const head = client.head();
        {
            std::lock_guard const lock{mutex};
            seen += head;
        }
        client.say("HTTP/1.1 407 Who are you?\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }};
    auto const scheme = GENERATE(as<std::string>{}, "http", "https");
    ::setenv((scheme + "_proxy").c_str(), proxy.address().c_str(), 1);
    curl_transport transport;
    auto request = request_for("GET", scheme + "://registry.invalid/v2/");
    request.headers.add("Authorization", "Bearer secret");
    auto const failure = failure_of([&] { transport.send(request); });
    CHECK(failure.kind() == transport_failure::other);
    CHECK_THAT(failure.what(), contains("407"));
    // Its own address is private, and allowed; what it is asked for must not be.
    request.addresses = address_rule::public_only;
    CHECK(failure_of([&] { transport.send(request); }).kind() == transport_failure::other);
    auto inner = request_for("GET", scheme + "://169.254.169.254/");
    inner.addresses = address_rule::public_only;
    CHECK(failure_of([&] { transport.send(inner); }).kind() == transport_failure::forbidden_address);
    ::unsetenv((scheme + "_proxy").c_str());
    std::lock_guard const lock{mutex};
    if (scheme == "https") CHECK_THAT(seen, contains("CONNECT registry.invalid:443") && !contains("secret"));
}
