#pragma once
// zstd: packs better than gzip and unpacks several times faster (RFC 8878). Media types of zstd layers exist
// only in OCI images, older engines cannot read them.
//
// The output is one frame for every 8 MiB of input, the last one shorter, whatever the number of workers and the size
// of the writes; an empty input is one empty frame. Each tells the size of its content and ends with a checksum. Its
// window is all of it: 8 MiB, which every decoder must offer (RFC 8878, section 3.1.1.1.2), and more than libzstd takes at
// low levels. That wins back what a cut every 8 MiB loses. Frames are packed in parallel, and can be unpacked so.
//
// libzstd's own workers are not used: they pack one frame, whose jobs each read again what stands before them, hash one
// after the other, and stop whenever the thread that feeds them does something else.

#include <shiplap/codec/block_writer.hpp>
#include <shiplap/codec/compressor_pool.hpp>
#include <shiplap/codec/concept.hpp>
#include <shiplap/codec/level.hpp>
#include <shiplap/codec/packed_input.hpp>
#include <shiplap/error.hpp>

#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <memory>
#include <new>
#include <string>

namespace shiplap {

namespace detail {

/// A result of libzstd, if it is no error.
inline std::size_t zstd_checked(std::size_t result, char const* operation) {
    if (::ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation) throw std::bad_alloc{};
    if (::ZSTD_isError(result)) throw format_error{operation, "zstd stream", ::ZSTD_getErrorName(result)};
    return result;
}

/// Does a frame begin here? Either kind: with content, or to be skipped.
inline bool is_zstd_frame(bytes_view head) {
    auto const text = as_text(head);
    if (text.starts_with("\x28\xb5\x2f\xfd")) return true;
    return text.size() >= 4 && (text[0] & 0xf0) == 0x50 && text.substr(1, 3) == "\x2a\x4d\x18";
}

/// Packs frames of one level.
class zstd_compressor {
  public:
    explicit zstd_compressor(int level) : context_{::ZSTD_createCCtx()} {
        if (!context_) throw std::bad_alloc{};
        set(ZSTD_c_compressionLevel, level);
        set(ZSTD_c_checksumFlag, 1);
        set(ZSTD_c_windowLog, 23);
    }

    /// `into` has room for ZSTD_compressBound(in.size()) bytes.
    [[nodiscard]] std::size_t compress(bytes_view in, bytes_span into) {
        return zstd_checked(::ZSTD_compress2(context_.get(), into.data(), into.size(), in.data(), in.size()),
                            "pack");
    }

  private:
    void set(ZSTD_cParameter what, int value) {
        zstd_checked(::ZSTD_CCtx_setParameter(context_.get(), what, value), "pack");
    }

    struct closer {
        void operator()(ZSTD_CCtx* context) const noexcept { ::ZSTD_freeCCtx(context); }
    };
    std::unique_ptr<ZSTD_CCtx, closer> context_;
};

struct zstd_compressor_maker {
    int level;
    [[nodiscard]] zstd_compressor operator()() const { return zstd_compressor{level}; }
};

/// Plain bytes that become one frame. A packing_block.
class zstd_block {
  public:
    using pool = compressor_pool<zstd_compressor_maker>;
    explicit zstd_block(std::shared_ptr<pool> compressors) : compressors_{std::move(compressors)} {}

    std::string plain;
    packed_bytes packed; ///< set by run()

    void prepare() { packed.reset(::ZSTD_compressBound(plain.size())); }
    void run() {
        packed.add(compressors_->lend(
            [this](zstd_compressor& one) { return one.compress(as_bytes(plain), packed.room()); }));
    }
    /// Memory for plain and packed bytes; of the latter only what is written to counts, seldom more than half.
    [[nodiscard]] std::size_t weight() const noexcept { return plain.size() + plain.size() / 2; }

    void reuse() { plain.clear(); }
    [[nodiscard]] zstd_block another() const { return zstd_block{compressors_}; }

  private:
    std::shared_ptr<pool> compressors_;
};

} // namespace detail

/// The encoder stage of zstd.
class zstd_encoder {
  public:
    /// Plain bytes in a frame.
    static constexpr std::size_t frame_size = std::size_t{8} * 1024 * 1024;

