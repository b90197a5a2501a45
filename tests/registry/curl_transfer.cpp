#include <shiplap/registry/curl_transfer.hpp>

#include <array>
#include <atomic>
#include <memory>
#include <thread>

#include <support/catch.hpp>
#include <support/scripted_server.hpp>

using namespace shiplap;

// What transfers do is tested as users see it, in curl_transport.cpp.
TEST_CASE("a transfer gives its channel back at the end of the answer", "[registry][curl]") {
    std::atomic<bool> go = false;
    scripted_server server{[&](scripted_connection& client, unsigned) {
        client.head();
        client.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
        while (!go) std::this_thread::yield();
        client.say("ok");
    }};
    auto const target = url::parse(server.address());
    http_request const request{"GET", target, {target.from()}};
    auto const pool = std::make_shared<detail::curl_pool>(curl_options{});
    detail::curl_key const key{target.from()};
    auto channel = pool->take(key);
    auto const* const used = channel.get();
    detail::curl_transfer transfer{pool, std::move(channel), request};
    transfer.run();
    CHECK(transfer.status() == 200);
    CHECK(pool->take(key).get() != used);
    go = true;
    std::array<std::byte, 10> space{};
    CHECK(read_fully(transfer, space) == 2);
    CHECK(pool->take(key).get() == used);
    CHECK_FALSE(transfer.lost_the_race());
}
