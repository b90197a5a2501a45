#pragma once
// What shiplap has for registries, which needs libcurl, in one header. Made from include/ by single_include/amalgamate.py; edit there, not here.

#include <shiplap/shiplap.hpp>

#include <arpa/inet.h>
#include <cryptopp/base64.h>
#include <curl/curl.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <cmath>
#include <csignal>
#include <ctime>
#include <initializer_list>
#include <random>

// === shiplap/registry/address.hpp ===

// address: does an IP address lie in the public internet, or inside somebody's network?
//
// A registry's answer may name any host. What it names must not make us talk to services that only we can reach: so
// the address is judged that the socket will really connect to, after the name was resolved.

namespace shiplap {

/// An IPv4 or IPv6 address, without port and zone. IPv4 is kept in its mapped form, ::ffff:a.b.c.d.
class ip_address {
  public:
    /// From "10.0.0.1" or "fe80::1", without brackets; nothing if it is a name.
    static std::optional<ip_address> parse(std::string const& text) {
        ::in_addr four{};
        if (::inet_pton(AF_INET, text.c_str(), &four) == 1) return ip_address{four};
        ::in6_addr six{};
        if (::inet_pton(AF_INET6, text.c_str(), &six) == 1) return ip_address{six};
        return std::nullopt;
    }

    /// From what a socket connects to; nothing if that is no IP address. The memory may be larger than its type
    /// says, as sockaddr_storage is.
    static std::optional<ip_address> of(::sockaddr const& peer) {
        if (peer.sa_family == AF_INET) {
            ::sockaddr_in four{};
            std::memcpy(&four, &peer, sizeof four);
            return ip_address{four.sin_addr};
        }
        if (peer.sa_family == AF_INET6) {
            ::sockaddr_in6 six{};
            std::memcpy(&six, &peer, sizeof six);
            return ip_address{six.sin6_addr};
        }
        return std::nullopt;
    }

    /// Whether it is an ordinary address of the internet: not private, loopback, link-local, shared (CGNAT),
    /// multicast, for documentation, reserved, or a cloud's metadata service. An IPv6 address that stands for an IPv4
    /// address is judged by that one.
    [[nodiscard]] bool is_public() const noexcept {
        if (starts({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96)) return is_public_v4(12); // mapped
        if (starts({0}, 96)) return is_public_v4(12);                      // compatible; ::, ::1
        if (starts({0x00, 0x64, 0xff, 0x9b}, 96)) return is_public_v4(12); // NAT64
        if (starts({0x20, 0x02}, 16)) return is_public_v4(2);              // 6to4
        return starts({0x20}, 3)                        // global unicast: all that is not listed here is not,
               && !starts({0x20, 0x01, 0x00}, 23)       // Teredo, ORCHID, benchmarking
               && !starts({0x20, 0x01, 0x0d, 0xb8}, 32) // documentation
               && !starts({0x3f, 0xff, 0x00}, 20)       // documentation
               && !starts({0x3f, 0xfe}, 16);            // the old 6bone
    }

    [[nodiscard]] std::string text() const {
        char buffer[INET6_ADDRSTRLEN] = "";
        bool const four = starts({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96);
        ::inet_ntop(four ? AF_INET : AF_INET6, bytes_.data() + (four ? 12 : 0), buffer, sizeof buffer);
        return buffer;
    }

    friend bool operator==(ip_address const&, ip_address const&) = default;

  private:
    using prefix = std::array<std::uint8_t, 16>;

    explicit ip_address(::in_addr const& four) noexcept : bytes_{} {
        bytes_[10] = bytes_[11] = 0xff;
        std::memcpy(bytes_.data() + 12, &four, 4);
    }
    explicit ip_address(::in6_addr const& six) noexcept : bytes_{} { std::memcpy(bytes_.data(), &six, 16); }

    // The first `bits` bits from byte `at` on.
    [[nodiscard]] bool starts(prefix const& with, unsigned bits, std::size_t at = 0) const noexcept {
        for (std::size_t i = 0; bits != 0; ++i) {
            auto const here = bits < 8 ? bits : 8U;
            auto const mask = static_cast<unsigned>(0xff00U >> here) & 0xffU;
            if (((bytes_[at + i] ^ with[i]) & mask) != 0) return false;
            bits -= here;
        }
        return true;
    }

    // The IPv4 address in the four bytes from `at` on: what the IANA special-purpose registry does not list.
    [[nodiscard]] bool is_public_v4(std::size_t at) const noexcept {
        struct block {
            prefix start;
            unsigned bits;
        };
        static constexpr block special[] = {
            {{0}, 8},                 // this host
            {{10}, 8},                // private
            {{100, 64}, 10},          // shared between a provider's customers; 100.100.100.200 tells secrets
            {{127}, 8},               // loopback
            {{168, 63, 129, 16}, 32}, // public by its number, but the host of an Azure machine
            {{169, 254}, 16},         // link-local; 169.254.169.254 tells secrets
            {{172, 16}, 12},          // private
            {{192, 0, 0}, 24},        // protocol assignments
            {{192, 0, 2}, 24},        // documentation
            {{192, 88, 99}, 24},      // 6to4 relays
            {{192, 168}, 16},         // private
            {{198, 18}, 15},          // benchmarking
            {{198, 51, 100}, 24},     // documentation
            {{203, 0, 113}, 24},      // documentation
            {{224}, 3},               // multicast, reserved, broadcast
        };
        for (auto const& one : special)
            if (starts(one.start, one.bits, at)) return false;
        return true;
    }

    prefix bytes_; // network order
};

} // namespace shiplap

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

    /// With one more query parameter behind those that are there, percent-encoded, blanks as "+".
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

// === shiplap/registry/attempts.hpp ===

// attempts: how often something is tried that a transport cannot just send again.

namespace shiplap::detail {

/// For transports that do not repeat anything.
struct single_attempt {
    void wait_for_host() noexcept {}
    void progressed() noexcept {}
    template <class Failure>
    [[noreturn]] void failed(Failure const& failure) {
        throw failure;
    }
};

/// A session for the attempts at an upload or a download: that of the transport, if it is one that retries; else one
/// attempt.
template <transport T>
auto attempts_at(T& over, origin const& host) {
    if constexpr (requires { over.attempts_at(host); })
        return over.attempts_at(host);
    else
        return single_attempt{};
}

} // namespace shiplap::detail

// === shiplap/registry/challenge.hpp ===

// challenge: what a server wants to see before it answers, from its WWW-Authenticate headers (RFC 9110, 11.6.1).
//
//     Bearer realm="https://auth.r.io/token",service="r.io",scope="repository:app:pull,push", Basic realm="r.io"
//
// One header may name several schemes and several headers may come; both give one list. Values that are not quoted
// may hold more than the grammar allows, an address for instance, as some servers send them.

namespace shiplap {

/// Bytes of all WWW-Authenticate headers of one response that are read.
inline constexpr std::size_t max_challenge_size = 64 * 1024;

/// One way to authenticate that a server offers.
struct challenge {
    std::string scheme;                                            ///< lower case: "basic", "bearer"
    std::vector<std::pair<std::string, std::string>> parameters{}; ///< names in lower case, values unquoted
    std::string token68{}; ///< what some schemes have instead of parameters

    /// The parameter of that name (in lower case), or null.
    [[nodiscard]] std::string const* find(std::string_view name) const noexcept {
        for (auto const& [key, value] : parameters)
            if (key == name) return &value;
        return nullptr;
    }
    /// The same, or "".
    [[nodiscard]] std::string get(std::string_view name) const {
        auto const* const found = find(name);
        return found == nullptr ? std::string{} : *found;
    }
};

namespace detail {

class challenge_parser {
  public:
    explicit challenge_parser(std::string_view text) : text_{text} {}

    void read(std::vector<challenge>& into) {
        challenge* current = nullptr;
        for (skip(" \t,"); at_ < text_.size(); skip(" \t,")) {
            auto name = lower(word());
            if (name.empty()) refuse("a name is missing");
            auto const behind = at_;
            skip(" \t");
            if (next() == '=' && current != nullptr) {
                ++at_;
                skip(" \t");
                if (current->find(name) != nullptr) refuse("the parameter '" + name + "' comes twice");
                current->parameters.emplace_back(std::move(name), next() == '"' ? quoted() : plain());
            } else if (at_ < text_.size() && next() != ',' && at_ == behind) {
                refuse("neither a scheme nor a parameter");
            } else {
                current = &into.emplace_back(challenge{std::move(name)});
                current->token68 = token68();
            }
        }
    }

  private:
    [[nodiscard]] char next() const noexcept { return at_ < text_.size() ? text_[at_] : '\0'; }
    void skip(std::string_view blanks) noexcept {
        at_ = std::min(text_.find_first_not_of(blanks, at_), text_.size());
    }

    std::string_view take(std::size_t end) noexcept {
        end = std::min(end, text_.size());
        auto const found = text_.substr(at_, end - at_);
        at_ = end;
        return found;
    }
    std::string_view word() noexcept { return take(text_.find_first_not_of(token, at_)); }
    std::string plain() { return std::string{take(text_.find_first_of(" \t,", at_))}; }

    std::string quoted() {
        std::string value;
        for (++at_; at_ < text_.size(); ++at_) {
            char c = text_[at_];
            if (c == '"') {
                ++at_;
                return value;
            }
            if (c == '\\') {
                if (++at_ == text_.size()) break;
                c = text_[at_];
            }
            value += c;
        }
        refuse("a quoted value does not end");
    }

    // Only what ends the challenge: "a=" may start a parameter, too.
    std::string token68() {
        auto const start = at_;
        take(text_.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/",
                                     at_));
        if (at_ != start) skip("=");
        auto const found = text_.substr(start, at_ - start);
        skip(" \t");
        if (!found.empty() && (at_ == text_.size() || next() == ',')) return std::string{found};
        at_ = start;
        return {};
    }

    static std::string lower(std::string_view text) {
        std::string out{text};
        for (auto& c : out)
            if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        return out;
    }

    [[noreturn]] void refuse(std::string const& reason) const {
        throw format_error{"parse WWW-Authenticate", "", reason + " (at offset " + std::to_string(at_) + ")"};
    }

    static constexpr std::string_view token =
        "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    std::string_view text_;
    std::size_t at_ = 0;
};

} // namespace detail

/// All challenges of the headers with these values, in their order. Throws format_error for values that cannot be
/// understood in one way, and for more than max_challenge_size.
inline std::vector<challenge> parse_challenges(std::vector<std::string> const& values) {
    std::size_t size = 0;
    std::vector<challenge> found;
    for (auto const& value : values) {
        size += value.size();
        if (size > max_challenge_size)
            throw format_error{"parse WWW-Authenticate", "",
                               "larger than the limit of " + std::to_string(max_challenge_size) + " bytes"};
        detail::challenge_parser{value}.read(found);
    }
    return found;
}

inline std::vector<challenge> parse_challenges(http_headers const& headers) {
    return parse_challenges(headers.all("WWW-Authenticate"));
}

} // namespace shiplap

// === shiplap/registry/credential.hpp ===

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

// === shiplap/registry/credential_helper.hpp ===

// credential_helper: asks a program docker-credential-SUFFIX for a credential, as the docker command does: the server
// on its standard input, JSON with Username and Secret on its output.
//
// No shell is involved. The program gets ten seconds, then it and what it started are killed. Of the environment it
// gets what it may need to reach a key store or a cloud, and nothing else: see helper_may_see().

namespace shiplap {

/// Variables by name: what code that would call getenv() gets instead.
using environment = std::map<std::string, std::string, std::less<>>;

/// Those of this process, now.
inline environment process_environment() {
    environment found;
    for (char** one = ::environ; one != nullptr && *one != nullptr; ++one) {
        std::string_view const text{*one};
        if (auto const equals = text.find('='); equals != text.npos)
            found.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
    return found;
}

/// Whether a helper gets the variable: where things are, the user's session and key store, the proxy, and what belongs
/// to the cloud that it asks. Not, for instance, DOCKER_AUTH_CONFIG or the tokens of a build server.
inline bool helper_may_see(std::string_view name) {
    static constexpr std::array names{
        "PATH",       "HOME",        "USER",          "LOGNAME",
        "LANG",       "TZ",          "TMPDIR",        "DISPLAY",
        "XAUTHORITY", "HTTP_PROXY",  "HTTPS_PROXY",   "NO_PROXY",
        "http_proxy", "https_proxy", "no_proxy",      "WAYLAND_DISPLAY",
        "GNUPGHOME",  "ALL_PROXY",   "DOCKER_CONFIG", "DBUS_SESSION_BUS_ADDRESS",
        "all_proxy"};
    static constexpr std::array prefixes{"LC_",     "XDG_",     "GPG",    "PASSWORD_STORE_", "AWS_",
                                         "GOOGLE_", "CLOUDSDK", "AZURE_", "SSL_CERT"};
    auto const starts = [&](char const* prefix) { return name.starts_with(prefix); };
    return std::find(names.begin(), names.end(), name) != names.end() ||
           std::any_of(prefixes.begin(), prefixes.end(), starts);
}

namespace detail {

struct helper_outcome {
    int status = 0; ///< as of waitpid()
    bool in_time = true;
    bool too_long = false; ///< more came than was asked for
    std::string out{}, err{};
};

inline constexpr std::size_t max_helper_output = 64 * 1024;

/// A pipe of descriptors above the three that the program gets its own of.
struct helper_pipe {
    unique_fd read_end, write_end;
    helper_pipe() {
        std::array<int, 2> made{};
        if (::pipe2(made.data(), O_CLOEXEC) != 0) throw system_error{"pipe", "", errno};
        unique_fd const first{made[0]}, second{made[1]};
        read_end = unique_fd{::fcntl(first.get(), F_DUPFD_CLOEXEC, 3)};
        write_end = unique_fd{::fcntl(second.get(), F_DUPFD_CLOEXEC, 3)};
        if (!read_end || !write_end) throw system_error{"pipe", "", errno};
    }
};

/// The program in $PATH, or "".
inline std::string find_program(std::string const& name, environment const& env) {
    auto const path = env.find("PATH");
    std::string_view rest =
        path == env.end() ? std::string_view{"/usr/local/bin:/usr/bin:/bin"} : path->second;
    while (!rest.empty()) {
        auto const colon = std::min(rest.find(':'), rest.size());
        auto candidate = std::string{rest.substr(0, colon)} + "/" + name;
        // Relative directories would let the current one decide what runs.
        if (rest.starts_with('/') && ::access(candidate.c_str(), X_OK) == 0) return candidate;
        rest.remove_prefix(std::min(colon + 1, rest.size()));
    }
    return {};
}

/// Takes what has arrived; false at the end.
inline bool drain(int fd, std::string& into, helper_outcome& outcome) {
    for (std::array<char, 4096> buffer;
         ;) { // NOLINT(cppcoreguidelines-pro-type-member-init): filled by read()
        auto const n = retry_interrupted([&] { return ::read(fd, buffer.data(), buffer.size()); });
        if (n <= 0) return n < 0 && errno == EAGAIN;
        into.append(buffer.data(), static_cast<std::size_t>(n));
        if (into.size() > max_helper_output) {
            outcome.too_long = true;
            return false;
        }
    }
}

inline helper_outcome run_helper(std::string const& program, std::string_view input, environment const& env,
                                 std::chrono::milliseconds patience) {
    helper_pipe in, out, err;
    // All of it before there is a reader: it fits, and nobody can close the other end under it.
    write_fully(in.write_end.get(), as_bytes(input), program);
    in.write_end = unique_fd{};
    for (auto const* const one : {&out, &err}) ::fcntl(one->read_end.get(), F_SETFL, O_NONBLOCK);

    std::vector<std::string> variables;
    for (auto const& [name, value] : env)
        if (helper_may_see(name)) variables.emplace_back(name).append("=").append(value);
    std::vector<char*> envp;
    envp.reserve(variables.size() + 1);
    for (auto& one : variables) envp.push_back(one.data());
    envp.push_back(nullptr);
    std::string name = program, verb = "get";
    std::array<char*, 3> argv{name.data(), verb.data(), nullptr};

    ::posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, in.read_end.get(), 0);
    ::posix_spawn_file_actions_adddup2(&actions, out.write_end.get(), 1);
    ::posix_spawn_file_actions_adddup2(&actions, err.write_end.get(), 2);
    ::posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    ::sigset_t none, all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    ::posix_spawnattr_setpgroup(&attributes, 0); // so that all of it can be killed
    ::posix_spawnattr_setflags(&attributes,
                               POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    ::pid_t pid = 0;
    int const failure = ::posix_spawn(&pid, program.c_str(), &actions, &attributes, argv.data(), envp.data());
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
    if (failure != 0) throw system_error{"run", program, failure};
    out.write_end = unique_fd{};
    err.write_end = unique_fd{};

    // A daemon that the helper started may keep the pipes open, so the end of the process counts, not theirs.
    helper_outcome outcome;
    auto const deadline = std::chrono::steady_clock::now() + patience;
    bool out_open = true, err_open = true;
    for (;;) {
        auto const ended = retry_interrupted([&] { return ::waitpid(pid, &outcome.status, WNOHANG); });
        if (out_open) out_open = drain(out.read_end.get(), outcome.out, outcome);
        if (err_open) err_open = drain(err.read_end.get(), outcome.err, outcome);
        if (ended != 0)
            return outcome; // or nobody may wait here (SIGCHLD is ignored): then the output decides
        outcome.in_time = std::chrono::steady_clock::now() < deadline;
        if (!outcome.in_time || outcome.too_long) break;
        std::array<::pollfd, 2> wait{{{out_open ? out.read_end.get() : -1, POLLIN, 0},
                                      {err_open ? err.read_end.get() : -1, POLLIN, 0}}};
        ::poll(wait.data(), wait.size(), 5); // milliseconds; also how long an end may go unnoticed
    }
    ::kill(-pid, SIGKILL);
    retry_interrupted([&] { return ::waitpid(pid, nullptr, 0); });
    return outcome;
}

/// parse_json() for what holds secrets: its messages do not quote the text.
inline json parse_secret_json(std::string_view text, std::string const& subject) {
    try {
        return parse_json(text, subject);
    } catch (format_error const& found) {
        auto const& reason = found.reason();
        throw format_error{found.operation(), subject, reason.substr(0, reason.find("; last read"))};
    }
}

} // namespace detail

/// What docker-credential-`suffix` has for `server`; none if it says that it has nothing. Throws credential_error,
/// which names the program and tells its words, if it is missing, fails, or says something else.
inline std::optional<credential>
ask_credential_helper(std::string const& suffix, std::string const& server, environment const& env,
                      std::chrono::milliseconds patience = std::chrono::seconds{10}) {
    auto const name = "docker-credential-" + suffix;
    auto const fail = [&](std::string reason) {
        return credential_error{"ask credential helper", name, std::move(reason)};
    };
    auto const allowed = [](char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
               c == '.' || c == '-';
    };
    if (suffix.empty() || !std::all_of(suffix.begin(), suffix.end(), allowed))
        throw fail("a helper's name has letters, digits, '_', '.' and '-' only");
    if (server.size() > 4096) throw fail("the name of the server is too long");
    auto const program = detail::find_program(name, env);
    if (program.empty()) throw fail("there is no such program in $PATH");

    auto const outcome = detail::run_helper(program, server, env, patience);
    if (!outcome.in_time)
        throw fail("no answer within " + std::to_string(patience.count()) + " ms; it was killed");
    if (outcome.too_long)
        throw fail("says more than " + std::to_string(detail::max_helper_output) + " bytes");
    if (outcome.status != 0) {
        if (outcome.out.find("credentials not found") != std::string::npos ||
            outcome.err.find("credentials not found") != std::string::npos)
            return {};
        auto words =
            outcome.out.find_first_not_of(" \r\n\t") == std::string::npos ? outcome.err : outcome.out;
        words = words.substr(0, std::min<std::size_t>(words.find_last_not_of(" \r\n\t") + 1, 400));
        auto const how = WIFEXITED(outcome.status)
                             ? "exit status " + std::to_string(WEXITSTATUS(outcome.status))
                             : "ended by signal " + std::to_string(WTERMSIG(outcome.status));
        throw fail(how + (words.empty() ? "" : ": " + printable(words)));
    }
    try {
        auto const document = detail::parse_secret_json(outcome.out, name);
        json_node const root{document, name};
        auto found = detail::credential_of(root.text_of("Username"), root.text_of("Secret"), name);
        return found.empty() ? std::nullopt : std::optional{std::move(found)};
    } catch (format_error const& found) {
        throw fail("its answer is not what the protocol says: " + found.reason());
    }
}

} // namespace shiplap

// === shiplap/registry/credential_file.hpp ===

// credential_file: the files in which docker (config.json) and podman (auth.json) keep logins, and which of their
// entries belongs to a registry.
//
//     {"auths": {"r.io":      {"auth": "dXNlcjpwYXNzd29yZA=="},       base64 of user:password
//                "r.io/team": {"identitytoken": "..."},               podman: for repositories below team/
//                "https://index.docker.io/v1/": {}},                  Docker Hub; empty: the store has it
//      "credHelpers": {"gcr.io": "gcloud"}, "credsStore": "secretservice"}
//
// Keys are compared by host and port, in lower case: their scheme, the paths /v1/ and /v2/ and the port of the scheme
// do not count. All names of Docker Hub are one.

namespace shiplap {

namespace detail {

/// The names of Docker Hub in files, and that of its registry.
inline bool is_docker_hub(std::string_view host) noexcept {
    return host == "docker.io" || host == "index.docker.io" || host == "registry-1.docker.io";
}

/// A key of a file, or the registry and repository that one is looked for.
struct credential_key {
    std::string host; ///< "r.io:5000"; that of Docker Hub is "docker.io"
    std::string path; ///< "team/app", or empty

