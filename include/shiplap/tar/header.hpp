#pragma once
// The 512-byte block in front of every tar entry: where its fields lie, how they hold text and numbers, its
// checksum. Layout: POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar's base-256 numbers beside it.
//
// Writing follows Go's archive/tar to the letter, so that layers get the digests that the image builders
// give. Reading is strict: a field holds a number in one way or it is refused, because two readers that
// guess differently see different archives.

#include <shiplap/tar/entry.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

namespace shiplap {

/// Everything in a tar is a multiple of this.
inline constexpr std::size_t tar_block_size = 512;

/// Zero bytes that follow a payload of `size` bytes: 0..511.
constexpr std::size_t tar_padding(std::uint64_t size) noexcept {
    return (tar_block_size - size % tar_block_size) % tar_block_size;
}

namespace detail {

struct tar_field {
    std::size_t offset, size;
};

namespace tar_fields {
inline constexpr tar_field name{0, 100}, mode{100, 8}, uid{108, 8}, gid{116, 8}, size{124, 12},
    mtime{136, 12}, checksum{148, 8}, type{156, 1}, link_name{157, 100}, magic{257, 6}, version{263, 2},
    user_name{265, 32}, group_name{297, 32}, device_major{329, 8}, device_minor{337, 8}, prefix{345, 155};
inline constexpr tar_field star_prefix{345, 131}, star_trailer{508, 4};
inline constexpr tar_field star_atime{476, 12}, star_ctime{488, 12}, gnu_atime{345, 12}, gnu_ctime{357, 12};
} // namespace tar_fields

/// Can an octal field hold this number? One byte is for the NUL behind the digits.
constexpr bool fits_octal(tar_field field, std::uint64_t number) noexcept {
    return number >> 3 * (field.size - 1) == 0;
}

/// Who wrote a header, as far as its fields differ.
enum class tar_dialect { v7, ustar, star, gnu };

class tar_block {
  public:
    // Writing -------------------------------------------------------------------------------------------

    /// Text, cut at the field's end, NUL-terminated where there is room. A cut that ends in '/' ends before
    /// it: some readers take such a name for a directory's.
    constexpr void put(tar_field field, std::string_view text) noexcept {
        auto const kept = text.substr(0, field.size);
        std::copy(kept.begin(), kept.end(), at(field));
        if (text.size() <= field.size || kept.back() != '/') return;
        auto const last = text.substr(0, field.size - 1).find_last_not_of('/');
        at(field)[last == std::string_view::npos ? 0 : last + 1] = '\0';
    }

    /// Zero-filled octal, NUL-terminated; a number that does not fit is written as 0 (its true value is then
    /// in an extended header).
    constexpr void put_octal(tar_field field, std::uint64_t number) noexcept {
        if (!fits_octal(field, number)) number = 0;
        at(field)[field.size - 1] = '\0';
        for (auto i = field.size - 1; i-- > 0; number >>= 3)
            at(field)[i] = static_cast<char>('0' + (number & 7));
    }

    /// Octal where it fits, else GNU's base-256: for numbers that have no extended header.
    constexpr void put_number(tar_field field, std::uint64_t number) noexcept {
        if (fits_octal(field, number)) return put_octal(field, number);
        for (auto i = field.size; i-- > 0; number >>= 8) at(field)[i] = static_cast<char>(number & 0xff);
        at(field)[0] = static_cast<char>(at(field)[0] | '\x80');
    }

    /// The same for numbers that may be negative, which octal has none of.
    constexpr void put_signed(tar_field field, std::int64_t number) noexcept {
        if (number >= 0) return put_number(field, static_cast<std::uint64_t>(number));
        for (auto i = field.size; i-- > 0; number >>= 8) at(field)[i] = static_cast<char>(number & 0xff);
    }

    /// Computes the checksum. The last step.
    constexpr void put_checksum() noexcept {
        put_octal({tar_fields::checksum.offset, 7}, checksums().as_unsigned);
        at(tar_fields::checksum)[7] = ' ';
    }

    /// Marks the block as POSIX ustar and computes its checksum. The last step.
    constexpr void seal() noexcept {
        put(tar_fields::magic, {"ustar\0", 6});
        put(tar_fields::version, "00");
        put_checksum();
    }

