// A codec of your own: xz, with liblzma. A stage, a struct of options, and a table that names its media type.

#include <shiplap/shiplap.hpp>

#include "demo_tree.hpp"

#include <lzma.h>

#include <array>
#include <iostream>
#include <memory>

using namespace shiplap;

class xz_stream { // both ways: encoder (write, finish) and decoder (read) differ in how the stream was made
  public:
    explicit xz_stream(lzma_ret (*make)(lzma_stream*)) {
        if (make(stream_.get()) != LZMA_OK) throw std::bad_alloc{};
    }
    void write(bytes_view in, byte_sink auto& out) { encode(in, LZMA_RUN, out); }
    void finish(byte_sink auto& out) { encode({}, LZMA_FINISH, out); }

    std::size_t read(byte_source auto& in, bytes_span into) {
        for (;;) {
            if (stream_->avail_in == 0) give(bytes_view{room_}.first(in.read(room_)));
            bool const ended = stream_->avail_in == 0;
            if (auto const n = step(into, ended ? LZMA_FINISH : LZMA_RUN); n != 0 || ended) return n;
        }
    }

  private:
    void encode(bytes_view in, lzma_action action, byte_sink auto& out) {
        give(in);
        do out.write(bytes_view{room_}.first(step(room_, action)));
        while (stream_->avail_in != 0 || stream_->avail_out == 0);
    }
    void give(bytes_view in) {
        stream_->next_in = reinterpret_cast<std::uint8_t const*>(in.data());
        stream_->avail_in = in.size();
    }
    std::size_t step(bytes_span into, lzma_action action) { // returns how much of `into` was filled
        stream_->next_out = reinterpret_cast<std::uint8_t*>(into.data());
        stream_->avail_out = into.size();
        auto const state = lzma_code(stream_.get(), action);
        if (state != LZMA_OK && state != LZMA_STREAM_END)
            throw format_error{"code", "xz", "liblzma says " + std::to_string(state)};
        return into.size() - stream_->avail_out;
    }
    using end = decltype([](lzma_stream* stream) { lzma_end(stream), delete stream; });
    std::unique_ptr<lzma_stream, end> stream_{new lzma_stream(LZMA_STREAM_INIT)}; // must not move, this may
    std::array<std::byte, 16384> room_{};
};

struct xz {
    static constexpr std::string_view name = "xz", encoding = "xz";
    static xz_stream encoder(executor_ref) {
        return xz_stream{[](lzma_stream* stream) { return lzma_easy_encoder(stream, 6, LZMA_CHECK_CRC32); }};
    }
    static xz_stream decoder() {
        return xz_stream{[](lzma_stream* stream) { return lzma_stream_decoder(stream, 64 << 20, 0); }};
    }
};

struct oci_with_xz : oci_media_types {
    static constexpr std::string_view layer(std::string_view encoding) {
        if (encoding == "xz") return "application/vnd.oci.image.layer.v1.tar+xz";
        return oci_media_types::layer(encoding);
    }
};

int main() {
    exporter out{xz{}, oci_with_xz{}, sha256{}, memory_sink{}};
    auto const image = out({.layers = {directory_layer{.path = demo_tree("app"), .owners = root_owned}}});
    string_sink tar;
    decoded_source plain{xz::decoder(), out.sink().store().reader(image.layers[0].blob.digest)};
    transfer(plain, tar);
    auto const unpacked = digest::of<sha256>(as_bytes(tar.text));
    std::cout << "round trip: " << (unpacked == image.layers[0].diff_id) << '\n';
}
