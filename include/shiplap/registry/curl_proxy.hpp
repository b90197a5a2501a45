#pragma once
// curl_proxy: does a socket lead to the proxy that the environment names?

#include <shiplap/registry/address.hpp>
#include <shiplap/registry/url.hpp>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>

#include <curl/curl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace shiplap::detail {

inline std::string variable(std::initializer_list<char const*> names) {
    for (auto const* const name : names)
        if (auto const* const value = std::getenv(name); value != nullptr && *value != '\0') return value;
    return {};
}

/// In network order; at the same place in the addresses of both families.
inline std::uint16_t port_of(::sockaddr const& address) noexcept {
    ::sockaddr_in four{};
    std::memcpy(&four, &address, sizeof four);
    return four.sin_port;
}

/// The environment's proxy for this origin, as libcurl chooses it; NO_PROXY is not considered. Empty: none.
inline std::string proxy_for(origin const& to) {
    // Programs that servers run get a request's "Proxy:" header as HTTP_PROXY: nobody reads that one.
    auto proxy = to.is_https() ? variable({"https_proxy", "HTTPS_PROXY"}) : variable({"http_proxy"});
    return proxy.empty() ? variable({"all_proxy", "ALL_PROXY"}) : proxy;
}

/// Whether `peer` is the proxy for this origin. Proxies have private addresses as a rule. Whether NO_PROXY lets one be
/// used for a host is libcurl's to know, and it does not tell: so what leads to the proxy itself is known by its
/// address and port.
inline bool is_proxy(origin const& to, ::sockaddr const& peer) {
    auto const proxy = proxy_for(to);
    std::unique_ptr<CURLU, void (*)(CURLU*)> const parsed{curl_url(), curl_url_cleanup};
    if (proxy.empty() || !parsed ||
        curl_url_set(parsed.get(), CURLUPART_URL, proxy.c_str(),
                     CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
        return false;
    auto const part = [&](CURLUPart which) {
        char* text = nullptr;
        if (curl_url_get(parsed.get(), which, &text, 0) != CURLUE_OK) return std::string{};
        std::unique_ptr<char, void (*)(void*)> const owned{text, curl_free};
        return std::string{text};
    };
    auto host = part(CURLUPART_HOST), port = part(CURLUPART_PORT);
    if (host.starts_with('[')) host = host.substr(1, host.find_first_of("]%") - 1);
    if (port.empty()) port = part(CURLUPART_SCHEME) == "https" ? "443" : "1080"; // as libcurl has it
    ::addrinfo wanted{};
    wanted.ai_socktype = SOCK_STREAM;
    ::addrinfo* first = nullptr;
    if (::getaddrinfo(host.c_str(), port.c_str(), &wanted, &first) != 0) return false;
    std::unique_ptr<::addrinfo, void (*)(::addrinfo*)> const owned{first, ::freeaddrinfo};
    for (auto const* one = first; one != nullptr; one = one->ai_next)
        if (ip_address::of(*one->ai_addr) == ip_address::of(peer) && port_of(*one->ai_addr) == port_of(peer))
            return true;
    return false;
}

} // namespace shiplap::detail
