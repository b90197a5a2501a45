#pragma once
// The gzip member (RFC 1952, section 2.3) and the block of work that makes several of them.
//
// A member is always written alike: no name, modification time 0, operating system 255 (unknown), so that its
// bytes depend on content, backend and level alone. Members stand one behind the other without a seam (section 2.2).
//
// A header may tell how long the deflate stream behind it is, in an extra field (section 2.3.1.1) that MiGz has, too:
// "MZ" and four bytes. So a reader can find all members without inflating them, and then inflate them in parallel.

#include <shiplap/codec/block_writer.hpp>
#include <shiplap/codec/compressor_pool.hpp>
#include <shiplap/codec/zlib_backend.hpp>
#include <shiplap/digest/sha2.hpp>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace shiplap::detail {

inline std::string little_endian_32(std::uint32_t value) {
    std::string out;
    for (unsigned shift = 0; shift < 32; shift += 8) out += static_cast<char>(value >> shift & 0xff);
    return out;
}

/// The ten bytes in front of the deflate stream. `flags` is FLG, 4 announcing an extra field.
inline std::string gzip_header(int level, char flags = 0) {
    // XFL: what compress/gzip of Go and zlib write, 2 for the smallest and 4 for the fastest level.
    char const effort = level >= 9 ? '\2' : level == 1 ? '\4' : '\0';
    return {'\x1f', '\x8b', 8, flags, 0, 0, 0, 0, effort, '\xff'};
}

/// The same with room for the size of the deflate stream.
inline std::string sized_gzip_header(int level) {
    return gzip_header(level, 4).append("\x08\0MZ\x04\0\0\0\0\0", 10);
}
inline constexpr std::size_t largest_gzip_header = 20, gzip_trailer_size = 8;

/// Enters that size in a member that begins with sized_gzip_header().
inline void put_packed_size(bytes_span member, std::size_t size) {
    auto const text = little_endian_32(static_cast<std::uint32_t>(size));
    std::memcpy(member.data() + largest_gzip_header - text.size(), text.data(), text.size());
}

/// The eight bytes behind it: CRC-32 and size (modulo 2^32) of the plain bytes.
inline std::string gzip_trailer(std::uint32_t crc, std::uint64_t size) {
    return little_endian_32(crc) + little_endian_32(static_cast<std::uint32_t>(size));
}

/// One member of a block. The encoder sets the first two, run() the others.
struct gzip_member {
    std::size_t plain_size = 0;
    std::size_t hashed_size = 0; ///< so many of its plain bytes, from the first, get a digest; 0: none
    std::size_t packed_size = 0;
    std::string digest = {}; ///< raw SHA-256
};

/// What all blocks of one encoder have in common.
template <deflate_backend Backend>
struct gzip_workshop {
    gzip_workshop(Backend const& backend, int level_of_all, bool tell_sizes)
        : level{level_of_all}, tells_sizes{tell_sizes}, compressors{{backend, level_of_all}} {}

    struct maker {
        Backend backend;
        int level;
        [[nodiscard]] auto operator()() const { return backend.compressor(level); }
    };
    int level;
    bool tells_sizes; ///< in the headers of the members
    compressor_pool<maker> compressors;
};

/// Plain bytes that become one member or more. A packing_block.
template <deflate_backend Backend>
class gzip_block {
  public:
    explicit gzip_block(std::shared_ptr<gzip_workshop<Backend>> shared) : shared_{std::move(shared)} {}

    std::string plain;                ///< all members' bytes, in order
    std::vector<gzip_member> members; ///< their plain sizes add up to plain.size()
    packed_bytes packed;              ///< set by run()

    void prepare() {
        packed.reset(shared_->compressors.lend([this](auto const& compressor) {
            std::size_t most = 0;
            for (auto const& member : members)
                most += compressor.bound(member.plain_size) + largest_gzip_header + gzip_trailer_size;
            return most;
        }));
    }

    void run() {
        shared_->compressors.lend([this](auto& compressor) {
            auto rest = as_bytes(plain);
            for (auto& member : members) {
                auto const content = rest.first(member.plain_size);
                rest = rest.subspan(member.plain_size);
                if (member.hashed_size != 0) hash(member, content);
                pack(compressor, member, content);
            }
            return 0;
        });
    }

    /// Memory for plain and packed bytes.
    [[nodiscard]] std::size_t weight() const noexcept { return 2 * plain.size(); }

    void reuse() {
        plain.clear();
        members.clear();
    }
    [[nodiscard]] gzip_block another() const { return gzip_block{shared_}; }

  private:
    static void hash(gzip_member& member, bytes_view content) {
        sha256::hasher hasher;
        hasher.update(content.first(member.hashed_size));
        member.digest = hasher.finish();
    }

    void pack(auto& compressor, gzip_member& member, bytes_view content) {
        auto const start = packed.size();
        auto const header =
            shared_->tells_sizes ? sized_gzip_header(shared_->level) : gzip_header(shared_->level);
        packed.add(as_bytes(header));
        auto const size = compressor.compress(content, packed.room());
        packed.add(size);
        packed.add(as_bytes(gzip_trailer(checksum(compressor, content), content.size())));
        if (shared_->tells_sizes) put_packed_size(packed.bytes().subspan(start), size);
        member.packed_size = packed.size() - start;
    }

    std::shared_ptr<gzip_workshop<Backend>> shared_;
};

template <deflate_backend Backend>
using gzip_writer = block_writer<gzip_block<Backend>>;

/// A writer of gzip members.
template <deflate_backend Backend>
gzip_writer<Backend> make_gzip_writer(executor_ref executor, Backend const& backend, int level,
                                      bool tell_sizes) {
    return {executor,
            gzip_block<Backend>{std::make_shared<gzip_workshop<Backend>>(backend, level, tell_sizes)}};
}

} // namespace shiplap::detail