    static credential_key of(registry_access const& access) {
        auto host = access.registry.authority();
        // Its credentials are for everyone who can read the network, if it is asked without TLS.
        if (is_docker_hub(host) && access.registry.is_https()) host = "docker.io";
        return {std::move(host), access.repository};
    }

    static credential_key read(std::string_view text, origin const& registry) {
        for (std::string_view const scheme : {"https://", "http://"})
            if (text.starts_with(scheme)) text.remove_prefix(scheme.size());
        auto const slash = std::min(text.find('/'), text.size());
        std::string host{text.substr(0, slash)}, path{text.substr(std::min(slash + 1, text.size()))};
        for (auto& c : host)
            if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        std::string_view const usual = registry.is_https() ? ":443" : ":80";
        if (host.ends_with(usual)) host.resize(host.size() - usual.size());
        if (is_docker_hub(host)) host = "docker.io";
        while (path.ends_with('/')) path.pop_back();
        if (path == "v1" || path == "v2") path.clear();
        return {std::move(host), std::move(path)};
    }

    /// Whether an entry under this key is for `wanted`.
    [[nodiscard]] bool covers(credential_key const& wanted) const {
        return host == wanted.host &&
               (path.empty() || wanted.path == path || wanted.path.starts_with(path + "/"));
    }
};

/// How docker names a registry to its helpers.
inline std::string helper_server(registry_access const& access) {
    auto const wanted = credential_key::of(access);
    if (wanted.host == "docker.io") return "https://index.docker.io/v1/";
    auto const written = credential_key::read(access.name, access.registry);
    return written.host == wanted.host && written.path.empty() ? access.name : wanted.host;
}

/// One entry of "auths"; an empty credential for an empty entry.
inline credential read_auth_entry(json_node const& entry, std::string const& file) {
    credential found;
    if (auto text = entry.text_of("auth"); !text.empty()) {
        auto plain = from_base64(text);
        auto const colon = plain ? plain->find(':') : std::string::npos;
        if (colon == std::string::npos) entry["auth"].refuse("is not the base64 of user:password");
        plain->resize(std::max(plain->find_last_not_of('\0') + 1, colon + 1)); // some writers pad with NUL
        found = credential_of(plain->substr(0, colon), plain->substr(colon + 1), file);
    } else {
        found = credential_of(entry.text_of("username"), entry.text_of("password"), file);
    }
    if (auto token = entry.text_of("identitytoken"); !token.empty())
        found.identity_token = secret{std::move(token)};
    if (auto token = entry.text_of("registrytoken"); !token.empty())
        found.registry_token = secret{std::move(token)};
    return found;
}

} // namespace detail

/// The credential that the text of such a file has for a registry, which may mean to ask a helper. `file` names it in
/// messages. In this order:
///   1. the entry with the longest path that leads to the repository
///   2. the helper for the host
///   3. the store
///   4. the entry of the host alone
/// Throws format_error for a text that is no such file, credential_error if the helper fails.
inline std::optional<credential> find_in_credential_file(std::string_view text, std::string const& file,
                                                         registry_access const& access,
                                                         environment const& env) {
    auto const document = detail::parse_secret_json(text, file);
    json_node const root{document, file};
    auto const wanted = detail::credential_key::of(access);

    credential best, of_host;
    std::size_t longest = 0;
    if (auto const auths = root["auths"])
        for (auto const& [key, value] : auths.object()) {
            auto const found = detail::credential_key::read(key, access.registry);
            if (!found.covers(wanted) || value.is_null()) continue;
            auto entry = detail::read_auth_entry(auths[key], file);
            if (entry.empty()) continue;
            if (found.path.size() > longest) {
                longest = found.path.size();
                best = std::move(entry);
            } else if (found.path.empty() && of_host.empty()) {
                of_host = std::move(entry);
            }
        }
    if (!best.empty()) return best;

    std::string helper;
    if (auto const helpers = root["credHelpers"])
        for (auto const& [key, value] : helpers.object())
            if (auto const found = detail::credential_key::read(key, access.registry);
                found.path.empty() && found.host == wanted.host)
                helper = helpers[key].text();
    if (helper.empty()) helper = root.text_of("credsStore");
    if (!helper.empty())
        if (auto found = ask_credential_helper(helper, detail::helper_server(access), env)) return found;
    return of_host.empty() ? std::nullopt : std::optional{std::move(of_host)};
}

} // namespace shiplap

// === shiplap/registry/credentials.hpp ===

// credentials: the logins that docker and podman have stored on this machine.
//
//   $DOCKER_AUTH_CONFIG                                  the text of a config.json itself
//   $REGISTRY_AUTH_FILE                                  a file
//   $DOCKER_CONFIG/config.json                           or ~/.docker/config.json
//   ${XDG_RUNTIME_DIR}/containers/auth.json              or /run/containers/UID/auth.json
//   ${XDG_CONFIG_HOME:-~/.config}/containers/auth.json
//
// They are asked in this order, and the first that has something for the registry decides; what a variable names thus
// comes before what merely lies around. A file that does not exist has nothing. One that cannot be read or is no JSON
// is an error: going on without it could mean a push as somebody else.
//
// Files are read each time that something is looked for, which happens once for a repository and its token, so that a
// login during a long push counts.

namespace shiplap {

/// See the table above.
class configured_credentials {
  public:
    /// As the environment of this process says now.
    configured_credentials() : configured_credentials{process_environment()} {}
    explicit configured_credentials(environment env) : env_{std::move(env)} {}

    [[nodiscard]] std::optional<credential> find(registry_access const& access) const {
        if (auto const text = value("DOCKER_AUTH_CONFIG"); !text.empty())
            if (auto found = find_in_credential_file(text, "$DOCKER_AUTH_CONFIG", access, env_)) return found;
        for (auto const& file : files()) {
            auto const text = text_of(file);
            if (text.find_first_not_of(" \t\r\n") == text.npos)
                continue; // as podman leaves it behind, at times
            if (auto found = find_in_credential_file(text, file, access, env_)) return found;
        }
        return {};
    }

    /// Where find() looks, in its order.
    [[nodiscard]] std::vector<std::string> places() const {
        auto found = files();
        if (!value("DOCKER_AUTH_CONFIG").empty()) found.insert(found.begin(), "$DOCKER_AUTH_CONFIG");
        return found;
    }

  private:
    [[nodiscard]] std::string value(std::string_view name) const {
        auto const found = env_.find(name);
        return found == env_.end() ? std::string{} : found->second;
    }

    [[nodiscard]] std::vector<std::string> files() const {
        std::vector<std::string> found;
        auto const home = value("HOME");
        auto const add = [&](std::string const& folder, std::string const& name) {
            if (!folder.empty()) found.push_back(folder + name);
        };
        // Of a variable or, without it, of a folder in the home directory.
        auto const folder = [&](std::string_view variable, std::string const& otherwise) {
            auto const named = value(variable);
            return named.empty() && !home.empty() ? home + otherwise : named;
        };
        auto const runtime = value("XDG_RUNTIME_DIR");
        add(value("REGISTRY_AUTH_FILE"), "");
        add(folder("DOCKER_CONFIG", "/.docker"), "/config.json");
        add(runtime.empty() ? "/run/containers/" + std::to_string(::getuid()) : runtime + "/containers",
            "/auth.json");
        add(folder("XDG_CONFIG_HOME", "/.config"), "/containers/auth.json");
        return found;
    }

    static std::string text_of(std::string const& file) {
        try {
            return read_file(file, max_document_size);
        } catch (system_error const& failure) {
            if (failure.number() == ENOENT || failure.number() == ENOTDIR) return {};
            throw;
        }
    }

    environment env_;
};

} // namespace shiplap

// === shiplap/registry/scope.hpp ===

// scope: what a bearer token allows (distribution, "Token Scope Documentation").
//
//     repository:library/app:pull,push
//
// The name lies between the first colon and the last: it may have colons itself, as in r.io:5000/app.

namespace shiplap {

namespace detail {

/// Calls `take` for what lies between the separators, unless that is empty.
template <class Take>
void each_part(std::string_view text, char separator, Take const& take) {
    while (!text.empty()) {
        auto const part = text.substr(0, text.find(separator));
        if (!part.empty()) take(part);
        text.remove_prefix(part.size() == text.size() ? part.size() : part.size() + 1);
    }
}

} // namespace detail

/// One scope for each resource, sorted, with all its actions, sorted: two lists that mean the same get equal. Each of
/// `scopes` may be several, with blanks in between, as challenges have them. What is no scope stays as it is.
inline std::vector<std::string> merged_scopes(std::vector<std::string> const& scopes) {
    std::map<std::string, std::set<std::string>, std::less<>> resources;
    auto const add = [&](std::string_view scope) {
        auto const last = scope.rfind(':');
        bool const whole = last != scope.npos && scope.find(':') != last;
        auto& actions = resources[std::string{whole ? scope.substr(0, last) : scope}];
        if (whole)
            detail::each_part(scope.substr(last + 1), ',',
                              [&](std::string_view action) { actions.emplace(action); });
    };
    for (auto const& one : scopes) detail::each_part(one, ' ', add);

    std::vector<std::string> merged;
    for (auto const& [resource, actions] : resources) {
        auto scope = resource;
        for (auto const& action : actions)
            scope.append(scope.size() == resource.size() ? ":" : ",").append(action);
        merged.push_back(std::move(scope));
    }
    return merged;
}

} // namespace shiplap

// === shiplap/registry/shared_authorization.hpp ===

// shared_authorization: what is sent as an Authorization header, for many threads, of which one at a time renews it.

namespace shiplap {

namespace detail {

/// The value of an Authorization header, and until when.
struct authorization {
    using time = std::chrono::steady_clock::time_point;
    secret header{}; ///< empty: there is no credential, send nothing
    time renew_at = time::max(), ends_at = time::max();
    std::string user{};    ///< for messages
    bool is_fixed = false; ///< a password or token of the user, which nobody renews
};

/// The exception that is being handled, for several threads to throw: each a copy of its own, for who catches it may
/// add to its text.
template <class E, class... More>
std::function<void()> current_failure() {
    try {
        throw;
    } catch (E const& failure) {
        return [failure] { throw failure; };
    } catch (...) {
        if constexpr (sizeof...(More) != 0)
            return current_failure<More...>();
        else
            return [failure = std::current_exception()] { std::rethrow_exception(failure); };
    }
}

/// One authorization that many threads use and one at a time renews.
class shared_authorization {
  public:
    /// `serial` tells it from the ones before and after it; 0 is none.
    struct copy {
        authorization what{};
        std::uint64_t serial = 0;
    };

    /// The present one unless that is `refused`, or too old; else what `make` returns. Who finds another thread at it
    /// waits, and shares what comes of it, be it an exception.
    template <class Clock, class Make>
    copy get(std::uint64_t refused, Clock const& now, Make&& make) {
        std::unique_lock lock{mutex_};
        auto const usable = [&](authorization::time until) {
            return serial_ != 0 && serial_ != refused && now() < until;
        };
        if (usable(present_.renew_at)) return {present_, serial_};
        if (making_) {
            if (usable(present_.ends_at)) return {present_, serial_}; // the last fifth of its life
            auto const before = rounds_;
            done_.wait(lock, [&] { return rounds_ != before; });
            if (failure_) std::function<void()>{failure_}();
            return {present_, serial_};
        }
        making_ = true;
        lock.unlock();
        std::function<void()> failure;
        authorization made;
        try {
            made = make();
        } catch (...) {
            failure = current_failure<registry_error, transport_error, credential_error, format_error,
                                      system_error>();
        }
        lock.lock();
        making_ = false;
        ++rounds_;
        failure_ = failure;
        if (!failure) {
            replaced_refused_ = refused != 0;
            accepted_ = false;
            present_ = std::move(made);
            ++serial_;
        }
        done_.notify_all();
        if (failure && !usable(present_.ends_at)) failure();
        return {present_, serial_};
    }

    /// The registry took it.
    void accepted(std::uint64_t serial) {
        std::lock_guard lock{mutex_};
        if (serial == serial_) accepted_ = true;
    }
    /// Whether it came in the place of one that was refused, and was never taken itself.
    bool is_hopeless(std::uint64_t serial) {
        std::lock_guard lock{mutex_};
        return serial == serial_ && replaced_refused_ && !accepted_;
    }

  private:
    std::mutex mutex_;
    std::condition_variable done_;
    authorization present_;
    std::uint64_t serial_ = 0, rounds_ = 0;
    std::function<void()> failure_; ///< of the last round
    bool making_ = false, replaced_refused_ = false, accepted_ = false;
};

} // namespace detail

} // namespace shiplap

// === shiplap/registry/refusal.hpp ===

// refusal: what a registry says when it does not do what it was asked for, as an error that a person can act on.
//
// Bodies follow distribution-spec, "Error Codes": {"errors":[{"code":"DENIED","message":"...","detail":...}]}; but
// proxies answer with HTML, and some with nothing.

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

// === shiplap/registry/token.hpp ===

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

// === shiplap/registry/authenticated.hpp ===

// authenticated: a transport that logs in.
//
//     authenticated registry{curl_transport{}};                      // with the logins stored on this machine
//     authenticated other{curl_transport{}, fixed_credentials{where, {"me", secret{"x"}}}};
//
// Only requests to the registry itself (request.access.registry) are touched: what goes elsewhere, after a redirect or
// to the upload address of another host, is passed on as it is, and a 401 from there is an answer like any other.
//
// The first request goes out bare, and others wait for its answer, unless it has a body. What the registry wants is
// learned from its 401; from then on, requests carry their token at once. Tokens are kept for each repository and set
// of scopes, and renewed when four fifths of their life have passed. However many threads want the same one, one asks
// for it and the others wait.
//
// A 401 in spite of a token renews it once and sends the request again, if that is repeatable. If it is not, the 401
// is returned, and who sends it again will do so with the new token. What is refused then is an error.

namespace shiplap {

namespace detail {

/// What a registry asks for.
struct login_method {
    std::optional<url> realm{}; ///< of a token service; none: the Basic scheme
    std::string service{};
};

} // namespace detail

/// See the top of this file. Copies share what they know. Throws, on top of what T throws: registry_error with the
/// status 401 or 403 if the registry or its token service does not accept the login, what credential sources throw,
/// and format_error for challenges that cannot be read.
template <transport T, credential_source C = configured_credentials>
class authenticated {
  public:
    using clock = std::function<std::chrono::steady_clock::time_point()>;

    explicit authenticated(T through, C credentials = C{}, clock now = std::chrono::steady_clock::now)
        : shared_{std::make_shared<shared>(std::move(through), std::move(credentials), std::move(now))} {}

    http_response send(http_request const& request) {
        auto const& access = request.access;
        if (request.target.from() != access.registry || request.headers.find("Authorization") != nullptr)
            return shared_->through.send(request);

        probe first{*shared_};
        auto const used = known(request, first);
        auto response = send_with(request, used);
        if (response.status != 401) {
            first.found_open();
            return response;
        }
        auto const offered = challenges_of(response, access);
        auto const words = read_text(response, max_document);
        auto const* const chosen = choose(offered);
        if (chosen == nullptr) {
            if (!offered.empty())
                throw detail::authentication_failure(
                    access,
                    "it wants the scheme '" + printable(offered.front().scheme) + "', which is not known",
                    401);
            response.body = any_byte_source{text_source{words}};
            return response;
        }
        auto const fresh = learn(access, *chosen, used, words);
        if (!request.repeatable) {
            response.body = any_byte_source{text_source{words}};
            return response;
        }
        response = send_with(request, fresh);
        if (response.status == 401) throw turned_down(access, fresh, response);
        return response;
    }

  private:
    static constexpr std::size_t max_document = 64 * 1024;

    /// An authorization in use.
    struct grant {
        std::shared_ptr<detail::shared_authorization> from{}; ///< null: none was asked for
        detail::shared_authorization::copy now{};
        std::vector<std::string> scopes{};
    };

    using authorization_key =
        std::tuple<origin, std::string, std::string, std::string, std::vector<std::string>>;
    struct shared {
        shared(T t, C c, clock n) : through{std::move(t)}, credentials{std::move(c)}, now{std::move(n)} {}
        T through;
        C credentials;
        clock now;
        std::mutex mutex; ///< of all below
        std::condition_variable probe_ended;
        std::set<origin> probed{},
            open{}; ///< the first request is on its way; it was answered without a login
        std::map<origin, detail::login_method> methods{};
        /// What a challenge named on top of the scopes that were asked for.
        std::map<std::tuple<origin, std::string, std::vector<std::string>>, std::vector<std::string>>
            more_scopes{};
        std::map<authorization_key, std::shared_ptr<detail::shared_authorization>> authorizations{};
    };

    /// The first request to a registry: ends with what tells the others how to go on.
    class probe {
      public:
        explicit probe(shared& in) : in_{in} {}
        probe(probe const&) = delete;
        probe& operator=(probe const&) = delete;
        ~probe() {
            if (!where_) return;
            {
                std::lock_guard lock{in_.mutex};
                in_.probed.erase(*where_);
            }
            in_.probe_ended.notify_all();
        }
        /// False if another one is on its way. Under the lock.
        bool start(origin const& where) {
            if (in_.probed.insert(where).second) where_ = where;
            return where_.has_value();
        }
        void found_open() {
            if (!where_) return;
            std::lock_guard lock{in_.mutex};
            in_.open.insert(*where_);
        }

      private:
        shared& in_;
        std::optional<origin> where_{};
    };

    static std::vector<challenge> challenges_of(http_response const& response,
                                                registry_access const& access) {
        try {
            return parse_challenges(response.headers);
        } catch (format_error const& failure) {
            throw detail::authentication_failure(
                access, "what it wants cannot be understood: " + printable(failure.reason()), 401);
        }
    }

    static challenge const* choose(std::vector<challenge> const& offered) {
        for (auto const& one : offered)
            if (one.scheme == "bearer" && one.find("realm") != nullptr) return &one;
        for (auto const& one : offered)
            if (one.scheme == "basic") return &one;
        return nullptr;
    }

