#include <shiplap/registry/curl_failure.hpp>

#include <string>

#include <support/catch.hpp>

using namespace shiplap;

namespace {

detail::curl_outcome outcome(CURLcode result) {
    return {.operation = "PUT",
            .subject = "https://r.io:5000/v2/",
            .to = {"https", "r.io", 5000},
            .result = result};
}

} // namespace

TEST_CASE("results of libcurl say what to do", "[registry][curl]") {
    struct row {
        CURLcode result;
        char const* words;
        long system, verification, proxy_status;
        transport_failure kind;
        bool retryable;
        char const* expected;
    };
    auto const one = GENERATE(values<row>({
        {CURLE_COULDNT_RESOLVE_HOST, "", 0, 0, 0, transport_failure::resolve, true,
         "'r.io:5000' is not known"},
        {CURLE_COULDNT_RESOLVE_PROXY, "", 0, 0, 0, transport_failure::resolve, true, "HTTPS_PROXY"},
        {CURLE_COULDNT_CONNECT, "", ECONNREFUSED, 0, 0, transport_failure::connect, true,
         "refuses connections"},
        {CURLE_COULDNT_CONNECT, "", ENETUNREACH, 0, 0, transport_failure::connect, true,
         "Network is unreachable"},
        {CURLE_OPERATION_TIMEDOUT, "", 0, 0, 0, transport_failure::connect, true, "within 0 s"},
        {CURLE_SSL_CONNECT_ERROR, "wrong version number", 0, 0, 0, transport_failure::tls, false,
         "plain HTTP"},
        {CURLE_SSL_CONNECT_ERROR, "SSL_ERROR_SYSCALL", 0, 0, 0, transport_failure::tls, true,
         "no TLS connection"},
        {CURLE_PEER_FAILED_VERIFICATION, "", 0, 20, 0, transport_failure::tls, false,
         "~/.config/containers/certs.d/r.io:5000/ca.crt"},
        {CURLE_PEER_FAILED_VERIFICATION, "", 0, 10, 0, transport_failure::tls, false, "has expired"},
        {CURLE_PEER_FAILED_VERIFICATION, "", 0, 9, 0, transport_failure::tls, false, "not valid yet"},
        {CURLE_SSL_CERTPROBLEM, "no such key", 0, 0, 0, transport_failure::tls, false, "no such key"},
        {CURLE_RECV_ERROR, "alert certificate required", 0, 0, 0, transport_failure::tls, false,
         "client.key"},
        {CURLE_RECV_ERROR, "alert bad certificate", 0, 0, 0, transport_failure::tls, false, "client.key"},
        {CURLE_RECV_ERROR, "reset", 0, 0, 0, transport_failure::cut, true, "broke: reset"},
        {CURLE_SEND_ERROR, "", 0, 0, 0, transport_failure::cut, true, "broke"},
        {CURLE_PARTIAL_FILE, "", 0, 0, 0, transport_failure::cut, true, "cut off"},
        {CURLE_GOT_NOTHING, "", 0, 0, 0, transport_failure::cut, true, "without an answer"},
        {CURLE_RECV_ERROR, "", 0, 0, 407, transport_failure::other, false, "407"},
        {CURLE_RECV_ERROR, "", 0, 0, 503, transport_failure::connect, true, "503"},
        {CURLE_RECV_ERROR, "", 0, 0, 403, transport_failure::connect, false, "403"},
        {CURLE_URL_MALFORMAT, "\x1b", 0, 0, 0, transport_failure::other, false, "\\x1b"},
    }));
    auto of = outcome(one.result);
    of.words = one.words;
    of.system = one.system;
    of.verification = one.verification;
    of.proxy_status = one.proxy_status;
    auto const failure = detail::curl_failure(of);
    CAPTURE(failure.what());
    CHECK(failure.kind() == one.kind);
    CHECK(failure.facts().retryable == one.retryable);
    CHECK_THAT(failure.what(), contains("PUT 'https://r.io:5000/v2/': ") && contains(one.expected));
}

TEST_CASE("a refused address says how to allow it", "[registry][curl]") {
    auto of = outcome(CURLE_COULDNT_CONNECT);
    of.refused = "10.0.0.1";
    auto const failure = detail::curl_failure(of);
    CHECK(failure.kind() == transport_failure::forbidden_address);
    CHECK_THAT(failure.what(), contains("10.0.0.1") && contains("--trust-realm r.io:5000"));
}

TEST_CASE("time limits are shown in seconds", "[registry][curl]") {
    using std::chrono::milliseconds;
    CHECK(detail::seconds_text(milliseconds{60'000}) == "60 s");
    CHECK(detail::seconds_text(milliseconds{1'250}) == "1.3 s");
    CHECK(detail::seconds_text(milliseconds{0}) == "0 s");
}
