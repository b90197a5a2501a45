#pragma once
// isal_backend: the fastest of all, at the price of size (https://github.com/intel/isa-l). Needs ISA-L: CMake component
// shiplap::isal. Not part of shiplap.hpp.

#include <shiplap/codec/deflate.hpp>
#include <shiplap/error.hpp>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <string>

#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>

namespace shiplap {

namespace detail {

/// See deflate.hpp.
class isal_compressor {
  public:
    /// Of ISA-L's levels 0 and 3 alone are used. With 1 and 2 version 2.30 gave, about once in a hundred thousand blocks,
    /// other bytes for the same block; with these it never did.
    explicit isal_compressor(int level) : level_{level == 0 ? 0U : 3U} {}

    /// The library promises none. No code of deflate has more than 15 bits, so twice the size is always enough.
    [[nodiscard]] std::size_t bound(std::size_t size) const noexcept { return 2 * size + 4096; }

    /// Throws error{unsupported} for a block of 4 GiB or more, which the library has no numbers for.
    [[nodiscard]] std::size_t compress(bytes_view in, bytes_span into) {
        constexpr std::size_t most = std::numeric_limits<std::uint32_t>::max();
        // All of it anew: what is left of the block before would find its way into the output.
        std::memset(space_.get(), 0, space_size);
        ::isal_zstream z{};
        ::isal_deflate_stateless_init(&z);
        z.level = level_;
        z.level_buf = reinterpret_cast<std::uint8_t*>(space_.get());
        z.level_buf_size = static_cast<std::uint32_t>(space_size);
        z.end_of_stream = 1;
        z.flush = NO_FLUSH;
        z.next_in = reinterpret_cast<std::uint8_t*>(const_cast<std::byte*>(in.data()));
        z.avail_in = static_cast<std::uint32_t>(in.size());
        z.next_out = reinterpret_cast<std::uint8_t*>(into.data());
        z.avail_out = static_cast<std::uint32_t>(std::min(into.size(), most));
        if (in.size() > most || ::isal_deflate_stateless(&z) != COMP_OK)
            throw error{error_code::unsupported, "pack", "block of " + std::to_string(in.size()) + " bytes",
                        "ISA-L does not take it"};
        return z.total_out;
    }

    [[nodiscard]] static std::uint32_t crc32(bytes_view in) {
        return ::crc32_gzip_refl(0, reinterpret_cast<unsigned char const*>(in.data()), in.size());
    }

  private:
    /// Smaller than the default: tables are then made anew more often, which wins 1 % in size.
    static constexpr std::size_t space_size = ISAL_DEF_LVL3_SMALL;

    std::uint32_t level_;
    std::unique_ptr<std::byte[]> space_ = std::make_unique<std::byte[]>(space_size);
};

} // namespace detail

/// Level 0 is fastest (it packs, too); 1, 2 and 3, the default, are one: half the time of the fastest level of other
/// libraries, and a little larger.
struct isal_backend {
    static constexpr std::string_view name = "isal";
    static constexpr level_range levels{default_level, 3};

    [[nodiscard]] static detail::isal_compressor compressor(int level) {
        return detail::isal_compressor{level};
    }
    friend bool operator==(isal_backend, isal_backend) = default;
};

} // namespace shiplap