    // Reading -------------------------------------------------------------------------------------------

    /// The field up to its first NUL.
    [[nodiscard]] constexpr std::string_view text(tar_field field) const noexcept {
        auto const all = raw(field);
        return all.substr(0, all.find('\0'));
    }

    /// All bytes of the block.
    [[nodiscard]] constexpr std::string_view all() const noexcept { return {bytes.data(), bytes.size()}; }

    /// All bytes of a field.
    [[nodiscard]] constexpr std::string_view raw(tar_field field) const noexcept {
        return all().substr(field.offset, field.size);
    }

    /// Octal digits, with spaces before and spaces or NULs behind; or base-256 in two's complement. An empty
    /// field is 0. Nothing, if it is neither or exceeds 63 bits.
    [[nodiscard]] constexpr std::optional<std::int64_t> number(tar_field field) const noexcept {
        auto text = raw(field);
        if ((static_cast<unsigned char>(text.front()) & 0x80u) != 0) return base256(text);
        text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
        std::uint64_t value = 0;
        for (; !text.empty() && text.front() >= '0' && text.front() <= '7'; text.remove_prefix(1))
            value = value << 3 | static_cast<std::uint64_t>(text.front() - '0'); // 12 digits at most
        if (text.find_first_not_of(std::string_view{" \0", 2}) != std::string_view::npos) return {};
        return static_cast<std::int64_t>(value);
    }

    /// The stored checksum is the sum of all bytes, the checksum itself taken as spaces. Some old programs
    /// added signed bytes.
    [[nodiscard]] constexpr bool intact() const noexcept {
        auto const stored = number(tar_fields::checksum);
        auto const [as_unsigned, as_signed] = checksums();
        return stored && (*stored == static_cast<std::int64_t>(as_unsigned) || *stored == as_signed);
    }

    [[nodiscard]] constexpr bool is_zero() const noexcept {
        return std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == '\0'; });
    }

    [[nodiscard]] constexpr tar_dialect dialect() const noexcept {
        auto const magic = raw(tar_fields::magic);
        if (magic == "ustar " && raw(tar_fields::version) == std::string_view{" \0", 2})
            return tar_dialect::gnu;
        if (magic != std::string_view{"ustar\0", 6}) return tar_dialect::v7;
        return raw(tar_fields::star_trailer) == std::string_view{"tar\0", 4} ? tar_dialect::star
                                                                             : tar_dialect::ustar;
    }

    std::array<char, tar_block_size> bytes{};

  private:
    struct sums {
        std::uint64_t as_unsigned;
        std::int64_t as_signed;
    };

    [[nodiscard]] constexpr char* at(tar_field field) noexcept { return bytes.data() + field.offset; }

    [[nodiscard]] constexpr sums checksums() const noexcept {
        // Over all 512 bytes, then the checksum taken off: a loop that compilers turn into vector instructions.
        std::uint32_t sum = 0, negative = 0;
        for (char const c : bytes) {
            std::uint32_t const byte = static_cast<unsigned char>(c);
            sum += byte;
            negative += byte >> 7;
        }
        for (char const c : raw(tar_fields::checksum)) {
            std::uint32_t const byte = static_cast<unsigned char>(c);
            sum -= byte;
            negative -= byte >> 7;
        }
        sum += tar_fields::checksum.size * ' ';
        return {sum, static_cast<std::int64_t>(sum) - 256 * static_cast<std::int64_t>(negative)};
    }

    // Bit 7 of the first byte marks the form, bit 6 is the sign.
    [[nodiscard]] static constexpr std::optional<std::int64_t> base256(std::string_view text) noexcept {
        bool const negative = (static_cast<unsigned char>(text.front()) & 0x40u) != 0;
        std::uint64_t value = 0; // of the complement, if negative
        for (std::size_t i = 0; i < text.size(); ++i) {
            auto byte = static_cast<std::uint64_t>(static_cast<unsigned char>(text[i]));
            if (negative) byte ^= 0xffu;
            if (i == 0) byte &= 0x7fu;
            if (value >> 55 != 0) return {};
            value = value << 8 | byte;
        }
        auto const magnitude = static_cast<std::int64_t>(value);
        return negative ? -1 - magnitude : magnitude;
    }
};

} // namespace detail
} // namespace shiplap
