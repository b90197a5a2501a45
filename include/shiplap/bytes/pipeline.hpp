#pragma once
// A chain of stages that ends in a sink, itself a byte_sink:
//
//     pipeline pipe{plain_tap, encoder, packed_tap, blob};
//     source.write_tar(pipe);
//     pipe.finish();
//
// It lends room if its first stage does: room(out) and filled(n, out), as in lending_sink.
//
// Stages are held by reference, so that their results (a digest, a count) can be asked for afterwards. Where
// the types are known the whole chain is one inlined function per chunk; backpressure is the call stack.

#include <shiplap/bytes/concept.hpp>

namespace shiplap {

template <class T, class Out>
concept lends_before = requires(T& stage, std::size_t n, Out& out) {
    { stage.room(out) } -> std::same_as<bytes_span>;
    stage.filled(n, out);
};

/// The first part and the pipeline of those behind it, which it writes into.
template <class First, class... Rest>
class pipeline {
  public:
    explicit pipeline(First& first, Rest&... rest) : first_{first}, rest_{rest...} {}

    void write(bytes_view in) { first_.write(in, rest_); }

    [[nodiscard]] bytes_span room() requires lends_before<First, pipeline<Rest...>> {
        return first_.room(rest_);
    }
    void filled(std::size_t n) requires lends_before<First, pipeline<Rest...>> { first_.filled(n, rest_); }

    /// Lets every stage push what it holds back, first to last. Call once, after the last write().
    void finish() {
        first_.finish(rest_);
        rest_.finish();
    }

  private:
    First& first_;
    pipeline<Rest...> rest_;
};

/// The end: a byte_sink.
template <class Sink>
class pipeline<Sink> {
  public:
    explicit pipeline(Sink& sink) : sink_{sink} {}

    void write(bytes_view in) { sink_.write(in); }
    void finish() noexcept {}

    [[nodiscard]] bytes_span room() requires lending_sink<Sink> { return sink_.room(); }
    void filled(std::size_t n) requires lending_sink<Sink> { sink_.filled(n); }

  private:
    Sink& sink_;
};

template <class... Parts>
pipeline(Parts&...) -> pipeline<Parts...>;

} // namespace shiplap
