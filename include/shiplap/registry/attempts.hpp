#pragma once
// attempts: how often something is tried that a transport cannot just send again.

#include <shiplap/registry/concept.hpp>
#include <shiplap/registry/url.hpp>

namespace shiplap::detail {

/// For transports that do not repeat anything.
struct single_attempt {
    void wait_for_host() noexcept {}
    void progressed() noexcept {}
    template <class Failure>
    [[noreturn]] void failed(Failure const& failure) {
        throw failure;
    }
};

/// A session for the attempts at an upload or a download: that of the transport, if it is one that retries; else one
/// attempt.
template <transport T>
auto attempts_at(T& over, origin const& host) {
    if constexpr (requires { over.attempts_at(host); })
        return over.attempts_at(host);
    else
        return single_attempt{};
}

} // namespace shiplap::detail