    http_response send_with(http_request const& request, grant const& used) {
        auto const& header = used.now.what.header;
        if (header.empty()) return shared_->through.send(request);
        auto copy = request;
        copy.headers.set("Authorization", header.reveal());
        auto response = shared_->through.send(copy);
        if (response.status != 401) used.from->accepted(used.now.serial);
        return response;
    }

    /// What earlier answers of the registry say that a request needs.
    grant known(http_request const& request, probe& first) {
        auto const& access = request.access;
        std::unique_lock lock{shared_->mutex};
        auto method = shared_->methods.find(access.registry);
        while (method == shared_->methods.end()) {
            if (request.body || shared_->open.contains(access.registry) || first.start(access.registry))
                return {};
            shared_->probe_ended.wait(lock);
            method = shared_->methods.find(access.registry);
        }
        auto scopes = merged_scopes(access.scopes);
        auto const more = shared_->more_scopes.find({access.registry, access.repository, scopes});
        if (more != shared_->more_scopes.end()) scopes = more->second;
        auto const copy = method->second;
        lock.unlock();
        return acquire(access, copy, std::move(scopes), 0);
    }

    /// After a 401: notes what is wanted and gets it.
    grant learn(registry_access const& access, challenge const& wanted, grant const& used,
                std::string const& words) {
        detail::login_method method;
        auto scopes = merged_scopes(access.scopes);
        auto const asked = scopes;
        if (wanted.scheme == "bearer") {
            method = {detail::realm_of(wanted, access), wanted.get("service")};
            scopes.push_back(wanted.get("scope"));
            scopes = merged_scopes(scopes);
            if (used.from && used.scopes == scopes && wanted.get("error") == "insufficient_scope")
                throw not_granted(access, used, words);
        }
        {
            std::lock_guard lock{shared_->mutex};
            shared_->methods.insert_or_assign(access.registry, method);
            if (scopes != asked)
                shared_->more_scopes.insert_or_assign({access.registry, access.repository, asked}, scopes);
        }
        auto const again = entry(access, method, scopes);
        bool const is_used = used.from == again;
        if (is_used && again->is_hopeless(used.now.serial)) throw refused(access, used, words);
        auto fresh = acquire(access, method, std::move(scopes), is_used ? used.now.serial : 0);
        if (fresh.now.what.header.empty()) throw login_missing(access);
        if (is_used && fresh.now.what.is_fixed && fresh.now.what.header == used.now.what.header)
            throw refused(access, used, words); // the same password would be refused again
        return fresh;
    }

    std::shared_ptr<detail::shared_authorization> entry(registry_access const& access,
                                                        detail::login_method const& method,
                                                        std::vector<std::string> const& scopes) {
        std::lock_guard lock{shared_->mutex};
        auto& found =
            shared_->authorizations[method.realm
                                        ? authorization_key{access.registry, access.repository,
                                                            method.realm->text(), method.service, scopes}
                                        : authorization_key{access.registry, access.repository, {}, {}, {}}];
        if (!found) found = std::make_shared<detail::shared_authorization>();
        return found;
    }

    grant acquire(registry_access const& access, detail::login_method const& method,
                  std::vector<std::string> scopes, std::uint64_t refused) {
        auto from = entry(access, method, scopes);
        auto now = from->get(refused, shared_->now, [&] { return make(access, method, scopes); });
        return {std::move(from), std::move(now), std::move(scopes)};
    }

    detail::authorization make(registry_access const& access, detail::login_method const& method,
                               std::vector<std::string> const& scopes) {
        auto const who = shared_->credentials.find(access);
        detail::authorization made;
        made.is_fixed = true;
        if (who) made.user = who->user;
        if (who && !who->registry_token.empty()) {
            made.header = secret{"Bearer " + who->registry_token.reveal()};
        } else if (method.realm) {
            made.is_fixed = false;
            auto const start = shared_->now(); // a token may be older than its answer, never younger
            auto const token =
                fetch_token(shared_->through, access, {*method.realm, method.service, scopes}, who);
            made.header = secret{"Bearer " + token.value.reveal()};
            made.renew_at = start + token.lifetime * 4 / 5;
            made.ends_at = start + token.lifetime;
        } else if (who && !who->user.empty()) {
            made.header = secret{detail::basic_authorization(*who)};
        }
        return made;
    }

    static std::string user_of(grant const& used) {
        auto const& user = used.now.what.user;
        return user.empty() ? " (without a user name)" : " (as user '" + printable(user) + "')";
    }

    /// Though it was given what it had asked for.
    registry_error turned_down(registry_access const& access, grant const& used, http_response& response) {
        auto const offered = challenges_of(response, access);
        auto const* const chosen = choose(offered);
        auto const words = read_text(response, max_document);
        if (chosen != nullptr && chosen->get("error") == "insufficient_scope")
            return not_granted(access, used, words);
        return refused(access, used, words);
    }

    /// The token service knows the user, and gives out tokens that allow less than was asked for.
    static registry_error not_granted(registry_access const& access, grant const& used,
                                      std::string const& words) {
        auto const& user = used.now.what.user;
        auto const login = "'docker login " + detail::registry_name(access) + "'";
        auto reason = "access to '" + printable(access.repository) + "' is denied ";
        reason += user.empty() ? "without a login: use " + login
                               : "to the user '" + printable(user) + "': check the name, or use " + login +
                                     " to be somebody else";
        return detail::authentication_failure(access, std::move(reason), 401, words);
    }

    registry_error refused(registry_access const& access, grant const& used, std::string const& words) {
        auto const name = detail::registry_name(access);
        auto const& header = used.now.what.header.reveal();
        bool const gives_away = words.find(header.substr(header.find(' ') + 1)) != std::string::npos;
        return detail::authentication_failure(access,
                                              "it does not accept the login" + user_of(used) +
                                                  ": log in with 'docker login " + name +
                                                  "', or check the password",
                                              401, gives_away ? std::string{} : words);
    }

    registry_error login_missing(registry_access const& access) {
        auto reason =
            "it wants a login, and there is none: use 'docker login " + detail::registry_name(access) + "'";
        if constexpr (requires(C const& source) { source.places(); }) {
            std::string places;
            for (auto const& place : shared_->credentials.places())
                places += (places.empty() ? "" : ", ") + place;
            if (!places.empty()) reason += " (looked in " + printable(places) + ")";
        }
        return detail::authentication_failure(access, std::move(reason), 401);
    }

    std::shared_ptr<shared> shared_;
};

} // namespace shiplap

// === shiplap/registry/certificates.hpp ===

// certificates: which certificates a registry needs, from the folders where Docker and Podman look for them.
//
//     /etc/docker/certs.d/r.io:5000/ca.crt         *.crt          a further authority to trust
//                                   client.cert    X.cert, X.key  with which we prove who we are
//
// Of the folders for a host the first that can be read counts, and none is mixed with another.

namespace shiplap {

/// Paths of PEM files that belong together.
struct client_certificate {
    std::string certificate, key;
    friend bool operator==(client_certificate const&, client_certificate const&) = default;
};

/// What a host needs beyond the system's store.
struct host_certificates {
    std::string folder{};                      ///< where the others were found; empty: nowhere
    std::vector<std::string> authorities{};    ///< paths of PEM files, sorted
    std::vector<client_certificate> clients{}; ///< sorted
};

/// Where folders named after hosts are looked for, the user's own before the system's.
inline std::vector<std::string> certificate_roots() {
    auto const from_environment = [](char const* name) {
        auto const* const value = std::getenv(name);
        return std::string{value == nullptr ? "" : value};
    };
    std::vector<std::string> roots;
    auto const home = from_environment("HOME");
    auto config = from_environment("XDG_CONFIG_HOME"); // Docker minds it, Podman does not
    if (config.empty() && !home.empty()) config = home + "/.config";
    if (!home.empty()) roots.push_back(home + "/.config/containers/certs.d");
    if (!config.empty()) roots.push_back(config + "/docker/certs.d");
    roots.emplace_back("/etc/containers/certs.d");
    roots.emplace_back("/etc/docker/certs.d");
    return roots;
}

namespace detail {

/// How a folder for this origin may be called.
inline std::vector<std::string> certificate_folder_names(origin const& of) {
    auto const host = of.host.find(':') == std::string::npos ? of.host : "[" + of.host + "]";
    std::vector<std::string> names{host + ":" + std::to_string(of.port)};
    if (of.authority() == host) names.push_back(host);
    return names;
}

inline void need_partner(std::string const& path, std::string const& partner, std::string_view what) {
    std::error_code ignored;
    if (!std::filesystem::exists(partner, ignored))
        throw error{error_code::not_found, "use", path,
                    std::string{what} + " is missing: expected '" + printable(partner) + "'"};
}

} // namespace detail

/// Certificates for an https origin, from the first folder there is among `roots`; empty for http. Throws
/// error (not_found) for a certificate without key, or a key without certificate.
inline host_certificates find_certificates(origin const& of,
                                           std::vector<std::string> const& roots = certificate_roots()) {
    host_certificates found;
    if (!of.is_https()) return found;
    std::vector<std::string> folders;
    for (auto const& root : roots)
        for (auto const& name : detail::certificate_folder_names(of)) {
            folders.push_back(root);
            folders.back().append("/").append(name);
        }
    for (auto const& folder : folders) {
        // What cannot be read is somebody else's: root's folders often are, and other places may serve us.
        std::error_code failed;
        std::filesystem::directory_iterator entries{folder, failed};
        if (failed) continue;
        found.folder = folder;
        for (auto const& entry : entries) {
            auto const& path = entry.path();
            if (path.extension() == ".crt") found.authorities.push_back(path.string());
            auto partner = path;
            if (path.extension() == ".cert") {
                detail::need_partner(path, partner.replace_extension(".key"), "the key of this certificate");
                found.clients.push_back({path.string(), partner.string()});
            } else if (path.extension() == ".key") {
                detail::need_partner(path, partner.replace_extension(".cert"), "the certificate of this key");
            }
        }
        std::ranges::sort(found.authorities);
        std::ranges::sort(found.clients, {}, &client_certificate::certificate);
        break;
    }
    return found;
}

} // namespace shiplap

// === shiplap/registry/curl_proxy.hpp ===

// curl_proxy: does a socket lead to the proxy that the environment names?

namespace shiplap::detail {

inline std::string variable(std::initializer_list<char const*> names) {
    for (auto const* const name : names)
        if (auto const* const value = std::getenv(name); value != nullptr && *value != '\0') return value;
    return {};
}

/// In network order; at the same place in the addresses of both families.
inline std::uint16_t port_of(::sockaddr const& address) noexcept {
    ::sockaddr_in four{};
    std::memcpy(&four, &address, sizeof four);
    return four.sin_port;
}

/// The environment's proxy for this origin, as libcurl chooses it; NO_PROXY is not considered. Empty: none.
inline std::string proxy_for(origin const& to) {
    // Programs that servers run get a request's "Proxy:" header as HTTP_PROXY: nobody reads that one.
    auto proxy = to.is_https() ? variable({"https_proxy", "HTTPS_PROXY"}) : variable({"http_proxy"});
    return proxy.empty() ? variable({"all_proxy", "ALL_PROXY"}) : proxy;
}

/// Whether `peer` is the proxy for this origin. Proxies have private addresses as a rule. Whether NO_PROXY lets one be
/// used for a host is libcurl's to know, and it does not tell: so what leads to the proxy itself is known by its
/// address and port.
inline bool is_proxy(origin const& to, ::sockaddr const& peer) {
    auto const proxy = proxy_for(to);
    std::unique_ptr<CURLU, void (*)(CURLU*)> const parsed{curl_url(), curl_url_cleanup};
    if (proxy.empty() || !parsed ||
        curl_url_set(parsed.get(), CURLUPART_URL, proxy.c_str(),
                     CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
        return false;
    auto const part = [&](CURLUPart which) {
        char* text = nullptr;
        if (curl_url_get(parsed.get(), which, &text, 0) != CURLUE_OK) return std::string{};
        std::unique_ptr<char, void (*)(void*)> const owned{text, curl_free};
        return std::string{text};
    };
    auto host = part(CURLUPART_HOST), port = part(CURLUPART_PORT);
    if (host.starts_with('[')) host = host.substr(1, host.find_first_of("]%") - 1);
    if (port.empty()) port = part(CURLUPART_SCHEME) == "https" ? "443" : "1080"; // as libcurl has it
    ::addrinfo wanted{};
    wanted.ai_socktype = SOCK_STREAM;
    ::addrinfo* first = nullptr;
    if (::getaddrinfo(host.c_str(), port.c_str(), &wanted, &first) != 0) return false;
    std::unique_ptr<::addrinfo, void (*)(::addrinfo*)> const owned{first, ::freeaddrinfo};
    for (auto const* one = first; one != nullptr; one = one->ai_next)
        if (ip_address::of(*one->ai_addr) == ip_address::of(peer) && port_of(*one->ai_addr) == port_of(peer))
            return true;
    return false;
}

} // namespace shiplap::detail

// === shiplap/registry/curl_channel.hpp ===

// curl_channel: a libcurl handle with the connection it has made. It serves one origin under one set of rules for all
// its life, so that no request ever travels over a connection that was opened under laxer rules.

namespace shiplap::detail {

/// libcurl's own set-up, once for the process.
inline void start_curl() {
    static CURLcode const started = curl_global_init(CURL_GLOBAL_DEFAULT);
    if (started != CURLE_OK)
        throw error{error_code::network, "start libcurl", "", curl_easy_strerror(started)};
}

/// libcurl reads its options' values through "...": types must be exact.
template <class V>
void set_option(CURL* easy, CURLoption option, V value) {
    static_assert(std::is_pointer_v<V> || std::is_same_v<V, long> || std::is_same_v<V, curl_off_t>);
    // Parentheses: not the macro, which wants to know the option when it is compiled.
    if (auto const result = (curl_easy_setopt)(easy, option, value); result != CURLE_OK)
        throw error{error_code::network, "set libcurl option", std::to_string(option),
                    curl_easy_strerror(result)};
}

/// The system's authorities: what SSL_CERT_FILE and SSL_CERT_DIR say, as for OpenSSL's and Go's programs, or what
/// libcurl was built with. Empty: none.
struct system_store {
    std::string file, folder;

    static system_store find() {
        auto const* const built = curl_version_info(CURLVERSION_NOW);
        system_store store{variable({"SSL_CERT_FILE"}), variable({"SSL_CERT_DIR"})};
        bool const chosen = !store.file.empty() || !store.folder.empty();
        if (!chosen && built->cainfo != nullptr) store.file = built->cainfo;
        if (!chosen && built->capath != nullptr) store.folder = built->capath;
        return store;
    }
};

/// What a connection may be shared by.
struct curl_key {
    origin to;
    bool insecure = false; ///< certificates are not verified
    bool guarded = false;  ///< only public addresses
    friend bool operator==(curl_key const&, curl_key const&) = default;
};

class curl_channel {
  public:
    explicit curl_channel(curl_key key, host_certificates const& certificates = {})
        : key_{std::move(key)}, store_{system_store::find()} {
        start_curl();
        easy_.reset(curl_easy_init());
        multi_.reset(curl_multi_init());
        if (!easy_ || !multi_) throw std::bad_alloc{};
        if (!certificates.clients.empty()) client_ = certificates.clients.front();
        for (auto const& path : certificates.authorities)
            authorities_ += read_file(path, most_authorities) + "\n";
        // libcurl takes one or the other.
        if (!authorities_.empty() && !store_.file.empty() && ::access(store_.file.c_str(), R_OK) == 0)
            authorities_ += read_file(store_.file, most_authorities);
    }
    // libcurl has its address.
    curl_channel(curl_channel const&) = delete;
    curl_channel& operator=(curl_channel const&) = delete;
    ~curl_channel() {
        leave();
        easy_.reset();
        multi_.reset(); // closes connections, and tells close_socket()
    }

    [[nodiscard]] curl_key const& key() const noexcept { return key_; }
    [[nodiscard]] CURL* easy() const noexcept { return easy_.get(); }
    [[nodiscard]] CURLM* multi() const noexcept { return multi_.get(); }
    /// The address that a guarded channel would not connect to; empty if there was none since prepare().
    [[nodiscard]] std::string const& refused() const noexcept { return refused_; }

    /// Forgets the last request's options, and sets those that all have in common.
    void prepare() {
        auto* const easy = easy_.get();
        refused_.clear();
        curl_easy_reset(easy);
        set_option(easy, CURLOPT_NOSIGNAL, 1L);
        set_option(easy, CURLOPT_NOPROGRESS, 1L);
        set_option(easy, CURLOPT_PROTOCOLS_STR, "http,https");
        set_option(easy, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
        set_option(easy, CURLOPT_TCP_KEEPALIVE, 1L);
        set_option(easy, CURLOPT_BUFFERSIZE, 256L * 1024);
        set_option(easy, CURLOPT_UPLOAD_BUFFERSIZE, 512L * 1024); // more is not faster
        set_option(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
        set_option(easy, CURLOPT_HEADEROPT, long{CURLHEADER_SEPARATE}); // a proxy gets no credentials
        // Many servers never say "100 Continue"; those that refuse do so at once.
        set_option(easy, CURLOPT_EXPECT_100_TIMEOUT_MS, 300L);
        set_option(easy, CURLOPT_OPENSOCKETFUNCTION, &open_socket);
        set_option(easy, CURLOPT_OPENSOCKETDATA, static_cast<void*>(this));
        set_option(easy, CURLOPT_CLOSESOCKETFUNCTION, &close_socket);
        set_option(easy, CURLOPT_CLOSESOCKETDATA, static_cast<void*>(this));
        if (key_.to.is_https()) prepare_tls();
    }

    void join() { check(curl_multi_add_handle(multi_.get(), easy_.get())); }
    /// Ends the request, with its connection if it was not at its end. The options, with their pointers, are forgotten.
    void leave() noexcept {
        curl_multi_remove_handle(multi_.get(), easy_.get());
        curl_easy_reset(easy_.get());
    }
    void perform() {
        int running = 0;
        check(curl_multi_perform(multi_.get(), &running));
    }
    void wait(std::chrono::milliseconds at_most) {
        check(curl_multi_poll(multi_.get(), nullptr, 0, static_cast<int>(at_most.count()), nullptr));
    }

    /// Bytes that the kernel has taken, and the other side has not.
    [[nodiscard]] std::uint64_t unsent() const noexcept {
        std::uint64_t sum = 0;
        for (auto const socket : sockets_)
            if (int pending = 0; ::ioctl(socket, SIOCOUTQ, &pending) == 0)
                sum += static_cast<std::uint64_t>(pending);
        return sum;
    }
    /// Whether something has arrived that libcurl has not seen.
    [[nodiscard]] bool readable() const noexcept {
        return std::ranges::any_of(sockets_, [](curl_socket_t socket) {
            ::pollfd one{socket, POLLIN, 0};
            return ::poll(&one, 1, 0) > 0;
        });
    }

  private:
    static constexpr std::uint64_t most_authorities = 16U << 20; // bytes in a file; the system's has 0.2 MB

    static void check(CURLMcode result) {
        if (result != CURLM_OK)
            throw error{error_code::network, "run libcurl", "", curl_multi_strerror(result)};
    }

    void prepare_tls() {
        auto* const easy = easy_.get();
        if (key_.insecure) {
            set_option(easy, CURLOPT_SSL_VERIFYPEER, 0L);
            set_option(easy, CURLOPT_SSL_VERIFYHOST, 0L);
        }
        set_option(easy, CURLOPT_CAPATH, store_.folder.empty() ? nullptr : store_.folder.c_str());
        if (authorities_.empty()) {
            set_option(easy, CURLOPT_CAINFO, store_.file.empty() ? nullptr : store_.file.c_str());
        } else {
            ::curl_blob blob{authorities_.data(), authorities_.size(), CURL_BLOB_NOCOPY};
            set_option(easy, CURLOPT_CAINFO_BLOB, &blob);
        }
        if (client_.certificate.empty()) return;
        set_option(easy, CURLOPT_SSLCERT, client_.certificate.c_str());
        set_option(easy, CURLOPT_SSLKEY, client_.key.c_str());
    }

    static curl_socket_t open_socket(void* self, curlsocktype, ::curl_sockaddr* to) noexcept {
        auto& channel = *static_cast<curl_channel*>(self);
        try {
            if (channel.key_.guarded && !channel.allows(*to)) return CURL_SOCKET_BAD;
            channel.sockets_.reserve(channel.sockets_.size() + 1);
            auto const socket = ::socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
            if (socket < 0) return CURL_SOCKET_BAD;
            channel.sockets_.push_back(socket);
            return socket;
        } catch (...) { // out of memory
            return CURL_SOCKET_BAD;
        }
    }
    static int close_socket(void* self, curl_socket_t socket) noexcept {
        std::erase(static_cast<curl_channel*>(self)->sockets_, socket);
        return ::close(socket);
    }

    bool allows(::curl_sockaddr const& to) {
        auto const address = ip_address::of(to.addr);
        if (address && (address->is_public() || is_proxy(key_.to, to.addr))) return true;
        refused_ = address ? address->text() : "an unknown kind of address";
        return false;
    }

    struct cleanup {
        void operator()(CURL* handle) const noexcept { curl_easy_cleanup(handle); }
    };
    struct multi_cleanup {
        void operator()(CURLM* handle) const noexcept { curl_multi_cleanup(handle); }
    };

    curl_key key_;
    system_store store_;
    client_certificate client_;
    std::string authorities_; // PEM; empty: the system's are enough
    std::string refused_;
    std::vector<curl_socket_t> sockets_; // open ones
    std::unique_ptr<CURL, cleanup> easy_;
    std::unique_ptr<CURLM, multi_cleanup> multi_;
};

} // namespace shiplap::detail

// === shiplap/registry/curl_failure.hpp ===

// curl_failure: what libcurl's result codes mean to somebody who pushes an image.

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

// === shiplap/registry/curl_options.hpp ===

// curl_options: what a curl_transport can be told.

namespace shiplap {

struct curl_options {
    /// For the name, the connection and the handshake.
    std::chrono::milliseconds connect_timeout{std::chrono::seconds{10}};
    /// How long nothing at all may move while bytes are sent or received. There is no limit for the whole.
    std::chrono::milliseconds stall_timeout{std::chrono::seconds{60}};
    /// Called at least every 200 ms while a request waits for the network, on the thread that made it. What it throws
    /// ends the request and comes out of it.
    std::function<void()> heartbeat{};
    /// "host" or "host:port": address_rule::public_only does not hold for them.
    std::vector<std::string> trusted{};
    /// What an https origin needs beyond the system's store. Called on any thread.
    std::function<host_certificates(origin const&)> certificates = [](origin const& of) {
        return find_certificates(of);
    };
    std::string user_agent{}; ///< empty: none is sent
};

} // namespace shiplap

// === shiplap/registry/curl_pool.hpp ===

// curl_pool: channels with open connections, where they wait for their next request.

namespace shiplap::detail {

/// Channels that wait for their next request. Thread-safe.
class curl_pool {
  public:
    explicit curl_pool(curl_options options) : options_{std::move(options)} {}

    [[nodiscard]] curl_options const& options() const noexcept { return options_; }

    /// An idle channel if there is one, else a new one.
    std::unique_ptr<curl_channel> take(curl_key const& key) {
        {
            std::lock_guard const lock{mutex_};
            // The last one used: its connection is the least likely to have been closed.
            auto const found = std::find_if(idle_.rbegin(), idle_.rend(),
                                            [&](auto const& channel) { return channel->key() == key; });
            if (found != idle_.rend()) {
                auto channel = std::move(*found);
                idle_.erase(std::next(found).base());
                return channel;
            }
        }
        return make(key);
    }
    [[nodiscard]] std::unique_ptr<curl_channel> make(curl_key const& key) const {
        bool const verified = key.to.is_https() && options_.certificates;
        return std::make_unique<curl_channel>(key,
                                              verified ? options_.certificates(key.to) : host_certificates{});
    }
    void give_back(std::unique_ptr<curl_channel> channel) {
        std::unique_ptr<curl_channel> oldest; // closed without the lock
        std::lock_guard const lock{mutex_};
        if (idle_.size() == most_idle) {
            oldest = std::move(idle_.front());
            idle_.erase(idle_.begin());
        }
        idle_.push_back(std::move(channel));
    }

  private:
    static constexpr std::size_t most_idle = 32;

    curl_options const options_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<curl_channel>> idle_; // the oldest first
};

} // namespace shiplap::detail

// === shiplap/registry/request_body.hpp ===

// request_body: hands out the bytes of an http_body, exactly as many as were announced.

namespace shiplap::detail {

class request_body {
  public:
    request_body() = default; ///< no bytes
    explicit request_body(http_body const& body) : body_{body} { restart(); }

    /// Back to the first byte. Throws what the source throws, or error (source_changed) if it ends before the offset.
    void restart() {
        if (!body_) return;
        left_ = body_->size;
        body_->from.rewind();
        std::array<std::byte, 16 * 1024> unwanted; // NOLINT(cppcoreguidelines-pro-type-member-init)
        for (auto skip = body_->offset; skip != 0;) {
            auto const piece = static_cast<std::size_t>(std::min<std::uint64_t>(skip, unwanted.size()));
            auto const n = body_->from.read(bytes_span{unwanted}.first(piece));
            if (n == 0) throw too_short();
            skip -= n;
        }
    }

    /// Fills `into` as far as there are bytes. Throws what the source throws, or error (source_changed).
    std::size_t read(bytes_span into) {
        if (left_ == 0) return 0;
        if (!body_) throw error{error_code::io, "read", "request body", "its owner has taken it back"};
        into = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), left_)));
        auto const n = read_fully(body_->from, into);
        left_ -= n;
        touched_ = true;
        if (n != into.size()) throw too_short();
        return n;
    }

    /// Touches the source never again.
    void release() noexcept { body_.reset(); }

    [[nodiscard]] std::uint64_t left() const noexcept { return left_; }
    /// Some of it was handed out, now or before a restart.
    [[nodiscard]] bool touched() const noexcept { return touched_; }

  private:
    [[nodiscard]] error too_short() const {
        return {error_code::source_changed, "read", "request body",
                "it ended " + std::to_string(left_) + " bytes too early"};
    }

    std::optional<http_body> body_;
    std::uint64_t left_ = 0; // bytes
    bool touched_ = false;
};

} // namespace shiplap::detail

// === shiplap/registry/response_head.hpp ===

// response_head: status and headers of an answer, gathered line by line.

namespace shiplap::detail {

/// Takes lines as they come, with their ends. "100 Continue" and its like, which may come before the real answer, are
/// forgotten; so are trailers, and lines that are no header.
class response_head {
  public:
    static constexpr std::size_t limit = 256U << 10; ///< bytes of all headers

