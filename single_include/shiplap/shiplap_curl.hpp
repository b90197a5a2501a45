#pragma once
// What shiplap has for registries, which needs libcurl, in one header. Made from include/ by single_include/amalgamate.py; edit there, not here.

#include <shiplap/shiplap.hpp>

#include <curl/curl.h>

// === shiplap/registry/error.hpp ===

// What can go wrong with a registry, and whether trying again may help.
//
//     try { push(); }
//     catch (remote_error const& failure) { return failure.facts().retryable ? 75 : 1; }

namespace shiplap {

/// How a request ended that did not end well.
struct failure_facts {
    bool retryable = false;               ///< the same may succeed later
    unsigned attempts = 1;                ///< requests sent for it
    std::chrono::milliseconds elapsed{0}; ///< from the first attempt on
    int http_status = 0;                  ///< of the last answer; 0: there was none
    std::string registry_code{};          ///< "DENIED": distribution-spec, "Error Codes"; or empty
    std::string registry_message{};       ///< the registry's own words, or empty
    std::string request_id{}; ///< what the registry calls the request, for its operators; or empty
    std::optional<std::chrono::seconds> retry_after{}; ///< what the registry asked to wait
};

/// The base of what a registry or the way to it can do wrong.
class remote_error : public error {
  public:
    remote_error(error_code code, std::string operation, std::string subject, std::string reason,
                 failure_facts facts)
        : error{code, std::move(operation), std::move(subject), std::move(reason)},
          facts_{std::move(facts)} {}

    [[nodiscard]] failure_facts const& facts() const noexcept { return facts_; }

  private:
    failure_facts facts_;
};

/// The registry answered, and refused.
struct registry_error : remote_error {
    registry_error(std::string operation, std::string subject, std::string reason, failure_facts facts)
        : remote_error{error_code::registry, std::move(operation), std::move(subject), std::move(reason),
                       std::move(facts)} {}
};

/// What kept an answer from coming.
enum class transport_failure {
    resolve,           ///< the host's name has no address
    connect,           ///< nobody accepts connections there
    tls,               ///< the certificate or the handshake
    stall,             ///< nothing moved for too long
    cut,               ///< the connection ended in the middle, or the answer is none
    forbidden_address, ///< the address is private, and the request may not go there
    other,
};

/// No whole answer came.
class transport_error : public remote_error {
  public:
    transport_error(transport_failure kind, std::string operation, std::string subject, std::string reason,
                    failure_facts facts)
        : remote_error{error_code::network, std::move(operation), std::move(subject), std::move(reason),
                       std::move(facts)},
          kind_{kind} {}

    [[nodiscard]] transport_failure kind() const noexcept { return kind_; }

  private:
    transport_failure kind_;
};

} // namespace shiplap

// === shiplap/registry/url.hpp ===

// url: an http or https address. Parsed by libcurl, which also connects to it: what was checked is what is used.
//
//     auto target = url::parse("https://r.io/v2/").resolve("/v2/app/blobs/uploads/1?_state=x");
//     target = target.with_query("digest", "sha256:...");      // keeps the query that is there
//
// shown() is for eyes and logs: without user, password and the values of the query, which may be secrets.

namespace shiplap {

/// Whom one talks to: the unit that a credential belongs to (RFC 6454). Lower case; the port is always given.
struct origin {
    std::string scheme, host; ///< the host of an IPv6 address without its brackets
    std::uint16_t port = 0;

    [[nodiscard]] bool is_https() const noexcept { return scheme == "https"; }
    /// "r.io" or "r.io:5000": the port where it is not the scheme's own.
    [[nodiscard]] std::string authority() const {
        auto const name = host.find(':') == std::string::npos ? host : "[" + host + "]";
        bool const usual = port == (is_https() ? 443 : 80);
        return usual ? name : name + ":" + std::to_string(port);
    }
    [[nodiscard]] std::string text() const { return scheme + "://" + authority(); }
    friend bool operator==(origin const&, origin const&) = default;
    friend auto operator<=>(origin const&, origin const&) = default;
};

class url {
  public:
    /// Throws format_error unless `text` is an absolute http or https URL.
    static url parse(std::string_view text) { return url{nullptr, text}; }

    /// A reference, relative or absolute, seen from here (RFC 3986, 5.2): how a Location header is read. Throws
    /// format_error as parse() does.
    [[nodiscard]] url resolve(std::string_view reference) const { return url{handle_.get(), reference}; }

