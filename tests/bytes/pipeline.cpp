#include <shiplap/bytes/pipeline.hpp>

#include "support/catch.hpp"

#include <array>

using namespace shiplap;

namespace {

// Puts its mark in front of every write and at the end, so that the order of stages shows.
struct marker {
    char mark;
    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        out.write(as_bytes(std::string_view{&mark, 1}));
        out.write(in);
    }
    template <byte_sink Out>
    void finish(Out& out) {
        out.write(as_bytes(std::string{mark, '!'}));
    }
};

struct refusing {
    void write(bytes_view, byte_sink auto&) { throw 42; }
    void finish(byte_sink auto&) {}
};

static_assert(byte_stage<marker>);

} // namespace

TEST_CASE("a pipeline of a sink alone passes bytes on", "[pipeline]") {
    string_sink out;
    pipeline pipe{out};
    pipe.write(as_bytes("abc"));
    pipe.finish();
    CHECK(out.text == "abc");
}

TEST_CASE("stages act in order, and finish in order", "[pipeline]") {
    marker first{'1'}, second{'2'};
    string_sink out;
    pipeline pipe{first, second, out};
    static_assert(byte_sink<decltype(pipe)>);
    pipe.write(as_bytes("x"));
    CHECK(out.text == "212x"); // second saw "1" and "x"
    out.text.clear();
    pipe.finish();
    CHECK(out.text == "21!2!"); // what first held back still went through second
}

TEST_CASE("a stage that throws leaves its successors alone", "[pipeline]") {
    refusing stage;
    string_sink out;
    pipeline pipe{stage, out};
    CHECK_THROWS_AS(pipe.write(as_bytes("x")), int);
    CHECK(out.text.empty());
}

namespace {

/// Lends what lies behind it, and counts.
struct lending_stage {
    std::size_t passed = 0;
    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        passed += in.size();
        out.write(in);
    }
    template <byte_sink Out>
    void finish(Out&) {}
    template <lending_sink Out>
    bytes_span room(Out& out) {
        return out.room();
    }
    template <lending_sink Out>
    void filled(std::size_t n, Out& out) {
        passed += n;
        out.filled(n);
    }
};

struct lending_end {
    std::array<std::byte, 4> memory{};
    std::string text{};
    void write(bytes_view in) { text.append(as_text(in)); }
    bytes_span room() { return memory; }
    void filled(std::size_t n) { write(bytes_view{memory}.first(n)); }
};

} // namespace

TEST_CASE("a pipeline lends room if its parts up to one that has memory do", "[pipeline]") {
    lending_stage first, second;
    lending_end out;
    pipeline pipe{first, second, out};
    static_assert(lending_sink<decltype(pipe)>);
    pipe.room()[0] = std::byte{'x'};
    pipe.filled(1);
    CHECK(first.passed == 1);
    CHECK(second.passed == 1);
    CHECK(out.text == "x");

    static_assert(!lending_sink<pipeline<lending_stage, string_sink>>);
    static_assert(!lending_sink<pipeline<marker, lending_end>>);
    static_assert(!lending_sink<pipeline<string_sink>>);
}