    void add(std::string_view line) {
        if (complete_) return;
        if (line.starts_with("HTTP/")) {
            *this = {};
            auto const digits = line.substr(std::min(line.find(' '), line.size() - 1) + 1);
            std::from_chars(digits.data(), digits.data() + digits.size(), status_);
            return;
        }
        size_ += line.size();
        auto const text = trim(line);
        if ((line.starts_with(' ') || line.starts_with('\t')) && !text.empty()) { // the last one goes on
            pending_ += " ";
            pending_ += text;
            return;
        }
        std::string_view const whole{pending_};
        if (auto const colon = whole.find(':'); colon != whole.npos)
            if (auto const value = trim(whole.substr(colon + 1));
                http_headers::fits(whole.substr(0, colon), value))
                headers_.add(std::string{whole.substr(0, colon)}, std::string{value});
        pending_ = text;
        complete_ = text.empty() && status_ >= 200;
    }

    /// The blank line after the headers has come.
    [[nodiscard]] bool complete() const noexcept { return complete_; }
    [[nodiscard]] bool too_long() const noexcept { return size_ > limit; }
    [[nodiscard]] int status() const noexcept { return status_; }
    [[nodiscard]] http_headers& headers() noexcept { return headers_; }

  private:
    static std::string_view trim(std::string_view text) noexcept {
        auto const first = std::min(text.find_first_not_of(" \t\r\n"), text.size());
        auto const last = text.find_last_not_of(" \t\r\n");
        return last == text.npos ? std::string_view{} : text.substr(first, last + 1 - first);
    }

    int status_ = 0;
    http_headers headers_;
    std::string pending_; // a line that may go on
    std::size_t size_ = 0;
    bool complete_ = false;
};

} // namespace shiplap::detail

// === shiplap/registry/curl_transfer.hpp ===

// curl_transfer: one request on one channel, from its first byte to the last one of the answer.
//
// libcurl moves on only while somebody waits here: in run() until the headers have come and the request's body has
// gone, later in read(). Its callbacks must not throw: what the body's source throws is kept, and thrown from run().

namespace shiplap::detail {

class curl_transfer {
  public:
    curl_transfer(std::shared_ptr<curl_pool> pool, std::unique_ptr<curl_channel> channel,
                  http_request const& request)
        : pool_{std::move(pool)},
          outcome_{request.method, request.target.shown(), request.target.from()},
          patience_{request.patience},
          repeatable_{request.repeatable},
          address_{request.target},
          channel_{std::move(channel)} {
        configure(request);
        if (request.body) body_ = request_body{*request.body};
        channel_->join();
    }
    // libcurl has its address.
    curl_transfer(curl_transfer const&) = delete;
    curl_transfer& operator=(curl_transfer const&) = delete;
    ~curl_transfer() = default; // a channel that is still here dies with its connection

    /// Returns when the headers are there and the request's body is not needed any more. Throws what the body's source
    /// or the heartbeat throws, and transport_error.
    void run() {
        moved_ = clock::now();
        while (!done_ && !(head_.complete() && (all_handed_out() || head_.status() >= 300))) turn();
        body_.release();
        if (head_.status() == 407) throw proxy_refuses(outcome_);
        if (!head_.complete()) fail();
    }
    /// The connection was an old one and closed before anything came back, and a new one may be tried.
    [[nodiscard]] bool lost_the_race() const noexcept {
        bool const cut = outcome_.result == CURLE_SEND_ERROR || outcome_.result == CURLE_RECV_ERROR ||
                         outcome_.result == CURLE_GOT_NOTHING;
        return cut && reused_ && received_ == 0 && (repeatable_ || !body_.touched());
    }

    [[nodiscard]] int status() const noexcept { return head_.status(); }
    [[nodiscard]] http_headers& headers() noexcept { return head_.headers(); }

    /// The next bytes of the answer's body; 0 at its end. Throws transport_error if it is cut or stalls.
    std::size_t read(bytes_span into) {
        if (into.empty()) return 0;
        if (buffered() == 0 && !done_) {
            moved_ = clock::now(); // the time that the reader took is its own
            if (receive_paused_) {
                receive_paused_ = false;
                resume();
            }
            while (buffered() == 0 && !done_) turn();
        }
        if (buffered() == 0) {
            if (outcome_.result != CURLE_OK) fail();
            return 0;
        }
        auto const n = std::min(into.size(), buffered());
        std::memcpy(into.data(), buffer_.data() + taken_, n);
        taken_ += n;
        if (buffered() == 0) {
            buffer_.clear();
            taken_ = 0;
        }
        return n;
    }

  private:
    using clock = std::chrono::steady_clock;
    static constexpr std::size_t most_buffered = 1U << 20; // bytes of an answer's body
    static constexpr std::chrono::milliseconds beat{100};

    // --- the request ---

    void configure(http_request const& request) {
        auto* const easy = channel_->easy();
        channel_->prepare();
        // Credentials go through headers, where their origin is checked.
        curl_url_set(address_.handle(), CURLUPART_USER, nullptr, 0);
        curl_url_set(address_.handle(), CURLUPART_PASSWORD, nullptr, 0);
        set_option(easy, CURLOPT_CURLU, address_.handle());
        set_option(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options().connect_timeout.count()));
        if (!options().user_agent.empty()) set_option(easy, CURLOPT_USERAGENT, options().user_agent.c_str());
        set_option(easy, CURLOPT_ERRORBUFFER, words_.data());
        set_option(easy, CURLOPT_PREREQFUNCTION, &connected);
        set_option(easy, CURLOPT_PREREQDATA, static_cast<void*>(this));
        set_option(easy, CURLOPT_HEADERFUNCTION, &take_header);
        set_option(easy, CURLOPT_HEADERDATA, static_cast<void*>(this));
        set_option(easy, CURLOPT_WRITEFUNCTION, &take_body);
        set_option(easy, CURLOPT_WRITEDATA, static_cast<void*>(this));
        if (request.method == "HEAD") {
            set_option(easy, CURLOPT_NOBODY, 1L);
        } else {
            if (request.body || request.method == "PUT" || request.method == "POST" ||
                request.method == "PATCH") {
                set_option(easy, CURLOPT_UPLOAD, 1L);
                set_option(easy, CURLOPT_INFILESIZE_LARGE,
                           static_cast<curl_off_t>(request.body ? request.body->size : 0));
                set_option(easy, CURLOPT_READFUNCTION, &give_body);
                set_option(easy, CURLOPT_READDATA, static_cast<void*>(this));
                set_option(easy, CURLOPT_SEEKFUNCTION, &rewind_body);
                set_option(easy, CURLOPT_SEEKDATA, static_cast<void*>(this));
            }
            set_option(easy, CURLOPT_CUSTOMREQUEST, outcome_.operation.c_str());
        }
        for (auto const& [name, value] : request.headers.fields()) {
            // "Name;" is how libcurl is told to send an empty value.
            auto line = name;
            line.append(value.empty() ? ";" : ": ").append(value);
            auto* const longer = curl_slist_append(lines_.get(), line.c_str());
            if (longer == nullptr) throw std::bad_alloc{};
            (void)lines_.release();
            lines_.reset(longer);
        }
        set_option(easy, CURLOPT_HTTPHEADER, lines_.get());
    }

    [[nodiscard]] curl_options const& options() const noexcept { return pool_->options(); }

    // --- turns ---

    void turn() {
        bool const paused = send_paused_;
        channel_->perform();
        collect();
        if (kept_) std::rethrow_exception(std::exchange(kept_, nullptr));
        if (done_) return;
        if (paused) { // libcurl has now seen what had arrived
            send_paused_ = false;
            resume();
        }
        watch();
        if (buffered() == 0 || !all_handed_out()) channel_->wait(beat);
    }

    // Lets libcurl go on with whatever is not paused for our reasons. May call back.
    void resume() {
        auto const still = (receive_paused_ ? CURLPAUSE_RECV : 0) | (send_paused_ ? CURLPAUSE_SEND : 0);
        curl_easy_pause(channel_->easy(), still);
    }

    void collect() {
        int left = 0;
        while (auto const* const message = curl_multi_info_read(channel_->multi(), &left)) {
            if (message->msg != CURLMSG_DONE) continue;
            done_ = true;
            outcome_.result = message->data.result;
        }
        if (!done_) return;
        long connections = 0;
        curl_easy_getinfo(channel_->easy(), CURLINFO_NUM_CONNECTS, &connections);
        reused_ = connections == 0;
        outcome_.unheard = outcome_.result == CURLE_SEND_ERROR && connected_ && !reused_ && received_ == 0 &&
                           !body_.touched();
        note();
        channel_->leave();
        // It may wait for the next request even while this answer is still being read.
        if (outcome_.result == CURLE_OK) pool_->give_back(std::move(channel_));
        channel_.reset();
    }

    // Heartbeat and time limits.
    void watch() {
        auto const now = clock::now();
        if (now - beaten_ < beat) return;
        beaten_ = now;
        if (options().heartbeat) options().heartbeat();
        if (!connected_) return; // libcurl's own limit holds
        curl_off_t uploaded = 0;
        curl_easy_getinfo(channel_->easy(), CURLINFO_SIZE_UPLOAD_T, &uploaded);
        // What the kernel holds counts: a slow line empties it for minutes after we have handed it the last byte.
        auto const unsent = channel_->unsent();
        if (progress const here{received_, uploaded, unsent}; here != seen_) {
            seen_ = here;
            moved_ = now;
        }
        bool const waiting = received_ == 0 && all_handed_out() && unsent == 0;
        auto const limit = waiting ? patience_ : options().stall_timeout;
        if (now - moved_ < limit) return;
        note();
        auto const host = "'" + printable(outcome_.to.authority()) + "'";
        throw make_failure(outcome_, transport_failure::stall, true,
                           waiting
                               ? host + " did not answer within " + seconds_text(limit) +
                                     " after it had got the whole request"
                               : "nothing moved between here and " + host + " for " + seconds_text(limit));
    }

    // What the error will tell.
    void note() {
        auto* const easy = channel_->easy();
        curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &outcome_.system);
        curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &outcome_.verification);
        curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &outcome_.proxy_status);
        outcome_.words = words_.data();
        outcome_.refused = channel_->refused();
        outcome_.status = head_.complete() ? head_.status() : 0;
        outcome_.elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(clock::now() - started_);
    }
    [[noreturn]] void fail() const {
        if (head_.too_long())
            throw make_failure(outcome_, transport_failure::cut, false, "the answer's headers are too long");
        throw curl_failure(outcome_);
    }

    // --- callbacks ---

    template <class Call>
    auto guarded(Call call, decltype(call()) failed) noexcept {
        try {
            return call();
        } catch (...) {
            kept_ = std::current_exception();
            return failed;
        }
    }

    static int connected(void* self, char*, char*, int, int) noexcept {
        auto& transfer = *static_cast<curl_transfer*>(self);
        transfer.connected_ = true;
        transfer.moved_ = clock::now();
        return CURL_PREREQFUNC_OK;
    }

    static std::size_t give_body(char* to, std::size_t size, std::size_t count, void* self) noexcept {
        auto& transfer = *static_cast<curl_transfer*>(self);
        return transfer.guarded([&] { return transfer.next_piece(to, size * count); },
                                std::size_t{CURL_READFUNC_ABORT});
    }
    std::size_t next_piece(char* to, std::size_t space) {
        if (!held_back_.empty()) {
            auto const n = std::min(space, held_back_.size());
            std::memcpy(to, held_back_.data(), n);
            held_back_.erase(0, n);
            return n;
        }
        auto const n = body_.read({reinterpret_cast<std::byte*>(to), space});
        moved_ = clock::now(); // the time that the source took is its own
        // An early answer ("413", and the connection is closed) must be read before the next byte is sent, for that
        // would fail and hide the answer.
        if (n != 0 && channel_->readable()) {
            held_back_.assign(to, n);
            send_paused_ = true;
            return CURL_READFUNC_PAUSE;
        }
        return n;
    }
    [[nodiscard]] bool all_handed_out() const noexcept { return body_.left() == 0 && held_back_.empty(); }

    static int rewind_body(void* self, curl_off_t offset, int from) noexcept {
        auto& transfer = *static_cast<curl_transfer*>(self);
        if (offset != 0 || from != SEEK_SET) return CURL_SEEKFUNC_FAIL;
        if (transfer.body_.touched() && !transfer.repeatable_) return CURL_SEEKFUNC_FAIL;
        return transfer.guarded(
            [&] {
                transfer.held_back_.clear();
                transfer.body_.restart();
                return CURL_SEEKFUNC_OK;
            },
            CURL_SEEKFUNC_FAIL);
    }

    static std::size_t take_header(char* text, std::size_t size, std::size_t count, void* self) noexcept {
        auto& transfer = *static_cast<curl_transfer*>(self);
        auto const n = size * count;
        return transfer.guarded(
            [&] {
                transfer.received_ += n;
                transfer.head_.add({text, n});
                return transfer.head_.too_long() ? 0 : n;
            },
            std::size_t{0});
    }

    static std::size_t take_body(char* bytes, std::size_t size, std::size_t count, void* self) noexcept {
        auto& transfer = *static_cast<curl_transfer*>(self);
        auto const n = size * count;
        return transfer.guarded(
            [&]() -> std::size_t {
                if (transfer.buffered() >= most_buffered) {
                    transfer.receive_paused_ = true;
                    return CURL_WRITEFUNC_PAUSE;
                }
                transfer.received_ += n;
                transfer.buffer_.append(bytes, n);
                return n;
            },
            std::size_t{0});
    }
    [[nodiscard]] std::size_t buffered() const noexcept { return buffer_.size() - taken_; }

    struct slist_cleanup {
        void operator()(::curl_slist* list) const noexcept { curl_slist_free_all(list); }
    };
    struct progress {
        std::uint64_t received = 0;
        curl_off_t uploaded = 0;
        std::uint64_t unsent = 0;
        friend bool operator==(progress const&, progress const&) = default;
    };

    std::shared_ptr<curl_pool> pool_;
    curl_outcome outcome_;
    std::chrono::milliseconds patience_;
    bool repeatable_;
    url address_;
    std::unique_ptr<::curl_slist, slist_cleanup> lines_;
    std::array<char, CURL_ERROR_SIZE> words_{};

    request_body body_;
    std::string held_back_; // bytes of it that are to be sent when libcurl has read what came in
    bool send_paused_ = false, receive_paused_ = false;
    std::exception_ptr kept_;

    response_head head_;
    std::string buffer_;    // of the answer's body
    std::size_t taken_ = 0; // bytes of it that were read

    bool connected_ = false, done_ = false, reused_ = false;
    std::uint64_t received_ = 0; // bytes
    progress seen_;
    clock::time_point started_ = clock::now(), moved_ = started_, beaten_ = started_;

    std::unique_ptr<curl_channel> channel_; // the last: it goes first, for it calls back
};

} // namespace shiplap::detail

