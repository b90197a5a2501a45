#pragma once
// estargz: a gzip layer that can be read file by file without unpacking what stands before
// (stargz-snapshotter, docs/estargz.md). Every gzip reader unpacks it as a whole.
//
// The input must be a tar; its bytes pass unchanged. A gzip member starts at the content of each regular file
// and at every 4 MiB inside it; headers and padding share the member of the content before them. Behind it
// stand a member with the table of contents, itself a tar of one file, and a footer that tells where that is.
// So the diff_id covers more than the input: what write_extension() adds.
//
// Members are packed in parallel and are the same for any number of workers. Where more than 1 MiB of headers
// come in a row, one more member starts: that keeps memory bounded and is no difference to readers.

#include <shiplap/codec/estargz_footer.hpp>
#include <shiplap/codec/estargz_toc.hpp>
#include <shiplap/codec/gzip_decoder.hpp>
#include <shiplap/codec/gzip_member.hpp>
#include <shiplap/codec/level.hpp>
#include <shiplap/codec/long_gzip_member.hpp>
#include <shiplap/tar/scanner.hpp>
#include <shiplap/tar/writer.hpp>

#include <algorithm>
#include <utility>

namespace shiplap {

/// The encoder stage of estargz: an annotating and extending encoder.
template <deflate_backend Backend>
class estargz_encoder {
  public:
    estargz_encoder(executor_ref executor, Backend const& backend, int level)
        : executor_{executor},
          blocks_{detail::make_gzip_writer(executor, backend, level, false)},
          toc_level_{level == default_level ? std::min(zlib_default, level_range{backend.levels}.highest)
                                            : level} {}

    /// Throws format_error if the bytes are no tar, error{unsupported} for a name that is not UTF-8 or an
    /// entry that has the name of the table of contents.
    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        plain_size_ += in.size();
        while (!in.empty()) {
            auto const before = in;
            auto const event = tar_.next(in);
            if (event == tar_scanner::event::payload) {
                add_content(tar_.payload(), out);
                continue;
            }
            add_headers(before.first(before.size() - in.size()), out);
            if (event == tar_scanner::event::entry) begin_entry(tar_.entry());
        }
    }

    /// Throws format_error if the tar ends inside an entry.
    template <byte_sink Out>
    void finish(Out& out) {
        tar_.finish();
        end_member();
        if (!blocks_.block().members.empty()) post(out);
        blocks_.drain(into(out));
        measured_sink measured;
        toc_.render(measured);
        toc_size_ = measured.size;
        toc_digest_ = measured.hasher.finish();
        detail::long_gzip_member toc{out, executor_, toc_level_};
        write_extension(toc);
        toc.finish();
        plain_size_ += toc.size();
        out.write(as_bytes(estargz_footer(packed_size_)));
    }

    /// After finish(): the plain bytes that stand in the blob behind those of the input.
    template <byte_sink Out>
    void write_extension(Out& out) const {
        tar_entry entry;
        entry.name = estargz_toc_name;
        entry.size = toc_size_;
        tar_writer tar{out};
        tar.entry(entry);
        toc_.render(tar);
        tar.finish();
    }

    /// After finish(): what lazy pullers look for in the layer's descriptor.
    [[nodiscard]] annotation_map annotations() const {
        return {{toc_digest_annotation, digest::from_raw<sha256>(toc_digest_).text()},
                {"io.containers.estargz.uncompressed-size", std::to_string(plain_size_)}};
    }

  private:
    static constexpr std::uint64_t chunk_size = estargz_toc::chunk_size;
    static constexpr std::size_t block_size = 1024 * 1024; // small members share a block of about this size
    static constexpr std::size_t headers_size = 1024 * 1024;
    static constexpr int zlib_default = 6;

    /// Size and digest of what is written.
    struct measured_sink {
        sha256::hasher hasher;
        std::uint64_t size = 0;
        void write(bytes_view in) {
            hasher.update(in);
            size += in.size();
        }
    };

