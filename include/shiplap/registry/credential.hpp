#pragma once
// credential: what a user shows to a registry, and where it comes from.
//
//   concept             expression              meaning
//   credential_source   c.find(access) -> o     the credential for a registry_access, or none. May be asked on several
//                                               threads at once. Throws where it should know and cannot tell
//
// A source may have places() -> std::vector<std::string>, too: where it looked, for the message that a login is
// missing.
//
// Exemplar, compiled in tests/registry/credential.cpp:
//
//     struct one_for_all {
//         std::optional<credential> find(registry_access const&) const { return credential{"me", secret{"x"}}; }
//     };
//
// Models: no_credentials, fixed_credentials, configured_credentials (credentials.hpp).

#include <shiplap/error.hpp>
#include <shiplap/registry/http.hpp>

#include <cryptopp/base64.h>

#include <algorithm>
#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace shiplap {

/// A text that must not be shown: there is no way to print it by mistake.
class secret {
  public:
    secret() = default;
    explicit secret(std::string text) noexcept : text_{std::move(text)} {}

    [[nodiscard]] bool empty() const noexcept { return text_.empty(); }
    /// For the one that sends it.
    [[nodiscard]] std::string const& reveal() const noexcept { return text_; }
    friend bool operator==(secret const&, secret const&) = default;

  private:
    std::string text_;
};

/// What a user has for a registry: a password or one of the tokens.
struct credential {
    std::string user{};
    secret password{};
    secret identity_token{}; ///< is exchanged for bearer tokens (OAuth2: a refresh token)
    secret registry_token{}; ///< is a bearer token
    std::string found_in{};  ///< where it was found, for messages: a file, a helper

    [[nodiscard]] bool empty() const noexcept {
        return user.empty() && password.empty() && identity_token.empty() && registry_token.empty();
    }
};

template <class C>
concept finds_credentials = requires(C const& source, registry_access const& access) {
    { source.find(access) } -> std::same_as<std::optional<credential>>;
};

/// See the table above.
template <class C>
concept credential_source = std::movable<C> && finds_credentials<C>;

/// Nobody: anonymous access only.
struct no_credentials {
    [[nodiscard]] std::optional<credential> find(registry_access const&) const { return {}; }
};

/// One credential, for one registry.
class fixed_credentials {
  public:
    fixed_credentials(origin registry, credential what)
        : registry_{std::move(registry)}, what_{std::move(what)} {}

    [[nodiscard]] std::optional<credential> find(registry_access const& access) const {
        return access.registry == registry_ ? std::optional{what_} : std::nullopt;
    }

  private:
    origin registry_;
    credential what_;
};

/// Credentials that should be there cannot be had: a helper failed.
struct credential_error : error {
    credential_error(std::string operation, std::string subject, std::string reason)
        : error{error_code::io, std::move(operation), std::move(subject), std::move(reason)} {}
};

namespace detail {

inline std::string base64(std::string_view plain) {
    CryptoPP::Base64Encoder encoder{nullptr, false};
    encoder.PutMessageEnd(reinterpret_cast<CryptoPP::byte const*>(plain.data()), plain.size());
    std::string out(static_cast<std::size_t>(encoder.MaxRetrievable()), '\0');
    encoder.Get(reinterpret_cast<CryptoPP::byte*>(out.data()), out.size());
    return out;
}

/// None for what is no base64 (RFC 4648, 4); the padding may be missing.
inline std::optional<std::string> from_base64(std::string_view text) {
    auto const end = text.find_last_not_of('=');
    auto const digits = text.substr(0, end == text.npos ? 0 : end + 1);
    bool const alphabet = std::all_of(digits.begin(), digits.end(), [](char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
               c == '/';
    });
    auto const padding = text.size() - digits.size();
    if (!alphabet || digits.size() % 4 == 1 || (padding != 0 && (padding > 2 || text.size() % 4 != 0)))
        return {};
    CryptoPP::Base64Decoder decoder; // skips what it does not know: hence the checks
    decoder.PutMessageEnd(reinterpret_cast<CryptoPP::byte const*>(digits.data()), digits.size());
    std::string out(static_cast<std::size_t>(decoder.MaxRetrievable()), '\0');
    decoder.Get(reinterpret_cast<CryptoPP::byte*>(out.data()), out.size());
    return out;
}

/// The value of an Authorization header (RFC 7617, in UTF-8).
inline std::string basic_authorization(credential const& who) {
    return "Basic " + base64(who.user + ":" + who.password.reveal());
}

/// Helpers and files mark an identity token by this user name.
inline credential credential_of(std::string user, std::string password, std::string where) {
    credential found;
    found.found_in = std::move(where);
    if (user == "<token>") {
        found.identity_token = secret{std::move(password)};
    } else {
        found.user = std::move(user);
        found.password = secret{std::move(password)};
    }
    return found;
}

} // namespace detail

} // namespace shiplap
