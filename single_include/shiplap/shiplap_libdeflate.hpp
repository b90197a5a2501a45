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
/// programs and pictures do not.
inline bool is_mostly_text(bytes_view in) noexcept {
    std::size_t zeros = 0, others = 0;
    for (auto const one : in) {
        auto const value = std::to_integer<unsigned char>(one);
        zeros += value == 0 ? 1 : 0;
        others += static_cast<unsigned char>(value - 9) > '~' - 9 ? 1 : 0; // and the zeros
    }
    return (others - zeros) * 20 <= in.size() - zeros;
}

/// See deflate.hpp.
class libdeflate_compressor {
  public:
    explicit libdeflate_compressor(int level) : chooses_{level == default_level} {
        if (!chooses_) fixed_ = make(level);
    }

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
    // Together they give no larger blobs than compress/gzip of Go at its default level, in the least time.
    static constexpr int level_for_text = 7, level_for_others = 3;

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
        if (!chooses_) return fixed_.get();
        bool const text = is_mostly_text(in);
        auto& chosen = text ? for_text_ : for_others_;
        if (!chosen) chosen = make(text ? level_for_text : level_for_others);
        return chosen.get();
    }

    bool chooses_;
    handle fixed_, for_text_, for_others_;
};

} // namespace detail

/// Level 0 stores, 1 is fastest, 12 smallest. The default looks at each block: level 7 for text, else 3.
struct libdeflate_backend {
    static constexpr std::string_view name = "libdeflate";
    static constexpr level_range levels{default_level, 12};

    [[nodiscard]] static detail::libdeflate_compressor compressor(int level) {
        return detail::libdeflate_compressor{level};
    }
    friend bool operator==(libdeflate_backend, libdeflate_backend) = default;
};

} // namespace shiplap
