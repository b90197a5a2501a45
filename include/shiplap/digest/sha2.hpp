#pragma once
// SHA-256 and SHA-512, computed by Crypto++ (which uses the processor's SHA instructions where there are
// any). image-spec, descriptor.md: sha256 MUST be supported by every reader, sha512 MAY.

#include <shiplap/digest/concept.hpp>

#include <cryptopp/sha.h>

namespace shiplap {

namespace detail {

template <class Engine>
class cryptopp_hasher {
  public:
    void update(bytes_view in) {
        engine_.Update(reinterpret_cast<CryptoPP::byte const*>(in.data()), in.size());
    }
    std::string finish() {
        std::string raw(Engine::DIGESTSIZE, '\0');
        engine_.Final(reinterpret_cast<CryptoPP::byte*>(raw.data()));
        return raw;
    }

  private:
    Engine engine_;
};

} // namespace detail

struct sha256 {
    static constexpr std::string_view name = "sha256";
    static constexpr std::size_t size = 32;
    using hasher = detail::cryptopp_hasher<CryptoPP::SHA256>;
};

struct sha512 {
    static constexpr std::string_view name = "sha512";
    static constexpr std::size_t size = 64;
    using hasher = detail::cryptopp_hasher<CryptoPP::SHA512>;
};

} // namespace shiplap
