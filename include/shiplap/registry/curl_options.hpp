#pragma once
// curl_options: what a curl_transport can be told.

#include <shiplap/registry/certificates.hpp>
#include <shiplap/registry/url.hpp>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace shiplap {

struct curl_options {
    /// For the name, the connection and the handshake.
    std::chrono::milliseconds connect_timeout{std::chrono::seconds{10}};
    /// How long nothing at all may move while bytes are sent or received. There is no limit for the whole.
    std::chrono::milliseconds stall_timeout{std::chrono::seconds{60}};
    /// Called at least every 200 ms while a request waits for the network, on the thread that made it. What it throws
    /// ends the request and comes out of it.
    std::function<void()> heartbeat{};
    /// "host" or "host:port": address_rule::public_only does not hold for them.
    std::vector<std::string> trusted{};
    /// What an https origin needs beyond the system's store. Called on any thread.
    std::function<host_certificates(origin const&)> certificates = [](origin const& of) {
        return find_certificates(of);
    };
    std::string user_agent{}; ///< empty: none is sent
};

} // namespace shiplap
