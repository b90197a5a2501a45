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
#include <cstddef>
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

/// At most `most` bytes of a text, and no part of a character.
inline std::string beginning(std::string_view text, std::size_t most) {
    if (text.size() <= most) return std::string{text};
    while (most != 0 && (static_cast<unsigned char>(text[most]) & 0xc0U) == 0x80U) --most;
    return std::string{text.substr(0, most)} + "...";
}

/// What a page says to who looks at it: no tags, no style sheets, no scripts; on one line.
inline std::string words_of(std::string_view page) {
    std::string words;
    while (!page.empty() && words.size() <= 160) {
        bool const tag = page.front() == '<';
        if (tag) {
            bool const hidden = http_headers::same(page.substr(0, 6), "<style") ||
                                http_headers::same(page.substr(0, 7), "<script");
            auto const end = hidden ? page.find("</", 1) : page.find('>');
            page.remove_prefix(hidden ? std::min(end, page.size()) : std::min(end, page.size() - 1) + 1);
        }
        bool const blank = tag || std::string_view{" \n\r\t"}.find(page.front()) != std::string_view::npos;
        if (!blank)
            words += page.front();
        else if (!words.empty() && words.back() != ' ')
            words += ' ';
        if (!tag) page.remove_prefix(1);
    }
    if (words.ends_with(' ')) words.pop_back();
    return beginning(words, 160);
}

inline error_body parse_error_body(std::string const& text) {
    auto const document = nlohmann::json::parse(text, nullptr, false);
    if (!document.is_object()) return {{}, words_of(text)};
    auto const member = [](nlohmann::json const& of, char const* name, std::size_t most) {
        auto const found = of.find(name);
        return found != of.end() && found->is_string() ? beginning(found->get_ref<std::string const&>(), most)
                                                       : std::string{};
    };
    auto const errors = document.find("errors");
    if (errors != document.end() && errors->is_array() && !errors->empty() && errors->front().is_object())
        return {member(errors->front(), "code", 64), member(errors->front(), "message", 300)};
    for (auto const* const name :
         {"message", "details", "detail", "error"}) // those who have a form of their own
        if (auto words = member(document, name, 300); !words.empty()) return {{}, std::move(words)};
    return {};
}

/// The text of a refusal, or nothing if that is cut: the status says enough.
inline std::string read_error_text(http_response& answer) {
    try {
        return read_text(answer, max_error_body);
    } catch (transport_error const&) {
        return {};
    }
}

inline std::string lower_case(std::string text) {
    for (auto& c : text)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    return text;
}

/// "120", or a date of RFC 9110, 5.6.7, seen from `now`; none if it is neither. A year at most.
inline std::optional<std::chrono::seconds> parse_retry_after(std::string const& text, std::time_t now) {
    static constexpr std::time_t most = 365 * 24 * 3600;
    auto const in = [](std::time_t wait) {
        return std::chrono::seconds{std::clamp<std::time_t>(wait, 0, most)};
    };
    if (text.empty()) return std::nullopt;
    if (text.find_first_not_of("0123456789") == text.npos) {
        std::time_t wait = most; // more digits than fit are a long time, too
        std::from_chars(text.data(), text.data() + text.size(), wait);
        return in(wait);
    }
    if (auto const date = ::curl_getdate(text.c_str(), nullptr); date != -1) return in(date - now);
    return std::nullopt;
}

/// What the clock of the registry shows, where it tells: dates that it names are meant by that clock.
inline std::time_t time_there(http_headers const& headers) {
    auto const* const date = headers.find("Date");
    auto const there = date == nullptr ? std::time_t{-1} : ::curl_getdate(date->c_str(), nullptr);
    return there == -1 ? std::time(nullptr) : there;
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

/// What Go's, nginx's and Apache's servers say to plain HTTP on a port for TLS.
inline bool wants_tls(std::string const& message) {
    auto const text = lower_case(message);
    return text.find("http request to an https server") != text.npos ||
           text.find("http request was sent to https port") != text.npos ||
           text.find("speaking plain http to an ssl") != text.npos;
}

/// What to do about it, as the end of a sentence.
inline std::string advice(int status, std::string const& code, bool transient, std::string const& attempt,
                          std::string const& login) {
    if (status == 429 || code == "TOOMANYREQUESTS" || (status == 403 && transient))
        return "; it limits how often it is asked: try again later, or log in for a higher limit";
    if (status == 401) return "; log in with '" + login + "', or check the password";
    if (status == 405 || code == "UNSUPPORTED")
        return "; it is read-only, or does not offer this: choose another registry";
    if (status == 403)
        return "; " + attempt +
               " access denied, repository does not exist or may require authorization: check the name, or "
               "log in with '" +
               login + "'";
    if (status == 404 && (code.empty() || code == "NAME_UNKNOWN"))
        return "; it has no such repository: check the name";
    if (status == 413)
        return "; raise the limit of the proxy in front of it, which seems not to take requests of this size";
    if (status >= 300 && status < 400) return "; a redirection is no answer to this request";
    if (status >= 500 && transient) return "; it is out of order: try again later";
    return "";
}

inline std::string attempted(registry_access const& access) {
    for (auto const& scope : access.scopes)
        if (scope.find("push") != scope.npos) return "push";
    return "pull";
}

} // namespace detail

/// What `answer` says, as an error of `operation` on `subject`. Reads the body. `by` is who answered: the registry, or
/// who keeps its blobs.
inline registry_error refusal(std::string operation, std::string subject, registry_access const& access,
                              origin const& by, http_response& answer) {
    auto const text = detail::read_error_text(answer);
    auto const body = detail::parse_error_body(text);
    bool const transient = detail::is_transient(answer.status, answer.headers, text);
    failure_facts facts{.retryable = transient,
                        .http_status = answer.status,
                        .registry_code = body.code,
                        .registry_message = body.message};
    for (auto const* const header :
         {"X-Request-Id", "Docker-Request-Id", "X-GitHub-Request-Id", "X-Amz-Request-Id"})
        if (facts.request_id.empty()) facts.request_id = answer.headers.get(header);
    if (auto const* const after = answer.headers.find("Retry-After"))
        facts.retry_after = detail::parse_retry_after(*after, detail::time_there(answer.headers));

    auto reason = printable(by.authority()) + " answered " + std::to_string(answer.status);
    if (!body.code.empty()) reason += " " + printable(body.code);
    if (!body.message.empty()) reason += " (" + printable(body.message) + ")";
    auto const& name = access.name.empty() ? access.registry.authority() : access.name;
    if (detail::wants_tls(body.message))
        reason += "; it speaks TLS: put its certificate authority into ~/.config/containers/certs.d/" +
                  printable(name) + "/ca.crt, or use registry.insecure=true (--insecure)";
    else if (by == access.registry)
        reason += detail::advice(answer.status, body.code, transient, detail::attempted(access),
                                 "docker login " + printable(name));
    else
        reason += "; " + printable(name) + " sent us there: try again, or tell who runs it";
    return {std::move(operation), std::move(subject), std::move(reason), std::move(facts)};
}

} // namespace shiplap
