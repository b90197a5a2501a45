#pragma once
// refusal: what a registry says when it does not do what it was asked for, as an error that a person can act on.
//
// Bodies follow distribution-spec, "Error Codes": {"errors":[{"code":"DENIED","message":"...","detail":...}]}; but
// proxies answer with HTML, and some with nothing.

#include <shiplap/error.hpp>
#include <shiplap/registry/error.hpp>
#include <shiplap/registry/http.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace shiplap {

namespace detail {

/// Of an error body at most; the rest is dropped.
inline constexpr std::size_t max_error_body = 64 * 1024;

struct error_body {
    std::string code, message;
};

inline error_body parse_error_body(std::string const& text) {
    auto const document = nlohmann::json::parse(text, nullptr, false);
    if (document.is_object() && document.contains("errors") && document["errors"].is_array() &&
        !document["errors"].empty() && document["errors"][0].is_object()) {
        auto const& first = document["errors"][0];
        auto const member = [&](char const* name) {
            auto const found = first.find(name);
            return found != first.end() && found->is_string() ? found->get<std::string>() : std::string{};
        };
        auto message = member("message");
        if (message.size() > 300) message.resize(300);
        return {member("code").substr(0, 64), std::move(message)};
    }
    std::string words; // a page of a proxy: without its tags, one line of it
    bool tag = false;
    for (char const c : text) {
        if (c == '<') tag = true;
        bool const blank = tag || c == ' ' || c == '\n' || c == '\r' || c == '\t';
        if (!blank)
            words += c;
        else if (!words.empty() && words.back() != ' ')
            words += ' ';
        if (c == '>') tag = false;
        if (words.size() >= 160) break;
    }
    if (words.ends_with(' ')) words.pop_back();
    return {{}, std::move(words)};
}

inline std::string lower_case(std::string text) {
    for (auto& c : text)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    return text;
}

/// "120", or a date of RFC 9110, 5.6.7, seen from `now`; none if it is neither.
inline std::optional<std::chrono::seconds> parse_retry_after(std::string const& text, std::time_t now) {
    long seconds = 0;
    auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (!text.empty() && problem == std::errc{} && end == text.data() + text.size() && seconds >= 0)
        return std::chrono::seconds{seconds};
    if (auto const date = ::curl_getdate(text.c_str(), nullptr); date != -1)
        return std::chrono::seconds{std::max<std::time_t>(0, date - now)};
    return std::nullopt;
}

inline bool speaks_of_rate_limit(http_headers const& headers, std::string const& body) {
    if (headers.find("Retry-After") != nullptr || headers.get("X-RateLimit-Remaining") == "0") return true;
    auto const text = lower_case(body);
    return text.find("rate limit") != text.npos || text.find("toomanyrequests") != text.npos ||
           text.find("too many requests") != text.npos;
}

inline bool is_transient(int status, http_headers const& headers, std::string const& body) {
    constexpr std::array transient{408, 425, 429, 499, 500, 502, 503, 504, 520, 521, 522, 523, 524};
    if (std::find(transient.begin(), transient.end(), status) != transient.end()) return true;
    return status == 403 && speaks_of_rate_limit(headers, body); // GitHub's way of saying 429
}

inline std::string advice(int status, std::string const& code, std::string const& host) {
    if (status == 429 || code == "TOOMANYREQUESTS") return "";
    if (status == 401) return "; log in, for instance with 'docker login " + host + "'";
    if (status == 403)
        return "; the repository does not exist, or the account that is used may not do this: check its "
               "name, or log "
               "in with 'docker login " +
               host + "'";
    if (code == "NAME_UNKNOWN") return "; there is no such repository";
    if (status == 405 || code == "UNSUPPORTED") return "; the registry is read-only, or does not offer this";
    if (status == 413) return "; a proxy in front of the registry seems to limit the size of requests";
    if (status >= 300 && status < 400) return "; a redirection is no answer to this request";
    return "";
}

} // namespace detail

/// What `answer` says, as an error of `operation` on `subject`. Reads the body.
inline registry_error refusal(std::string operation, std::string subject, origin const& registry,
                              http_response& answer) {
    auto const text = [&] {
        try {
            return read_text(answer, detail::max_error_body);
        } catch (transport_error const&) {
            return std::string{}; // the status says enough
        }
    }();
    auto const body = detail::parse_error_body(text);
    failure_facts facts{.retryable = detail::is_transient(answer.status, answer.headers, text),
                        .http_status = answer.status,
                        .registry_code = body.code,
                        .registry_message = body.message};
    for (auto const* const header :
         {"X-Request-Id", "Docker-Request-Id", "X-GitHub-Request-Id", "X-Amz-Request-Id"})
        if (facts.request_id.empty()) facts.request_id = answer.headers.get(header);
    if (auto const* const after = answer.headers.find("Retry-After"))
        facts.retry_after = detail::parse_retry_after(*after, std::time(nullptr));

    auto reason = registry.authority() + " answered " + std::to_string(answer.status);
    if (!body.code.empty()) reason += " " + printable(body.code);
    if (!body.message.empty()) reason += " (" + printable(body.message) + ")";
    reason += detail::advice(answer.status, body.code, registry.authority());
    return {std::move(operation), std::move(subject), std::move(reason), std::move(facts)};
}

} // namespace shiplap
