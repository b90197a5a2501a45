#pragma once
// zstd: packs better than gzip and unpacks several times faster (RFC 8878). Media types of zstd layers exist
// only in OCI images, older engines cannot read them.
//
// One frame with a content checksum. Always libzstd's multi-thread path, which cuts the input into jobs of a
// size that depends on the level alone: one worker and sixty-four write the same bytes (no worker would not).
// The window is at most 8 MiB, which every decoder must offer (RFC 8878, section 3.1.1.1.2).
//
// libzstd brings its own threads: as many as the executor has workers, at least one.

#include <shiplap/codec/concept.hpp>
#include <shiplap/codec/level.hpp>
#include <shiplap/codec/packed_input.hpp>
#include <shiplap/error.hpp>

#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <array>
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

/// Bytes of input that one worker packs at a time. About the window of the level: less would cost size and
/// speed, as every job first reads what is before it in the window, more costs memory, of which a worker
/// needs some three jobs.
constexpr int zstd_job_size(int level) noexcept {
    constexpr int mebibyte = 1024 * 1024;
    return level < 9 ? 3 * mebibyte : level < 16 ? 4 * mebibyte : 16 * mebibyte;
}

} // namespace detail

/// The encoder stage of zstd.
class zstd_encoder {
  public:
    zstd_encoder(unsigned workers, int level) : context_{::ZSTD_createCCtx()} {
        if (!context_) throw std::bad_alloc{};
        set(ZSTD_c_compressionLevel, level);
        set(ZSTD_c_checksumFlag, 1);
        set(ZSTD_c_nbWorkers, static_cast<int>(workers));
        set(ZSTD_c_jobSize, detail::zstd_job_size(level));
        if (level > last_small_window) {
            // The window and tables of that level; the search stays the harder one that was asked for.
            set(ZSTD_c_windowLog, 23);
            set(ZSTD_c_chainLog, 24);
            set(ZSTD_c_hashLog, 22);
        }
    }

    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        if (!in.empty()) pack(in, ZSTD_e_continue, out);
    }

    template <byte_sink Out>
    void finish(Out& out) {
        // Flushed first, so that the last job never is the last block of the frame: whether an input of whole
        // jobs ends in a full block or an empty one would else depend on when the workers were ready.
        pack({}, ZSTD_e_flush, out);
        pack({}, ZSTD_e_end, out);
    }

  private:
    static constexpr int last_small_window = 19; // beyond, windows of 32 MiB and more are usual

    void set(ZSTD_cParameter what, int value) {
        detail::zstd_checked(::ZSTD_CCtx_setParameter(context_.get(), what, value), "pack");
    }

    template <byte_sink Out>
    void pack(bytes_view in, ZSTD_EndDirective how, Out& out) {
        ZSTD_inBuffer input{in.data(), in.size(), 0};
        std::array<std::byte, 128 * 1024> space;
        for (;;) {
            ZSTD_outBuffer output{space.data(), space.size(), 0};
            auto const left =
                detail::zstd_checked(::ZSTD_compressStream2(context_.get(), &output, &input, how), "pack");
            if (output.pos != 0) out.write(bytes_view{space}.first(output.pos));
            if (how == ZSTD_e_continue ? input.pos == input.size : left == 0) return;
        }
    }

    struct closer {
        void operator()(ZSTD_CCtx* context) const noexcept { ::ZSTD_freeCCtx(context); }
    };
    std::unique_ptr<ZSTD_CCtx, closer> context_;
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
    static constexpr level_range levels{0, 22};

    int level = 0;

    /// Throws option_error for a level out of range.
    [[nodiscard]] zstd_encoder encoder(executor_ref executor) const {
        detail::check_level(*this);
        return {std::max(1u, executor.concurrency()), level};
    }
    [[nodiscard]] static zstd_decoder decoder() { return {}; }
    friend bool operator==(zstd const&, zstd const&) = default;
};

} // namespace shiplap
