#pragma once
// reference: the name under which people and registries know an image, as in "example.com/team/app:1.0".
//
//   reference   domain "/" path [":" tag] ["@" digest]
//   domain      host [":" port]; host: labels of letters, digits and inner "-" joined by ".", or "[" IPv6 "]"
//   path        components joined by "/", at most 255 characters; a component is made of [a-z0-9]+ joined by
//               one of ".", "_", "__", or any number of "-"
//   tag         [A-Za-z0-9_] [A-Za-z0-9_.-]{0,127}
//   digest      see digest.hpp
//
// What people write is shorter; parse() completes it by the rules of the Docker command line (the Go module
// distribution/reference). What stands before the first "/" is a domain if it is "localhost", has a "." or
// ":", or an upper-case letter; otherwise the domain is docker.io, where a path of one component means
// "library/...":
//
//     app                    docker.io/library/app
//     team/app:1             docker.io/team/app:1
//     localhost/app          localhost/app
//     index.docker.io/app    docker.io/library/app
//
// distribution-spec, "Pulling manifests", has the grammar of <name> and <reference>.

#include <shiplap/digest/digest.hpp>
#include <shiplap/error.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace shiplap {

namespace detail {

constexpr bool is_digit(char c) noexcept {
    return '0' <= c && c <= '9';
}
constexpr bool is_lower_alphanumeric(char c) noexcept {
    return is_digit(c) || ('a' <= c && c <= 'z');
}
constexpr bool is_upper(char c) noexcept {
    return 'A' <= c && c <= 'Z';
}
constexpr bool is_alphanumeric(char c) noexcept {
    return is_lower_alphanumeric(c) || is_upper(c);
}

template <class Predicate>
constexpr bool all_of(std::string_view text, Predicate is) noexcept {
    for (char const c : text)
        if (!is(c)) return false;
    return true;
}

constexpr bool is_domain_label(std::string_view label) noexcept {
    return !label.empty() && label.front() != '-' && label.back() != '-' &&
           all_of(label, [](char c) { return is_alphanumeric(c) || c == '-'; });
}

constexpr bool is_host(std::string_view host) noexcept {
    if (host.starts_with('['))
        return host.size() > 2 && host.ends_with(']') && all_of(host.substr(1, host.size() - 2), [](char c) {
                   return is_digit(c) || ('a' <= c && c <= 'f') || ('A' <= c && c <= 'F') || c == ':';
               });
    for (;;) {
        auto const dot = host.find('.');
        if (!is_domain_label(host.substr(0, dot))) return false;
        if (dot == host.npos) return true;
        host.remove_prefix(dot + 1);
    }
}

constexpr bool is_domain(std::string_view domain) noexcept {
    auto const colon = domain.rfind(':');
    if (colon == domain.npos || domain.ends_with(']')) return is_host(domain); // [::1] has colons of its own
    auto const port = domain.substr(colon + 1);
    return !port.empty() && all_of(port, is_digit) && is_host(domain.substr(0, colon));
}

/// [a-z0-9]+ ( separator [a-z0-9]+ )*
constexpr bool is_path_component(std::string_view component) noexcept {
    std::size_t at = 0;
    auto const word = [&] {
        auto const start = at;
        while (at < component.size() && is_lower_alphanumeric(component[at])) ++at;
        return at != start;
    };
    auto const separator = [&] {
        auto const rest = component.substr(at);
        if (rest.starts_with('-'))
            while (at < component.size() && component[at] == '-') ++at;
        else if (rest.starts_with("__"))
            at += 2;
        else if (rest.starts_with('_') || rest.starts_with('.'))
            at += 1;
        else
            return false;
        return true;
    };
    if (!word()) return false;
    while (at < component.size())
        if (!separator() || !word()) return false;
    return true;
}

constexpr bool is_tag(std::string_view tag) noexcept {
    return !tag.empty() && tag.size() <= 128 && (is_alphanumeric(tag[0]) || tag[0] == '_') &&
           all_of(tag, [](char c) { return is_alphanumeric(c) || c == '_' || c == '.' || c == '-'; });
}

} // namespace detail

/// A normalised reference: domain and path are always there.
class reference {
  public:
    /// Reads and completes what a user wrote. Throws option_error that says what is wrong and what would be
    /// right.
    static reference parse(std::string_view text);

    /// A registry: "docker.io", "localhost:5000", "[::1]:5000".
    [[nodiscard]] std::string const& domain() const noexcept { return domain_; }
    /// A repository in it: "library/app".
    [[nodiscard]] std::string const& path() const noexcept { return path_; }
    /// Empty if there is none.
    [[nodiscard]] std::string const& tag() const noexcept { return tag_; }
    [[nodiscard]] std::optional<shiplap::digest> const& digest() const noexcept { return digest_; }

