#include <shiplap/registry/curl_pool.hpp>

#include <support/catch.hpp>

using namespace shiplap;

TEST_CASE("an idle channel is taken by its like alone", "[registry][curl]") {
    detail::curl_pool pool{{}};
    detail::curl_key const key{{"http", "r.io", 80}};
    auto channel = pool.take(key);
    auto const* const first = channel.get();
    pool.give_back(std::move(channel));
    for (detail::curl_key const& other :
         {detail::curl_key{{"http", "r.io", 81}}, {key.to, true}, {key.to, false, true}})
        CHECK(pool.take(other).get() != first);
    channel = pool.take(key);
    CHECK(channel.get() == first);
    CHECK(pool.take(key).get() != first);
}

TEST_CASE("only so many channels are kept", "[registry][curl]") {
    detail::curl_pool pool{{}};
    detail::curl_key const key{{"http", "r.io", 80}};
    pool.give_back(pool.make(key));
    for (std::uint16_t i = 1; i <= 32; ++i) pool.give_back(pool.make({{"http", "r.io", i}}));
    auto const* const last = [&] {
        auto channel = pool.take({{"http", "r.io", 32}});
        auto const* const address = channel.get();
        pool.give_back(std::move(channel));
        return address;
    }();
    CHECK(pool.take({{"http", "r.io", 32}}).get() == last);
}

TEST_CASE("certificates are asked for verified origins only", "[registry][curl]") {
    int asked = 0;
    detail::curl_pool const pool{{.certificates = [&](origin const&) {
        ++asked;
        return host_certificates{};
    }}};
    (void)pool.make({{"http", "r.io", 80}});
    CHECK(asked == 0);
    (void)pool.make({{"https", "r.io", 443}});
    CHECK(asked == 1);
}