    /// With one more query parameter behind those that are there, percent-encoded.
    [[nodiscard]] url with_query(std::string_view name, std::string_view value) const {
        url more{*this};
        auto const parameter = std::string{name} + "=" + std::string{value};
        more.set(CURLUPART_QUERY, parameter, CURLU_APPENDQUERY | CURLU_URLENCODE);
        return more;
    }

    [[nodiscard]] origin from() const {
        auto host = get(CURLUPART_HOST);
        if (host.starts_with('[')) host = host.substr(1, host.find_first_of("]%") - 1);
        for (auto& c : host)
            if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        return {get(CURLUPART_SCHEME), std::move(host),
                static_cast<std::uint16_t>(std::stoul(get(CURLUPART_PORT, CURLU_DEFAULT_PORT)))};
    }
    /// Starts with '/'; still percent-encoded.
    [[nodiscard]] std::string path() const { return get(CURLUPART_PATH); }
    /// Without the '?'; empty if there is none.
    [[nodiscard]] std::string query() const { return get(CURLUPART_QUERY); }
    [[nodiscard]] bool has_user() const {
        return !get(CURLUPART_USER).empty() || !get(CURLUPART_PASSWORD).empty();
    }

    /// All of it, without the fragment. May hold secrets.
    [[nodiscard]] std::string text() const { return get(CURLUPART_URL); }
    /// For messages: no user, no password, and "..." for the query.
    [[nodiscard]] std::string shown() const {
        return from().text() + path() + (query().empty() ? "" : "?...");
    }

    /// libcurl's own form, for the transport.
    [[nodiscard]] CURLU* handle() const noexcept { return handle_.get(); }

    url(url const& other) : handle_{curl_url_dup(other.handle_.get())} { require(handle_.get()); }
    url& operator=(url const& other) {
        handle_ = std::move(url{other}.handle_);
        return *this;
    }
    url(url&&) noexcept = default;
    url& operator=(url&&) noexcept = default;
    ~url() = default;

  private:
    url(CURLU* base, std::string_view text) : handle_{base != nullptr ? curl_url_dup(base) : curl_url()} {
        require(handle_.get());
        for (char const c : text)
            if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7f)
                throw format_error{"parse URL", redacted(text), "has a blank or control character"};
        set(CURLUPART_URL, std::string{text}, 0);
        set(CURLUPART_FRAGMENT, {}, 0);
        if (auto const scheme = get(CURLUPART_SCHEME); scheme != "http" && scheme != "https")
            throw format_error{"parse URL", redacted(text), "is neither http nor https"};
    }

    static void require(CURLU* made) {
        if (made == nullptr) throw std::bad_alloc{};
    }
    static std::string redacted(std::string_view text) {
        auto const query = text.find_first_of("?@");
        return query == text.npos ? std::string{text} : std::string{text.substr(0, query)} + "...";
    }

    void set(CURLUPart part, std::string const& value, unsigned flags) {
        auto const result =
            curl_url_set(handle_.get(), part,
                         value.empty() && part == CURLUPART_FRAGMENT ? nullptr : value.c_str(), flags);
        if (result != CURLUE_OK) throw format_error{"parse URL", redacted(value), curl_url_strerror(result)};
    }
    [[nodiscard]] std::string get(CURLUPart part, unsigned flags = 0) const {
        char* text = nullptr;
        if (curl_url_get(handle_.get(), part, &text, flags) != CURLUE_OK) return {};
        std::unique_ptr<char, void (*)(void*)> const owned{text, curl_free};
        return text;
    }

    struct cleanup {
        void operator()(CURLU* handle) const noexcept { curl_url_cleanup(handle); }
    };
    std::unique_ptr<CURLU, cleanup> handle_;
};

} // namespace shiplap

// === shiplap/registry/http.hpp ===

// http: a request and its response, as transports pass them on.

namespace shiplap {

/// Header fields in their order. Names are compared without case (RFC 9110, 5.1).
class http_headers {
  public:
    using field = std::pair<std::string, std::string>;

    /// Throws format_error for a value with CR, LF or NUL: it would start another header.
    void add(std::string name, std::string value) {
        for (auto const* const part : {&name, &value})
            if (part->find_first_of(std::string_view{"\r\n\0", 3}) != std::string::npos)
                throw format_error{"set header", name, "the value has a line break or a NUL"};
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

// === shiplap/registry/concept.hpp ===

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

namespace shiplap {

template <class T>
concept sends_requests = requires(T& transport, http_request const& request) {
    { transport.send(request) } -> std::same_as<http_response>;
};

/// See the table above.
template <class T>
concept transport = std::movable<T> && sends_requests<T>;

} // namespace shiplap

// === shiplap/registry/curl.hpp ===

// All that needs libcurl: the registry folder in one include.