    /// Domain and path without tag and digest.
    [[nodiscard]] std::string name() const { return domain_ + "/" + path_; }
    /// The whole; parse() of it gives the same reference.
    [[nodiscard]] std::string text() const { return name() + suffix(); }
    /// The form that people write: without "docker.io/" and "docker.io/library/".
    [[nodiscard]] std::string familiar() const;

    /// This reference with the tag "latest" if it has neither tag nor digest.
    [[nodiscard]] reference with_default_tag() const {
        auto out = *this;
        if (tag_.empty() && !digest_) out.tag_ = "latest";
        return out;
    }

    /// The repository alone.
    [[nodiscard]] reference without_tag() const {
        auto out = *this;
        out.tag_.clear();
        out.digest_.reset();
        return out;
    }

    friend bool operator==(reference const&, reference const&) = default;

  private:
    reference() = default;

    [[nodiscard]] std::string suffix() const {
        return (tag_.empty() ? "" : ":" + tag_) + (digest_ ? "@" + digest_->text() : "");
    }

    std::string domain_, path_, tag_;
    std::optional<shiplap::digest> digest_;
};

inline reference reference::parse(std::string_view text) {
    auto const fail = [&](std::string reason) {
        return option_error{"parse reference", std::string{text}, "invalid reference format: " + reason};
    };
    if (text.empty()) throw fail("is empty, must be as in example.com/team/app:1.0");
    if (auto const scheme = text.find("://"); scheme != text.npos)
        throw fail("must not start with a scheme; write " + printable(text.substr(scheme + 3)));
    if (text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos)
        throw fail(
            "cannot specify 64-byte hexadecimal strings, they are image IDs; write docker.io/library/" +
            std::string{text});

    reference out;
    auto rest = text;
    auto const first = text.substr(0, text.find('/'));
    bool const has_domain =
        first.size() != text.size() && (first == "localhost" || first.find_first_of(".:") != first.npos ||
                                        !detail::all_of(first, [](char c) { return !detail::is_upper(c); }));
    if (has_domain) rest.remove_prefix(first.size() + 1);
    out.domain_ = has_domain && first != "index.docker.io" ? first : "docker.io";
    if (!detail::is_domain(out.domain_))
        throw fail("the registry (" + printable(out.domain_) +
                   ") must be a host name, an IPv4 address or an [IPv6 address], with a :port or without");

    auto const at = rest.find('@');
    if (at != rest.npos) {
        try {
            out.digest_ = digest::parse(rest.substr(at + 1));
        } catch (format_error const& wrong) {
            throw fail("the digest after '@' " + wrong.reason());
        }
        rest = rest.substr(0, at);
    }

    auto const colon = rest.find(':');
    auto const path = rest.substr(0, colon);
    if (!detail::all_of(path, [](char c) { return !detail::is_upper(c); }))
        throw fail("repository name (" + printable(path) + ") must be lowercase");
    out.path_ = out.domain_ == "docker.io" && path.find('/') == path.npos ? "library/" : "";
    out.path_ += path;
    for (auto components = path;;) {
        auto const slash = components.find('/');
        if (!detail::is_path_component(components.substr(0, slash)))
            throw fail(
                "repository name (" + printable(path) +
                ") must have components of a-z and 0-9, with single '.', '_', '__' or '-' inside them, "
                "joined by single '/'");
        if (slash == components.npos) break;
        components.remove_prefix(slash + 1);
    }
    if (out.path_.size() > 255) throw fail("repository name must not be more than 255 characters");

    if (colon != rest.npos) {
        out.tag_ = rest.substr(colon + 1);
        if (!detail::is_tag(out.tag_))
            throw fail(
                "the tag (" + printable(out.tag_) +
                ") must have 1 to 128 letters, digits, '_', '.' or '-', and not start with '.' or '-'");
    }
    return out;
}

inline std::string reference::familiar() const {
    if (domain_ != "docker.io") return text();
    std::string_view path = path_;
    if (path.starts_with("library/") && path.find('/', 8) == path.npos) path.remove_prefix(8);
    return std::string{path} + suffix();
}

/// An image's name in the two forms that sinks write.
struct image_name {
    std::string full{};     ///< normalised reference, "docker.io/library/app:1", or empty
    std::string ref_name{}; ///< what org.opencontainers.image.ref.name says, or empty
    friend bool operator==(image_name const&, image_name const&) = default;
};

/// Both forms of a reference, to which the tag "latest" is added if it has neither tag nor digest. The short
/// form is the tag, "tag@digest" if there are both, and the full form if there is only a digest, as
/// containerd and BuildKit write it.
inline image_name name_of(reference const& what) {
    auto const whole = what.with_default_tag();
    if (whole.tag().empty()) return {whole.text(), whole.text()};
    return {whole.text(), whole.tag() + (whole.digest() ? "@" + whole.digest()->text() : "")};
}

} // namespace shiplap
