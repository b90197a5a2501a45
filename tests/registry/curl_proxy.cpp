#include <shiplap/registry/curl_proxy.hpp>

#include <cstdlib>
#include <string>

#include <arpa/inet.h>
#include <support/catch.hpp>

using namespace shiplap;

namespace {

struct variable { // of the environment, for a while
    std::string name;
    variable(std::string which, char const* value) : name{std::move(which)} {
        ::setenv(name.c_str(), value, 1);
    }
    variable(variable const&) = delete;
    variable& operator=(variable const&) = delete;
    ~variable() { ::unsetenv(name.c_str()); }
};

bool leads_to_proxy(origin const& to, char const* address, std::uint16_t port) {
    ::sockaddr_in peer{};
    peer.sin_family = AF_INET;
    peer.sin_port = htons(port);
    ::inet_pton(AF_INET, address, &peer.sin_addr);
    return detail::is_proxy(to, reinterpret_cast<::sockaddr const&>(peer));
}

} // namespace

TEST_CASE("a proxy is known by its address and port", "[registry][curl]") {
    origin const https{"https", "r.io", 443}, http{"http", "r.io", 80};
    CHECK_FALSE(leads_to_proxy(https, "10.0.0.1", 3128));
    {
        variable const proxy{"HTTPS_PROXY", "http://user:word@10.0.0.1:3128/"};
        CHECK(leads_to_proxy(https, "10.0.0.1", 3128));
        CHECK_FALSE(leads_to_proxy(https, "10.0.0.1", 3129));
        CHECK_FALSE(leads_to_proxy(https, "10.0.0.2", 3128));
        CHECK_FALSE(leads_to_proxy(http, "10.0.0.1", 3128));
        variable const preferred{"https_proxy", "10.0.0.3"};
        CHECK(leads_to_proxy(https, "10.0.0.3", 1080));
    }
    variable const ignored{"HTTP_PROXY", "10.0.0.1:3128"};
    CHECK_FALSE(leads_to_proxy(http, "10.0.0.1", 3128));
    variable const all{"ALL_PROXY", "socks5h://10.0.0.4"};
    CHECK(leads_to_proxy(http, "10.0.0.4", 1080));
    variable const wrong{"http_proxy", "http://:::/"};
    CHECK_FALSE(leads_to_proxy(http, "10.0.0.4", 1080));
}
