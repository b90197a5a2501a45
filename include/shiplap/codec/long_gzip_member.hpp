#pragma once
// long_gzip_member: a byte_sink that packs all it gets into one gzip member, however long it turns out, and on all workers.
// For what readers expect in one member; what may be cut into several is the affair of gzip_member.hpp.
//
// The deflate stream is made in parts that know nothing of each other: each but the last ends with an empty stored block
// (RFC 1951, section 3.2.4), so on a byte boundary, and the next one stands behind it as if one compressor had made both.
// Always zlib, at its nearest level: a deflate_backend makes whole streams.

#include <shiplap/codec/block_writer.hpp>
#include <shiplap/codec/compressor_pool.hpp>
#include <shiplap/codec/gzip_member.hpp>
#include <shiplap/codec/zlib_backend.hpp>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace shiplap::detail {

/// A part of a deflate stream. A packing_block.
class deflate_part {
  public:
    explicit deflate_part(int level) : compressors_{std::make_shared<pool>(maker{level})} {}

    std::string plain;
    bool is_last = false;
    packed_bytes packed;   ///< set by run()
    std::uint32_t crc = 0; ///< of plain, set by run()

    void prepare() {
        packed.reset(compressors_->lend([this](auto const& one) { return one.bound_of_part(plain.size()); }));
    }
    void run() {
        crc = crc32_of(as_bytes(plain));
        packed.add(compressors_->lend(
            [this](auto& one) { return one.compress_part(as_bytes(plain), packed.room(), is_last); }));
    }
    [[nodiscard]] std::size_t weight() const noexcept { return 2 * plain.size(); }

    void reuse() { plain.clear(); }
    [[nodiscard]] deflate_part another() const { return deflate_part{compressors_}; }

  private:
    struct maker {
        int level;
        [[nodiscard]] zlib_compressor operator()() const { return zlib_backend::compressor(level); }
    };
    using pool = compressor_pool<maker>;
    explicit deflate_part(std::shared_ptr<pool> shared) : compressors_{std::move(shared)} {}

    std::shared_ptr<pool> compressors_;
};

template <byte_sink Out>
class long_gzip_member {
  public:
    long_gzip_member(Out& out, executor_ref executor, int level)
        : out_{&out}, parts_{executor, deflate_part{std::min(level, zlib_backend::levels.highest)}} {
        out.write(as_bytes(gzip_header(level)));
    }

    void write(bytes_view in) {
        while (!in.empty()) {
            auto& plain = parts_.block().plain;
            if (plain.size() == part_size) {
                post();
                continue;
            }
            plain.reserve(part_size);
            auto const piece = in.first(std::min(in.size(), part_size - plain.size()));
            plain.append(as_text(piece));
            in = in.subspan(piece.size());
        }
    }

    /// Ends the member. Call once.
    void finish() {
        parts_.block().is_last = true;
        post();
        parts_.drain(emit());
        out_->write(as_bytes(gzip_trailer(crc_, size_)));
    }

    /// After finish(): its plain bytes.
    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  private:
    static constexpr std::size_t part_size = 256 * 1024; // smaller ones cost more than 0.5 % in size

    void post() { parts_.post(emit()); }

    auto emit() {
        return [this](deflate_part const& part) {
            out_->write(part.packed.bytes());
            crc_ = joined_crc32(crc_, part.crc, part.plain.size());
            size_ += part.plain.size();
        };
    }

    Out* out_;
    block_writer<deflate_part> parts_;
    std::uint32_t crc_ = 0;
    std::uint64_t size_ = 0;
};

} // namespace shiplap::detail
