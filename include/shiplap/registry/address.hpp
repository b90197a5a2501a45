#pragma once
// address: does an IP address lie in the public internet, or inside somebody's network?
//
// A registry's answer may name any host. What it names must not make us talk to services that only we can reach: so
// the address is judged that the socket will really connect to, after the name was resolved.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace shiplap {

/// An IPv4 or IPv6 address, without port and zone. IPv4 is kept in its mapped form, ::ffff:a.b.c.d.
class ip_address {
  public:
    /// From "10.0.0.1" or "fe80::1", without brackets; nothing if it is a name.
    static std::optional<ip_address> parse(std::string const& text) {
        ::in_addr four{};
        if (::inet_pton(AF_INET, text.c_str(), &four) == 1) return ip_address{four};
        ::in6_addr six{};
        if (::inet_pton(AF_INET6, text.c_str(), &six) == 1) return ip_address{six};
        return std::nullopt;
    }

    /// From what a socket connects to; nothing if that is no IP address. The memory may be larger than its type
    /// says, as sockaddr_storage is.
    static std::optional<ip_address> of(::sockaddr const& peer) {
        if (peer.sa_family == AF_INET) {
            ::sockaddr_in four{};
            std::memcpy(&four, &peer, sizeof four);
            return ip_address{four.sin_addr};
        }
        if (peer.sa_family == AF_INET6) {
            ::sockaddr_in6 six{};
            std::memcpy(&six, &peer, sizeof six);
            return ip_address{six.sin6_addr};
        }
        return std::nullopt;
    }

    /// Whether it is an ordinary address of the internet: not private, loopback, link-local, shared (CGNAT),
    /// multicast, for documentation, reserved, or a cloud's metadata service. An IPv6 address that stands for an IPv4
    /// address is judged by that one.
    [[nodiscard]] bool is_public() const noexcept {
        if (starts({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96)) return is_public_v4(12); // mapped
        if (starts({0}, 96)) return is_public_v4(12);                      // compatible; ::, ::1
        if (starts({0x00, 0x64, 0xff, 0x9b}, 96)) return is_public_v4(12); // NAT64
        if (starts({0x20, 0x02}, 16)) return is_public_v4(2);              // 6to4
        return starts({0x20}, 3)                        // global unicast: all that is not listed here is not,
               && !starts({0x20, 0x01, 0x00}, 23)       // Teredo, ORCHID, benchmarking
               && !starts({0x20, 0x01, 0x0d, 0xb8}, 32) // documentation
               && !starts({0x3f, 0xff, 0x00}, 20)       // documentation
               && !starts({0x3f, 0xfe}, 16);            // the old 6bone
    }

    [[nodiscard]] std::string text() const {
        char buffer[INET6_ADDRSTRLEN] = "";
        bool const four = starts({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96);
        ::inet_ntop(four ? AF_INET : AF_INET6, bytes_.data() + (four ? 12 : 0), buffer, sizeof buffer);
        return buffer;
    }

    friend bool operator==(ip_address const&, ip_address const&) = default;

  private:
    using prefix = std::array<std::uint8_t, 16>;

    explicit ip_address(::in_addr const& four) noexcept : bytes_{} {
        bytes_[10] = bytes_[11] = 0xff;
        std::memcpy(bytes_.data() + 12, &four, 4);
    }
    explicit ip_address(::in6_addr const& six) noexcept : bytes_{} { std::memcpy(bytes_.data(), &six, 16); }

    // The first `bits` bits from byte `at` on.
    [[nodiscard]] bool starts(prefix const& with, unsigned bits, std::size_t at = 0) const noexcept {
        for (std::size_t i = 0; bits != 0; ++i) {
            auto const here = bits < 8 ? bits : 8U;
            auto const mask = static_cast<unsigned>(0xff00U >> here) & 0xffU;
            if (((bytes_[at + i] ^ with[i]) & mask) != 0) return false;
            bits -= here;
        }
        return true;
    }

    // The IPv4 address in the four bytes from `at` on: what the IANA special-purpose registry does not list.
    [[nodiscard]] bool is_public_v4(std::size_t at) const noexcept {
        struct block {
            prefix start;
            unsigned bits;
        };
        static constexpr block special[] = {
            {{0}, 8},                 // this host
            {{10}, 8},                // private
            {{100, 64}, 10},          // shared between a provider's customers; 100.100.100.200 tells secrets
            {{127}, 8},               // loopback
            {{168, 63, 129, 16}, 32}, // public by its number, but the host of an Azure machine
            {{169, 254}, 16},         // link-local; 169.254.169.254 tells secrets
            {{172, 16}, 12},          // private
            {{192, 0, 0}, 24},        // protocol assignments
            {{192, 0, 2}, 24},        // documentation
            {{192, 88, 99}, 24},      // 6to4 relays
            {{192, 168}, 16},         // private
            {{198, 18}, 15},          // benchmarking
            {{198, 51, 100}, 24},     // documentation
            {{203, 0, 113}, 24},      // documentation
            {{224}, 3},               // multicast, reserved, broadcast
        };
        for (auto const& one : special)
            if (starts(one.start, one.bits, at)) return false;
        return true;
    }

    prefix bytes_; // network order
};

} // namespace shiplap
