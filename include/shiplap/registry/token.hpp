#pragma once
// token: bearer tokens. A registry names a token service (the realm of its challenge); that gives out a token for some
// scopes and a few minutes, to anybody or to those who have a login.
//
//     GET realm?service=r.io&scope=repository:app:pull,push       with the password, or without any
//     POST realm   grant_type=refresh_token&refresh_token=...     with an identity token
//
// Where a credential may go: to a realm that the registry itself named, over https unless the registry is asked over
// http, without a user in its address. The realm may lie on another host, as it does for Docker Hub, but that host
// must have a public address: else any registry could have us talk to the services inside a network. Token services
// must not redirect.

#include <shiplap/error.hpp>
#include <shiplap/image/json_node.hpp>
#include <shiplap/registry/challenge.hpp>
#include <shiplap/registry/concept.hpp>
#include <shiplap/registry/credential.hpp>
#include <shiplap/registry/credential_helper.hpp>
#include <shiplap/registry/refusal.hpp>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {

/// Bytes of an answer of a token service that are read.
inline constexpr std::size_t max_token_answer = 64 * 1024;

/// Where a token comes from, and what for.
struct token_request {
    url realm;
    std::string service{};
    std::vector<std::string> scopes{}; ///< as of merged_scopes()
};

struct bearer_token {
    secret value;
    std::chrono::milliseconds lifetime; ///< from the request on
};

namespace detail {

/// What users call the registry.
inline std::string registry_name(registry_access const& access) {
    return access.name.empty() ? access.registry.authority() : access.name;
}

/// `status`, `words` (its body) and `headers` are those of the last answer.
inline registry_error authentication_failure(registry_access const& access, std::string reason, int status,
                                             std::string const& words = {},
                                             http_headers const& headers = {}) {
    failure_facts facts;
    facts.http_status = status;
    facts.retryable = is_transient(status, headers, words);
    if (auto const* const after = headers.find("Retry-After"))
        facts.retry_after = parse_retry_after(*after, std::time(nullptr));
    auto const told = parse_error_body(words);
    facts.registry_code = printable(told.code);
    facts.registry_message = printable(told.message);
    if (!facts.registry_message.empty()) reason += " (it says: " + facts.registry_message + ")";
    return {"authenticate with", registry_name(access), std::move(reason), std::move(facts)};
}

/// Whether a text repeats a secret.
inline bool gives_away(std::string_view text, credential const& who) {
    for (auto const* const one : {&who.password, &who.identity_token, &who.registry_token})
        if (!one->empty() && (text.find(one->reveal()) != text.npos ||
                              text.find(base64(who.user + ":" + one->reveal())) != text.npos))
            return true;
    return false;
}

/// application/x-www-form-urlencoded
class form {
  public:
    void add(std::string_view name, std::string_view value) {
        if (!text_.empty()) text_ += '&';
        text_.append(name) += '=';
        for (char const c : value) {
            auto const byte = static_cast<unsigned char>(c);
            bool const plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                               c == '-' || c == '.' || c == '_' || c == '~';
            static constexpr char hex[] = "0123456789ABCDEF";
            if (plain)
                text_ += c;
            else
                text_ += {'%', hex[byte >> 4], hex[byte & 15]};
        }
    }
    [[nodiscard]] std::string const& text() const noexcept { return text_; }

  private:
    std::string text_;
};

/// The realm of a challenge, if a credential may be sent there.
inline url realm_of(challenge const& from, registry_access const& access) {
    auto const refuse = [&](std::string const& reason) {
        return authentication_failure(access, "its token service " + reason, 401);
    };
    auto realm = [&] {
        try {
            return url::parse(from.get("realm"));
        } catch (format_error const& failure) {
            throw refuse("has no usable address: " + printable(failure.reason()));
        }
    }();
    if (realm.has_user()) throw refuse(printable(realm.shown()) + " has a user in its address");
    if (access.registry.is_https() && !realm.from().is_https())
        throw refuse(printable(realm.shown()) + " is not reached by https, as the registry is");
    return realm;
}

/// What a token service answered with status 200.
inline bearer_token read_token(std::string_view text, registry_access const& access) {
    using namespace std::chrono_literals;
    auto const fail = [&](std::string const& reason) {
        return authentication_failure(access, "its token service gave no token: " + reason, 200);
    };
    try {
        auto const document = parse_secret_json(text, "token");
        json_node const root{document, "token"};
        auto value = root.text_of("token");
        if (value.empty()) value = root.text_of("access_token");
        if (value.empty()) throw fail("its answer has neither token nor access_token");
        for (char const c : value)
            if (c < 0x21 || c > 0x7e) throw fail("the token has a character that no header can have");

        double seconds = 0;
        if (auto const life = root["expires_in"]; life && life.value().is_number())
            seconds = life.value().get<double>();
        else if (life && life.value().is_string())
            seconds = std::strtod(life.text().c_str(), nullptr);
        if (!(seconds > 0)) seconds = 60; // what the token protocol says for none
        constexpr double year = 365 * 24 * 3600.0;
        return {secret{std::move(value)},
                std::chrono::milliseconds{static_cast<std::int64_t>(std::min(seconds, year) * 1000)}};
    } catch (format_error const& failure) {
        throw fail(failure.reason());
    }
}

} // namespace detail

