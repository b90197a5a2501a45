#include <shiplap/bytes/pipeline.hpp>

#include "support/catch.hpp"

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
