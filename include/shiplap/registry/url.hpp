#pragma once
// url: an http or https address. Parsed by libcurl, which also connects to it: what was checked is what is used.
//
//     auto target = url::parse("https://r.io/v2/").resolve("/v2/app/blobs/uploads/1?_state=x");
//     target = target.with_query("digest", "sha256:...");      // keeps the query that is there
//
// shown() is for eyes and logs: without user, password and the values of the query, which may be secrets.

#include <shiplap/error.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <curl/curl.h>

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