// === shiplap/registry/curl_transport.hpp ===

// curl_transport: HTTP/1.1 over libcurl, with connections that are kept for the next request.
//
//     curl_transport transport{{.user_agent = "mine/1"}};
//     auto response = transport.send({"GET", url::parse("https://r.io/v2/"), {registry}});
//
// Nothing has an absolute time limit: a transfer may take as long as it likes while something moves. Certificates,
// see certificates.hpp, come on top of the system's store (or SSL_CERT_FILE and SSL_CERT_DIR); proxies are taken from
// HTTPS_PROXY, http_proxy, ALL_PROXY and NO_PROXY, as for curl. No redirect is followed, no cookie kept, no body
// unpacked, and a user in a URL is not sent.

namespace shiplap {

/// A transport. Copies share their connections; responses may outlive all of them. Any number of threads may send at
/// once, and each response is for one thread at a time.
class curl_transport {
  public:
    explicit curl_transport(curl_options options = {})
        : pool_{std::make_shared<detail::curl_pool>(std::move(options))} {}

    /// Returns when the final headers have come. The request's body is not touched after that. The body of the
    /// response is pulled from the network as it is read; read to its end, it leaves the connection for the next
    /// request, else the connection is closed with it. Throws transport_error; what the request's body throws; what
    /// the heartbeat throws; error (source_changed) for a body that is too short.
    http_response send(http_request const& request) {
        detail::curl_key const key{
            request.target.from(),
            request.access.insecure && request.target.from() == request.access.registry,
            request.addresses == address_rule::public_only && !trusts(request.target.from())};
        if (key.guarded) check_literal(request, key.to);
        // A server may close a kept connection in the very moment in which it is used again.
        auto transfer = std::make_unique<detail::curl_transfer>(pool_, pool_->take(key), request);
        try {
            transfer->run();
        } catch (transport_error const&) {
            if (!transfer->lost_the_race()) throw;
            transfer = std::make_unique<detail::curl_transfer>(pool_, pool_->make(key), request);
            transfer->run();
        }
        auto const status = transfer->status();
        auto headers = std::move(transfer->headers());
        return {status, std::move(headers), any_byte_source{answer{std::move(transfer)}}};
    }

  private:
    struct answer {
        std::unique_ptr<detail::curl_transfer> transfer;
        std::size_t read(bytes_span into) { return transfer->read(into); }
    };

    [[nodiscard]] bool trusts(origin const& to) const {
        auto const& trusted = pool_->options().trusted;
        auto const exact = to.host + ":" + std::to_string(to.port);
        return std::ranges::any_of(trusted, [&](std::string const& one) {
            return one == to.host || one == to.authority() || one == exact;
        });
    }

    // A proxy would connect for us, where our check of sockets does not see it: so what can be told from the URL is.
    static void check_literal(http_request const& request, origin const& to) {
        auto const literal = ip_address::parse(to.host);
        bool const local = to.host == "localhost" || to.host.ends_with(".localhost");
        if (!local && (!literal || literal->is_public())) return;
        throw detail::forbidden_address({.operation = request.method,
                                         .subject = request.target.shown(),
                                         .to = to,
                                         .refused = literal ? literal->text() : "127.0.0.1"});
    }

    std::shared_ptr<detail::curl_pool> pool_;
};

} // namespace shiplap

// === shiplap/registry/hosts.hpp ===

// hosts: where the registry of a name is.
//
//   docker.io                            https://registry-1.docker.io
//   localhost, 127.0.0.0/8, [::1]        http, as Docker does; https if there are certificates for it in certs.d
//   anything else                        https
//   any, with registry.insecure          https without a look at the certificate, else http

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

// === shiplap/registry/location.hpp ===

// location: where an answer sends us, if that is a place to go to.
//
// It is resolved against the address that was asked, and taken verbatim. From https it leads to https, and it names no
// user: who answers must not choose whose name we use. What lies on another origin gets no credentials; that is the
// transport's duty, which compares origins, as is a look at the address of its socket (address_rule::public_only).

namespace shiplap {

/// The Location of an answer to a request for `asked`; none if it has none. Throws registry_error for two of them, and
/// for one that must not be followed.
inline std::optional<url> location_of(url const& asked, http_response const& answer) {
    auto const refuse = [&](std::string const& reason) {
        return registry_error{"follow the answer to", asked.shown(), reason, {.http_status = answer.status}};
    };
    auto const given = answer.headers.all("Location");
    if (given.empty()) return std::nullopt;
    if (given.size() > 1) throw refuse("it sends us to two places at once (Location)");
    auto to = [&] {
        try {
            return asked.resolve(given.front());
        } catch (format_error const& failure) {
            throw refuse("the place that it sends us to (Location) is no web address: " +
                         printable(failure.reason()));
        }
    }();
    if (asked.from().is_https() && !to.from().is_https())
        throw refuse("it sends us from https to " + printable(to.from().text()) +
                     ", where anybody can listen");
    if (to.has_user()) throw refuse("the place that it sends us to (Location) names a user");
    return to;
}

/// For what is asked of `to` on behalf of a registry: a private address is the registry's own at most.
inline address_rule rule_for(url const& to, origin const& registry) {
    return to.from() == registry ? address_rule::any : address_rule::public_only;
}

} // namespace shiplap

// === shiplap/registry/manifest_document.hpp ===

// manifest_document: a manifest or index as a registry sends it, verified.

namespace shiplap {

/// A manifest or index as it was received: its bytes are never made anew.
struct manifest_document {
    descriptor what;
    std::string text;
};

namespace detail {

/// A document and its Content-Type must not disagree, lest two readers see two images (CVE-2021-41190).
inline std::string media_type_of(std::string const& text, std::string const& subject,
                                 std::string content_type) {
    content_type = lower_case(content_type.substr(0, content_type.find_first_of("; \t")));
    bool const known = is_index_type(content_type) || is_manifest_type(content_type);
    auto const document = parse_json(text, subject);
    auto const own = document.find("mediaType");
    if (own != document.end() && own->is_string()) {
        auto said = own->template get<std::string>();
        if (known && said != content_type)
            throw format_error{"read manifest", subject,
                               "came as '" + printable(content_type) + "' and says of itself that it is '" +
                                   printable(said) + "'"};
        return said;
    }
    // OCI documents may leave it out, and plain file servers do not know what they send.
    bool const vague = content_type.empty() || content_type == "application/json" ||
                       content_type == "application/octet-stream" || content_type.starts_with("text/");
    if (vague && document.contains("manifests")) return std::string{oci_media_types::index};
    if (vague && document.contains("layers")) return std::string{oci_media_types::manifest};
    return content_type;
}

} // namespace detail

/// The document that was asked for as `name`, a tag or a digest. If that is a digest, the bytes have it; else it is
/// computed from them, as sha256: what the headers say does not count.
inline manifest_document read_manifest_document(std::string const& name, std::string const& subject,
                                                http_response& answer) {
    auto text = read_text(answer, max_document_size + 1);
    if (text.size() > max_document_size)
        throw format_error{"read manifest", subject,
                           "is larger than " + std::to_string(max_document_size) + " bytes"};
    auto which =
        name.find(':') == std::string::npos ? digest::of<sha256>(as_bytes(text)) : digest::parse(name);
    verify(as_bytes(text), which);
    auto type = detail::media_type_of(text, subject, answer.headers.get("Content-Type"));
    auto const size = text.size();
    return {{std::move(type), std::move(which), size}, std::move(text)};
}

} // namespace shiplap

// === shiplap/registry/upload_session.hpp ===

// upload_session: where an upload goes on, and how far it got, as the registry says.

namespace shiplap {

/// A place that takes one blob. Each answer of the registry may give it another location, and only the latest counts.
struct upload_session {
    url location;
    /// Pieces, but for the last one, must be this long at least (OCI-Chunk-Min-Length).
    std::uint64_t min_chunk = 0;
};

/// How far an upload got, as the registry sees it.
struct upload_progress {
    upload_session session;
    std::optional<std::uint64_t> received; ///< bytes from the start on; none: it does not say
};

namespace detail {

/// Digits, and nothing else.
inline std::optional<std::uint64_t> parse_number(std::string_view text) {
    std::uint64_t value = 0;
    auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || problem != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

// The latest Location counts, verbatim; an answer without one leaves it as it was.
inline upload_session next_session(url const& asked, http_response const& answer, upload_session next) {
    if (auto to = location_of(asked, answer)) next.location = std::move(*to);
    if (auto const least = parse_number(answer.headers.get("OCI-Chunk-Min-Length"))) next.min_chunk = *least;
    return next;
}

} // namespace detail

/// What the answer to a POST at `asked` starts. Throws registry_error without a Location, or as location_of() does.
inline upload_session first_session(url const& asked, http_response const& answer) {
    if (answer.headers.find("Location") == nullptr)
        throw registry_error{"upload",
                             asked.shown(),
                             "the registry starts an upload, but gives no Location for it",
                             {.http_status = answer.status}};
    return detail::next_session(asked, answer, {asked});
}

/// What a later answer says about it. Throws registry_error as location_of() does.
inline upload_progress progress_after(upload_session const& before, http_response const& answer) {
    upload_progress now{detail::next_session(before.location, answer, before), std::nullopt};
    auto const header = answer.headers.get("Range");
    std::string_view range{header};
    if (range.starts_with("bytes=")) range.remove_prefix(6);
    auto const dash = range.find('-');
    if (dash == range.npos || detail::parse_number(range.substr(0, dash)) != 0) return now;
    auto const last = detail::parse_number(range.substr(dash + 1));
    if (last && *last != std::numeric_limits<std::uint64_t>::max())
        now.received = *last == 0 ? 0 : *last + 1; // "0-0" is what nothing looks like
    return now;
}

} // namespace shiplap

// === shiplap/registry/repository.hpp ===

// repository: the endpoints of distribution-spec v1.1 for one repository, by their names there.
//
//     repository app{transport, host_of("r.io", false), "library/app"};
//     if (!app.has_blob(what.digest)) ...
//
// Redirections of GET and HEAD are followed, five at most, see location.hpp; the transport sends credentials to the
// registry itself alone. Whatever else is not the answer that the specification wants is a registry_error.

namespace shiplap {

template <transport T>
class repository {
  public:
    /// `name` without the host. `over` must outlive this and its responses. `use`: what the login is for; who is going
    /// to push says so, and then one token does for all requests.
    repository(T& over, registry_host host, std::string name, char const* use = pull)
        : over_{&over}, host_{std::move(host)}, name_{std::move(name)}, reading_{use} {}

    [[nodiscard]] std::string const& name() const noexcept { return name_; }
    [[nodiscard]] registry_host const& host() const noexcept { return host_; }
    [[nodiscard]] T& over() const noexcept { return *over_; }

    /// The registry itself: the first candidate that answers. Where there are several, the first call asks them; that
    /// is to be over before other threads join in.
    origin const& registry() {
        if (host_.candidates.size() > 1) host_.candidates = {find_registry(*over_, host_)};
        return host_.candidates.front();
    }

    // --- blobs -------------------------------------------------------------------------------------------

    /// end-2: HEAD, and of this size, if one is given. True also where the registry keeps the size to itself. Where HEAD
    /// is not known, a GET says as much.
    bool has_blob(digest const& which, std::optional<std::uint64_t> size) {
        auto found = follow("HEAD", blob_path(which), {});
        if (found.knows_no_head()) found = follow("GET", blob_path(which), {});
        auto& answer = found.what;
        if (answer.status == 404) return false;
        if (answer.status != 200) throw refused("find blob", which.text(), answer, found.by);
        auto const length = detail::parse_number(answer.headers.get("Content-Length"));
        return !length || !size || *length == *size;
    }

    /// end-2: GET. From `offset` on if the registry can; else from the start: see the status, 206 or 200.
    http_response get_blob(digest const& which, std::uint64_t offset) {
        http_headers headers;
        if (offset != 0) headers.add("Range", "bytes=" + std::to_string(offset) + "-");
        auto found = follow("GET", blob_path(which), std::move(headers));
        auto const status = found.what.status;
        if (status != 200 && !(status == 206 && offset != 0))
            throw refused("read blob", which.text(), found.what, found.by);
        auto const range = found.what.headers.get("Content-Range");
        if (status == 206 && !range.empty() && !range.starts_with("bytes " + std::to_string(offset) + "-"))
            throw registry_error{"read blob",
                                 shown(which.text()),
                                 printable(found.by.authority()) + " sends '" + printable(range) +
                                     "' instead of what follows byte " + std::to_string(offset),
                                 {.http_status = status}};
        return std::move(found.what);
    }

    /// end-11: asks for the blob of another repository of this registry. An upload where the registry would rather
    /// have the bytes; nothing if it wants none of it. `from` empty: any repository that it may take it from.
    struct mount_answer {
        bool mounted = false;
        std::optional<upload_session> session{};
    };
    mount_answer mount(digest const& which, std::string const& from) {
        auto target = at("/blobs/uploads/").with_query("mount", which.text());
        auto access = access_for(push);
        if (!from.empty()) {
            target = target.with_query("from", from);
            access.scopes.push_back("repository:" + from + ":pull");
        }
        try {
            // Once: what a mount would save is not worth waiting for.
            auto answer = over_->send(
                {.method = "POST", .target = target, .access = std::move(access), .repeatable = false});
            if (answer.status == 201) return {.mounted = true};
            if (answer.status == 202) return {.session = first_session(target, answer)};
        } catch (
            remote_error const&) { // NOLINT(bugprone-empty-catch): a plain upload will tell what is wrong
        }
        return {};
    }

    /// end-4a, or what it becomes for an algorithm other than sha256.
    upload_session start_upload(digest const& which) {
        auto target = at("/blobs/uploads/");
        if (which.algorithm() != "sha256") target = target.with_query("digest-algorithm", which.algorithm());
        auto answer = over_->send({.method = "POST", .target = target, .access = access_for(push)});
        if (answer.status == 400 && which.algorithm() != "sha256") // a registry from before that parameter
            answer =
                over_->send({.method = "POST", .target = at("/blobs/uploads/"), .access = access_for(push)});
        if (answer.status != 202 && answer.status != 201 && answer.status != 200)
            throw refused("start upload", which.text(), answer);
        return first_session(target, answer);
    }

    /// end-6: the last request of an upload, with all of the blob, or with nothing where pieces have brought it.
    http_response put_upload(upload_session const& session, digest const& which,
                             std::optional<http_body> body, std::chrono::milliseconds patience) {
        // Behind a digest= that the registry put there itself, which may be any.
        return over_->send(
            upload_request("PUT", session.location.with_query("digest", which.text()), body, patience));
    }

    /// end-5: a piece, which starts at byte `offset` of the blob.
    http_response patch_upload(upload_session const& session, http_body piece, std::uint64_t offset) {
        auto request = upload_request("PATCH", session.location, piece, std::chrono::minutes{2});
        request.headers.add("Content-Range",
                            std::to_string(offset) + "-" + std::to_string(offset + piece.size - 1));
        return over_->send(request);
    }

    /// end-13: none if the session is gone.
    std::optional<upload_progress> upload_status(upload_session const& session) {
        auto request = upload_request("GET", session.location, std::nullopt, std::chrono::seconds{30});
        request.repeatable = true;
        auto answer = over_->send(request);
        if (answer.status != 204 && answer.status != 200 && answer.status != 202) return std::nullopt;
        return progress_after(session, answer);
    }

    /// What an answer says about the session that it is about.
    static upload_progress progress_of(upload_session const& before, http_response const& answer) {
        return progress_after(before, answer);
    }

    /// Gives up an upload; whether the registry understands does not matter.
    void cancel_upload(upload_session const& session) noexcept try {
        auto request = upload_request("DELETE", session.location, std::nullopt, std::chrono::seconds{5});
        (void)over_->send(request);
    } catch (...) { // NOLINT(bugprone-empty-catch): the registry forgets unfinished uploads by itself
    }

    // --- manifests ---------------------------------------------------------------------------------------

    /// end-3: HEAD. What tag or digest `name` stands for; none if there is no such manifest. The digest is missing if
    /// the registry does not tell it.
    struct manifest_facts {
        std::optional<shiplap::digest> digest;
    };
    std::optional<manifest_facts> find_manifest(std::string const& name) {
        auto found = follow("HEAD", manifest_path(name), accept_manifests());
        if (found.what.status == 404) return std::nullopt;
        if (found.knows_no_head()) {
            auto const document = get_manifest(name);
            if (!document) return std::nullopt;
            return manifest_facts{document->what.digest};
        }
        if (found.what.status != 200) throw refused("find manifest", name, found.what, found.by);
        try {
            return manifest_facts{digest::parse(found.what.headers.get("Docker-Content-Digest"))};
        } catch (format_error const&) {
            return manifest_facts{}; // no digest is as good as a broken one
        }
    }

    /// end-3: GET. If `name` is a digest, the bytes have that digest; else it is computed from them, as sha256. None if
    /// there is no such manifest.
    std::optional<manifest_document> get_manifest(std::string const& name) {
        return again_if_cut([&]() -> std::optional<manifest_document> {
            auto found = follow("GET", manifest_path(name), accept_manifests());
            if (found.what.status == 404) return std::nullopt;
            if (found.what.status != 200) throw refused("read manifest", name, found.what, found.by);
            return read_manifest_document(name, shown(name), found.what);
        });
    }

    /// end-7: `name` is a tag or the digest.
    http_response put_manifest(std::string const& name, std::string const& media_type,
                               std::string const& text) {
        span_source body{text};
        http_request request{.method = "PUT", .target = at(manifest_path(name)), .access = access_for(push)};
        request.headers.add("Content-Type", media_type);
        request.body = http_body{body, text.size(), 0};
        request.patience = std::chrono::minutes{2};
        return over_->send(request);
    }

    /// An answer that is not what was hoped for, as an error.
    registry_error refused(std::string operation, std::string const& subject, http_response& answer) {
        return refused(std::move(operation), subject, answer, registry());
    }

    /// "r.io/library/app".
    [[nodiscard]] std::string full_name() const { return host_.name + "/" + name_; }
    /// "r.io/library/app@sha256:..." or "r.io/library/app:tag": for messages.
    [[nodiscard]] std::string shown(std::string const& what) const {
        return full_name() + (what.find(':') == std::string::npos ? ":" : "@") + what;
    }

