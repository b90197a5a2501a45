#pragma once
// tap: a stage that lets bytes through unchanged and knows their digest and number at the end. It hashes each piece
// before it passes it on; gathering_tap does that at the same time.

#include <shiplap/digest/digest.hpp>

#include <cstdint>
#include <utility>

namespace shiplap {

/// What a tap saw.
struct content_facts {
    shiplap::digest digest;
    std::uint64_t size = 0; ///< bytes
};

/// Copies go on independently from what both have seen.
template <digest_algorithm D>
class tap {
  public:
    tap() = default;
    /// One that has seen `size` bytes, all in `hasher`.
    tap(typename D::hasher hasher, std::uint64_t size) : hasher_{std::move(hasher)}, size_{size} {}

    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        size_ += in.size();
        hasher_.update(in);
        out.write(in);
    }

    template <byte_sink Out>
    void finish(Out&) noexcept {}

    /// Digest and size of all that passed. Call once, after the last write().
    [[nodiscard]] content_facts facts() { return {digest::from_raw<D>(hasher_.finish()), size_}; }

  private:
    typename D::hasher hasher_;
    std::uint64_t size_ = 0;
};

} // namespace shiplap
