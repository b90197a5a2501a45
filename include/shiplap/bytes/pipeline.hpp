#pragma once
// A chain of stages that ends in a sink, itself a byte_sink:
//
//     pipeline pipe{plain_tap, encoder, packed_tap, blob};
//     source.write_tar(pipe);
//     pipe.finish();
//
// Stages are held by reference, so that their results (a digest, a count) can be asked for afterwards. Where
// the types are known the whole chain is one inlined function per chunk; backpressure is the call stack.

#include <shiplap/bytes/concept.hpp>

#include <tuple>

namespace shiplap {

template <class... Parts>
class pipeline {
    static_assert(sizeof...(Parts) >= 1, "a pipeline ends in a byte_sink");

  public:
    explicit pipeline(Parts&... parts) : parts_{parts...} {}

    void write(bytes_view in) { tail<0>{*this}.write(in); }

    /// Lets every stage push what it holds back, first to last. Call once, after the last write().
    void finish() { finish_from<0>(); }

  private:
    static constexpr std::size_t last = sizeof...(Parts) - 1;

    // What stage I-1 writes into: stage I and all behind it.
    template <std::size_t I>
    struct tail {
        pipeline& pipe;
        void write(bytes_view in) {
            auto& part = std::get<I>(pipe.parts_);
            if constexpr (I == last) {
                part.write(in);
            } else {
                tail<I + 1> next{pipe};
                part.write(in, next);
            }
        }
    };

    template <std::size_t I>
    void finish_from() {
        if constexpr (I < last) {
            tail<I + 1> next{*this};
            std::get<I>(parts_).finish(next);
            finish_from<I + 1>();
        }
    }

    std::tuple<Parts&...> parts_;
};

} // namespace shiplap