    static constexpr char const *pull = "pull", *push = "pull,push";

    [[nodiscard]] registry_access access_for(char const* actions) {
        return {.registry = registry(),
                .name = host_.name,
                .repository = name_,
                .scopes = {"repository:" + name_ + ":" + actions},
                .insecure = host_.insecure};
    }

  private:
    url at(std::string const& path) { return url::parse(registry().text() + "/v2/" + name_ + path); }

    static std::string blob_path(digest const& which) { return "/blobs/" + which.text(); }
    /// Throws format_error for what is neither tag nor digest: it could lead out of the repository.
    static std::string manifest_path(std::string const& name) {
        if (name.find(':') != name.npos)
            (void)digest::parse(name);
        else if (!detail::is_tag(name))
            throw format_error{"find manifest", name, "is neither a tag nor a digest"};
        return "/manifests/" + name;
    }

    static http_headers accept_manifests() {
        http_headers headers;
        headers.add("Accept", std::string{oci_media_types::index} + ", " +
                                  std::string{oci_media_types::manifest} + ", " +
                                  std::string{docker_media_types::index} + ", " +
                                  std::string{docker_media_types::manifest} + ", */*;q=0.1");
        return headers;
    }

    // What comes in pieces, and not all of them, is asked for again if the transport is one that does so.
    template <class Work>
    auto again_if_cut(Work const& work) {
        for (auto attempts = detail::attempts_at(*over_, registry());;) {
            try {
                return work();
            } catch (transport_error const& failure) {
                if (!failure.facts().retryable || failure.facts().attempts > 1)
                    throw; // the transport has tried hard already
                attempts.failed(failure);
            }
        }
    }

    registry_error refused(std::string operation, std::string const& subject, http_response& answer,
                           origin const& by) {
        return refusal(std::move(operation), shown(subject), access_for(reading_), by, answer);
    }

    /// An answer, and whose it is in the end.
    struct found_answer {
        http_response what;
        origin by;

        // Addresses that are signed for GET are forbidden to HEAD; and without a body, a rate limit looks like a
        // denial.
        [[nodiscard]] bool knows_no_head() const {
            return what.status == 405 || what.status == 400 || what.status == 501 || what.status == 403;
        }
    };

    // GET and HEAD may be sent elsewhere: registries keep blobs in the storage of others.
    found_answer follow(std::string const& method, std::string const& path, http_headers headers) {
        http_request request{.method = method,
                             .target = at(path),
                             .access = access_for(reading_),
                             .headers = std::move(headers)};
        for (int hops = 0;; ++hops) {
            auto answer = over_->send(request);
            bool const elsewhere = answer.status == 301 || answer.status == 302 || answer.status == 303 ||
                                   answer.status == 307 || answer.status == 308;
            auto next = elsewhere ? location_of(request.target, answer) : std::nullopt;
            if (!next) return {std::move(answer), request.target.from()};
            if (hops == 5)
                throw registry_error{method,
                                     request.target.shown(),
                                     "we were sent from place to place five times, and now again",
                                     {.http_status = answer.status}};
            request.addresses = rule_for(*next, registry());
            request.target = std::move(*next);
        }
    }

    http_request upload_request(std::string method, url target, std::optional<http_body> body,
                                std::chrono::milliseconds patience) {
        http_request request{
            .method = std::move(method), .target = std::move(target), .access = access_for(push)};
        if (body) request.headers.add("Content-Type", "application/octet-stream");
        request.body = body;
        request.patience = patience;
        request.repeatable = false;
        request.addresses = rule_for(request.target, registry());
        return request;
    }

    T* over_;
    registry_host host_;
    std::string name_;
    char const* reading_; // what the scope of tokens for HEAD and GET allows
};

} // namespace shiplap

// === shiplap/registry/journal.hpp ===

// upload_journal: where unfinished uploads stand, on disk, so that a push whose process was killed goes on instead of
// starting anew. One small file for each upload under way, removed with its end:
//
//     FOLDER/uploads/<sha256 of registry, repository and digest>.json      mode 0600: a location may hold secrets
//
// An entry is for the same user on the same machine; anything else in its place is ignored. While a process works on
// an upload it holds a lock on the entry: a second process with the same blob makes an upload of its own.

namespace shiplap {

class upload_journal {
  public:
    /// In `folder`, which is made when it is needed. An empty name: nothing is remembered.
    explicit upload_journal(std::string folder = {}) : folder_{std::move(folder)} {}

    /// The record of one upload; held by one at a time.
    class entry {
      public:
        entry(unique_fd fd, std::string path, nlohmann::json key)
            : fd_{std::move(fd)}, path_{std::move(path)}, key_{std::move(key)} {}

        /// What was kept, by whomever it was.
        [[nodiscard]] std::optional<upload_session> session() const {
            std::string text(max_size, '\0');
            auto const size = ::pread(fd_.get(), text.data(), text.size(), 0);
            if (size <= 0) return std::nullopt;
            text.resize(static_cast<std::size_t>(size));
            auto const kept = nlohmann::json::parse(text, nullptr, false);
            if (!kept.is_object() || kept.value("key", nlohmann::json{}) != key_) return std::nullopt;
            auto const location = kept.find("location"), least = kept.find("minChunk");
            if (location == kept.end() || !location->is_string() || least == kept.end() ||
                !least->is_number_unsigned())
                return std::nullopt;
            try {
                return upload_session{url::parse(location->get<std::string>()), least->get<std::uint64_t>()};
            } catch (format_error const&) {
                return std::nullopt;
            }
        }

        void keep(upload_session const& session) {
            auto text = in_json(
                {{"key", key_}, {"location", session.location.text()}, {"minChunk", session.min_chunk}});
            if (text.size() > max_size) text.clear(); // nothing that makes sense is that long
            // Cut off by a kill it is no JSON, and counts for nothing.
            if (::ftruncate(fd_.get(), 0) != 0 || ::lseek(fd_.get(), 0, SEEK_SET) != 0)
                throw system_error{"write", path_, errno};
            detail::write_fully(fd_.get(), as_bytes(text), path_);
        }

        /// The upload has ended.
        void forget() noexcept { ::unlink(path_.c_str()); }

      private:
        static constexpr std::size_t max_size = 32 * 1024;

        unique_fd fd_; // closing it releases the lock
        std::string path_;
        nlohmann::json key_;
    };

    /// None if nothing is to be remembered, or somebody else is at it.
    [[nodiscard]] std::optional<entry> open(origin const& registry, std::string const& repository,
                                            digest const& which) const {
        if (folder_.empty()) return std::nullopt;
        auto const folder = folder_ + "/uploads";
        std::error_code problem;
        if (std::filesystem::create_directories(folder, problem); problem)
            throw system_error{"make directory", folder, problem.value()};
        ::chmod(folder.c_str(), 0700);

        char machine[256] = "";
        ::gethostname(machine, sizeof machine - 1);
        nlohmann::json key{registry.text(), repository, which.text(), machine, ::geteuid()};
        auto path =
            folder + "/" + std::string{digest::of<sha256>(as_bytes(in_json(key))).encoded()} + ".json";
        for (;;) {
            unique_fd fd{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600)};
            if (!fd && (errno == ELOOP || errno == EISDIR || errno == ENXIO)) return std::nullopt;
            if (!fd) throw system_error{"write", path, errno};
            if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return std::nullopt;
            struct ::stat held {
            }, there{};
            if (::fstat(fd.get(), &held) != 0) throw system_error{"read", path, errno};
            if (!S_ISREG(held.st_mode) || held.st_uid != ::geteuid()) return std::nullopt;
            // Between the two calls another process may have finished, and removed it.
            if (::stat(path.c_str(), &there) != 0 || held.st_dev != there.st_dev ||
                held.st_ino != there.st_ino)
                continue;
            ::fchmod(fd.get(), 0600);
            return entry{std::move(fd), std::move(path), std::move(key)};
        }
    }

  private:
    // A registry may put any bytes into a location.
    static std::string in_json(nlohmann::json const& value) {
        return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    }

    std::string folder_;
};

} // namespace shiplap

// === shiplap/registry/known_repositories.hpp ===

// known_repositories: which repository of a registry has which blob, as far as earlier pushes and pulls have shown. A
// blob that is asked for in another repository of that registry can be mounted instead of uploaded.
//
//     FOLDER/repositories/<registry>.json      [["sha256:...", "library/app"], ...]      the latest stand last
//
// It may be wrong, for registries forget blobs: a mount that fails is followed by an upload. Of each registry, the
// latest 20,000 are written down. Used on several threads at once.

namespace shiplap {

class known_repositories {
  public:
    /// Remembered in `folder`, which is made when it is needed; an empty name: only as long as this lives.
    explicit known_repositories(std::string folder = {}) : folder_{std::move(folder)} {}

    void add(origin const& registry, std::string const& repository, digest const& which) {
        std::lock_guard const lock{mutex_};
        auto& there = load(registry);
        pair const seen{which.text(), repository};
        there.changed |= there.blobs[seen.first].insert(repository).second;
        if (there.seen.insert(seen).second) there.in_order.push_back(seen);
    }

    /// Those that have the blob, apart from `target`: first the one whose path has most in common with it.
    [[nodiscard]] std::vector<std::string> having(origin const& registry, digest const& which,
                                                  std::string const& target) {
        std::lock_guard const lock{mutex_};
        auto const& blobs = load(registry).blobs;
        auto const found = blobs.find(which.text());
        if (found == blobs.end()) return {};
        std::vector<std::string> names;
        for (auto const& name : found->second)
            if (name != target) names.push_back(name);
        std::stable_sort(names.begin(), names.end(), [&](auto const& a, auto const& b) {
            return in_common(a, target) > in_common(b, target);
        });
        return names;
    }

    /// Writes down what is new. Another process may do so as well: both are kept.
    void save() {
        std::lock_guard const lock{mutex_};
        if (folder_.empty()) return;
        for (auto& [registry, there] : registries_) {
            if (!there.changed) continue;
            std::error_code problem;
            if (std::filesystem::create_directories(folder(), problem); problem)
                throw system_error{"make directory", folder(), problem.value()};
            folder_lock const held{folder()};
            auto pairs = read(path_of(registry));
            std::erase_if(pairs, [&seen = there.seen](pair const& one) { return seen.contains(one); });
            pairs.insert(pairs.end(), there.in_order.begin(), there.in_order.end());
            if (pairs.size() > most)
                pairs.erase(pairs.begin(), pairs.end() - static_cast<std::ptrdiff_t>(most));
            write_file(path_of(registry), nlohmann::json(pairs).dump(), 0600);
            there.changed = false;
        }
    }

  private:
    using pair = std::pair<std::string, std::string>; // blob and repository
    struct registry_facts {
        std::map<std::string, std::set<std::string>> blobs{}; // all that is known
        std::set<pair> seen{};                                // by this object
        std::vector<pair> in_order{};                         // the same, the latest last
        bool changed = false;                                 // the file does not have all of it
    };
    static constexpr std::size_t most = 20'000;
    static constexpr std::uint64_t max_size = 64 * 1024 * 1024;

    [[nodiscard]] std::string folder() const { return folder_ + "/repositories"; }
    [[nodiscard]] std::string path_of(origin const& registry) const {
        auto name = registry.authority();
        std::replace(name.begin(), name.end(), '/', '_');
        return folder() + "/" + name + ".json";
    }

    registry_facts& load(origin const& registry) {
        auto const [found, added] = registries_.try_emplace(registry);
        if (added && !folder_.empty())
            for (auto& [which, repository] : read(path_of(registry)))
                found->second.blobs[which].insert(std::move(repository));
        return found->second;
    }

    // What cannot be understood is forgotten: it is no more than a hint.
    static std::vector<pair> read(std::string const& path) {
        std::error_code problem;
        auto const size = std::filesystem::file_size(path, problem);
        if (problem || size > max_size) return {};
        auto const document = nlohmann::json::parse(read_file(path, max_size), nullptr, false);
        std::vector<pair> pairs;
        if (!document.is_array()) return pairs;
        for (auto const& one : document)
            if (one.is_array() && one.size() == 2 && one[0].is_string() && one[1].is_string())
                pairs.emplace_back(one[0].get<std::string>(), one[1].get<std::string>());
        return pairs;
    }

    /// Path components that both begin with.
    static std::size_t in_common(std::string_view a, std::string_view b) {
        std::size_t components = 0;
        for (std::size_t i = 0;; ++i) {
            bool const a_ends = i >= a.size() || a[i] == '/', b_ends = i >= b.size() || b[i] == '/';
            if (a_ends && b_ends) ++components;
            if (i >= a.size() || i >= b.size() || a[i] != b[i]) return components;
        }
    }

    std::string folder_;
    std::mutex mutex_;
    std::map<origin, registry_facts> registries_;
};

} // namespace shiplap

// === shiplap/registry/layer_encoding.hpp ===

// layer_encoding: a layer whose bytes are not packed as its media type says breaks those who pull it, and nobody tells
// who pushed it. So it is told here.

namespace shiplap {

namespace detail {

/// Throws format_error unless the bytes of a layer are packed as its media type says. Reads the first few of them.
inline void require_encoding(descriptor const& layer, replayable_source_ref from) {
    auto const& type = layer.media_type;
    bool const gzip = type.ends_with("+gzip") || type.ends_with(".gzip"),
               zstd = type.ends_with("+zstd") || type.ends_with(".zstd");
    if ((!gzip && !zstd && !type.ends_with(".tar")) || layer.size < 4) return;
    std::array<std::byte, 4> head{};
    from.rewind(); // it may have gone to another repository
    auto const size = read_fully(from, head);
    auto const actual = sniff_encoding(bytes_view{head}.first(size));
    std::string_view const wanted = gzip ? "gzip" : zstd ? "zstd" : "";
    if (actual == wanted) return;
    auto const called = [](std::string_view name) {
        return std::string{name.empty() ? "neither gzip nor zstd" : name};
    };
    throw format_error{"push", layer.digest.text(),
                       "its media type '" + printable(type) + "' says " + called(wanted) +
                           ", its bytes are " + called(actual)};
}

} // namespace detail

} // namespace shiplap

// === shiplap/registry/part_source.hpp ===

// part_source: a piece of a blob, for one request of its upload.

namespace shiplap::detail {

/// A part of a source as a source of its own. Parts follow each other without reading anything twice.
class part_source {
  public:
    explicit part_source(replayable_source_ref from) : from_{from} {}

    void select(std::uint64_t begin, std::uint64_t size) {
        begin_ = begin;
        size_ = size;
        rewind();
    }

    void rewind() {
        if (at_ > begin_) {
            from_.rewind();
            at_ = 0;
        }
        at_ += skip(from_, begin_ - at_); // of one that ends before, the reader will find nothing
    }

    std::size_t read(bytes_span into) {
        auto const left = begin_ + size_ - at_;
        if (left < into.size()) into = into.first(static_cast<std::size_t>(left));
        if (into.empty()) return 0;
        auto const n = from_.read(into);
        at_ += n;
        return n;
    }

  private:
    replayable_source_ref from_;
    std::uint64_t begin_ = 0, size_ = 0, at_ = 0;
};

} // namespace shiplap::detail

// === shiplap/registry/retry.hpp ===

// retrying<T>: a transport that sends again what may succeed then.
//
// Again after no answer, and after 408, 425, 429, 499, 500, 502, 503, 504, 520 to 524, and a 403 that speaks of a rate
// limit. Waits as long as Retry-After says, else a random part of a pause that doubles ("full jitter", so that many
// clients do not come back all at once). What one request was told to wait, all requests to that host wait. Gives up
// after a time without progress, or at once when the wait would be longer than that.
//
//   concept       expression        meaning
//   pause_clock   c.now()           a time point of a steady clock
//                 c.sleep(length)   may throw, to end the waiting
//
// The pieces of an upload are not repeatable: they are sent once, and retry_session tells their sender when to go on.

namespace shiplap {

struct retry_policy {
    std::chrono::milliseconds budget{std::chrono::minutes{2}}; ///< time without progress; 0: never again
    std::chrono::milliseconds first_pause{500};                ///< at most, before the second attempt
    std::chrono::milliseconds longest_pause{std::chrono::seconds{20}};
    /// A name without address and a port that nobody listens on are more often wrong than out of order.
    unsigned connect_attempts = 3;
};

template <class C>
concept pause_clock = requires(C& clock, std::chrono::milliseconds length) {
    { clock.now() } -> std::same_as<std::chrono::steady_clock::time_point>;
    clock.sleep(length);
};

/// The real time.
struct steady_pauses {
    std::function<void()> heartbeat{}; ///< called five times a second while it sleeps; may throw
    /// Told of each failure that is not the last, and of the pause that follows; on any thread.
    std::function<void(remote_error const&, std::chrono::milliseconds)> notice{};

    [[nodiscard]] static std::chrono::steady_clock::time_point now() {
        return std::chrono::steady_clock::now();
    }
    void sleep(std::chrono::milliseconds length) const {
        auto const end = now() + length;
        for (auto left = length; left.count() > 0;
             left = std::chrono::duration_cast<std::chrono::milliseconds>(end - now())) {
            if (heartbeat) heartbeat();
            std::this_thread::sleep_for(std::min(left, std::chrono::milliseconds{200}));
        }
    }
};
static_assert(pause_clock<steady_pauses>);

namespace detail {

/// What all requests of a retrying<T> share: until when each host wants to be left alone.
class host_pauses {
  public:
    using time_point = std::chrono::steady_clock::time_point;

    [[nodiscard]] time_point until(origin const& host) const {
        std::lock_guard const lock{mutex_};
        auto const found = until_.find(host);
        return found == until_.end() ? time_point::min() : found->second;
    }
    void extend(origin const& host, time_point until) {
        std::lock_guard const lock{mutex_};
        auto& there = until_.try_emplace(host, time_point::min()).first->second;
        there = std::max(there, until);
    }
    /// Evenly spread over [0, most].
    [[nodiscard]] std::chrono::milliseconds random_part(std::chrono::milliseconds most) {
        std::lock_guard const lock{mutex_};
        return std::chrono::milliseconds{std::uniform_int_distribution<long>{0, most.count()}(random_)};
    }

  private:
    mutable std::mutex mutex_;
    std::map<origin, time_point> until_;
    std::minstd_rand random_{std::random_device{}()};
};

inline std::string in_words(std::chrono::milliseconds length) {
    auto const tenths = (length.count() + 50) / 100;
    return std::to_string(tenths / 10) + (tenths % 10 != 0 ? "." + std::to_string(tenths % 10) : "") + " s";
}

} // namespace detail

/// The attempts at one thing, as one thread makes them.
template <pause_clock Clock>
class retry_session {
  public:
    retry_session(retry_policy const& policy, detail::host_pauses& pauses, origin host, Clock& clock)
        : policy_{policy}, pauses_{pauses}, host_{std::move(host)}, clock_{clock}, started_{clock.now()} {}

    /// Call before each attempt: waits while the host wants no requests.
    void wait_for_host() {
        using std::chrono::milliseconds;
        auto until = pauses_.until(host_);
        for (auto now = clock_.now(); now < until; now = clock_.now()) {
            // A little more than asked for, so that not all come back in the same moment.
            auto const more = pauses_.random_part(milliseconds{250});
            clock_.sleep(std::chrono::ceil<milliseconds>(until - now) + more);
            until = pauses_.until(host_);
        }
    }

    /// Something got through: the time without progress starts anew.
    void progressed() {
        failing_since_.reset();
        in_a_row_ = 0;
        unreachable_ = 0;
    }

    /// Call after each failed attempt: waits, and returns if another is due. Else throws the failure, with what all
    /// attempts took.
    void failed(registry_error const& failure) {
        unreachable_ = 0;
        retry_or_throw(failure, failure.facts());
    }
    void failed(transport_error const& failure) {
        bool const unreachable =
            failure.kind() == transport_failure::resolve || failure.kind() == transport_failure::connect;
        unreachable_ = unreachable ? unreachable_ + 1 : 0;
        retry_or_throw(failure, failure.facts());
    }

