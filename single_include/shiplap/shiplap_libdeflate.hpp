#pragma once
// Deflate by libdeflate. Made from include/ by single_include/amalgamate.py; edit there, not here.

#include <shiplap/shiplap.hpp>

#include <libdeflate.h>

// === shiplap/codec/libdeflate_backend.hpp ===

// libdeflate_backend: packs two to four times as fast as zlib, and further (https://github.com/ebiggers/libdeflate).
// Needs libdeflate: CMake component shiplap::libdeflate. Not part of shiplap.hpp.

namespace shiplap {

namespace detail {

/// Nearly nothing but printable ASCII, white space and NUL, which pads tars? Text gains from a harder search what
/// programs and pictures do not. A sample says it: 4 KiB of every 64.
inline bool is_mostly_text(bytes_view in) noexcept {
    constexpr std::size_t sample = 4096, distance = 64 * std::size_t{1024};
    std::size_t text = 0, others = 0;
    for (; !in.empty(); in = in.subspan(std::min(in.size(), distance)))
        for (auto const one : in.first(std::min(in.size(), sample))) {
            auto const value = std::to_integer<unsigned char>(one);
            bool const is_text = value >= '\t' && value <= '~';
            text += is_text ? 1 : 0;
            others += !is_text && value != 0 ? 1 : 0;
        }
    return others * 20 <= text + others;
}

/// The level for a block, where none is asked for: the least that together give blobs of a root file system no larger than
/// those of compress/gzip of Go at its default level. In a small block a deep search finds little more.
inline int libdeflate_level_for(bytes_view block) noexcept {
    constexpr std::size_t small = 64 * std::size_t{1024};
    if (!is_mostly_text(block)) return 4;
    return block.size() <= small ? 5 : 6;
}

/// See deflate.hpp.
class libdeflate_compressor {
  public:
    explicit libdeflate_compressor(int level) noexcept : level_{level} {}

    [[nodiscard]] std::size_t bound(std::size_t size) const {
        return ::libdeflate_deflate_compress_bound(nullptr, size);
    }

    [[nodiscard]] std::size_t compress(bytes_view in, bytes_span into) {
        return ::libdeflate_deflate_compress(for_block(in), in.data(), in.size(), into.data(), into.size());
    }

    [[nodiscard]] static std::uint32_t crc32(bytes_view in) {
        return ::libdeflate_crc32(0, in.data(), in.size());
    }

  private:
    struct closer {
        void operator()(::libdeflate_compressor* c) const noexcept { ::libdeflate_free_compressor(c); }
    };
    using handle = std::unique_ptr<::libdeflate_compressor, closer>;

    static handle make(int level) {
        handle made{::libdeflate_alloc_compressor(level)};
        if (!made) throw std::bad_alloc{};
        return made;
    }

    ::libdeflate_compressor* for_block(bytes_view in) {
        auto const level = level_ == default_level ? libdeflate_level_for(in) : level_;
        auto& chosen = compressors_[static_cast<std::size_t>(level)];
        if (!chosen) chosen = make(level);
        return chosen.get();
    }

    int level_;
    std::array<handle, 13> compressors_; // by level, made when first needed
};

} // namespace detail

/// Level 0 stores, 1 is fastest, 12 smallest. The default looks at each block: level 6 for text, 5 for little
/// of it, else 4.
struct libdeflate_backend {
    static constexpr std::string_view name = "libdeflate";
    static constexpr level_range levels{default_level, 12};

    [[nodiscard]] static detail::libdeflate_compressor compressor(int level) {
        return detail::libdeflate_compressor{level};
    }
    friend bool operator==(libdeflate_backend, libdeflate_backend) = default;
};

} // namespace shiplap
