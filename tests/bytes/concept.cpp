#include <shiplap/bytes/concept.hpp>

#include "support/catch.hpp"

#include <string>

using namespace shiplap;

namespace {

// The exemplar of bytes/concept.hpp.
struct upper_case {
    template <byte_sink Out>
    void write(bytes_view in, Out& out) {
        for (auto const b : in) {
            auto const c = static_cast<std::byte>(std::to_integer<char>(b) - 'a' + 'A');
            out.write({&c, 1});
        }
    }
    template <byte_sink Out>
    void finish(Out&) {}
};

struct no_finish {
    void write(bytes_view, byte_sink auto&) {}
};

struct every_second {
    std::size_t read(byte_source auto& in, bytes_span into) {
        std::byte pair[2];
        std::size_t n = 0;
        while (n < into.size() && read_fully(in, pair) == 2) into[n++] = pair[1];
        return n;
    }
};

struct dribble { // hands out one byte at a time
    span_source from;
    std::size_t read(bytes_span into) { return into.empty() ? 0 : from.read(into.first(1)); }
};

static_assert(byte_stage<upper_case>);
static_assert(!byte_stage<no_finish>);
static_assert(byte_sink<null_sink> && byte_sink<string_sink>);
static_assert(!byte_sink<null_source>);
static_assert(byte_source<null_source> && byte_source<span_source> && byte_source<dribble>);
static_assert(replayable_source<span_source> && !replayable_source<dribble>);
static_assert(byte_decoder<every_second> && !byte_decoder<upper_case>);

} // namespace

TEST_CASE("a stage gets its output as an argument", "[bytes]") {
    string_sink out;
    upper_case stage;
    stage.write(as_bytes("ship"), out);
    stage.finish(out);
    CHECK(out.text == "SHIP");
}

TEST_CASE("text and bytes are two views of the same memory", "[bytes]") {
    std::string const text("a\0b", 3);
    CHECK(as_text(as_bytes(text)) == text);
    CHECK(as_bytes("").empty());
}

TEST_CASE("transfer moves everything, however the source cuts it", "[bytes]") {
    std::string text(3 * transfer_size + 17, 'x');
    for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 26);
    string_sink out;
    span_source from{text};
    CHECK(transfer(from, out) == text.size());
    CHECK(out.text == text);

    dribble slow{span_source{std::string_view{text}.substr(0, 100)}};
    string_sink again;
    CHECK(transfer(slow, again) == 100);
    CHECK(again.text == text.substr(0, 100));
}

TEST_CASE("read_fully stops at the end of the source", "[bytes]") {
    std::string space(5, '.');
    dribble from{span_source{std::string_view{"abc"}}};
    CHECK(read_fully(from, {reinterpret_cast<std::byte*>(space.data()), space.size()}) == 3);
    CHECK(space == "abc..");
}

TEST_CASE("a span_source starts again after rewind", "[bytes]") {
    span_source from{std::string_view{"again"}};
    for (int round = 0; round < 2; ++round) {
        string_sink out;
        transfer(from, out);
        CHECK(out.text == "again");
        from.rewind();
    }
}

TEST_CASE("a decoder joined to a source is a source", "[bytes]") {
    decoded_source joined{every_second{}, span_source{std::string_view{"-a-b-c"}}};
    string_sink out;
    transfer(joined, out);
    CHECK(out.text == "abc");
}

TEST_CASE("a text of its own is read as often as wanted", "[bytes]") {
    static_assert(replayable_source<text_source>);
    text_source source{"a text"};
    for (int round = 0; round < 2; ++round) {
        string_sink out;
        CHECK(transfer(source, out) == 6);
        CHECK(out.text == "a text");
        source.rewind();
    }
}

TEST_CASE("what is skipped is read and dropped, as far as there is any", "[bytes]") {
    std::string const text(2 * transfer_size + 10, 'x');
    for (std::uint64_t const bytes : {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{transfer_size + 1},
                                      std::uint64_t{2 * transfer_size + 10}}) {
        span_source source{text};
        CHECK(skip(source, bytes) == bytes);
        null_sink rest;
        CHECK(transfer(source, rest) == text.size() - bytes);
    }
    span_source source{text};
    CHECK(skip(source, text.size() + 1) == text.size());
}