    /// Makes everybody wait as a refusal asks for, without another attempt of this session.
    void heed(failure_facts const& facts) {
        if (wants_pause(facts) && *facts.retry_after <= policy_.budget)
            pauses_.extend(host_, clock_.now() + *facts.retry_after);
    }

  private:
    void announce(remote_error const& failure, std::chrono::milliseconds pause) {
        if constexpr (requires { clock_.notice(failure, pause); })
            if (clock_.notice) clock_.notice(failure, pause);
    }

    template <class Failure>
    void retry_or_throw(Failure const& failure, failure_facts facts) {
        facts.attempts = ++attempts_;
        auto const now = clock_.now();
        facts.elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(now - started_);
        // An upload may take hours before it fails for the first time: the budget is for what comes then.
        if (!failing_since_) failing_since_ = now;
        auto const left =
            policy_.budget - std::chrono::floor<std::chrono::milliseconds>(now - *failing_since_);
        if (!facts.retryable || left.count() <= 0 || unreachable_ >= policy_.connect_attempts)
            give_up(failure, facts, "");
        if (!wants_pause(facts)) {
            auto const pause = std::min(next_pause(), left);
            announce(failure, pause);
            return clock_.sleep(pause);
        }
        if (*facts.retry_after > left) {
            auto const more = "; it asks to come back in " + detail::in_words(*facts.retry_after);
            give_up(failure, facts, more);
        }
        announce(failure, *facts.retry_after);
        pauses_.extend(host_, now + *facts.retry_after);
        wait_for_host();
    }

    // "At once", said again and again, is no pause to go by.
    static bool wants_pause(failure_facts const& facts) {
        return facts.retry_after && facts.retry_after->count() > 0;
    }

    std::chrono::milliseconds next_pause() {
        auto const doublings = std::min(in_a_row_++, 16U);
        return pauses_.random_part(std::min(policy_.longest_pause, policy_.first_pause * (1L << doublings)));
    }

    [[noreturn]] static void give_up(transport_error const& failure, failure_facts facts,
                                     std::string const& more) {
        auto reason = failure.reason() + more + effort(facts);
        throw transport_error{failure.kind(), failure.operation(), failure.subject(), std::move(reason),
                              std::move(facts)};
    }
    [[noreturn]] static void give_up(registry_error const& failure, failure_facts facts,
                                     std::string const& more) {
        auto reason = failure.reason() + more + effort(facts);
        throw registry_error{failure.operation(), failure.subject(), std::move(reason), std::move(facts)};
    }
    static std::string effort(failure_facts const& facts) {
        if (facts.attempts < 2) return "";
        return "; gave up after " + std::to_string(facts.attempts) + " attempts in " +
               detail::in_words(facts.elapsed);
    }

    retry_policy policy_;
    detail::host_pauses& pauses_;
    origin host_;
    Clock& clock_;
    std::chrono::steady_clock::time_point started_;
    std::optional<std::chrono::steady_clock::time_point> failing_since_{}; // without progress
    unsigned attempts_ = 0, in_a_row_ = 0, unreachable_ = 0;
};

template <transport T, pause_clock Clock = steady_pauses>
class retrying {
  public:
    using session = retry_session<Clock>;

    explicit retrying(T next, retry_policy policy = {}, Clock clock = {})
        : policy_{policy}, shared_{std::make_shared<shared_state>(std::move(next), std::move(clock))} {}

    http_response send(http_request const& request) {
        auto attempts = attempts_at(request.target.from());
        for (;;) {
            attempts.wait_for_host();
            auto outcome = attempt(request, attempts);
            if (auto* const answer = std::get_if<http_response>(&outcome)) return std::move(*answer);
            if (auto const* const refused = std::get_if<registry_error>(&outcome))
                attempts.failed(*refused);
            else
                attempts.failed(std::get<transport_error>(outcome));
        }
    }

    /// For who repeats by other means than sending the same again.
    [[nodiscard]] session attempts_at(origin const& host) {
        return {policy_, shared_->pauses, host, shared_->clock};
    }

  private:
    struct shared_state {
        shared_state(T to, Clock pauses_of) : next{std::move(to)}, clock{std::move(pauses_of)} {}
        T next;
        Clock clock;
        detail::host_pauses pauses;
    };

    // What is no answer for the caller, but a reason to try again or to give up, is returned as an error.
    std::variant<http_response, registry_error, transport_error> attempt(http_request const& request,
                                                                         session& attempts) {
        try {
            auto answer = shared_->next.send(request);
            if (!may_be_transient(answer.status)) return answer;
            // What it says decides, and must still be there for who asked.
            auto text = detail::read_error_text(answer);
            answer.body = any_byte_source{text_source{text}};
            if (!detail::is_transient(answer.status, answer.headers, text)) return answer;
            auto failure = refusal(request.method, request.target.shown(), request.access,
                                   request.target.from(), answer);
            if (request.repeatable) return failure;
            attempts.heed(failure.facts());
            answer.body = any_byte_source{text_source{std::move(text)}};
            return answer;
        } catch (
            registry_error const& failure) { // of who logs in for us: its service may be out of order, too
            if (!request.repeatable) throw;
            return failure;
        } catch (transport_error const& failure) {
            if (!request.repeatable) throw;
            return failure;
        }
    }

    static bool may_be_transient(int status) { return status == 403 || status == 408 || status >= 425; }

    retry_policy policy_;
    std::shared_ptr<shared_state> shared_;
};

} // namespace shiplap

// === shiplap/registry/upload.hpp ===

// upload: brings one blob into a repository, whatever happens on the way.
//
//     upload_blob(app, what, source, {.journal = &journal});
//
// One PUT with all of it. When that is cut, or the registry takes no requests of that size, the registry is asked how
// far it got, and pieces follow (PATCH) from there on. The rules:
//
//   the answer got lost            HEAD finds the blob: done
//   the session is gone            a new one, from the start
//   the registry has less          goes on from there; pieces that do not count at all: no pieces for this registry
//   the registry has more          an error: that upload is not ours
//   413                            smaller requests, down to 1 MiB
//   the digest is wrong there      once more from the start; the local bytes were verified while they were read
//
// What a request looks like is repository.hpp's; when to try again is retry.hpp's.

namespace shiplap {

/// What was learned about a registry; shared by all uploads to it.
struct upload_habits {
    std::atomic<std::uint64_t> max_body{std::numeric_limits<std::uint64_t>::max()}; ///< bytes of one request
    std::atomic<bool> ignores_pieces{false}; ///< says yes to a second PATCH and forgets it
};

struct upload_options {
    std::uint64_t piece = 32 << 20;          ///< bytes of a PATCH at most, at least 1
    bool in_pieces = false;                  ///< from the first byte on, not only when needed
    std::uint64_t worth_a_record = 32 << 20; ///< blobs of fewer bytes are not entered in the journal
    upload_journal const* journal = nullptr;
    /// For the answer when the last byte was sent: registries hash, and some move, the whole blob before they give it.
    std::chrono::milliseconds patience{std::chrono::minutes{5}};
};

namespace detail {

template <transport T>
class blob_upload {
  public:
    blob_upload(repository<T>& to, descriptor const& what, replayable_source_ref from, upload_habits& habits,
                upload_options const& options)
        : to_{to},
          what_{what},
          part_{from},
          habits_{habits},
          options_{options},
          attempts_{detail::attempts_at(to.over(), to.registry())},
          pieces_{options.in_pieces && !habits.ignores_pieces} {}

    void run(std::optional<upload_session> given) {
        if (options_.journal != nullptr && what_.size >= options_.worth_a_record)
            record_ = options_.journal->open(to_.registry(), to_.name(), what_.digest);
        try {
            if (record_) resume(record_->session());
            if (given && session_)
                to_.cancel_upload(*given); // less is left to do in the other
            else if (given)
                begin(std::move(*given));
            while (!advance()) {
            }
        } catch (remote_error const&) {
            throw; // the record stays: another run may go on
        } catch (error const& failure) {
            // What was sent is nothing to go on from.
            bool const wrong_bytes =
                failure.code() == error_code::digest_mismatch || failure.code() == error_code::source_changed;
            give_up(!record_ || wrong_bytes);
            throw;
        } catch (...) { // a signal, or another failure
            give_up(!record_);
            throw;
        }
        if (record_) record_->forget();
    }

  private:
    // One step towards the end; true if that is reached.
    bool advance() {
        attempts_.wait_for_host();
        try {
            if (!session_) begin(to_.start_upload(what_.digest));
            bool const all = !pieces_ && offset_ == 0 && what_.size <= habits_.max_body;
            if (all) return close(what_.size);
            if (offset_ < what_.size) return send_piece();
            return close(0);
        } catch (transport_error const& failure) {
            if (!failure.facts().retryable || failure.facts().attempts > 1)
                throw; // or others have tried hard already
            attempts_.failed(failure);
        }
        return find_out(true);
    }

    void begin(upload_session session) {
        session_ = std::move(session);
        offset_ = in_flight_ = 0;
        remember();
    }
    void remember() {
        if (record_) record_->keep(*session_);
    }
    void give_up(bool for_good) noexcept {
        if (!for_good) return;
        if (session_) to_.cancel_upload(*session_);
        if (record_) record_->forget();
    }
    void forget_session() {
        session_.reset();
        offset_ = in_flight_ = 0;
    }

    // Where another run left off. What the registry has then is believed: the digest is checked at the end.
    void resume(std::optional<upload_session> left) {
        if (!left || left->location.from() != to_.registry() || habits_.ignores_pieces) return;
        auto const there = to_.upload_status(*left);
        if (!there || there->received.value_or(0) == 0 || *there->received > what_.size) return;
        begin(there->session);
        offset_ = in_flight_ = *there->received;
        pieces_ = true;
    }

    // The closing PUT, with `size` bytes in it: all, or nothing.
    bool close(std::uint64_t size) {
        part_.select(0, size);
        in_flight_ = what_.size;
        std::optional<http_body> body;
        if (size != 0) body = http_body{part_, size, 0};
        auto answer = to_.put_upload(*session_, what_.digest, body, options_.patience);
        if (answer.status == 201 || answer.status == 200 || answer.status == 204) {
            check_digest(answer);
            (void)read_text(answer, max_error_body); // all of it came, and the connection can be used again
            return true;
        }
        if (answer.status == 202 && to_.has_blob(what_.digest, what_.size)) return true;
        if (size == 0 && answer.status == 500) ++refused_closings_;
        return failed(answer, size);
    }

    bool send_piece() {
        auto const limit = std::max<std::uint64_t>(habits_.max_body, 1);
        auto const wanted = std::max(std::min(options_.piece, limit), session_->min_chunk);
        auto const size = std::min(wanted, what_.size - offset_);
        part_.select(offset_, size);
        in_flight_ = offset_ + size;
        auto answer = to_.patch_upload(*session_, http_body{part_, size, 0}, offset_);
        if (answer.status != 202 && answer.status != 201 && answer.status != 200 && answer.status != 204)
            return failed(answer, size);

        auto const now = to_.progress_of(*session_, answer);
        session_ = now.session;
        auto const sent_to = offset_ + size;
        // One byte looks like none at all.
        auto const received = sent_to == 1 ? sent_to : now.received.value_or(sent_to);
        if (received > sent_to) throw range_ahead(received);
        if (received <= offset_) return pieces_are_ignored();
        move_to(received);
        return false;
    }

    // An answer that is no success. False if there is another way to go on; otherwise throws.
    bool failed(http_response& answer, std::uint64_t size) {
        if ((answer.status == 307 || answer.status == 308) && answer.headers.find("Location") != nullptr &&
            ++moves_ <= 5) {
            session_ = to_.progress_of(*session_, answer).session;
            return false;
        }
        // What it says to have, unless that is nothing, or it does not say.
        auto const range =
            answer.status == 416 ? to_.progress_of(*session_, answer).received.value_or(0) : std::uint64_t{0};
        auto failure = to_.refused("upload", what_.digest.text(), answer);
        auto const& facts = failure.facts();
        if (answer.status == 413) return shrink(failure, size);
        if (answer.status == 401 && ++logins_ <= 1) return find_out(false); // a new token is there
        if (facts.registry_code == "DIGEST_INVALID") {
            if (++wrong_digests_ > 1)
                throw registry_error{
                    "upload", failure.subject(),
                    failure.reason() +
                        "; the local bytes have this digest, so they were damaged on the way or there",
                    facts};
            forget_session();
            return false;
        }
        bool const gone = answer.status == 404 || facts.registry_code == "BLOB_UPLOAD_UNKNOWN" ||
                          facts.registry_code == "BLOB_UPLOAD_INVALID" || answer.status == 416;
        if (gone || facts.retryable) {
            attempts_.failed(as_retryable(failure));
            if (range != 0 && range <= in_flight_) {
                move_to(range);
                return false;
            }
            return find_out(true);
        }
        throw failure;
    }

    // What does the registry have? True if it is everything.
    bool find_out(bool may_be_complete) {
        if (may_be_complete && to_.has_blob(what_.digest, what_.size)) return true;
        if (!session_) return false;
        pieces_ = true;
        if (habits_.ignores_pieces || refused_closings_ > 1) {
            pieces_ = false;
            forget_session();
            return false;
        }
        auto const there = to_.upload_status(*session_);
        auto const received = there ? there->received.value_or(0) : 0;
        if (received > in_flight_) throw range_ahead(received);
        if (received == 0) { // or one byte: both are told as "0-0"
            forget_session();
            return false;
        }
        session_ = there->session;
        move_to(received);
        return false;
    }

    void move_to(std::uint64_t received) {
        if (received > offset_) {
            attempts_.progressed();
            moves_ = logins_ = 0;
        }
        offset_ = received;
        remember();
    }

    bool pieces_are_ignored() {
        habits_.ignores_pieces = true;
        if (what_.size > habits_.max_body)
            throw registry_error{
                "upload",
                to_.shown(what_.digest.text()),
                "the registry accepts a piece of the blob and then does not have it, and all "
                "of it at once is too large for it",
                {}};
        pieces_ = false;
        forget_session();
        return false;
    }

    bool shrink(registry_error const& failure, std::uint64_t size) {
        constexpr std::uint64_t least = 1 << 20, likely = 50 << 20;
        auto const smaller = size > 2 * likely ? likely : std::max(size / 2, least);
        if (size <= least || smaller < session_->min_chunk || habits_.ignores_pieces)
            throw registry_error{failure.operation(), failure.subject(),
                                 failure.reason() + ", even one of " + std::to_string(size) + " bytes",
                                 failure.facts()};
        for (auto limit = habits_.max_body.load(); smaller < limit;)
            if (habits_.max_body.compare_exchange_weak(limit, smaller)) break;
        return find_out(false);
    }

    void check_digest(http_response const& answer) {
        auto const told = answer.headers.get("Docker-Content-Digest");
        if (told.starts_with(std::string{what_.digest.algorithm()} + ":") && told != what_.digest.text())
            throw registry_error{"upload",
                                 to_.shown(what_.digest.text()),
                                 "the registry says that it has " + printable(told) + " now",
                                 {.http_status = answer.status}};
    }

    registry_error range_ahead(std::uint64_t received) const {
        return {"upload",
                to_.shown(what_.digest.text()),
                "the registry says that it has " + std::to_string(received) + " bytes, but only " +
                    std::to_string(in_flight_) + " were sent",
                {}};
    }

    static registry_error as_retryable(registry_error const& failure) {
        auto facts = failure.facts();
        facts.retryable = true;
        return {failure.operation(), failure.subject(), failure.reason(), std::move(facts)};
    }

    repository<T>& to_;
    descriptor const& what_;
    part_source part_;
    upload_habits& habits_;
    upload_options const& options_;
    decltype(detail::attempts_at(std::declval<T&>(), std::declval<origin const&>())) attempts_;
    std::optional<upload_journal::entry> record_{};
    std::optional<upload_session> session_{};
    std::uint64_t offset_ = 0;    // bytes that the registry has
    std::uint64_t in_flight_ = 0; // bytes that it may have
    bool pieces_;
    unsigned moves_ = 0, logins_ = 0, wrong_digests_ = 0, refused_closings_ = 0;
};

} // namespace detail

/// Uploads the content of `what`, verified as it is read, and returns when the registry has confirmed it. `session`: one
/// that a refused mount gave. Throws remote_error; what reading `from` throws, goes through.
template <transport T>
void upload_blob(repository<T>& to, descriptor const& what, replayable_source_ref from, upload_habits& habits,
                 upload_options const& options = {}, std::optional<upload_session> session = {}) {
    from.rewind();
    detail::blob_upload<T>{to, what, from, habits, options}.run(std::move(session));
}

} // namespace shiplap

// === shiplap/registry/upload_manifest.hpp ===

// upload_manifest: puts a manifest or index into a repository, by digest or as what a tag stands for.
//
//     upload_manifest(app, what.digest.text(), what, text);
//     upload_manifest(app, "latest", what, text);
//
// A registry that says that something of it is missing is asked for each part. What it has, it may need a moment to
// notice, and the manifest is put again; what it has lost must be uploaded again: content_missing.

namespace shiplap {

namespace detail {

/// What `text` names, but for what is to be fetched from elsewhere.
inline std::vector<descriptor> parts_of_manifest(descriptor const& what, std::string const& text) {
    auto const subject = what.digest.text();
    std::vector<descriptor> parts;
    if (is_index_type(what.media_type)) {
        parts = parse_index(text, subject, what.media_type).manifests;
    } else {
        auto manifest = parse_manifest(text, subject, what.media_type);
        parts = std::move(manifest.layers);
        parts.push_back(std::move(manifest.config));
    }
    std::erase_if(parts, [](descriptor const& part) {
        return is_foreign_layer(part.media_type) && !part.urls.empty();
    });
    return parts;
}

/// Throws content_missing unless the registry has all parts. Asks for each, whatever was known.
template <transport T>
void require_parts(repository<T>& in, descriptor const& what, std::string const& text) {
    auto missing = parts_of_manifest(what, text);
    std::erase_if(missing, [&](descriptor const& part) {
        return is_document(part) ? in.find_manifest(part.digest.text()).has_value()
                                 : in.has_blob(part.digest, part.size);
    });
    if (!missing.empty()) throw content_missing{in.shown(what.digest.text()), std::move(missing)};
}

/// Whether a refusal says that something is missing. Proxies may have taken the words away.
inline bool speaks_of_missing_parts(failure_facts const& refusal, descriptor const& what) {
    auto const& code = refusal.registry_code;
    return code == "MANIFEST_BLOB_UNKNOWN" || code == "BLOB_UNKNOWN" ||
           (code == "MANIFEST_UNKNOWN" && is_index_type(what.media_type)) ||
           (code.empty() && refusal.http_status == 404);
}

} // namespace detail

/// `name`: a tag, or the digest of `text`, which `what` describes. Throws remote_error, content_missing.
template <transport T>
void upload_manifest(repository<T>& to, std::string const& name, descriptor const& what,
                     std::string const& text) {
    auto attempts = detail::attempts_at(to.over(), to.registry());
    for (unsigned round = 0;; ++round) {
        auto answer = to.put_manifest(name, what.media_type, text);
        if (answer.status >= 200 && answer.status < 300) {
            auto const told = answer.headers.get("Docker-Content-Digest");
            if (!told.starts_with(std::string{what.digest.algorithm()} + ":") || told == what.digest.text())
                return;
            throw registry_error{"put manifest",
                                 to.shown(name),
                                 "the registry says that it has " + printable(told) + " now, not " +
                                     what.digest.text(),
                                 {.http_status = answer.status}};
        }
        auto const failure = to.refused("put manifest", name, answer);
        if (!detail::speaks_of_missing_parts(failure.facts(), what) || round == 5) throw failure;
        detail::require_parts(to, what, text);
        auto facts = failure.facts();
        facts.retryable = true;
        attempts.failed(registry_error{failure.operation(), failure.subject(), failure.reason(), facts});
    }
}

} // namespace shiplap

