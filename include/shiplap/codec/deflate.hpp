#pragma once
// deflate: the compressor inside gzip and estargz, as a policy.
//
//   concept            expression                  meaning
//   deflate_backend    b.name                      for compression-variant=... and messages: "zlib"
//                      b.levels                    allowed levels, both ends included
//                      b.compressor(level)         a block_compressor of such a level
//   block_compressor   c.bound(size)               bytes that a block of `size` bytes may need, at most
//                      c.compress(in, into) -> n   packs `in` into one complete raw deflate stream (RFC 1951, final bit
//                                                  set) of n bytes; `into` has room for bound(in.size())
//
//   refinement         expression                  meaning
//   checksummer        c.crc32(in)                 the CRC-32 of gzip (RFC 1952, section 8), where a library has a fast one
//
// A backend sees whole blocks of a few MiB at most and keeps no state between them, so that libraries without
// streaming fit, and so that blocks compress in parallel. Its output depends on level and block alone. Level -1,
// default_level, is the backend's own choice; what other numbers mean is the library's affair.
//
// Models: zlib_backend; libdeflate_backend and isal_backend, which need libraries of their own and one include each;
// any_backend, for a choice at run time.

#include <shiplap/bytes/concept.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace shiplap {

/// Allowed compression levels, both ends included.
struct level_range {
    int lowest, highest;
    [[nodiscard]] constexpr bool contains(int level) const noexcept {
        return lowest <= level && level <= highest;
    }
    friend bool operator==(level_range, level_range) = default;
};

/// The level that leaves the choice to the backend.
inline constexpr int default_level = -1;

template <class C>
concept block_bound = requires(C const& compressor, std::size_t size) {
    { compressor.bound(size) } -> std::same_as<std::size_t>;
};

template <class C>
concept block_packer = requires(C& compressor, bytes_view in, bytes_span into) {
    { compressor.compress(in, into) } -> std::same_as<std::size_t>;
};

/// See the table above.
template <class C>
concept block_compressor = std::movable<C> && block_bound<C> && block_packer<C>;

template <class C>
concept checksummer = requires(C const& compressor, bytes_view in) {
    { compressor.crc32(in) } -> std::same_as<std::uint32_t>;
};

template <class B>
concept named_backend = requires(B const& backend) {
    { backend.name } -> std::convertible_to<std::string_view>;
};

template <class B>
concept leveled_backend = requires(B const& backend) {
    { backend.levels } -> std::convertible_to<level_range>;
};

template <class B>
using compressor_of = decltype(std::declval<B const&>().compressor(1));

/// See the table above.
template <class B>
concept deflate_backend = std::copy_constructible<B> && named_backend<B> && leveled_backend<B> &&
    block_compressor<compressor_of<B>>;

} // namespace shiplap