/// Asks the token service. `who` may be none. Throws registry_error, with the status of its answer, if it refuses;
/// what the transport throws.
template <transport T>
bearer_token fetch_token(T& through, registry_access const& access, token_request const& wanted,
                         std::optional<credential> const& who) {
    auto const target = wanted.realm.from();
    bool const at_home = target.host == access.registry.host && target.port == access.registry.port;
    auto at_realm = access;
    at_realm.insecure = access.insecure && at_home; // trust in the registry's host is not trust in others

    auto const ask = [&](std::string method, url const& where) {
        return http_request{.method = std::move(method),
                            .target = where,
                            .access = at_realm,
                            .addresses = at_home ? address_rule::any : address_rule::public_only};
    };
    auto const get = [&] {
        auto where = wanted.realm;
        if (!wanted.service.empty()) where = where.with_query("service", wanted.service);
        for (auto const& scope : wanted.scopes) where = where.with_query("scope", scope);
        auto request = ask("GET", where);
        if (who && !who->user.empty())
            request.headers.set("Authorization", detail::basic_authorization(*who));
        return through.send(request);
    };
    auto const post = [&](bool with_password) {
        detail::form form;
        form.add("grant_type", with_password ? "password" : "refresh_token");
        if (with_password) {
            form.add("username", who->user);
            form.add("password", who->password.reveal());
        } else {
            form.add("refresh_token", who->identity_token.reveal());
        }
        form.add("service", wanted.service);
        form.add("client_id", "shiplap");
        form.add("access_type", "online");
        std::string scopes;
        for (auto const& scope : wanted.scopes) scopes += (scopes.empty() ? "" : " ") + scope;
        if (!scopes.empty()) form.add("scope", scopes);
        span_source body{form.text()};
        auto request = ask("POST", wanted.realm);
        request.headers.set("Content-Type", "application/x-www-form-urlencoded");
        request.body = http_body{body, form.text().size()};
        return through.send(request);
    };

    // Old services know one of the two ways only. A password that was refused is not tried the other way: that would
    // count as two attempts where attempts are counted.
    bool const has_password = who && !who->user.empty() && !who->password.empty();
    auto answer = who && !who->identity_token.empty() ? post(false) : get();
    auto const one_of = [&](std::initializer_list<int> statuses) {
        return std::find(statuses.begin(), statuses.end(), answer.status) != statuses.end();
    };
    if (has_password && !who->identity_token.empty() && one_of({400, 401, 404, 405}))
        answer = get();
    else if (has_password && who->identity_token.empty() && one_of({404, 405}))
        answer = post(true);

    auto const text = read_text(answer, max_token_answer + 1);
    auto const where = printable(wanted.realm.shown());
    if (answer.status == 200) {
        if (text.size() > max_token_answer)
            throw detail::authentication_failure(access, "its token service " + where + " says too much",
                                                 200);
        return detail::read_token(text, access);
    }
    if (answer.status >= 300 && answer.status < 400)
        throw detail::authentication_failure(
            access, "its token service " + where + " redirects, which could lead the login astray",
            answer.status);
    auto reason = "its token service " + where + " answers " + std::to_string(answer.status);
    if (answer.status == 400 || answer.status == 401 || answer.status == 403) {
        auto const name = detail::registry_name(access);
        auto const from = who && !who->found_in.empty() ? " (from " + who->found_in + ")" : std::string{};
        reason += !who ? " to a request without a login: log in with 'docker login " + name + "'"
                  : who->user.empty()
                      ? " to the identity token" + from + ": log in again with 'docker login " + name + "'"
                      : " to the user '" + printable(who->user) + "'" + from +
                            ": log in with 'docker login " + name + "', or check the password";
    }
    throw detail::authentication_failure(access, std::move(reason), answer.status,
                                         who && detail::gives_away(text, *who) ? std::string{} : text,
                                         answer.headers);
}

} // namespace shiplap
