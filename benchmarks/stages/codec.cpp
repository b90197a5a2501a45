// codec/: encoders and decoders, beside the bare libraries on the same blocks, spread over as many threads.

#include <shiplap/codec/isal_backend.hpp>
#include <shiplap/codec/libdeflate_backend.hpp>

#include "support.hpp"

#include <zlib.h>
#include <zstd.h>

#include <memory>

namespace shiplap::benchmarks {
namespace {

constexpr std::size_t packed_sample = std::size_t{8} << 20;

template <class Codec>
std::string pack_with(Codec const& codec, bytes_view plain) {
    string_sink out;
    auto encoder = codec.encoder({});
    push_through(encoder, plain, out);
    return std::move(out.text);
}

/// Registers an encoder with 1, 2 and 8 workers; `bare(workers)` is the baseline.
template <class Codec, class Bare>
void compare_encoder(std::string const& name, Codec const& codec, bytes_view plain, Bare bare) {
    for (unsigned const workers : {1U, 2U, 8U})
        compare(
            name + " level " + std::to_string(codec.level) + ", " + std::to_string(workers) +
                (workers == 1 ? " worker" : " workers"),
            {plain.size()},
            [codec, plain, pool = shared_pool{workers}]() mutable {
                counting_sink out;
                auto encoder = codec.encoder(pool);
                push_through(encoder, plain, out);
            },
            [bare, workers] { bare(workers); });
}

/// gzip over any deflate backend; the baseline packs the same members by the same backend and nothing else.
template <deflate_backend Backend>
void compare_gzip(std::initializer_list<int> levels) {
    constexpr auto member = gzip_encoder<Backend>::member_size;
    for (int const level : levels)
        compare_encoder(
            std::string{"gzip "}.append(Backend::name), basic_gzip<Backend>{.level = level},
            sample(packed_sample), [level](unsigned workers) {
                auto const compressor = [level] { return Backend::compressor(level); };
                spread(packed_sample / member, workers, compressor, [](std::size_t i, auto& tool) {
                    auto const room = std::make_unique_for_overwrite<std::byte[]>(tool.bound(member));
                    auto size = tool.compress(sample(packed_sample).subspan(i * member, member),
                                              {room.get(), tool.bound(member)});
                    benchmark::DoNotOptimize(size);
                });
            });
}

/// One level down: the backend itself, beside zlib.
void compare_zlib_backend(int level) {
    compare(
        "zlib backend level " + std::to_string(level), {packed_sample},
        [level] {
            auto tool = zlib_backend::compressor(level);
            std::vector<std::byte> packed(tool.bound(gzip_encoder<zlib_backend>::member_size));
            in_pieces(sample(packed_sample), gzip_encoder<zlib_backend>::member_size, [&](bytes_view block) {
                auto size = tool.compress(block, packed);
                benchmark::DoNotOptimize(size);
            });
        },
        [level] {
            z_stream z{};
            if (::deflateInit2(&z, level, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK) give_up("deflate");
            std::vector<Bytef> packed(::deflateBound(&z, gzip_encoder<zlib_backend>::member_size));
            in_pieces(sample(packed_sample), gzip_encoder<zlib_backend>::member_size, [&](bytes_view block) {
                ::deflateReset(&z);
                z.next_in = const_cast<Bytef*>(reinterpret_cast<Bytef const*>(block.data()));
                z.avail_in = static_cast<uInt>(block.size());
                z.next_out = packed.data();
                z.avail_out = static_cast<uInt>(packed.size());
                if (::deflate(&z, Z_FINISH) != Z_STREAM_END) give_up("deflate");
            });
            ::deflateEnd(&z);
        });
}

/// estargz, beside gzip of the same tar: what the table of contents and the digests of its chunks cost.
template <deflate_backend Backend>
void compare_estargz(std::string const& kind, generated_tree const& tree, int level) {
    auto const tar = std::make_shared<std::string const>(tar_of(tree));
    compare_encoder(std::string{"estargz "}.append(Backend::name).append(" to gzip, ") + kind,
                    basic_estargz<Backend>{.level = level}, as_bytes(*tar), [tar, level](unsigned workers) {
                        shared_pool pool{workers};
                        counting_sink out;
                        auto encoder = basic_gzip<Backend>{.level = level}.encoder(pool);
                        push_through(encoder, as_bytes(*tar), out);
                    });
}

using zstd_context = std::unique_ptr<ZSTD_CCtx, std::size_t (*)(ZSTD_CCtx*)>;

/// How much each frame holds that the encoder writes, learnt from what it writes.
std::vector<std::size_t> frame_sizes(std::string const& packed, std::size_t most) {
    std::vector<std::size_t> sizes;
    std::string plain(most, '\0');
    for (std::string_view rest = packed; !rest.empty();) {
        auto const frame = ::ZSTD_findFrameCompressedSize(rest.data(), rest.size());
        auto const size = ::ZSTD_isError(frame) != 0
                              ? frame
                              : ::ZSTD_decompress(plain.data(), plain.size(), rest.data(), frame);
        if (::ZSTD_isError(size) != 0) give_up(::ZSTD_getErrorName(size));
        if (size != 0) sizes.push_back(size); // others say something about frames
        rest.remove_prefix(frame);
    }
    return sizes;
}

void compare_zstd(std::initializer_list<int> levels) {
    for (int const level : levels) {
        zstd const codec{.level = level};
        auto const bare = [level, sizes = frame_sizes(pack_with(codec, sample(sample_size)), sample_size)](
                              unsigned workers) {
            std::vector<std::size_t> starts(sizes.size());
            for (std::size_t i = 1; i < sizes.size(); ++i) starts[i] = starts[i - 1] + sizes[i - 1];
            auto const context = [level] {
                zstd_context made{::ZSTD_createCCtx(), &::ZSTD_freeCCtx};
                ::ZSTD_CCtx_setParameter(made.get(), ZSTD_c_compressionLevel, level);
                ::ZSTD_CCtx_setParameter(made.get(), ZSTD_c_checksumFlag, 1);
                ::ZSTD_CCtx_setParameter(made.get(), ZSTD_c_windowLog, 23);
                return made;
            };
            spread(sizes.size(), workers, context, [&](std::size_t i, zstd_context& tool) {
                std::vector<char> packed(::ZSTD_compressBound(sizes[i]));
                auto const size = ::ZSTD_compress2(tool.get(), packed.data(), packed.size(),
                                                   sample().data() + starts[i], sizes[i]);
                if (::ZSTD_isError(size) != 0) give_up(::ZSTD_getErrorName(size));
                benchmark::DoNotOptimize(packed.data());
            });
        };
        compare_encoder("zstd", codec, sample(sample_size), bare);
    }
}

template <class Decoder>
void unpack(std::string_view packed) {
    counting_sink out;
    decoded_source plain{Decoder{}, span_source{packed}};
    transfer(plain, out);
}

void compare_decoders() {
    auto const gzipped = std::make_shared<std::string const>(pack_with(gzip{}, sample(sample_size)));
    compare(
        "gzip decoder", {sample_size}, [gzipped] { unpack<gzip_decoder>(*gzipped); },
        [gzipped, space = std::vector<Bytef>(transfer_size)]() mutable {
            z_stream z{};
            if (::inflateInit2(&z, 15 + 16) != Z_OK) give_up("inflate");
            z.next_in = const_cast<Bytef*>(reinterpret_cast<Bytef const*>(gzipped->data()));
            z.avail_in = static_cast<uInt>(gzipped->size());
            while (z.avail_in != 0) {
                z.next_out = space.data();
                z.avail_out = static_cast<uInt>(space.size());
                auto const status = ::inflate(&z, Z_NO_FLUSH);
                if (status == Z_STREAM_END)
                    ::inflateReset(&z);
                else if (status != Z_OK)
                    give_up("inflate");
            }
            ::inflateEnd(&z);
        });

    auto const frames = std::make_shared<std::string const>(pack_with(zstd{}, sample(sample_size)));
    compare(
        "zstd decoder", {sample_size}, [frames] { unpack<zstd_decoder>(*frames); },
        [frames, space = std::vector<char>(transfer_size)]() mutable {
            std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> const context{::ZSTD_createDCtx(),
                                                                                  &::ZSTD_freeDCtx};
            ZSTD_inBuffer in{frames->data(), frames->size(), 0};
            while (in.pos < in.size) {
                ZSTD_outBuffer out{space.data(), space.size(), 0};
                auto const left = ::ZSTD_decompressStream(context.get(), &out, &in);
                if (::ZSTD_isError(left) != 0) give_up(::ZSTD_getErrorName(left));
            }
        });
}

} // namespace

void compare_codecs() {
    compare_zlib_backend(6);
    compare_gzip<zlib_backend>({1, 6});
    compare_gzip<libdeflate_backend>({-1, 6});
    compare_gzip<isal_backend>({0, 3});
    compare_estargz<libdeflate_backend>("small files", tree_of(2000, 2048), default_level);
    compare_zstd({3, 9});
    compare_decoders();
}

} // namespace shiplap::benchmarks
