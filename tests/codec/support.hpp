#pragma once
// What the tests of all codecs share: contents, ways to cut them into writes, packing and unpacking.

#include <shiplap/bytes/executor.hpp>
#include <shiplap/bytes/file.hpp>
#include <shiplap/codec/concept.hpp>
#include <shiplap/codec/long_gzip_member.hpp>

#include "support/catch.hpp"
#include "support/temp.hpp"

#include <cstdlib>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace codec_tests {

using namespace shiplap;

inline constexpr std::size_t mebibyte = 1024 * 1024;

/// Cannot be packed.
inline std::string noise(std::size_t size, unsigned seed = 1) {
    std::mt19937 random{seed};
    std::string out(size, '\0');
    for (auto& c : out) c = static_cast<char>(random() & 0xff);
    return out;
}

/// Packs to about a third.
inline std::string prose(std::size_t size, unsigned seed = 1) {
    static constexpr std::string_view words[] = {"tar ", "layer ", "digest ", "blob\n", "manifest ", "zstd "};
    std::mt19937 random{seed};
    std::string out;
    while (out.size() < size) {
        out += words[random() % 6];
        if (random() % 8 == 0) out += std::to_string(random());
    }
    out.resize(size);
    return out;
}

/// How a content is cut into writes: pieces of random size up to `largest`.
template <byte_stage Stage, byte_sink Out>
void write_in_pieces(Stage& stage, std::string_view content, std::size_t largest, Out& out) {
    std::mt19937 random{static_cast<unsigned>(largest)};
    while (!content.empty()) {
        auto const n = std::min<std::size_t>(content.size(), 1 + random() % largest);
        stage.write(as_bytes(content.substr(0, n)), out);
        content.remove_prefix(n);
    }
}

/// The packed content; no workers: in the caller.
template <codec C>
std::string pack(C const& how, std::string_view content, unsigned workers = 0,
                 std::size_t largest_write = mebibyte) {
    std::optional<thread_pool> pool;
    if (workers != 0) pool.emplace(workers);
    auto encoder = how.encoder(pool ? executor_ref{*pool} : executor_ref{});
    string_sink out;
    write_in_pieces(encoder, content, largest_write, out);
    encoder.finish(out);
    return out.text;
}

/// One gzip member.
inline std::string one_member(std::string_view content) {
    string_sink out;
    detail::long_gzip_member member{out, executor_ref{}, 6};
    member.write(as_bytes(content));
    member.finish();
    return out.text;
}

/// The plain content, read in pieces of `piece` bytes from a source that gives at most `given` at a time.
template <byte_decoder Decoder>
std::string unpack(Decoder decoder, std::string_view packed, std::size_t piece = 64 * 1024,
                   std::size_t given = mebibyte) {
    struct slow_source {
        span_source all;
        std::size_t most;
        std::size_t read(bytes_span into) { return all.read(into.first(std::min(into.size(), most))); }
    } in{span_source{packed}, given};
    std::string out;
    std::vector<std::byte> space(piece);
    while (auto const n = decoder.read(in, space)) out.append(as_text(bytes_view{space}.first(n)));
    return out;
}

/// Unpacks what was damaged: the plain content, or nothing if it was refused. Other exceptions are failures.
template <byte_decoder Decoder>
std::optional<std::string> unpack_damaged(Decoder decoder, std::string_view packed) {
    try {
        return unpack(std::move(decoder), packed);
    } catch (format_error const&) {
        return {};
    }
}

/// Does `command FILE` accept the bytes? True, too, where there is no such command.
inline bool accepted_by(std::string const& command, std::string_view packed) {
    temp_dir const dir;
    write_file(dir / "packed", packed);
    auto const status = std::system((command + " < '" + (dir / "packed") + "' > /dev/null 2>&1").c_str());
    return status == 0 || WEXITSTATUS(status) == 127;
}

} // namespace codec_tests
