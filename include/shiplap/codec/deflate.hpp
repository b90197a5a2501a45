#pragma once
// deflate: the compressor inside gzip and estargz, as a policy.
//
//   concept          expression                      meaning
//   deflate_backend  B::name                         for messages: "zlib"
//                    typename B::compressor{level}   movable; level 0 (stored) to 9
//                    compressor.compress(in, out)    appends one complete raw deflate stream (RFC 1951, final
//                                                    bit set) of `in` to the string `out`; may be called
//                                                    again for the next block
//
// A backend sees whole blocks of a few MiB at most and keeps no state between them, so that libraries without
// streaming fit, and so that blocks compress in parallel. Its output depends on level and block alone.
//
// Models: zlib_deflate.

#include <shiplap/bytes/concept.hpp>
#include <shiplap/error.hpp>

#include <zlib.h>

#include <algorithm>
#include <concepts>
#include <memory>
#include <new>
#include <string>
#include <string_view>

namespace shiplap {

template <class C>
concept block_compressor = std::constructible_from<C, int> && std::movable<C> &&
    requires(C& compressor, bytes_view in, std::string& out) {
    compressor.compress(in, out);
};

template <class B>
concept named_backend = requires {
    { B::name } -> std::convertible_to<std::string_view>;
};

template <class B>
using compressor_of = typename B::compressor;

/// See the table above.
template <class B>
concept deflate_backend = named_backend<B> && block_compressor<compressor_of<B>>;

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

    /// Compresses `in`, appending to `out` what is ready: all that is left, if this is the `last` input.
    void compress(bytes_view in, std::string& out, bool last) {
        do {
            auto const piece = in.first(std::min(in.size(), max_piece));
            in = in.subspan(piece.size());
            z_->next_in = const_cast<Bytef*>(reinterpret_cast<Bytef const*>(piece.data()));
            z_->avail_in = static_cast<uInt>(piece.size());
            run(out, last && in.empty() ? Z_FINISH : Z_NO_FLUSH);
        } while (!in.empty());
    }

  private:
    static constexpr std::size_t max_piece = std::size_t{1} << 30; // avail_in has 32 bits

    void run(std::string& out, int flush) {
        static constexpr std::size_t most_room = 256 * 1024;
        // Address space for the worst case, memory only for what comes.
        auto const bound = static_cast<std::size_t>(::deflateBound(z_.get(), z_->avail_in));
        out.reserve(out.size() + bound);
        auto const room = std::min(bound, most_room);
        do {
            auto const before = out.size();
            out.resize(before + room);
            z_->next_out = reinterpret_cast<Bytef*>(out.data() + before);
            z_->avail_out = static_cast<uInt>(room);
            ::deflate(z_.get(), flush); // cannot fail: the stream is live and there is room
            out.resize(before + room - z_->avail_out);
        } while (z_->avail_out == 0);
    }

    struct closer {
        void operator()(z_stream* z) const noexcept {
            ::deflateEnd(z);
            delete z;
        }
    };
    std::unique_ptr<z_stream, closer> z_;
};

} // namespace detail

/// The reference implementation, everywhere at hand.
struct zlib_deflate {
    static constexpr std::string_view name = "zlib";

    class compressor {
      public:
        explicit compressor(int level) : stream_{level} {}

        void compress(bytes_view in, std::string& out) {
            stream_.reset();
            stream_.compress(in, out, true);
        }

      private:
        detail::zlib_stream stream_;
    };
};

} // namespace shiplap