    void begin_entry(tar_entry const& entry) {
        if (detail::clean_path("/" + entry.name).substr(1) == estargz_toc_name)
            throw error{error_code::unsupported, "pack as estargz", entry.name,
                        "this name belongs to the table of contents that is added; remove the entry"};
        toc_.add_entry(entry);
        content_size_ = entry.size;
        content_seen_ = 0;
        file_hasher_ = {};
    }

    template <byte_sink Out>
    void add_content(bytes_view in, Out& out) {
        bool const chunked = content_size_ > chunk_size;
        if (chunked) file_hasher_.update(in);
        while (!in.empty()) {
            if (content_seen_ % chunk_size == 0) begin_chunk(out);
            auto const room = static_cast<std::size_t>(chunk_size - content_seen_ % chunk_size);
            auto const piece = in.first(std::min(in.size(), room));
            in = in.subspan(piece.size());
            append(piece);
            member_.hashed_size += piece.size();
            content_seen_ += piece.size();
        }
        if (chunked && content_seen_ == content_size_) toc_.add_file_digest(file_hasher_.finish());
    }

    template <byte_sink Out>
    void begin_chunk(Out& out) {
        end_member();
        headers_seen_ = 0;
        auto const size = static_cast<std::size_t>(std::min(chunk_size, content_size_ - content_seen_));
        auto const& block = blocks_.block();
        if (!block.members.empty() && block.plain.size() + size > block_size) post(out);
        blocks_.block().plain.reserve(std::max(size, block_size) + 64 * 1024); // some headers will follow
    }

    template <byte_sink Out>
    void add_headers(bytes_view in, Out& out) {
        while (!in.empty()) {
            auto const piece = in.first(std::min(in.size(), headers_size - headers_seen_));
            in = in.subspan(piece.size());
            append(piece);
            headers_seen_ += piece.size();
            if (headers_seen_ < headers_size) continue;
            end_member();
            headers_seen_ = 0;
            post(out);
        }
    }

    void append(bytes_view in) {
        blocks_.block().plain.append(as_text(in));
        member_.plain_size += in.size();
    }

    void end_member() {
        if (member_.plain_size != 0) blocks_.block().members.push_back(std::exchange(member_, {}));
    }

    template <byte_sink Out>
    void post(Out& out) {
        blocks_.post(into(out));
    }

    /// What is done with a packed block when its turn has come.
    template <byte_sink Out>
    auto into(Out& out) {
        return [this, &out](detail::gzip_block<Backend> const& block) {
            for (auto const& member : block.members) {
                if (member.hashed_size != 0) toc_.add_chunk(packed_size_, member.digest);
                packed_size_ += member.packed_size;
            }
            out.write(block.packed.bytes());
        };
    }

    executor_ref executor_;
    detail::gzip_writer<Backend> blocks_;
    int toc_level_; // of zlib, about as thorough as what packs the contents
    tar_scanner tar_{"layer"};
    estargz_toc toc_;
    detail::gzip_member member_;                        // the one that is being filled
    std::size_t headers_seen_ = 0;                      // bytes since the last content
    std::uint64_t content_size_ = 0, content_seen_ = 0; // of the current entry
    sha256::hasher file_hasher_;                        // of the current file, if it has more than one chunk
    std::uint64_t plain_size_ = 0, packed_size_ = 0;
    std::uint64_t toc_size_ = 0;
    std::string toc_digest_; // raw
};

/// The codec. Levels as those of gzip.
template <deflate_backend Backend = zlib_backend>
struct basic_estargz {
    static constexpr std::string_view name = "estargz", encoding = "gzip";

    int level = default_level;
    [[no_unique_address]] Backend backend{};

    [[nodiscard]] constexpr level_range levels() const { return backend.levels; }
    /// Throws option_error for a level out of range.
    [[nodiscard]] estargz_encoder<Backend> encoder(executor_ref executor) const {
        detail::check_level(*this);
        return {executor, backend, level};
    }
    [[nodiscard]] static gzip_decoder decoder() { return {}; }
    friend bool operator==(basic_estargz const&, basic_estargz const&) = default;
};

using estargz = basic_estargz<>;

} // namespace shiplap
