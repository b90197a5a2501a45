#pragma once
// The gzip member (RFC 1952, section 2.3) and the block of work that makes several of them.
//
// A member is always written alike: no name, modification time 0, operating system 255 (unknown), so that its
// bytes depend on content and level alone. Members stand one behind the other without a seam (section 2.2).

#include <shiplap/codec/block_queue.hpp>
#include <shiplap/codec/concept.hpp>
#include <shiplap/codec/deflate.hpp>
#include <shiplap/digest/sha2.hpp>

#include <cstdint>
#include <optional>
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
    char const effort = level == 9 ? '\2' : level == 1 ? '\4' : '\0';
    return {'\x1f', '\x8b', 8, flags, 0, 0, 0, 0, effort, '\xff'};
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

/// Plain bytes that become one member or more. A parallel_block.
template <deflate_backend Backend>
class gzip_block {
  public:
    explicit gzip_block(int level) : level_{level}, compressor_{level} {}

    std::string plain;                ///< all members' bytes, in order
    std::vector<gzip_member> members; ///< their plain sizes add up to plain.size()
    std::string packed;               ///< set by run()

    void run() {
        auto rest = as_bytes(plain);
        for (auto& member : members) {
            auto const content = rest.first(member.plain_size);
            rest = rest.subspan(member.plain_size);
            if (member.hashed_size != 0) {
                sha256::hasher hasher;
                hasher.update(content.first(member.hashed_size));
                member.digest = hasher.finish();
            }
            auto const start = packed.size();
            packed += gzip_header(level_);
            compressor_.compress(content, packed);
            packed += gzip_trailer(crc32_of(content), content.size());
            member.packed_size = packed.size() - start;
        }
    }

    /// Memory for plain and packed bytes.
    [[nodiscard]] std::size_t weight() const noexcept { return plain.capacity() + packed.capacity(); }

    /// Empty again, with its compressor and buffers.
    void reuse() {
        plain.clear();
        packed.clear();
        members.clear();
    }

  private:
    int level_;
    typename Backend::compressor compressor_;
};

/// A byte_sink that packs all it gets into one member, however long: for what may be too large for a block.
/// Always zlib.
template <byte_sink Out>
class gzip_member_sink {
  public:
    gzip_member_sink(Out& out, int level) : out_{&out}, stream_{level}, packed_{gzip_header(level)} {}

    void write(bytes_view in) {
        crc_ = crc32_of(in, crc_);
        size_ += in.size();
        stream_.compress(in, packed_, false);
        if (packed_.size() >= transfer_size) push();
    }

    /// Ends the member. Call once.
    void finish() {
        stream_.compress({}, packed_, true);
        packed_ += gzip_trailer(crc_, size_);
        push();
    }

    /// Plain bytes so far.
    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  private:
    void push() {
        out_->write(as_bytes(packed_));
        packed_.clear();
    }

    Out* out_;
    zlib_stream stream_;
    std::string packed_;
    std::uint32_t crc_ = 0;
    std::uint64_t size_ = 0;
};

/// Gathers plain bytes into blocks, has them packed on the executor, and gives the packed ones back in order.
template <deflate_backend Backend>
class gzip_writer {
  public:
    gzip_writer(executor_ref executor, int level) : queue_{executor}, level_{level}, block_{level} {}

    /// The block that is being filled.
    gzip_block<Backend>& block() noexcept { return block_; }

    /// Sends the block off; `emit(block)` is called for every block whose turn has come.
    template <class Emit>
    void post(Emit emit) {
        // Made here, not by a worker: an allocator with a heap for each thread would keep what they return.
        block_.packed.reserve(block_.plain.size() + block_.plain.size() / 512 + 64 * block_.members.size());
        queue_.post(std::exchange(block_, take_spare()));
        while (queue_.full()) emit_oldest(emit);
    }

    /// Waits for all blocks that were posted.
    template <class Emit>
    void drain(Emit emit) {
        while (!queue_.empty()) emit_oldest(emit);
    }

  private:
    template <class Emit>
    void emit_oldest(Emit& emit) {
        auto block = queue_.take();
        emit(std::as_const(block));
        block.reuse();
        spare_ = std::move(block);
    }

    gzip_block<Backend> take_spare() {
        if (!spare_) return gzip_block<Backend>{level_};
        auto block = std::move(*spare_);
        spare_.reset();
        return block;
    }

    block_queue<gzip_block<Backend>> queue_;
    int level_;
    gzip_block<Backend> block_;
    std::optional<gzip_block<Backend>> spare_; // one comes back for each that goes
};

} // namespace shiplap::detail
