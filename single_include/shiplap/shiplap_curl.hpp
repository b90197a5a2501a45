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
#include <csignal>
#include <initializer_list>
#include <tuple>

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
        auto const candidate = std::string{rest.substr(0, colon)} + "/" + name;
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
        if (helper_may_see(name)) variables.push_back(name + "=" + value);
    std::vector<char*> envp;
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
    std::vector<std::string> scopes{}; ///< as of merge_scopes()
};

struct bearer_token {
    secret value;
    std::chrono::milliseconds lifetime; ///< from the request on
};

/// One scope for each resource, sorted, with all actions asked for, sorted: two lists that mean the same get equal.
/// "repository:r.io:5000/app:pull,push": the name is what lies between the first colon and the last.
inline std::vector<std::string> merge_scopes(std::vector<std::string> const& scopes) {
    std::map<std::string, std::set<std::string>, std::less<>> resources;
    for (auto const& scope : scopes) {
        auto const last = scope.rfind(':');
        bool const whole = last != scope.npos && scope.find(':') != last;
        auto& actions = resources[whole ? scope.substr(0, last) : scope];
        if (!whole) continue; // not of the usual form: for the service to understand
        for (std::string_view rest = std::string_view{scope}.substr(last + 1); !rest.empty();) {
            auto const comma = std::min(rest.find(','), rest.size());
            if (comma != 0) actions.emplace(rest.substr(0, comma));
            rest.remove_prefix(std::min(comma + 1, rest.size()));
        }
    }
    std::vector<std::string> merged;
    for (auto const& [resource, actions] : resources) {
        auto scope = resource;
        for (auto const& action : actions) scope += (scope.size() == resource.size() ? ":" : ",") + action;
        if (!scope.empty()) merged.push_back(std::move(scope));
    }
    return merged;
}

