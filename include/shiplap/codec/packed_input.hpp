#pragma once
// packed_input: the packed bytes that a decoder has read and not yet used. 64 KiB, whatever the stream.

#include <shiplap/bytes/concept.hpp>

#include <cstdint>
#include <cstring>
#include <memory>

namespace shiplap::detail {

class packed_input {
  public:
    /// Bytes at hand.
    [[nodiscard]] bytes_view bytes() const noexcept { return {buffer_.get() + begin_, end_ - begin_}; }

    /// Drops the first n of them.
    void consume(std::size_t n) noexcept {
        begin_ += n;
        offset_ += n;
    }

    /// Position of the first byte at hand in the packed stream, for messages.
    [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }

    /// Reads until at least `wanted` bytes are at hand, at most 64 KiB; false if the source ends before that.
    template <byte_source In>
    bool fill(In& in, std::size_t wanted) {
        while (end_ - begin_ < wanted) {
            if (!buffer_) buffer_ = std::make_unique<std::byte[]>(capacity);
            std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
            end_ -= begin_;
            begin_ = 0;
            auto const n = in.read({buffer_.get() + end_, capacity - end_});
            if (n == 0) return false;
            end_ += n;
        }
        return true;
    }

  private:
    static constexpr std::size_t capacity = 64 * 1024;

    std::unique_ptr<std::byte[]> buffer_; // made when first needed: a decoder is cheap to make and to move
    std::size_t begin_ = 0, end_ = 0;
    std::uint64_t offset_ = 0;
};

} // namespace shiplap::detail
