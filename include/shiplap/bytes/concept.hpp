#pragma once
// bytes: how data moves. Producers push into a byte_sink; consumers pull from a byte_source.
//
//   concept             expression              meaning
//   byte_sink           s.write(in)             takes all of `in`, or throws
//   lending_sink        s.room() -> span        a byte_sink that has memory for the next bytes; empty: none just now
//                       s.filled(n)             takes the first n bytes of that, as write() would: saves a copy
//   byte_source         r.read(into) -> n       fills up to into.size() bytes; 0 means end (for a non-empty `into`)
//   replayable_source   r.rewind()              a byte_source; back to the first byte, any number of times
//   byte_stage          t.write(in, out)        transforms `in`, pushes what is ready into `out`
//                       t.finish(out)           pushes what is left; called once, at the end
//   byte_decoder        d.read(in, into) -> n   the mirror image: pulls packed bytes from `in`, fills `into`
//
// A stage gets its output as an argument, a decoder its input. So neither is a template over its neighbour, each can
// be moved and tested alone, and each fuses with its neighbour where that one's type is known.
//
// Exemplar of a stage, compiled in tests/bytes/concept.cpp:
//
//     struct upper_case {
//         template <byte_sink Out>
//         void write(bytes_view in, Out& out) { for (auto b : in) { auto c = upper(b); out.write({&c, 1}); } }
//         template <byte_sink Out>
//         void finish(Out&) {}
//     };
//
// Models: pipeline, staged_file and string_sink are sinks; file_reader, span_source and text_source sources; gather, the taps of
// digest/ and the encoders of codec/ stages.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace shiplap {

using bytes_view = std::span<std::byte const>;
using bytes_span = std::span<std::byte>;

/// The bytes of a text, without a copy.
inline bytes_view as_bytes(std::string_view text) noexcept {
    return {reinterpret_cast<std::byte const*>(text.data()), text.size()};
}

/// Bytes seen as text, without a copy; no encoding is implied.
inline std::string_view as_text(bytes_view bytes) noexcept {
    return {reinterpret_cast<char const*>(bytes.data()), bytes.size()};
}

/// Accepts every byte it is given, in order, or throws.
template <class S>
concept byte_sink = requires(S& sink, bytes_view in) {
    sink.write(in);
};

/// Lends its own memory to who makes the bytes: see the table above.
template <class S>
concept lending_sink = byte_sink<S> && requires(S& sink, std::size_t n) {
    { sink.room() } -> std::same_as<bytes_span>;
    sink.filled(n);
};

/// Hands out bytes in order until read() returns 0.
template <class R>
concept byte_source = requires(R& source, bytes_span into) {
    { source.read(into) } -> std::same_as<std::size_t>;
};

/// A source that can be read again from its start, as a request body must be.
template <class R>
concept replayable_source = byte_source<R> && requires(R& source) {
    source.rewind();
};

/// A sink that drops everything; the neutral element of pipelines and the archetype in the concepts below.
struct null_sink {
    void write(bytes_view) noexcept {}
};

/// A source that is at its end; the archetype for decoders.
struct null_source {
    std::size_t read(bytes_span) noexcept { return 0; }
};

template <class T, class Out>
concept writes_into = requires(T& stage, bytes_view in, Out& out) {
    stage.write(in, out);
};

template <class T, class Out>
concept finishes_into = requires(T& stage, Out& out) {
    stage.finish(out);
};

/// A transformation of a byte stream: write(in, out) any number of times, then finish(out) once.
template <class T>
concept byte_stage = std::movable<T> && writes_into<T, null_sink> && finishes_into<T, null_sink>;

template <class D, class In>
concept reads_from = requires(D& decoder, In& in, bytes_span into) {
    { decoder.read(in, into) } -> std::same_as<std::size_t>;
};

/// The inverse of a stage, driven from the consumer's end. Throws format_error on bytes that are not its
/// format, on truncation, and on anything left after the end.
template <class D>
concept byte_decoder = std::movable<D> && reads_from<D, null_source>;

/// Collects into a string.
struct string_sink {
    std::string text;
    void write(bytes_view in) { text.append(as_text(in)); }
};

/// Reads from memory that outlives it; replayable.
class span_source {
  public:
    explicit span_source(bytes_view bytes) noexcept : all_{bytes}, rest_{bytes} {}
    explicit span_source(std::string_view text) noexcept : span_source{as_bytes(text)} {}

    void rewind() noexcept { rest_ = all_; }
    std::size_t read(bytes_span into) noexcept {
        auto const n = into.size() < rest_.size() ? into.size() : rest_.size();
        if (n != 0) std::memcpy(into.data(), rest_.data(), n);
        rest_ = rest_.subspan(n);
        return n;
    }

  private:
    bytes_view all_, rest_;
};

/// Reads from a text of its own; replayable.
class text_source {
  public:
    explicit text_source(std::string text) noexcept : text_{std::move(text)} {}

    void rewind() noexcept { at_ = 0; }
    std::size_t read(bytes_span into) noexcept {
        auto const n = text_.copy(reinterpret_cast<char*>(into.data()), into.size(), at_);
        at_ += n;
        return n;
    }

  private:
    std::string text_;
    std::size_t at_ = 0; // never beyond its end
};

/// A decoder joined to the source it reads from: a byte_source of plain bytes.
template <byte_decoder D, byte_source In>
struct decoded_source {
    D decoder;
    In in;
    std::size_t read(bytes_span into) { return decoder.read(in, into); }
};
template <class D, class In>
decoded_source(D, In) -> decoded_source<D, In>;

/// Moves all of `from` into `to` through a buffer of 256 KiB; returns the number of bytes.
template <byte_source From, byte_sink To>
std::uint64_t transfer(From& from, To& to);

/// Reads until `into` is full or the source ends; returns the number of bytes.
template <byte_source From>
std::size_t read_fully(From& from, bytes_span into) {
    std::size_t filled = 0;
    while (filled < into.size()) {
        auto const n = from.read(into.subspan(filled));
        if (n == 0) break;
        filled += n;
    }
    return filled;
}

/// Size of the buffers that bytes are moved through: large enough that a system call or an indirect call per
/// buffer costs nothing, small enough to stay in the second-level cache.
inline constexpr std::size_t transfer_size = 256 * 1024;

template <byte_source From, byte_sink To>
std::uint64_t transfer(From& from, To& to) {
    std::string buffer(transfer_size, '\0');
    bytes_span const space{reinterpret_cast<std::byte*>(buffer.data()), buffer.size()};
    std::uint64_t total = 0;
    while (auto const n = from.read(space)) {
        to.write(space.first(n));
        total += n;
    }
    return total;
}

/// Reads `bytes` bytes and drops them; returns how many of them there were.
template <byte_source From>
std::uint64_t skip(From& from, std::uint64_t bytes) {
    std::string dropped(static_cast<std::size_t>(bytes < transfer_size ? bytes : transfer_size), '\0');
    std::uint64_t done = 0;
    while (done < bytes) {
        auto const left = bytes - done;
        auto const wanted = left < dropped.size() ? static_cast<std::size_t>(left) : dropped.size();
        auto const n = from.read({reinterpret_cast<std::byte*>(dropped.data()), wanted});
        if (n == 0) break;
        done += n;
    }
    return done;
}

} // namespace shiplap
