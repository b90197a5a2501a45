#pragma once
// Digests as registries write them: "sha256:<hex>" and "sha512:<hex>", fed in pieces.

#include <cryptopp/sha.h>

#include <string>
#include <string_view>
#include <variant>

namespace registry_test {

/// A running hash. Copies continue on their own: what was received can be rolled back.
class running_digest {
  public:
    explicit running_digest(std::string_view algorithm = "sha256") {
        if (algorithm == "sha512") hash_ = CryptoPP::SHA512{};
    }

    void update(std::string_view data) {
        auto const* const bytes = reinterpret_cast<CryptoPP::byte const*>(data.data());
        std::visit([&](auto& hash) { hash.Update(bytes, data.size()); }, hash_);
    }
    /// Of all that was fed. The hash itself is not ended by asking.
    [[nodiscard]] std::string text() const {
        auto copy = hash_;
        std::string raw;
        std::visit(
            [&](auto& hash) {
                raw.resize(hash.DigestSize());
                hash.Final(reinterpret_cast<CryptoPP::byte*>(raw.data()));
            },
            copy);
        return algorithm() + ":" + hex(raw);
    }
    [[nodiscard]] std::string algorithm() const { return hash_.index() == 0 ? "sha256" : "sha512"; }

  private:
    std::variant<CryptoPP::SHA256, CryptoPP::SHA512> hash_;

    static std::string hex(std::string_view raw) {
        static constexpr std::string_view digits = "0123456789abcdef";
        std::string out;
        for (auto const c : raw) {
            auto const byte = static_cast<unsigned char>(c);
            out += digits[byte >> 4];
            out += digits[byte & 15];
        }
        return out;
    }
};

inline std::string digest_of(std::string_view content, std::string_view algorithm = "sha256") {
    running_digest hash{algorithm};
    hash.update(content);
    return hash.text();
}

inline std::string algorithm_of(std::string_view digest) {
    return std::string{digest.substr(0, digest.find(':'))};
}

/// One of the two algorithms, a colon, and exactly as many lower-case digits as it has.
inline bool is_digest(std::string_view text) {
    auto const algorithm = algorithm_of(text);
    auto const length = algorithm == "sha256" ? 64U : algorithm == "sha512" ? 128U : 0U;
    if (length == 0 || text.size() != algorithm.size() + 1 + length) return false;
    return text.find_first_not_of("0123456789abcdef", algorithm.size() + 1) == std::string_view::npos;
}

} // namespace registry_test
