#pragma once
// http: a request and its response, as transports pass them on.

#include <shiplap/bytes/erased.hpp>
#include <shiplap/error.hpp>
#include <shiplap/registry/url.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shiplap {

/// Header fields in their order. Names are compared without case (RFC 9110, 5.1).
class http_headers {
  public:
    using field = std::pair<std::string, std::string>;

    /// Whether it stays one header when it is sent: a name without blanks and colons, a value without CR, LF and NUL.
    static bool fits(std::string_view name, std::string_view value) noexcept {
        auto const fine = [](char c) { return c > ' ' && c < 0x7f && c != ':'; };
        return !name.empty() && std::ranges::all_of(name, fine) &&
               value.find_first_of(std::string_view{"\r\n\0", 3}) == value.npos;
    }

    /// Throws format_error for what does not fit: it would start another header.
    void add(std::string name, std::string value) {
        if (!fits(name, value))
            throw format_error{"set header", name,
                               "the name has a blank, or the value a line break or a NUL"};
        fields_.emplace_back(std::move(name), std::move(value));
    }
    void set(std::string name, std::string value) {
        remove(name);
        add(std::move(name), std::move(value));
    }
    void remove(std::string_view name) {
        std::erase_if(fields_, [&](field const& one) { return same(one.first, name); });
    }
    /// The first of that name, or null.
    [[nodiscard]] std::string const* find(std::string_view name) const noexcept {
        for (auto const& one : fields_)
            if (same(one.first, name)) return &one.second;
        return nullptr;
    }
    /// The first of that name, or "".
    [[nodiscard]] std::string get(std::string_view name) const {
        auto const* const found = find(name);
        return found == nullptr ? std::string{} : *found;
    }
    [[nodiscard]] std::vector<std::string> all(std::string_view name) const {
        std::vector<std::string> values;
        for (auto const& one : fields_)
            if (same(one.first, name)) values.push_back(one.second);
        return values;
    }
    [[nodiscard]] std::vector<field> const& fields() const noexcept { return fields_; }

    static bool same(std::string_view a, std::string_view b) noexcept {
        auto const lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
        if (a.size() != b.size()) return false;
        for (std::size_t i = 0; i < a.size(); ++i)
            if (lower(a[i]) != lower(b[i])) return false;
        return true;
    }

  private:
    std::vector<field> fields_;
};

/// On whose behalf a request is made: what decides about credentials and trust.
struct registry_access {
    origin registry;                   ///< a credential reaches this origin only, and the realm that it names
    std::string name{};                ///< how users write the registry: "docker.io", "r.io:5000"
    std::string repository{};          ///< "library/app"; credentials may be for this one alone
    std::vector<std::string> scopes{}; ///< of a token: "repository:library/app:pull,push"
    bool insecure = false;             ///< certificates are not verified
};

/// What is sent: `size` bytes of `from`, which starts at `offset`.
struct http_body {
    replayable_source_ref from;
    std::uint64_t size = 0;   ///< bytes to send
    std::uint64_t offset = 0; ///< bytes of `from` to skip
};

enum class address_rule {
    any,
    public_only, ///< the socket must not lead to a private, loopback or link-local address
};

struct http_request {
    std::string method; ///< GET, HEAD, POST, PUT, PATCH, DELETE
    url target;
    registry_access access;
    http_headers headers{};
    std::optional<http_body> body{}; ///< none: Content-Length 0 where the method wants one
    /// How long the answer may take from the last byte of the body on.
    std::chrono::milliseconds patience{std::chrono::seconds{30}};
    address_rule addresses = address_rule::any;
    /// Sending it twice is as good as once. Not so for the pieces of an upload: who sends them asks the registry
    /// how far it got.
    bool repeatable = true;
};

/// The body is pulled while it arrives. What is not read is dropped.
struct http_response {
    int status = 0; ///< as the server said it: 404 is no error here
    http_headers headers{};
    any_byte_source body; ///< throws transport_error if it is cut
};

/// At most `limit` bytes of a body; the rest is dropped.
inline std::string read_text(http_response& from, std::size_t limit) {
    std::string text(limit, '\0');
    bytes_span const space{reinterpret_cast<std::byte*>(text.data()), text.size()};
    text.resize(read_fully(from.body, space));
    return text;
}

} // namespace shiplap
