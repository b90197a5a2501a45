#pragma once
// digest: "algorithm:hex" as a value that cannot hold junk.
//
// image-spec, descriptor.md, "Digests": only the registered algorithms sha256 and sha512 are accepted, with
// exactly their number of lower-case hex digits. Digests become file names and URLs; a checked type is what
// keeps "../" out.

#include <shiplap/digest/sha2.hpp>
#include <shiplap/error.hpp>

#include <compare>
#include <string>
#include <string_view>
#include <utility>

namespace shiplap {

namespace detail {

/// Two lower-case hex digits for each byte.
inline void append_hex(std::string& to, std::string_view raw) {
    static constexpr char digits[] = "0123456789abcdef";
    for (char const c : raw) {
        auto const byte = static_cast<unsigned char>(c);
        to += digits[byte >> 4];
        to += digits[byte & 15];
    }
}

} // namespace detail

class digest {
  public:
    /// Checks `text` against the grammar; throws format_error.
    static digest parse(std::string_view text) {
        auto const colon = text.find(':');
        auto const algorithm = text.substr(0, colon);
        std::size_t const digits = algorithm == sha256::name   ? 2 * sha256::size
                                   : algorithm == sha512::name ? 2 * sha512::size
                                                               : 0;
        if (colon == std::string_view::npos || digits == 0)
            throw format_error{"parse digest", std::string{text},
                               "must be sha256:<64 hex digits> or sha512:<128 hex digits>"};
        auto const encoded = text.substr(colon + 1);
        if (encoded.size() != digits ||
            encoded.find_first_not_of("0123456789abcdef") != std::string_view::npos)
            throw format_error{"parse digest", std::string{text},
                               "needs exactly " + std::to_string(digits) +
                                   " lower-case hex digits after the colon"};
        return digest{std::string{text}};
    }

    /// Names a raw hash of algorithm D.
    template <digest_algorithm D>
    static digest from_raw(std::string_view raw) {
        std::string text{D::name};
        text += ':';
        detail::append_hex(text, raw);
        return parse(text);
    }

    /// The digest of some bytes.
    template <digest_algorithm D>
    static digest of(bytes_view bytes) {
        typename D::hasher hasher;
        hasher.update(bytes);
        return from_raw<D>(hasher.finish());
    }

    /// "sha256" or "sha512".
    [[nodiscard]] std::string_view algorithm() const noexcept { return std::string_view{text_}.substr(0, 6); }
    /// The hex digits.
    [[nodiscard]] std::string_view encoded() const noexcept { return std::string_view{text_}.substr(7); }
    /// The whole, "sha256:...".
    [[nodiscard]] std::string const& text() const noexcept { return text_; }

    friend bool operator==(digest const&, digest const&) = default;
    friend auto operator<=>(digest const&, digest const&) = default;

  private:
    explicit digest(std::string text) : text_{std::move(text)} {}
    std::string text_;
};

/// Hashes with the algorithm of a digest that is known at run time only.
class digest_hasher {
  public:
    explicit digest_hasher(digest const& like) : is_sha512_{like.algorithm() == sha512::name} {}

    void update(bytes_view in) {
        if (is_sha512_)
            sha512_.update(in);
        else
            sha256_.update(in);
    }

    /// The digest of all bytes so far; the hasher is spent.
    [[nodiscard]] digest finish() {
        return is_sha512_ ? digest::from_raw<sha512>(sha512_.finish())
                          : digest::from_raw<sha256>(sha256_.finish());
    }

  private:
    bool is_sha512_;
    sha256::hasher sha256_; // one of the two is used
    sha512::hasher sha512_;
};

/// Checks that bytes are those that a digest and a size promise, whatever the algorithm. A byte_sink.
class digest_verifier {
  public:
    digest_verifier(digest expected, std::uint64_t size)
        : expected_{std::move(expected)}, size_{size}, hasher_{expected_} {}

    /// Throws digest_mismatch as soon as there are more bytes than promised.
    void write(bytes_view in) {
        seen_ += in.size();
        if (seen_ > size_)
            throw digest_mismatch{"verify", expected_.text(),
                                  "content is longer than the " + std::to_string(size_) +
                                      " bytes of its descriptor"};
        hasher_.update(in);
    }

    /// Throws digest_mismatch unless size and digest are as promised. Call once, after the last byte.
    void finish() {
        if (seen_ != size_)
            throw digest_mismatch{"verify", expected_.text(),
                                  "content has " + std::to_string(seen_) + " bytes, its descriptor says " +
                                      std::to_string(size_)};
        auto const actual = hasher_.finish();
        if (actual != expected_)
            throw digest_mismatch{"verify", expected_.text(), "content has digest " + actual.text()};
    }

  private:
    digest expected_;
    std::uint64_t size_, seen_ = 0;
    digest_hasher hasher_;
};

/// Throws digest_mismatch unless `bytes` have this digest.
inline void verify(bytes_view bytes, digest const& expected) {
    digest_verifier check{expected, bytes.size()};
    check.write(bytes);
    check.finish();
}

} // namespace shiplap
