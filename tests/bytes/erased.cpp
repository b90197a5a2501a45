#include <shiplap/bytes/erased.hpp>

#include "support/catch.hpp"

#include <array>

using namespace shiplap;

static_assert(byte_sink<byte_sink_ref>);
static_assert(byte_source<byte_source_ref> && byte_source<any_byte_source>);
static_assert(replayable_source<replayable_source_ref> && !replayable_source<byte_source_ref>);

TEST_CASE("a byte_sink_ref lends what it refers to lends", "[erased]") {
    struct {
        std::array<std::byte, 4> memory{};
        std::size_t taken = 0;
        void write(bytes_view) {}
        bytes_span room() { return memory; }
        void filled(std::size_t n) { taken += n; }
    } lender;
    static_assert(lending_sink<byte_sink_ref>);
    byte_sink_ref ref{lender};
    CHECK(ref.room().data() == lender.memory.data());
    ref.filled(3);
    CHECK(lender.taken == 3);

    string_sink plain;
    CHECK(byte_sink_ref{plain}.room().empty());
}

TEST_CASE("a byte_sink_ref writes into what it refers to", "[erased]") {
    string_sink out;
    byte_sink_ref erased{out};
    auto copy = erased;
    erased.write(as_bytes("ab"));
    copy.write(as_bytes("c"));
    CHECK(out.text == "abc");
}

TEST_CASE("references to sources share the source's position", "[erased]") {
    span_source from{std::string_view{"abcdef"}};
    byte_source_ref plain{from};
    replayable_source_ref replayable{from};
    std::byte two[2];
    CHECK(plain.read(two) == 2);
    string_sink rest;
    transfer(replayable, rest);
    CHECK(rest.text == "cdef");
    replayable.rewind();
    string_sink all;
    transfer(plain, all);
    CHECK(all.text == "abcdef");
}

TEST_CASE("an any_byte_source owns its source and can be moved", "[erased]") {
    static std::string const text = "owned";
    any_byte_source first{span_source{text}};
    auto second = std::move(first);
    string_sink out;
    transfer(second, out);
    CHECK(out.text == text);
}

TEST_CASE("an any_replayable_source starts again", "[erased]") {
    static_assert(replayable_source<any_replayable_source>);
    static std::string const text = "again";
    any_replayable_source first{span_source{text}};
    auto second = std::move(first);
    for (int round = 0; round < 2; ++round) {
        string_sink out;
        transfer(second, out);
        CHECK(out.text == "again");
        second.rewind();
    }
}
