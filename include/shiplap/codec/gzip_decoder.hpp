#pragma once
// gzip_decoder: unpacks gzip (RFC 1952), as many members as there are, strictly.
//
// Every member's header, CRC and size are checked. The stream must end where a member ends: what follows and
// is no member, zero bytes included, is an error, as it is for the container engines, though not for gzip(1).

#include <shiplap/codec/packed_input.hpp>
#include <shiplap/error.hpp>

#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>
#include <string>

namespace shiplap {

/// A byte_decoder. Keeps 64 KiB of packed bytes and the 32 KiB window of deflate, no more.
class gzip_decoder {
  public:
    gzip_decoder() : z_{new z_stream{}} {
        // 15: the largest window, plus 16: gzip's header and trailer and no other.
        if (::inflateInit2(z_.get(), 15 + 16) != Z_OK) throw std::bad_alloc{};
    }

    /// Fills `into` as far as the stream goes; throws format_error on anything that is not gzip.
    template <byte_source In>
    std::size_t read(In& in, bytes_span into) {
        std::size_t filled = 0;
        while (filled < into.size() && (in_member_ || begin_member(in)))
            filled += read_member(in, into.subspan(filled));
        return filled;
    }

    // Member by member, for who has to know where one begins:
    //     while (decoder.begin_member(in))
    //         while (auto const n = decoder.read_member(in, space)) ...

    /// Begins the next member; false if the stream ends here. The one before must have been read to its end.
    template <byte_source In>
    bool begin_member(In& in) {
        auto const at = packed_.offset();
        if (!packed_.fill(in, 1)) {
            if (at == 0) fail("it is empty; even no content is a member of 20 bytes");
            return false;
        }
        if (packed_.bytes().front() != std::byte{0x1f}) {
            if (at == 0) fail("it does not begin with a gzip header");
            fail("bytes that are no member follow the last one, at offset " + std::to_string(at));
        }
        ::inflateReset(z_.get());
        in_member_ = true;
        member_offset_ = at;
        return true;
    }

    /// Fills `into` as far as the member goes; 0: it has ended.
    template <byte_source In>
    std::size_t read_member(In& in, bytes_span into) {
        static constexpr std::size_t most = std::size_t{1} << 30; // avail_out has 32 bits
        auto const size = std::min(into.size(), most);
        z_->next_out = reinterpret_cast<Bytef*>(into.data());
        z_->avail_out = static_cast<uInt>(size);
        while (z_->avail_out != 0 && in_member_) continue_member(in);
        return size - z_->avail_out;
    }

    /// Where in the packed stream the member starts that was begun last.
    [[nodiscard]] std::uint64_t member_offset() const noexcept { return member_offset_; }

  private:
    template <byte_source In>
    void continue_member(In& in) {
        if (!packed_.fill(in, 1))
            fail("truncated: it ends at offset " + std::to_string(packed_.offset()) + ", inside a member");
        auto const bytes = packed_.bytes();
        z_->next_in = const_cast<Bytef*>(reinterpret_cast<Bytef const*>(bytes.data()));
        z_->avail_in = static_cast<uInt>(bytes.size());
        auto const status = ::inflate(z_.get(), Z_NO_FLUSH);
        packed_.consume(bytes.size() - z_->avail_in);
        if (status == Z_STREAM_END)
            in_member_ = false;
        else if (status == Z_MEM_ERROR)
            throw std::bad_alloc{};
        else if (status != Z_OK && status != Z_BUF_ERROR)
            fail(std::string{z_->msg != nullptr ? z_->msg : "a dictionary is asked for"} + " at offset " +
                 std::to_string(packed_.offset()));
    }

    [[noreturn]] static void fail(std::string reason) {
        throw format_error{"unpack", "gzip stream", std::move(reason)};
    }

    struct closer {
        void operator()(z_stream* z) const noexcept {
            ::inflateEnd(z);
            delete z;
        }
    };
    std::unique_ptr<z_stream, closer> z_; // zlib keeps a pointer to it: it must not move
    detail::packed_input packed_;
    std::uint64_t member_offset_ = 0;
    bool in_member_ = false;
};

} // namespace shiplap
