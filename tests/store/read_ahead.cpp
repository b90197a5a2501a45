#include <shiplap/store/read_ahead.hpp>

#include "store/samples.hpp"
#include "support/catch.hpp"

#include <atomic>
#include <chrono>
#include <stdexcept>

using namespace samples;

static_assert(replayable_source<read_ahead<span_source>>);
static_assert(std::movable<read_ahead<verified_source<span_source>>>);

namespace {

// No two pieces of it are alike.
std::string long_text(std::size_t size) {
    std::string text;
    text.reserve(size + 20);
    for (std::size_t i = 0; text.size() < size; ++i) text += std::to_string(i * 2654435761U) + ".";
    text.resize(size);
    return text;
}

// Throws when `good` bytes were read.
struct broken_source {
    std::size_t good, at = 0;
    std::size_t read(bytes_span into) {
        if (at == good) throw std::runtime_error{"broken"};
        auto const n = std::min({into.size(), good - at, std::size_t{1000}});
        std::fill_n(into.begin(), n, std::byte{'x'});
        at += n;
        return n;
    }
    void rewind() { at = 0; }
};

// Never ends, and counts what was asked of it.
struct endless_source {
    std::atomic<std::uint64_t>* bytes;
    std::size_t read(bytes_span into) {
        *bytes += into.size();
        return into.size();
    }
    void rewind() {}
};

} // namespace

TEST_CASE("read_ahead gives what its source gives, again and again", "[store]") {
    auto const size = GENERATE(as<std::size_t>{}, 0, 1, transfer_size, 2 * transfer_size, 3'000'000);
    auto const piece = GENERATE(as<std::size_t>{}, 777, transfer_size, 2'000'000);
    auto const text = long_text(size);
    read_ahead source{span_source{text}};
    source.rewind(); // before anything was read
    std::vector<std::byte> buffer(piece);
    CHECK(source.read({}) == 0);
    for (int i = 0; i < 3; ++i) {
        std::string out;
        while (auto const n = source.read(buffer)) out += as_text(bytes_view{buffer}.first(n));
        CHECK(out == text);
        CHECK(source.read(buffer) == 0);
        source.rewind();
    }
}

TEST_CASE("read_ahead starts anew wherever it is", "[store]") {
    auto const text = long_text(5'000'000);
    auto const before = GENERATE(as<std::size_t>{}, 1, 100'000, 1'000'000, 4'999'999);
    read_ahead first{span_source{text}};
    std::vector<std::byte> buffer(before);
    REQUIRE(read_fully(first, buffer) == before);
    auto moved = std::move(first); // its thread goes with it
    std::vector<std::byte> more(1);
    CHECK(moved.read(more) == 1);
    CHECK(static_cast<char>(more[0]) == text[before]);
    moved.rewind();
    CHECK(read_all(std::move(moved)) == text);
}

TEST_CASE("what the source throws comes behind the bytes before it", "[store]") {
    auto const good = GENERATE(as<std::size_t>{}, 0, 1, 5'000, 2'000'000);
    read_ahead source{broken_source{good}};
    std::vector<std::byte> buffer(4096);
    for (int i = 0; i < 2; ++i) {
        std::size_t got = 0;
        auto const read_on = [&] {
            while (auto const n = source.read(buffer)) got += n;
        };
        CHECK_THROWS_WITH(read_on(), "broken");
        CHECK(got == good);
        CHECK_THROWS_WITH(source.read(buffer), "broken"); // and stays
        source.rewind();
    }
}

TEST_CASE("read_ahead never hands out all of something else", "[store]") {
    auto const text = long_text(2'000'000);
    auto changed = text;
    changed.back() = '!';
    read_ahead source{verified_source{span_source{changed}, facts_of(text).digest, text.size()}};
    std::vector<std::byte> buffer(text.size());
    CHECK_THROWS_AS(read_fully(source, buffer), digest_mismatch);
}

TEST_CASE("read_ahead stays a little ahead, and ends when nobody wants more", "[store]") {
    std::atomic<std::uint64_t> bytes = 0;
    {
        read_ahead source{endless_source{&bytes}};
        std::vector<std::byte> buffer(1000);
        CHECK(bytes == 0); // nothing is read that nobody asked for
        CHECK(source.read(buffer) == 1000);
        std::this_thread::sleep_for(std::chrono::milliseconds{20});
        CHECK(bytes <= (4U << 20));
    }
    auto const then = bytes.load();
    std::this_thread::sleep_for(std::chrono::milliseconds{5});
    CHECK(bytes == then);
}
