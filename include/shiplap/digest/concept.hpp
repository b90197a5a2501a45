#pragma once
// digest: what names content. An algorithm is a type with a name, a size and a hasher; a digest is a checked value.
//
//   concept            expression             meaning
//   hasher             h.update(in)           takes more bytes
//                      h.finish() -> string   the raw hash of all bytes so far; the hasher is spent
//                      copying                a copy goes on from the bytes so far
//   digest_algorithm   D::name                as in "sha256:..." (image-spec, descriptor.md, "Registered algorithms")
//                      D::size                bytes of a raw hash
//                      typename D::hasher     default constructible
//
// Exemplar, compiled in tests/digest/concept.cpp:
//
//     struct my_hash {
//         static constexpr std::string_view name = "sha256";
//         static constexpr std::size_t size = 32;
//         struct hasher {
//             void update(bytes_view in);
//             std::string finish();
//         };
//     };
//
// Models: sha256, sha512.

#include <shiplap/bytes/concept.hpp>

namespace shiplap {

template <class H>
concept hasher = std::default_initializable<H> && std::copyable<H> && requires(H& h, bytes_view in) {
    h.update(in);
    { h.finish() } -> std::same_as<std::string>;
};

template <class D>
concept named_algorithm = requires {
    { D::name } -> std::convertible_to<std::string_view>;
    { D::size } -> std::convertible_to<std::size_t>;
};

template <class D>
using hasher_of = typename D::hasher;

/// A digest algorithm: see the table above.
template <class D>
concept digest_algorithm = named_algorithm<D> && hasher<hasher_of<D>>;

} // namespace shiplap
