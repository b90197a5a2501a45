#pragma once
// curl_failure: what libcurl's result codes mean to somebody who pushes an image.

#include <shiplap/error.hpp>
#include <shiplap/registry/error.hpp>
#include <shiplap/registry/url.hpp>

#include <cerrno>
#include <chrono>
#include <new>
#include <string>
#include <string_view>

#include <curl/curl.h>

namespace shiplap::detail {

/// What is known of a request that ended without a whole answer.
struct curl_outcome {
    std::string operation, subject;       ///< "PUT", url::shown()
    origin to;                            ///< whom it was for
    CURLcode result = CURLE_OK;           ///< libcurl's
    std::string words{};                  ///< libcurl's own, or empty
    std::string refused{};                ///< the address that was not public, or empty
    long system = 0;                      ///< errno, or 0
    long verification = 0;                ///< X509_V_ERR_..., or 0
    long proxy_status = 0;                ///< of a CONNECT, or 0
    bool unheard = false;                 ///< a new connection ended before a byte of the request was sent
    int status = 0;                       ///< of the answer that was cut, or 0
    std::chrono::milliseconds elapsed{0}; ///< since the request was made
};

inline transport_error make_failure(curl_outcome const& of, transport_failure kind, bool retryable,
                                    std::string reason) {
    failure_facts facts;
    facts.retryable = retryable;
    facts.elapsed = of.elapsed;
    facts.http_status = of.status;
    return {kind, of.operation, of.subject, std::move(reason), std::move(facts)};
}

/// Seconds for messages: "60 s", "0.5 s".
inline std::string seconds_text(std::chrono::milliseconds time) {
    auto const tenths = (time.count() + 50) / 100;
    return std::to_string(tenths / 10) + (tenths % 10 == 0 ? "" : "." + std::to_string(tenths % 10)) + " s";
}

inline transport_error forbidden_address(curl_outcome const& of) {
    return make_failure(
        of, transport_failure::forbidden_address, false,
        "'" + printable(of.to.authority()) + "' is at " + of.refused +
            ", an address inside this network, where a registry's answer must not send us: if it "
            "is right, trust it with --trust-realm " +
            printable(of.to.host) + ":" + std::to_string(of.to.port));
}

inline transport_error proxy_refuses(curl_outcome const& of) {
    return make_failure(
        of, transport_failure::other, false,
        "the proxy wants other credentials (407): put user and password into the proxy's URL in "
        "the environment (HTTPS_PROXY, HTTP_PROXY), or the host into NO_PROXY");
}

inline transport_error tls_failure(curl_outcome const& of) {
    auto const host = "'" + printable(of.to.authority()) + "'";
    auto const certs = "~/.config/containers/certs.d/" + printable(of.to.authority());
    auto const says = [&](std::string_view words) { return of.words.find(words) != std::string::npos; };
    auto const fail = [&](std::string reason, bool retryable = false) {
        return make_failure(of, transport_failure::tls, retryable, std::move(reason));
    };
    // OpenSSL's names for bytes that are no TLS.
    if (says("wrong version number") || says("http request") || says("packet length too long"))
        return fail(host +
                    " speaks plain HTTP where HTTPS was expected; use registry.insecure=true (--insecure)");
    if (says("certificate required") || says("bad certificate"))
        return fail(host + " wants a client certificate: put client.cert and client.key into " + certs);
    if (of.result == CURLE_SSL_CERTPROBLEM || of.result == CURLE_SSL_CACERT_BADFILE)
        return fail("a certificate file cannot be used: " + printable(of.words));
    switch (of.verification) { // openssl/x509_vfy.h
    case 2:                    // the issuer's certificate is unknown
    case 18:                   // self-signed
    case 19:                   // self-signed in the chain
    case 20:                   // the issuer's certificate is not at hand
    case 21:                   // nor the first one's
        return fail("the certificate of " + host + " is not trusted: add its CA as " + certs +
                    "/ca.crt, or use registry.insecure=true");
    case 9:
        return fail("the certificate of " + host + " is not valid yet: is the clock right?");
    case 10:
        return fail("the certificate of " + host + " has expired");
    default:
        break;
    }
    if (of.result == CURLE_PEER_FAILED_VERIFICATION)
        return fail("the certificate of " + host + " is not good for it: " + printable(of.words));
    // The alert with the reason was lost with the connection.
    if (of.unheard)
        return fail(host +
                        " closed the connection right after the TLS handshake: if it wants a client "
                        "certificate, put client.cert and client.key into " +
                        certs,
                    true);
    bool const cut = says("SSL_ERROR_SYSCALL") || says("unexpected eof") || says("Connection reset");
    return fail("no TLS connection with " + host + ": " + printable(of.words), cut);
}

/// The error for a result that is not CURLE_OK.
inline transport_error curl_failure(curl_outcome const& of) {
    auto const host = "'" + printable(of.to.authority()) + "'";
    auto const words = of.words.empty() ? std::string{curl_easy_strerror(of.result)} : printable(of.words);
    auto const fail = [&](transport_failure kind, bool retryable, std::string reason) {
        return make_failure(of, kind, retryable, std::move(reason));
    };
    if (!of.refused.empty()) return forbidden_address(of);
    if (of.proxy_status == 407) return proxy_refuses(of);
    if (of.proxy_status >= 300)
        return fail(transport_failure::connect, of.proxy_status >= 500,
                    "the proxy does not connect to " + host + ": it answered " +
                        std::to_string(of.proxy_status));
    switch (of.result) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return fail(transport_failure::resolve, true,
                    "the host " + host + " is not known: is its name right, and does DNS work here?");
    case CURLE_COULDNT_RESOLVE_PROXY:
        return fail(transport_failure::resolve, true,
                    "the host of the proxy is not known: see HTTPS_PROXY and HTTP_PROXY in the environment");
    case CURLE_COULDNT_CONNECT:
        if (of.system == ECONNREFUSED)
            return fail(transport_failure::connect, true,
                        host + " refuses connections: is the registry running, and is the port right?");
        return fail(
            transport_failure::connect, true,
            "no connection to " + host + ": " +
                (of.system != 0 ? system_error{"", "", static_cast<int>(of.system)}.reason() : words));
    case CURLE_OPERATION_TIMEDOUT: // the only time limit that libcurl has from us
        return fail(transport_failure::connect, true,
                    "no connection to " + host + " within " + seconds_text(of.elapsed));
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return tls_failure(of);
    case CURLE_OK: // nothing but "100 Continue"
    case CURLE_GOT_NOTHING:
        return fail(transport_failure::cut, true, host + " closed the connection without an answer");
    case CURLE_RECV_ERROR: // TLS 1.3 tells here that it misses a certificate; the second is what Go sends
        for (auto const* const alert : {"alert certificate required", "alert bad certificate"})
            if (of.words.find(alert) != std::string::npos) return tls_failure(of);
        [[fallthrough]];
    case CURLE_SEND_ERROR:
        if (of.to.is_https() && of.unheard) return tls_failure(of);
        [[fallthrough]];
    case CURLE_SEND_FAIL_REWIND:
        return fail(transport_failure::cut, true, "the connection to " + host + " broke: " + words);
    case CURLE_PARTIAL_FILE:
        return fail(transport_failure::cut, true, "the answer of " + host + " was cut off: " + words);
    case CURLE_UNSUPPORTED_PROTOCOL: // how libcurl calls an answer without a status line
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
        return fail(transport_failure::cut, true, host + " does not speak HTTP: " + words);
    case CURLE_OUT_OF_MEMORY:
        throw std::bad_alloc{};
    default:
        return fail(transport_failure::other, false, words);
    }
}

} // namespace shiplap::detail
