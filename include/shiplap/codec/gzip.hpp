#pragma once
// gzip: the encoding that every reader knows (RFC 1952).
//
// The output is one gzip member for every MiB of input, the last one shorter, whatever the number of workers
// and the size of the writes; an empty input is one empty member. The members cost about 0.1 % in size and
// make packing parallel.
//
// Each member tells its size in its header: see gzip_member.hpp.
//
// Needs zlib; another deflate_backend may do the packing: basic_gzip<libdeflate_backend>{.level = 9}.

#include <shiplap/codec/gzip_decoder.hpp>
#include <shiplap/codec/gzip_member.hpp>
#include <shiplap/codec/level.hpp>

#include <algorithm>

namespace shiplap {

/// The encoder stage of gzip.
template <deflate_backend Backend>
class gzip_encoder {
  public:
    /// Plain bytes in a member.
    static constexpr std::size_t member_size = 1024 * 1024;

    gzip_encoder(executor_ref executor, Backend const& backend, int level)
        : blocks_{detail::make_gzip_writer(executor, backend, level, true)} {}

    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        while (!in.empty()) {
            auto& plain = blocks_.block().plain;
            auto const piece = in.first(std::min(in.size(), member_size - plain.size()));
            plain.reserve(member_size);
            plain.append(as_text(piece));
            in = in.subspan(piece.size());
            if (plain.size() == member_size) post(out);
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
        return [&out](detail::gzip_block<Backend> const& block) { out.write(block.packed.bytes()); };
    }

    template <byte_sink Out>
    void post(Out& out) {
        auto& block = blocks_.block();
        block.members.push_back({.plain_size = block.plain.size()});
        blocks_.post(into(out));
        posted_ = true;
    }

    detail::gzip_writer<Backend> blocks_;
    bool posted_ = false;
};

/// The codec. Levels are those of the backend; -1 leaves the choice to it.
template <deflate_backend Backend = zlib_backend>
struct basic_gzip {
    static constexpr std::string_view name = "gzip", encoding = "gzip";

    int level = default_level;
    [[no_unique_address]] Backend backend{};

    [[nodiscard]] constexpr level_range levels() const { return backend.levels; }
    /// Throws option_error for a level out of range.
    [[nodiscard]] gzip_encoder<Backend> encoder(executor_ref executor) const {
        detail::check_level(*this);
        return {executor, backend, level};
    }
    [[nodiscard]] static gzip_decoder decoder() { return {}; }
    friend bool operator==(basic_gzip const&, basic_gzip const&) = default;
};

using gzip = basic_gzip<>;

} // namespace shiplap
