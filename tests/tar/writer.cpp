#include <shiplap/digest/digest.hpp>
#include <shiplap/tar/writer.hpp>

#include "support/catch.hpp"
#include "tar/support.hpp"

using namespace shiplap;
using namespace tar_tests;

namespace {

std::string sha256_of(std::string const& bytes) {
    return digest::of<sha256>(as_bytes(bytes)).text();
}

} // namespace

TEST_CASE("An archive without entries is two zero blocks") {
    string_sink out;
    tar_writer{out}.finish();
    CHECK(sha256_of(out.text) == "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef");
}

TEST_CASE("Payloads are padded, and nothing follows the two zero blocks") {
    auto const size =
        GENERATE(std::size_t{0}, std::size_t{1}, std::size_t{511}, std::size_t{512}, std::size_t{513});
    std::string const payload(size, 'p');
    auto const entry = regular("f", size);
    CHECK(archive_of({{entry, payload}, {entry, payload}}) ==
          encode_header(entry) + padded(payload) + encode_header(entry) + padded(payload) + end_marker);
}

TEST_CASE("Bytes do not depend on how payload is cut into writes") {
    random_entries random{1};
    auto const entries = random.archive(40);
    auto const whole = archive_of(entries);
    for (std::size_t const most : {1u, 7u, 512u, 5000u}) {
        string_sink out;
        tar_writer tar{out};
        for (auto const& [entry, payload] : entries) {
            tar.entry(entry);
            for (std::string_view rest{payload}; !rest.empty();) {
                auto const piece = rest.substr(0, random.below(most) + 1);
                tar.write(as_bytes(piece));
                rest.remove_prefix(piece.size());
                tar.write({});
            }
        }
        tar.finish();
        CHECK(out.text == whole);
    }
}

TEST_CASE("Payload must have the size that its entry says") {
    string_sink out;
    tar_writer tar{out};
    tar.entry(regular("some/file", 4));
    tar.write(as_bytes("abc"));
    CHECK_THROWS_AS(tar.entry(regular("next")), format_error);
    CHECK_THROWS_WITH(tar.finish(), contains("'some/file'") && contains("1 bytes less"));
    CHECK_THROWS_AS(tar.write(as_bytes("de")), format_error);
    CHECK_THROWS_WITH(tar.write(as_bytes("def")), contains("'some/file'") && contains("2 bytes more"));
    tar.write(as_bytes("d"));
    tar.finish();
    CHECK(out.text == archive_of({{regular("some/file", 4), "abcd"}}));
}

TEST_CASE("There is no payload without a regular file") {
    string_sink out;
    tar_writer tar{out};
    CHECK_THROWS_AS(tar.write(as_bytes("x")), format_error);
    tar.entry(of_type(entry_type::directory, "d/"));
    CHECK_THROWS_AS(tar.write(as_bytes("x")), format_error);
}

TEST_CASE("An entry that cannot be encoded leaves no bytes") {
    string_sink out;
    tar_writer tar{out};
    CHECK_THROWS_AS(tar.entry(regular("slash/")), format_error);
    CHECK(out.text.empty());
}

namespace {

/// Lends `size` bytes at a time; 0: nothing.
struct lender {
    std::size_t size;
    std::string text{};
    std::string lent = std::string(size, '?');
    void write(bytes_view in) { text.append(as_text(in)); }
    bytes_span room() { return {reinterpret_cast<std::byte*>(lent.data()), lent.size()}; }
    void filled(std::size_t n) { text.append(lent, 0, n); }
};

} // namespace

TEST_CASE("Payload read into the sink's memory, or through the caller's, gives the same archive") {
    std::string const payload(10'000, 'p');
    auto const entry = regular("f", payload.size());
    auto const wanted = archive_of({{entry, payload}});
    std::array<std::byte, 300> space{};
    auto const write_to = [&](auto& out) {
        tar_writer tar{out};
        tar.entry(entry);
        text_source from{payload};
        tar.payload(from, space);
        tar.finish();
        return out.text;
    };
    string_sink plain;
    CHECK(write_to(plain) == wanted);
    for (std::size_t const size : {0UL, 1UL, 999UL, 20'000UL}) {
        lender out{size};
        CHECK(write_to(out) == wanted);
        CHECK((size == 0 || out.lent.front() == 'p'));
    }
}

TEST_CASE("A source that ends before the payload does is an error") {
    string_sink out;
    tar_writer tar{out};
    tar.entry(regular("some/file", 4));
    text_source from{"abc"};
    std::array<std::byte, 8> space{};
    CHECK_THROWS_WITH(tar.payload(from, space), contains("'some/file'") && contains("1 bytes less"));
}
