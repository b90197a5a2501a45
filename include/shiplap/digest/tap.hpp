#pragma once
// tap: a stage that lets bytes through unchanged and knows their digest and number at the end. One sits
// before the encoder (its digest is the diff_id of image-spec, config.md) and one after it (the digest of the
// blob).

#include <shiplap/digest/digest.hpp>

#include <cstdint>

namespace shiplap {

/// What a tap saw.
struct content_facts {
    shiplap::digest digest;
    std::uint64_t size; ///< bytes
};

template <digest_algorithm D>
class tap {
  public:
    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        hasher_.update(in);
        size_ += in.size();
        out.write(in);
    }

    template <byte_sink Out>
    void finish(Out&) noexcept {}

    /// Digest and size of all that passed. Call once, after the last write().
    [[nodiscard]] content_facts facts() { return {digest::from_raw<D>(hasher_.finish()), size_}; }

    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  private:
    typename D::hasher hasher_;
    std::uint64_t size_ = 0;
};

} // namespace shiplap
