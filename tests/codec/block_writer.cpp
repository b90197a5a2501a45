#include <shiplap/codec/block_writer.hpp>

#include "codec/support.hpp"

#include <algorithm>

using namespace codec_tests;

namespace {

/// Packs a text by turning it round.
struct reversing_block {
    std::string plain, packed;
    void prepare() { packed.reserve(plain.size()); }
    void run() { packed.assign(plain.rbegin(), plain.rend()); }
    [[nodiscard]] std::size_t weight() const { return plain.size(); }
    void reuse() { plain.clear(); }
    [[nodiscard]] reversing_block another() const { return {}; }
};

static_assert(detail::packing_block<reversing_block> && !detail::packing_block<int>);

} // namespace

TEST_CASE("blocks are emitted in order, whoever packs them") {
    auto const workers = GENERATE(0u, 1u, 3u);
    std::optional<thread_pool> pool;
    if (workers != 0) pool.emplace(workers);
    detail::block_writer<reversing_block> writer{pool ? executor_ref{*pool} : executor_ref{}, {}};
    std::string packed;
    auto const emit = [&](reversing_block const& block) { packed += block.packed; };
    for (int i = 0; i < 100; ++i) {
        writer.block().plain = std::to_string(i) + ",";
        writer.post(emit);
    }
    writer.drain(emit);
    std::string expected;
    for (int i = 0; i < 100; ++i) {
        auto const text = std::to_string(i) + ",";
        expected.append(text.rbegin(), text.rend());
    }
    CHECK(packed == expected);
}

TEST_CASE("one block is used again and again where nothing is parallel") {
    detail::block_writer<reversing_block> writer{{}, {}};
    auto const emit = [](auto const&) {};
    std::vector<void const*> buffers;
    for (int i = 0; i < 6; ++i) {
        writer.block().plain.append(100'000, 'a');
        buffers.push_back(writer.block().plain.data());
        writer.post(emit);
    }
    writer.drain(emit);
    std::sort(buffers.begin(), buffers.end());
    CHECK(std::unique(buffers.begin(), buffers.end()) - buffers.begin() <= 2);
}

TEST_CASE("packed bytes keep their memory") {
    detail::packed_bytes packed;
    CHECK(packed.bytes().empty());
    packed.reset(10);
    CHECK(packed.room().size() == 10);
    packed.add(as_bytes("abc"));
    std::memcpy(packed.room().data(), "de", 2);
    packed.add(2);
    CHECK(as_text(packed.bytes()) == "abcde");
    CHECK(packed.room().size() == 5);
    auto const* const place = packed.bytes().data();
    packed.reset(7);
    CHECK(packed.size() == 0);
    CHECK(packed.room().data() == place);
    packed.reset(1000);
    CHECK(packed.room().size() == 1000);
}
