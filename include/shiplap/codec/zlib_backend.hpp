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

/// A raw deflate stream in zlib's hands. The z_stream stays where it is made: zlib keeps a pointer to it.
class zlib_stream {
  public:
    explicit zlib_stream(int level) : z_{new z_stream{}} {
        // 15: window of 32 KiB, negative for no wrapper. 8: zlib's default of about 256 KiB of state.
        if (::deflateInit2(z_.get(), level, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK)
            throw std::bad_alloc{};
    }

    /// Ready for another stream of the same level.
    void reset() { ::deflateReset(z_.get()); }

    [[nodiscard]] std::size_t bound(std::size_t size) const { return ::deflateBound(z_.get(), size); }

    /// Compresses `in` into the front of `into`, and moves that on behind what was written. Returns whether it got
    /// through: if not, it wants more room.
    bool compress(bytes_view& in, bytes_span& into, bool last) {
        do {
            auto const piece = in.first(std::min(in.size(), most));
            auto const room = into.first(std::min(into.size(), most));
            z_->next_in = const_cast<Bytef*>(reinterpret_cast<Bytef const*>(piece.data()));
            z_->avail_in = static_cast<uInt>(piece.size());
            z_->next_out = reinterpret_cast<Bytef*>(room.data());
            z_->avail_out = static_cast<uInt>(room.size());
            // Cannot fail: the stream is live.
            ::deflate(z_.get(), last && piece.size() == in.size() ? Z_FINISH : Z_NO_FLUSH);
            in = in.subspan(piece.size() - z_->avail_in);
            into = into.subspan(room.size() - z_->avail_out);
        } while (!in.empty() && !into.empty());
        return in.empty() && z_->avail_out != 0;
    }

  private:
    static constexpr std::size_t most = std::size_t{1} << 30; // zlib's sizes have 32 bits

    struct closer {
        void operator()(z_stream* z) const noexcept {
            ::deflateEnd(z);
            delete z;
        }
    };
    std::unique_ptr<z_stream, closer> z_;
};

/// See deflate.hpp.
class zlib_compressor {
  public:
    explicit zlib_compressor(int level) : stream_{level} {}

    [[nodiscard]] std::size_t bound(std::size_t size) const { return stream_.bound(size); }

    [[nodiscard]] std::size_t compress(bytes_view in, bytes_span into) {
        stream_.reset();
        auto const room = into.size();
        stream_.compress(in, into, true);
        return room - into.size();
    }

  private:
    zlib_stream stream_;
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
