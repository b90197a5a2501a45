#pragma once
// registry: images in a registry, over HTTP (distribution-spec v1.1).
//
//   concept     expression              meaning
//   transport   t.send(request) -> r    r is the http_response of an http_request; throws transport_error if there is
//                                       none. May be used on several threads at once. Follows no redirect; any
//                                       status is an answer
//
// A request body is a replayable reader, for it may have to be sent again. A response body is pulled, after the
// headers have come.
//
// Decorators are transports, too: retrying<authenticated<curl_transport>> is what registry_client gets by default.
//
//   curl_transport       libcurl
//   authenticated<T>     adds credentials, and gets tokens
//   retrying<T>          sends again what may succeed then
//
// Exemplar, compiled in tests/registry/concept.cpp:
//
//     struct deaf_registry {
//         http_response send(http_request const&) { return {404, {}, any_byte_source{null_source{}}}; }
//     };

#include <shiplap/registry/error.hpp>
#include <shiplap/registry/http.hpp>

#include <concepts>

namespace shiplap {

template <class T>
concept sends_requests = requires(T& transport, http_request const& request) {
    { transport.send(request) } -> std::same_as<http_response>;
};

/// See the table above.
template <class T>
concept transport = std::movable<T> && sends_requests<T>;

} // namespace shiplap
