#pragma once
// zlib_backend: the reference implementation of deflate, everywhere at hand.

#include <shiplap/codec/deflate.hpp>

#include <zlib.h>

#include <algorithm>
#include <memory>
#include <new>

namespace shiplap {

namespace detail {

/// The CRC-32 of gzip (RFC 1952, section 8), continued from `crc`.
inline std::uint32_t crc32_of(bytes_view in, std::uint32_t crc = 0) {
    return static_cast<std::uint32_t>(
        ::crc32_z(crc, reinterpret_cast<Bytef const*>(in.data()), static_cast<z_size_t>(in.size())));
}

/// The CRC-32 of what has `first` and then `size` bytes that have `second`.
inline std::uint32_t joined_crc32(std::uint32_t first, std::uint32_t second, std::size_t size) {
    return static_cast<std::uint32_t>(::crc32_combine(first, second, static_cast<z_off_t>(size)));
}

/// See deflate.hpp. Beyond that it packs parts of streams.
class zlib_compressor {
  public:
    explicit zlib_compressor(int level) : z_{new z_stream{}} {
        // 15: window of 32 KiB, negative for no wrapper. 8: zlib's default of about 256 KiB of state.
        if (::deflateInit2(z_.get(), level, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK)
            throw std::bad_alloc{};
    }

    [[nodiscard]] std::size_t bound(std::size_t size) const { return ::deflateBound(z_.get(), size); }

    [[nodiscard]] std::size_t compress(bytes_view in, bytes_span into) {
        return compress_part(in, into, true);
    }

    /// What compress_part() needs at most.
    [[nodiscard]] std::size_t bound_of_part(std::size_t size) const {
        constexpr std::size_t empty_block = 8; // with what fills up the byte before it
        return bound(size) + empty_block;
    }

    /// The same for a part of a stream: what is not the last one ends on a byte boundary and without the final bit, so
    /// that another one can follow.
    [[nodiscard]] std::size_t compress_part(bytes_view in, bytes_span into, bool is_last) {
        ::deflateReset(z_.get());
        auto const room = into.size();
        do { // zlib's sizes have 32 bits
            auto const piece = in.first(std::min(in.size(), most));
            auto const space = into.first(std::min(into.size(), most));
            z_->next_in = const_cast<Bytef*>(reinterpret_cast<Bytef const*>(piece.data()));
            z_->avail_in = static_cast<uInt>(piece.size());
            z_->next_out = reinterpret_cast<Bytef*>(space.data());
            z_->avail_out = static_cast<uInt>(space.size());
            // Cannot fail: the stream is live and there is room.
            auto const at_end = is_last ? Z_FINISH : Z_FULL_FLUSH;
            ::deflate(z_.get(), piece.size() == in.size() ? at_end : Z_NO_FLUSH);
            in = in.subspan(piece.size() - z_->avail_in);
            into = into.subspan(space.size() - z_->avail_out);
        } while (!in.empty());
        return room - into.size();
    }

  private:
    static constexpr std::size_t most = std::size_t{1} << 30;

    struct closer {
        void operator()(z_stream* z) const noexcept {
            ::deflateEnd(z);
            delete z;
        }
    };
    std::unique_ptr<z_stream, closer> z_; // stays where it is made: zlib keeps a pointer to it
};

/// The CRC-32 of `in`, by the compressor if it has a way of its own.
template <block_compressor C>
std::uint32_t checksum(C const& compressor, bytes_view in) {
    if constexpr (checksummer<C>)
        return compressor.crc32(in);
    else
        return crc32_of(in);
}

} // namespace detail

/// Level 0 stores, 1 is fastest, 9 smallest; zlib itself takes 6.
struct zlib_backend {
    static constexpr std::string_view name = "zlib";
    static constexpr level_range levels{default_level, 9};

    [[nodiscard]] static detail::zlib_compressor compressor(int level) {
        return detail::zlib_compressor{level};
    }
    friend bool operator==(zlib_backend, zlib_backend) = default;
};

} // namespace shiplap