// === shiplap/registry/sink.hpp ===

// registry_sink: an image in one or more repositories of registries.
//
//     registry_sink to{curl_transport{}, {reference::parse("r.io/app:1"), reference::parse("r.io/app:latest")}};
//     copy(root, {}, store, to, env);
//
// What a repository has is not sent again: HEAD first; then the blob is mounted from a repository of the same registry
// that is known to have it; then uploaded (upload.hpp). Manifests go by digest, when all that they name was confirmed;
// tags are moved by commit(), last of all. A tag that stands for this image already is left alone.
//
// The tags of one image cannot be moved all at once. If one fails, the error says which were moved and which not.

namespace shiplap {

struct registry_options {
    bool insecure = false;  ///< plain HTTP, and certificates that nobody vouches for, are good enough
    bool by_digest = false; ///< sets no tags
    std::vector<reference> untagged{}; ///< it goes there as well, but gets no tag
    unsigned transfers = 4;            ///< uploads at once, at least 1
    upload_options upload{};           ///< its journal is the sink's
    std::string state_folder{};        ///< what makes the next push shorter is kept here; empty: nowhere
    /// Who has which blob; shared with other sinks and sources. None: one that knows what `state_folder` knows.
    std::shared_ptr<known_repositories> known{};
};

/// A remote_sink. `names`: references of where the image goes, of at least one repository.
template <transport T>
class registry_sink {
  public:
    /// Throws option_error for no names, and for a name with a tag or digest if no tags are wanted.
    registry_sink(T over, std::vector<reference> const& names, registry_options options = {})
        : self_{std::make_unique<state>(std::move(over), std::move(options))} {
        if (names.empty() && self_->options.untagged.empty())
            throw option_error{"push", "", "an image needs a name that says where it goes"};
        for (auto const& name : names) {
            if (self_->options.by_digest && (!name.tag().empty() || name.digest()))
                throw option_error{"push", name.text(),
                                   "can't push tagged ref " + name.text() + " by digest"};
            self_->add(name, !self_->options.by_digest);
        }
        for (auto const& name : self_->options.untagged) self_->add(name, false);
    }

    [[nodiscard]] unsigned transfers() const noexcept { return std::max(1U, self_->options.transfers); }

    /// Finds each registry and what its tags stand for now: a registry that is not there, or does not know the user, is
    /// told of before the work is done.
    void connect() { self_->connect(); }

    /// All but the layers that are to be fetched from elsewhere.
    [[nodiscard]] std::vector<descriptor> arrange(image_graph const& graph) {
        self_->begin(graph.root);
        std::vector<descriptor> contents;
        for (auto const& node : graph.contents)
            if (node.role != node_role::layer || !detail::is_foreign_layer(node.what.media_type) ||
                node.what.urls.empty())
                contents.push_back(node.what);
        return contents;
    }

    /// In all repositories.
    [[nodiscard]] bool exists(descriptor const& what) {
        self_->connect();
        bool everywhere = true;
        for (auto& to : self_->targets)
            everywhere &= self_->pushing_to(to, [&] { return self_->has(to, what); });
        return everywhere;
    }

    void put(descriptor const& what, replayable_source_ref from) {
        self_->connect();
        if (is_document(what)) return self_->put_document(what, from);
        for (auto& to : self_->targets)
            if (!self_->confirmed(to, what.digest))
                self_->pushing_to(to, [&] { self_->put_blob(to, what, from); });
    }

    /// Without a name: all that the sink was made with. Throws option_error for one that it was not made with.
    void tag(descriptor const&, image_name const& name) {
        if (name.full.empty()) return;
        auto const found = std::find_if(self_->tags.begin(), self_->tags.end(),
                                        [&](auto const& tag) { return tag.full == name.full; });
        // One with a digest is what the registry calls it by itself.
        if (found == self_->tags.end() && !reference::parse(name.full).digest())
            throw option_error{"push", name.full,
                               "is none of the names that this registry_sink was made for"};
    }

    /// Moves the tags.
    void commit() {
        self_->move_tags();
        try {
            self_->options.known->save();
        } catch (
            system_error const&) { // NOLINT(bugprone-empty-catch): the image is there; all that is lost is time
        }
    }

  private:
    struct target {
        repository<T> to;
        std::set<digest> confirmed{}; // what it has
    };
    struct tag_name {
        std::string full, tag;
        std::size_t target;
        std::optional<digest> stands_for{}; // as far as the registry told
    };

    struct state {
        state(T made_of, registry_options with)
            : over{std::move(made_of)}, options{std::move(with)}, journal{options.state_folder} {
            if (!options.known) options.known = std::make_shared<known_repositories>(options.state_folder);
            options.upload.journal = &journal;
        }

        void add(reference const& name, bool tagged) {
            auto const same = [&](target const& there) {
                return there.to.name() == name.path() && there.to.host().name == name.domain();
            };
            auto at = std::find_if(targets.begin(), targets.end(), same);
            if (at == targets.end())
                at = targets.insert(at, target{repository<T>{over, host_of(name.domain(), options.insecure),
                                                             name.path(), repository<T>::push}});
            auto const tag = tagged ? name.with_default_tag().tag() : "";
            if (!tag.empty())
                tags.push_back(
                    {name.with_default_tag().text(), tag, static_cast<std::size_t>(at - targets.begin())});
        }

        void begin(descriptor const& image) {
            root = image;
            root_text.clear();
            for (auto& one : targets) one.confirmed.erase(image.digest); // its tags decide
        }

        // Others wait for who is at it.
        void connect() {
            std::lock_guard const lock{connecting};
            if (connected) return;
            for (auto& one : targets) habits.try_emplace(one.to.registry());
            for (auto& tag : tags) {
                auto& in = targets[tag.target];
                tag.stands_for = pushing_to(in, [&] { return meaning_of(in, tag.tag); });
            }
            connected = true;
        }

        // Errors name the image as the user does.
        template <class Action>
        auto pushing_to(target const& to, Action action) {
            try {
                return action();
            } catch (error& failure) {
                auto const named = std::find_if(tags.begin(), tags.end(),
                                                [&](auto const& tag) { return &targets[tag.target] == &to; });
                failure.within("failed to push " +
                               printable(named == tags.end() ? to.to.full_name() : named->full));
                throw;
            }
        }

        std::optional<digest> meaning_of(target& in, std::string const& tag) {
            try {
                auto const found = in.to.find_manifest(tag);
                if (!found || found->digest) return found ? found->digest : std::nullopt;
                auto const document = in.to.get_manifest(tag);
                return document ? std::optional{document->what.digest} : std::nullopt;
            } catch (format_error const&) {
                return std::nullopt; // whatever it is, it is not this image
            }
        }

        bool confirmed(target const& in, digest const& which) {
            std::lock_guard const lock{mutex};
            return in.confirmed.contains(which);
        }
        void confirm(target& in, digest const& which, bool is_blob) {
            std::lock_guard const lock{mutex};
            in.confirmed.insert(which);
            if (is_blob) options.known->add(in.to.registry(), in.to.name(), which);
        }

        bool has(target& in, descriptor const& what) {
            if (confirmed(in, what.digest)) return true;
            if (!is_document(what)) {
                if (!in.to.has_blob(what.digest, what.size)) return false;
            } else if (root && what.digest == root->digest && has_tags(in)) {
                if (!tags_are_up_to_date(in)) return false;
            } else if (auto const found = in.to.find_manifest(what.digest.text()); !found) {
                return false;
            }
            confirm(in, what.digest, !is_document(what));
            return true;
        }

        bool has_tags(target const& in) const {
            return std::any_of(tags.begin(), tags.end(),
                               [&](auto const& tag) { return &targets[tag.target] == &in; });
        }
        bool tags_are_up_to_date(target const& in) const {
            return std::all_of(tags.begin(), tags.end(), [&](tag_name const& tag) {
                return &targets[tag.target] != &in || tag.stands_for == root->digest;
            });
        }

        void put_blob(target& into, descriptor const& what, replayable_source_ref from) {
            // One that is known to have it; more of them would cost more than they save.
            std::optional<upload_session> session;
            if (auto const holders = options.known->having(into.to.registry(), what.digest, into.to.name());
                !holders.empty()) {
                auto answer = into.to.mount(what.digest, holders.front());
                if (answer.mounted) return confirm(into, what.digest, true);
                session = std::move(answer.session);
            }
            detail::require_encoding(what, from);
            upload_blob(into.to, what, from, habits.at(into.to.registry()), options.upload,
                        std::move(session));
            confirm(into, what.digest, true);
        }

        void put_document(descriptor const& what, replayable_source_ref from) {
            std::string text(static_cast<std::size_t>(what.size), '\0');
            (void)read_fully(from, {reinterpret_cast<std::byte*>(text.data()), text.size()});
            for (auto& into : targets) {
                if (confirmed(into, what.digest)) continue;
                pushing_to(into, [&] { put_manifest(into, what.digest.text(), what, text); });
                confirm(into, what.digest, false);
            }
            if (root && what.digest == root->digest) root_text = std::move(text);
        }

        void put_manifest(target& into, std::string const& name, descriptor const& what,
                          std::string const& text) {
            try {
                upload_manifest(into.to, name, what, text);
            } catch (content_missing const& lost) {
                std::lock_guard const lock{mutex};
                for (auto const& one : lost.what_is_missing()) into.confirmed.erase(one.digest);
                throw;
            }
        }

        void move_tags() {
            for (auto tag = tags.begin(); tag != tags.end(); ++tag) {
                if (tag->stands_for == root->digest) continue;
                auto& into = targets[tag->target];
                try {
                    put_tag(into, tag->tag);
                } catch (error& failure) {
                    failure.within(fate_of_tags(tag));
                    throw;
                }
                tag->stands_for = root->digest;
            }
        }

        void put_tag(target& into, std::string const& tag) {
            try {
                put_manifest(into, tag, *root, root_text);
            } catch (registry_error const& failure) {
                auto const& facts = failure.facts();
                auto const told = detail::lower_case(facts.registry_message);
                bool const immutable = told.find("immutable") != told.npos ||
                                       told.find("already exists") != told.npos || facts.http_status == 409 ||
                                       facts.http_status == 412;
                if (!immutable) throw;
                if (stands_for_root(into, tag)) return;
                throw registry_error{
                    "push", into.to.shown(tag),
                    "this tag is immutable and stands for another image; choose another tag (" +
                        failure.reason() + ")",
                    facts};
            }
        }

        // Set by a request whose answer got lost, or by somebody else; or the registry told no digest before.
        bool stands_for_root(target& in, std::string const& tag) const {
            try {
                auto const document = in.to.get_manifest(tag);
                return document && document->text == root_text;
            } catch (error const&) {
                return false;
            }
        }

        // Which names were moved, and which not, if there are several.
        std::string fate_of_tags(typename std::vector<tag_name>::iterator failed) const {
            auto what_failed = "failed to push " + printable(failed->full);
            if (tags.size() == 1) return what_failed;
            std::string moved, left;
            for (auto tag = tags.begin(); tag != tags.end(); ++tag) {
                auto& list = tag->stands_for == root->digest ? moved : left;
                list += (list.empty() ? "" : ", ") + tag->full;
            }
            return what_failed +
                   ": these names stand for the new image: " + (moved.empty() ? "none" : moved) +
                   "; these do not, as far as is known: " + left;
        }

        T over;
        registry_options options;
        upload_journal journal;
        std::vector<target> targets;
        std::vector<tag_name> tags;
        std::optional<descriptor> root;
        std::string root_text;
        std::mutex connecting;
        bool connected = false;
        std::map<origin, upload_habits> habits;
        std::mutex mutex; // of the sets of what is confirmed
    };

    std::unique_ptr<state> self_;
};

} // namespace shiplap

// === shiplap/registry/store.hpp ===

// registry_store: the images of one repository, to be read. A blob_reader_source.
//
//     registry_store from{curl_transport{}, reference::parse("r.io/app:1")};
//     copy(from.resolve("1"), {}, from, layout_sink{"app"}, env);
//
// Nothing is fetched before it is read. A download that is cut goes on where it was, if the registry can; who reads
// verifies (verified_source).

namespace shiplap {

template <transport T>
class registry_store {
    struct state {
        state(T with, reference const& name, bool insecure, std::shared_ptr<known_repositories> remembers)
            : over{std::move(with)},
              from{over, host_of(name.domain(), insecure), name.path()},
              known{std::move(remembers)} {}

        T over;
        repository<T> from;
        std::shared_ptr<known_repositories> known;
        std::mutex mutex;
        std::map<digest, std::string> documents; // read before; few, and small
        std::map<digest, bool> expected;         // named by these: whether it is a document
    };

  public:
    static constexpr bool is_remote = true;

    /// Of `name`, only registry and repository count. `known` learns what this repository has.
    registry_store(T over, reference const& name, bool insecure = false,
                   std::shared_ptr<known_repositories> known = nullptr)
        : self_{std::make_shared<state>(std::move(over), name, insecure, std::move(known))} {
        (void)self_->from.registry(); // before several threads want to know
    }

    /// The image of this tag or digest. Throws error{not_found}.
    [[nodiscard]] descriptor resolve(std::string const& tag_or_digest) const {
        auto document = self_->from.get_manifest(tag_or_digest);
        if (!document)
            throw error{error_code::not_found, "find image", self_->from.shown(tag_or_digest),
                        "the registry has no such image; check the name and the tag"};
        auto what = document->what;
        learn(std::move(*document));
        return what;
    }

    [[nodiscard]] bool contains(digest const& which) const {
        std::optional<bool> is_document;
        {
            std::lock_guard const lock{self_->mutex};
            if (self_->documents.contains(which)) return true;
            if (auto const found = self_->expected.find(which); found != self_->expected.end())
                is_document = found->second;
        }
        if (is_document == true) return self_->from.find_manifest(which.text()).has_value();
        return self_->from.has_blob(which, std::nullopt);
    }

    class reader_type {
      public:
        std::size_t read(bytes_span into) {
            for (;;) {
                try {
                    if (!body_) open();
                    auto const n = body_->read(into);
                    at_ += n;
                    if (n != 0 && attempts_) attempts_->progressed();
                    return n;
                } catch (registry_error const& failure) {
                    // It was cut at its very end: there is no more.
                    if (at_ != 0 && failure.facts().http_status == 416) return 0;
                    throw;
                } catch (transport_error const& failure) {
                    body_.reset();
                    if (!failure.facts().retryable || failure.facts().attempts > 1) throw;
                    if (!attempts_)
                        attempts_.emplace(detail::attempts_at(self_->over, self_->from.registry()));
                    attempts_->failed(failure);
                }
            }
        }

        void rewind() {
            if (at_ == 0) return;
            at_ = 0;
            body_.reset();
        }

      private:
        friend registry_store;
        reader_type(std::shared_ptr<state> self, digest which)
            : self_{std::move(self)}, which_{std::move(which)} {}

        void open() {
            if (auto text = document()) {
                body_.emplace(text_source{std::move(*text)});
                skip(*body_, at_); // what is missing will be found missing
                return;
            }
            auto answer = self_->from.get_blob(which_, at_);
            bool const partial = answer.status == 206;
            body_.emplace(std::move(answer.body));
            if (!partial) skip(*body_, at_);
        }

        // The text of a manifest, which is not to be had as a blob.
        std::optional<std::string> document() {
            {
                std::lock_guard const lock{self_->mutex};
                if (auto const found = self_->documents.find(which_); found != self_->documents.end())
                    return found->second;
                if (auto const found = self_->expected.find(which_);
                    found == self_->expected.end() || !found->second)
                    return std::nullopt;
            }
            auto found = self_->from.get_manifest(which_.text());
            if (!found)
                throw error{error_code::not_found, "read manifest", self_->from.shown(which_.text()),
                            "the registry does not have it"};
            auto text = found->text;
            registry_store{self_}.learn(std::move(*found));
            return text;
        }

        std::shared_ptr<state> self_;
        digest which_;
        std::optional<any_byte_source> body_{};
        std::optional<decltype(detail::attempts_at(std::declval<T&>(), std::declval<origin const&>()))>
            attempts_{};
        std::uint64_t at_ = 0;
    };

    /// Fetches nothing until it is read.
    [[nodiscard]] reader_type reader(digest const& which) const { return {self_, which}; }

  private:
    explicit registry_store(std::shared_ptr<state> self) : self_{std::move(self)} {}

    void learn(manifest_document document) const {
        std::lock_guard const lock{self_->mutex};
        auto const subject = document.what.digest.text();
        if (is_index_type(document.what.media_type)) {
            for (auto const& child : parse_index(document.text, subject, document.what.media_type).manifests)
                self_->expected.emplace(child.digest, is_document(child));
        } else if (is_manifest_type(document.what.media_type)) {
            auto const manifest = parse_manifest(document.text, subject, document.what.media_type);
            if (self_->known) {
                for (auto const& layer : manifest.layers)
                    self_->known->add(self_->from.registry(), self_->from.name(), layer.digest);
                self_->known->add(self_->from.registry(), self_->from.name(), manifest.config.digest);
            }
        }
        self_->documents.insert_or_assign(document.what.digest, std::move(document.text));
    }

    std::shared_ptr<state> self_;
};

} // namespace shiplap

// === shiplap/registry/curl.hpp ===

// All that needs libcurl: the registry folder in one include; and what most programs want of it:
//
//     curl_registries registries;
//     exporter out{gzip{}, oci_media_types{}, sha256{}, registries.sink({reference::parse("r.io/app:1")})};
//     auto from = registries.source(reference::parse("r.io/app:1"));
//
// An env with a member `registries` lets export_image() push.

namespace shiplap {

struct curl_registries_options {
    curl_options network{};
    retry_policy retries{};
    /// See steady_pauses.
    std::function<void(remote_error const&, std::chrono::milliseconds)> retry_notice{};
    bool insecure = false;      ///< see registry_options
    unsigned transfers = 4;     ///< at once, for each sink
    std::string state_folder{}; ///< see registry_options
};

/// Ways to registries that share connections, logins, and the knowledge of who has which blob. Copies share them, too.
class curl_registries {
  public:
    using transport_type = retrying<authenticated<curl_transport>>;

    explicit curl_registries(curl_registries_options options = {})
        : options_{with_user_agent(std::move(options))},
          known_{std::make_shared<known_repositories>(options_.state_folder)},
          over_{authenticated{curl_transport{options_.network}}, options_.retries,
                steady_pauses{options_.network.heartbeat, options_.retry_notice}} {}

    /// Pushes to all `names`. What is left open in `how` is as these options say.
    [[nodiscard]] registry_sink<transport_type> sink(std::vector<reference> const& names,
                                                     registry_options how = {}) const {
        how.insecure |= options_.insecure;
        how.transfers = options_.transfers;
        if (how.state_folder.empty()) how.state_folder = options_.state_folder;
        if (!how.known) how.known = known_;
        return {over_, names, std::move(how)};
    }

    /// The same, for export_image().
    [[nodiscard]] registry_sink<transport_type> sink(push_target const& to) const {
        return sink(to.names, {.insecure = to.insecure, .untagged = to.untagged});
    }

    /// Pulls from the repository of `name`.
    [[nodiscard]] registry_store<transport_type> source(reference const& name) const {
        return {over_, name, options_.insecure, known_};
    }

    /// One repository, endpoint by endpoint. These registries must outlive it.
    [[nodiscard]] repository<transport_type> at(reference const& name) {
        return {over_, host_of(name.domain(), options_.insecure), name.path()};
    }

  private:
    static curl_registries_options with_user_agent(curl_registries_options options) {
        if (options.network.user_agent.empty())
            options.network.user_agent = std::string{"shiplap/"} + version;
        return options;
    }

    curl_registries_options options_;
    std::shared_ptr<known_repositories> known_;
    transport_type over_;
};

} // namespace shiplap