    zstd_encoder(executor_ref executor, int level)
        : blocks_{executor, detail::zstd_block{std::make_shared<detail::zstd_block::pool>(
                                detail::zstd_compressor_maker{level})}} {}

    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        while (!in.empty()) {
            auto& plain = blocks_.block().plain;
            auto const piece = in.first(std::min(in.size(), frame_size - plain.size()));
            plain.reserve(frame_size);
            plain.append(as_text(piece));
            in = in.subspan(piece.size());
            if (plain.size() == frame_size) post(out);
        }
    }

    template <byte_sink Out>
    void finish(Out& out) {
        if (!posted_ || !blocks_.block().plain.empty()) post(out);
        blocks_.drain(into(out));
    }

  private:
    template <byte_sink Out>
    static auto into(Out& out) {
        return [&out](detail::zstd_block const& block) { out.write(block.packed.bytes()); };
    }

    template <byte_sink Out>
    void post(Out& out) {
        blocks_.post(into(out));
        posted_ = true;
    }

    detail::block_writer<detail::zstd_block> blocks_;
    bool posted_ = false;
};

/// A byte_decoder for zstd: one frame or more, skippable ones included (RFC 8878, section 3.1.2). The stream
/// must end where a frame ends. A frame that wants a window of more than 128 MiB or a dictionary is refused.
class zstd_decoder {
  public:
    zstd_decoder() : context_{::ZSTD_createDCtx()} {
        if (!context_) throw std::bad_alloc{};
        detail::zstd_checked(::ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, 27), "unpack");
    }

    /// Fills `into` as far as the stream goes; throws format_error on anything that is not zstd.
    template <byte_source In>
    std::size_t read(In& in, bytes_span into) {
        ZSTD_outBuffer output{into.data(), into.size(), 0};
        while (output.pos < output.size && (in_frame_ || begin_frame(in))) continue_frame(in, output);
        return output.pos;
    }

  private:
    static constexpr std::size_t magic_size = 4;

    template <byte_source In>
    bool begin_frame(In& in) {
        auto const at = packed_.offset();
        auto const place = " at offset " + std::to_string(at);
        if (!packed_.fill(in, magic_size)) {
            if (!packed_.bytes().empty()) fail("bytes that are no frame are left" + place);
            if (at == 0) fail("it is empty; even no content is a frame");
            return false;
        }
        if (!detail::is_zstd_frame(packed_.bytes())) fail("there is no frame" + place);
        in_frame_ = true;
        return true;
    }

    template <byte_source In>
    void continue_frame(In& in, ZSTD_outBuffer& output) {
        // With room in `output` and nothing to read, what libzstd still held back it would have written
        // before.
        if (!packed_.fill(in, 1))
            fail("truncated: it ends at offset " + std::to_string(packed_.offset()) + ", inside a frame");
        auto const bytes = packed_.bytes();
        ZSTD_inBuffer input{bytes.data(), bytes.size(), 0};
        auto const left =
            detail::zstd_checked(::ZSTD_decompressStream(context_.get(), &output, &input), "unpack");
        packed_.consume(input.pos);
        in_frame_ = left != 0;
    }

    [[noreturn]] static void fail(std::string reason) {
        throw format_error{"unpack", "zstd stream", std::move(reason)};
    }

    struct closer {
        void operator()(ZSTD_DCtx* context) const noexcept { ::ZSTD_freeDCtx(context); }
    };
    std::unique_ptr<ZSTD_DCtx, closer> context_;
    detail::packed_input packed_;
    bool in_frame_ = false;
};

/// The codec. Levels are libzstd's own; 0 is its default, 3.
struct zstd {
    static constexpr std::string_view name = "zstd", encoding = "zstd";

    int level = 0;

    [[nodiscard]] static constexpr level_range levels() { return {0, 22}; }
    /// Throws option_error for a level out of range.
    [[nodiscard]] zstd_encoder encoder(executor_ref executor) const {
        detail::check_level(*this);
        return {executor, level};
    }
    [[nodiscard]] static zstd_decoder decoder() { return {}; }
    friend bool operator==(zstd const&, zstd const&) = default;
};

} // namespace shiplap
