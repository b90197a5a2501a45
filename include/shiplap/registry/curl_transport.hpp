#pragma once
// curl_transport: HTTP/1.1 over libcurl, with connections that are kept for the next request.
//
//     curl_transport transport{{.user_agent = "mine/1"}};
//     auto response = transport.send({"GET", url::parse("https://r.io/v2/"), {registry}});
//
// Nothing has an absolute time limit: a transfer may take as long as it likes while something moves. Certificates,
// see certificates.hpp, come on top of the system's store (or SSL_CERT_FILE and SSL_CERT_DIR); proxies are taken from
// HTTPS_PROXY, http_proxy, ALL_PROXY and NO_PROXY, as for curl. No redirect is followed, no cookie kept, no body
// unpacked, and a user in a URL is not sent.

#include <shiplap/bytes/concept.hpp>
#include <shiplap/registry/address.hpp>
#include <shiplap/registry/curl_channel.hpp>
#include <shiplap/registry/curl_failure.hpp>
#include <shiplap/registry/curl_options.hpp>
#include <shiplap/registry/curl_pool.hpp>
#include <shiplap/registry/curl_transfer.hpp>
#include <shiplap/registry/http.hpp>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

namespace shiplap {

/// A transport. Copies share their connections; responses may outlive all of them. Any number of threads may send at
/// once, and each response is for one thread at a time.
class curl_transport {
  public:
    explicit curl_transport(curl_options options = {})
        : pool_{std::make_shared<detail::curl_pool>(std::move(options))} {}

    /// Returns when the final headers have come. The request's body is not touched after that. The body of the
    /// response is pulled from the network as it is read; read to its end, it leaves the connection for the next
    /// request, else the connection is closed with it. Throws transport_error; what the request's body throws; what
    /// the heartbeat throws; error (source_changed) for a body that is too short.
    http_response send(http_request const& request) {
        detail::curl_key const key{
            request.target.from(),
            request.access.insecure && request.target.from() == request.access.registry,
            request.addresses == address_rule::public_only && !trusts(request.target.from())};
        if (key.guarded) check_literal(request, key.to);
        // A server may close a kept connection in the very moment in which it is used again.
        auto transfer = std::make_unique<detail::curl_transfer>(pool_, pool_->take(key), request);
        try {
            transfer->run();
        } catch (transport_error const&) {
            if (!transfer->lost_the_race()) throw;
            transfer = std::make_unique<detail::curl_transfer>(pool_, pool_->make(key), request);
            transfer->run();
        }
        auto const status = transfer->status();
        auto headers = std::move(transfer->headers());
        return {status, std::move(headers), any_byte_source{answer{std::move(transfer)}}};
    }

  private:
    struct answer {
        std::unique_ptr<detail::curl_transfer> transfer;
        std::size_t read(bytes_span into) { return transfer->read(into); }
    };

    [[nodiscard]] bool trusts(origin const& to) const {
        auto const& trusted = pool_->options().trusted;
        auto const exact = to.host + ":" + std::to_string(to.port);
        return std::ranges::any_of(trusted, [&](std::string const& one) {
            return one == to.host || one == to.authority() || one == exact;
        });
    }

    // A proxy would connect for us, where our check of sockets does not see it: so what can be told from the URL is.
    static void check_literal(http_request const& request, origin const& to) {
        auto const literal = ip_address::parse(to.host);
        bool const local = to.host == "localhost" || to.host.ends_with(".localhost");
        if (!local && (!literal || literal->is_public())) return;
        throw detail::forbidden_address({.operation = request.method,
                                         .subject = request.target.shown(),
                                         .to = to,
                                         .refused = literal ? literal->text() : "127.0.0.1"});
    }

    std::shared_ptr<detail::curl_pool> pool_;
};

} // namespace shiplap
