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
    explicit isal_compressor(int level)
        : level_{level == default_level ? 3 : level},
          space_{std::make_unique<std::byte[]>(space_size(level_))} {}

    /// The library promises none. No code of deflate has more than 15 bits, so twice the size is always enough.
    [[nodiscard]] std::size_t bound(std::size_t size) const noexcept { return 2 * size + 4096; }

    /// Throws error{unsupported} for a block of 4 GiB or more, which the library has no numbers for.
    [[nodiscard]] std::size_t compress(bytes_view in, bytes_span into) {
        constexpr std::size_t most = std::numeric_limits<std::uint32_t>::max();
        // All of it anew: what is left of the block before would find its way into the output.
        std::memset(space_.get(), 0, space_size(level_));
        ::isal_zstream z{};
        ::isal_deflate_init(&z);
        z.level = static_cast<std::uint32_t>(level_);
        z.level_buf = reinterpret_cast<std::uint8_t*>(space_.get());
        z.level_buf_size = static_cast<std::uint32_t>(space_size(level_));
        z.end_of_stream = 1;
        z.next_in = reinterpret_cast<std::uint8_t*>(const_cast<std::byte*>(in.data()));
        z.avail_in = static_cast<std::uint32_t>(in.size());
        z.next_out = reinterpret_cast<std::uint8_t*>(into.data());
        z.avail_out = static_cast<std::uint32_t>(std::min(into.size(), most));
        if (in.size() > most || ::isal_deflate(&z) != COMP_OK || z.internal_state.state != ZSTATE_END)
            throw error{error_code::unsupported, "pack", "block of " + std::to_string(in.size()) + " bytes",
                        "ISA-L does not take it"};
        return z.total_out;
    }

    [[nodiscard]] static std::uint32_t crc32(bytes_view in) {
        return ::crc32_gzip_refl(0, reinterpret_cast<unsigned char const*>(in.data()), in.size());
    }

  private:
    /// Smaller than the default: tables are then made anew more often, which wins 1 % in size.
    static constexpr std::size_t space_size(int level) noexcept {
        return level == 3   ? ISAL_DEF_LVL3_SMALL
               : level == 2 ? ISAL_DEF_LVL2_SMALL
               : level == 1 ? ISAL_DEF_LVL1_SMALL
                            : std::size_t{ISAL_DEF_LVL0_DEFAULT};
    }

    int level_;
    std::unique_ptr<std::byte[]> space_;
};

} // namespace detail

/// Level 0 is fastest (it packs, too), 3, the default, smallest: about what other libraries reach at their fastest.
struct isal_backend {
    static constexpr std::string_view name = "isal";
    static constexpr level_range levels{default_level, 3};

    [[nodiscard]] static detail::isal_compressor compressor(int level) {
        return detail::isal_compressor{level};
    }
    friend bool operator==(isal_backend, isal_backend) = default;
};

} // namespace shiplap