namespace detail {

/// What users call the registry.
inline std::string registry_name(registry_access const& access) {
    return access.name.empty() ? access.registry.authority() : access.name;
}

/// `status` is that of the last answer; `words` are those of the server.
inline registry_error authentication_failure(registry_access const& access, std::string reason, int status,
                                             std::string words = {}) {
    failure_facts facts;
    facts.http_status = status;
    facts.retryable = status == 408 || status == 429 || status >= 500;
    words = printable(std::string_view{words}.substr(0, std::min<std::size_t>(words.size(), 400)));
    if (!words.empty()) reason += " (it says: " + words + ")";
    facts.registry_message = std::move(words);
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

/// Seconds, if the server asked for a number of them.
inline std::optional<std::chrono::seconds> seconds_to_wait(http_headers const& headers) {
    auto const text = headers.get("Retry-After");
    if (text.empty() || text.size() > 9 || text.find_first_not_of("0123456789") != text.npos) return {};
    return std::chrono::seconds{std::stol(text)};
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
    auto const realm = [&] {
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
        reason += !who ? " to a request without a login: log in with 'docker login " + name + "'"
                  : who->user.empty()
                      ? " to the identity token from " + who->found_in +
                            ": log in again with 'docker login " + name + "'"
                      : " to the user '" + printable(who->user) + "' (from " + who->found_in +
                            "): log in with 'docker login " + name + "', or check the password";
    }
    auto failure = detail::authentication_failure(
        access, reason, answer.status, who && detail::gives_away(text, *who) ? std::string{} : text);
    if (auto const wait = detail::seconds_to_wait(answer.headers)) {
        auto facts = failure.facts();
        facts.retry_after = wait;
        throw registry_error{failure.operation(), failure.subject(), failure.reason(), facts};
    }
    throw failure;
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
// learned from its 401; from then on, requests carry their token at once. Tokens are kept for each repository and set of scopes, and renewed when four fifths of their life
// have passed. However many threads want the same one, one asks for it and the others wait.
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
    copy get(std::uint64_t refused, Clock const& now, Make const& make) {
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
        if (response.status == 401) throw refused(access, fresh, read_text(response, max_document));
        return response;
    }

  private:
    static constexpr std::size_t max_document = 64 * 1024;

    struct text_source {
        std::string text;
        std::size_t at = 0;
        std::size_t read(bytes_span into) {
            auto const n = text.copy(reinterpret_cast<char*>(into.data()), into.size(), at);
            at += n;
            return n;
        }
    };

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
        auto scopes = merge_scopes(access.scopes);
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
        auto scopes = merge_scopes(access.scopes);
        auto const asked = scopes;
        if (wanted.scheme == "bearer") {
            method = {detail::realm_of(wanted, access), wanted.get("service")};
            auto all = scopes;
            auto const listed = wanted.get("scope");
            for (std::string_view rest = listed; !rest.empty();) {
                auto const blank = std::min(rest.find(' '), rest.size());
                all.emplace_back(rest.substr(0, blank));
                rest.remove_prefix(std::min(blank + 1, rest.size()));
            }
            scopes = merge_scopes(all);
            if (used.from && used.scopes == scopes && wanted.get("error") == "insufficient_scope")
                throw detail::authentication_failure(
                    access, "access is denied: the token has all that was asked for" + user_of(used), 401,
                    words);
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

    registry_error refused(registry_access const& access, grant const& used, std::string const& words) {
        auto const name = detail::registry_name(access);
        return detail::authentication_failure(access,
                                              "it does not accept the login" + user_of(used) +
                                                  ": log in with 'docker login " + name +
                                                  "', or check the password",
                                              401, words);
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
        for (auto const& name : detail::certificate_folder_names(of)) folders.push_back(root + "/" + name);
    for (auto const& folder : folders) {
        // What cannot be read is somebody else's: root's folders often are, and other places may serve us.
        std::error_code failed;
        std::filesystem::directory_iterator entries{folder, failed};
        if (failed) continue;
        found.folder = folder;
        for (auto const& entry : entries) {
            auto const path = entry.path();
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

// === shiplap/registry/curl_channel.hpp ===

// curl_channel: a libcurl handle with the connection it has made, and the pool where those wait for their next
// request. A channel serves one origin under one set of rules for all its life, so that no request ever travels
// over a connection that was opened under laxer rules.

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

namespace detail {

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

inline std::string environment(std::initializer_list<char const*> names) {
    for (auto const* const name : names)
        if (auto const* const value = std::getenv(name); value != nullptr && *value != '\0') return value;
    return {};
}

/// The system's authorities: what SSL_CERT_FILE and SSL_CERT_DIR say, as for OpenSSL's and Go's programs, or what
/// libcurl was built with. Empty: none.
struct system_store {
    std::string file, folder;

    static system_store find() {
        auto const* const built = curl_version_info(CURLVERSION_NOW);
        system_store store{environment({"SSL_CERT_FILE"}), environment({"SSL_CERT_DIR"})};
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
        set_option(easy, CURLOPT_UPLOAD_BUFFERSIZE, 2L * 1024 * 1024); // the most that libcurl takes
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
        if (address && (address->is_public() || is_proxy(to))) return true;
        refused_ = address ? address->text() : "an unknown kind of address";
        return false;
    }

    // Proxies have private addresses as a rule. Whether NO_PROXY lets one be used for this host is libcurl's to
    // know, and it does not tell: so what leads to the proxy itself is let through.
    [[nodiscard]] bool is_proxy(::curl_sockaddr const& to) const {
        auto proxy =
            key_.to.is_https() ? environment({"https_proxy", "HTTPS_PROXY"}) : environment({"http_proxy"});
        if (proxy.empty()) proxy = environment({"all_proxy", "ALL_PROXY"});
        if (proxy.empty()) return false;
        std::unique_ptr<CURLU, void (*)(CURLU*)> const parsed{curl_url(), curl_url_cleanup};
        if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, proxy.c_str(),
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
            if (ip_address::of(*one->ai_addr) == ip_address::of(to.addr) &&
                port_of(*one->ai_addr) == port_of(to.addr))
                return true;
        return false;
    }
    // At the same place in both families' addresses.
    static std::uint16_t port_of(::sockaddr const& address) noexcept {
        ::sockaddr_in four{};
        std::memcpy(&four, &address, sizeof four);
        return four.sin_port;
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

} // namespace detail
} // namespace shiplap

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
    auto const certs = "/etc/docker/certs.d/" + printable(of.to.authority());
    auto const says = [&](std::string_view words) { return of.words.find(words) != std::string::npos; };
    auto const fail = [&](std::string reason, bool retryable = false) {
        return make_failure(of, transport_failure::tls, retryable, std::move(reason));
    };
    // OpenSSL's names for bytes that are no TLS.
    if (says("wrong version number") || says("http request") || says("packet length too long"))
        return fail(host + " speaks plain HTTP where HTTPS was expected; use registry.insecure=true");
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
    case CURLE_RECV_ERROR: // TLS 1.3 tells here that it misses a certificate
        if (of.words.find("alert certificate required") != std::string::npos) return tls_failure(of);
        [[fallthrough]];
    case CURLE_SEND_ERROR:
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
        if (request.body) body_.emplace(*request.body);
        configure(request);
        if (body_) start_body();
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
        while (!done_ && !(answered_ && (remaining_ == 0 || status_ >= 300))) turn();
        body_.reset();
        if (status_ == 407) throw proxy_refuses(outcome_);
        if (!answered_) fail();
    }
    /// The connection was an old one and closed before anything came back, and a new one may be tried.
    [[nodiscard]] bool lost_the_race() const noexcept {
        bool const cut = outcome_.result == CURLE_SEND_ERROR || outcome_.result == CURLE_RECV_ERROR ||
                         outcome_.result == CURLE_GOT_NOTHING;
        return cut && reused_ && received_ == 0 && (repeatable_ || !handed_out_);
    }

    [[nodiscard]] int status() const noexcept { return status_; }
    [[nodiscard]] http_headers& headers() noexcept { return headers_; }

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
    static constexpr std::size_t most_headers = 256U << 10;
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
            if (body_ || request.method == "PUT" || request.method == "POST" || request.method == "PATCH") {
                set_option(easy, CURLOPT_UPLOAD, 1L);
                set_option(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(body_ ? body_->size : 0));
                set_option(easy, CURLOPT_READFUNCTION, &give_body);
                set_option(easy, CURLOPT_READDATA, static_cast<void*>(this));
                set_option(easy, CURLOPT_SEEKFUNCTION, &rewind_body);
                set_option(easy, CURLOPT_SEEKDATA, static_cast<void*>(this));
            }
            set_option(easy, CURLOPT_CUSTOMREQUEST, outcome_.operation.c_str());
        }
        for (auto const& [name, value] : request.headers.fields()) {
            // "Name;" is how libcurl is told to send an empty value.
            auto const line = value.empty() ? name + ";" : name + ": " + value;
            auto* const longer = curl_slist_append(lines_.get(), line.c_str());
            if (longer == nullptr) throw std::bad_alloc{};
            (void)lines_.release();
            lines_.reset(longer);
        }
        set_option(easy, CURLOPT_HTTPHEADER, lines_.get());
    }

    [[nodiscard]] curl_options const& options() const noexcept { return pool_->options(); }

    void start_body() {
        body_->from.rewind();
        remaining_ = body_->size;
        std::array<std::byte, 16 * 1024> unwanted; // NOLINT(cppcoreguidelines-pro-type-member-init)
        for (auto skip = body_->offset; skip != 0;) {
            auto const piece = static_cast<std::size_t>(std::min<std::uint64_t>(skip, unwanted.size()));
            auto const n = body_->from.read(bytes_span{unwanted}.first(piece));
            if (n == 0) throw too_short();
            skip -= n;
        }
    }
    [[nodiscard]] error too_short() const {
        return {error_code::source_changed, outcome_.operation, outcome_.subject,
                "what is to be sent ended " + std::to_string(remaining_) + " bytes too early"};
    }

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
        if (buffered() == 0 || remaining_ != 0) channel_->wait(beat);
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
        bool const waiting = received_ == 0 && remaining_ == 0 && unsent == 0;
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
        outcome_.status = answered_ ? status_ : 0;
        outcome_.elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(clock::now() - started_);
    }
    [[noreturn]] void fail() const {
        if (too_many_headers_)
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
            remaining_ -= n;
            return n;
        }
        if (remaining_ == 0) return 0;
        if (!body_) return CURL_READFUNC_ABORT; // run() has returned: nobody may read it
        auto const wanted = static_cast<std::size_t>(std::min<std::uint64_t>(space, remaining_));
        auto const n = read_fully(body_->from, {reinterpret_cast<std::byte*>(to), wanted});
        if (n != wanted) {
            remaining_ -= n;
            throw too_short();
        }
        handed_out_ = true;
        moved_ = clock::now(); // the time that the source took is its own
        // An early answer ("413", and the connection is closed) must be read before the next byte is sent, for that
        // would fail and hide the answer.
        if (channel_->readable()) {
            held_back_.assign(to, n);
            send_paused_ = true;
            return CURL_READFUNC_PAUSE;
        }
        remaining_ -= n;
        return n;
    }

    static int rewind_body(void* self, curl_off_t offset, int from) noexcept {
        auto& transfer = *static_cast<curl_transfer*>(self);
        if (offset != 0 || from != SEEK_SET || !transfer.body_) return CURL_SEEKFUNC_FAIL;
        if (transfer.handed_out_ && !transfer.repeatable_) return CURL_SEEKFUNC_FAIL;
        return transfer.guarded(
            [&] {
                transfer.held_back_.clear();
                transfer.start_body();
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
                if (!transfer.answered_) transfer.header_line({text, n});
                return transfer.too_many_headers_ ? 0 : n;
            },
            std::size_t{0});
    }
    void header_line(std::string_view line) {
        auto const blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
        if (line.starts_with("HTTP/")) { // one answer or another: "100 Continue" comes before the real one
            headers_ = {};
            status_ = 0;
            header_bytes_ = 0;
            auto const digits = line.substr(std::min(line.find(' '), line.size() - 1) + 1);
            std::from_chars(digits.data(), digits.data() + digits.size(), status_);
            return;
        }
        header_bytes_ += line.size();
        too_many_headers_ = header_bytes_ > most_headers;
        bool const folded = line.starts_with(' ') || line.starts_with('\t');
        while (!line.empty() && blank(line.back())) line.remove_suffix(1);
        while (!line.empty() && blank(line.front())) line.remove_prefix(1);
        if (folded && !pending_.empty()) {
            pending_ += " ";
            pending_ += line;
            return;
        }
        if (auto const colon = pending_.find(':'); colon != std::string::npos && colon != 0) {
            auto const value = pending_.find_first_not_of(" \t", colon + 1);
            headers_.add(pending_.substr(0, colon),
                         value == std::string::npos ? std::string{} : pending_.substr(value));
        }
        pending_ = line;
        answered_ = line.empty() && status_ >= 200;
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

    std::optional<http_body> body_;
    std::uint64_t remaining_ = 0; // bytes of the request's body that libcurl has not got
    std::string held_back_;       // of these, what was read already
    bool handed_out_ = false;
    bool send_paused_ = false, receive_paused_ = false;
    std::exception_ptr kept_;

    http_headers headers_;
    std::string pending_; // a header line that may go on
    std::size_t header_bytes_ = 0;
    bool too_many_headers_ = false;
    int status_ = 0;
    bool answered_ = false; // the headers are complete
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

// === shiplap/registry/curl.hpp ===

// All that needs libcurl: the registry folder in one include.
