#pragma once
// hosts: where the registry of a name is.
//
//   docker.io                            https://registry-1.docker.io
//   localhost, 127.0.0.0/8, [::1]        http, as Docker does; https if there are certificates for it in certs.d
//   anything else                        https
//   any, with registry.insecure          https without a look at the certificate, else http

#include <shiplap/error.hpp>
#include <shiplap/registry/certificates.hpp>
#include <shiplap/registry/concept.hpp>
#include <shiplap/registry/url.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace shiplap {

struct registry_host {
    std::string name;               ///< as in image names: "docker.io", "r.io:5000"
    std::vector<origin> candidates; ///< tried in this order until one answers; mostly one
    bool insecure = false;
};

namespace detail {

inline bool is_loopback_name(std::string_view host) {
    return host == "localhost" || host == "::1" ||
           (host.starts_with("127.") && host.find_first_not_of("0123456789.") == host.npos);
}

} // namespace detail

/// `domain` as reference::domain() gives it. Throws format_error if it is no host.
inline registry_host host_of(std::string_view domain, bool insecure) {
    if (domain.empty() || domain.find_first_of("/\\?#@%") != domain.npos)
        throw format_error{"parse registry name", std::string{domain}, "is no host"};
    registry_host host{std::string{domain}, {}, insecure};
    auto const address = domain == "docker.io" ? std::string{"registry-1.docker.io"} : host.name;
    auto const https = url::parse("https://" + address + "/").from();
    auto const http = url::parse("http://" + address + "/").from();
    if (insecure)
        host.candidates = {https, http};
    else if (detail::is_loopback_name(https.host) && find_certificates(https).folder.empty())
        host.candidates = {http};
    else
        host.candidates = {https};
    return host;
}

/// Which of the candidates answers: the first that does, with whatever it may say. Throws transport_error if none does.
template <transport T>
origin find_registry(T& over, registry_host const& host) {
    for (std::size_t i = 0;; ++i) {
        auto const& candidate = host.candidates.at(i);
        bool const last = i + 1 == host.candidates.size();
        try {
            if (host.candidates.size() > 1)
                (void)over.send(
                    {.method = "GET",
                     .target = url::parse(candidate.text() + "/v2/"),
                     .access = {.registry = candidate, .name = host.name, .insecure = host.insecure},
                     .repeatable = last}); // nobody there: the next one, at once
            return candidate;
        } catch (registry_error const&) {
            return candidate; // it refuses, and so is there
        } catch (transport_error const&) {
            if (last) throw;
        }
    }
}

} // namespace shiplap
