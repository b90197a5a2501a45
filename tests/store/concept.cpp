#include <shiplap/store/concept.hpp>

#include "store/samples.hpp"
#include "support/catch.hpp"

using namespace samples;

namespace {

static_assert(blob_store<memory_store>); // the exemplar
static_assert(replayable_source<verified_source<span_source>>);

struct write_only {
    memory_store::writer open();
    bool contains(digest const&) const;
};
struct reads_once {
    bool contains(digest const&) const;
    null_source reader(digest const&) const;
};
struct no_commit {
    null_sink open();
    bool contains(digest const&) const;
    span_source reader(digest const&) const;
};
static_assert(!blob_store<write_only>);
static_assert(!blob_reader_source<reads_once>);
static_assert(blob_reader_source<no_commit> && !blob_store<no_commit>);

template <class R>
std::string read_in_pieces(R& source, std::size_t piece) {
    std::string out;
    std::vector<std::byte> buffer(piece);
    while (auto const n = source.read(buffer)) out += as_text(bytes_view{buffer}.first(n));
    return out;
}

} // namespace

TEST_CASE("a verified source passes what was promised, in pieces of any size", "[store]") {
    auto const text = GENERATE(as<std::string>{}, "", "h", "hello", std::string(1000, 'x'));
    auto const piece = GENERATE(as<std::size_t>{}, 1, 3, 5, 1000, 4096);
    auto const facts = facts_of(text);
    verified_source source{span_source{text}, facts.digest, facts.size};
    CHECK(read_in_pieces(source, piece) == text);
    CHECK(source.read({}) == 0);
    source.rewind();
    CHECK(read_in_pieces(source, piece) == text);
}

TEST_CASE("a verified source never hands out all of something else", "[store]") {
    auto const piece = GENERATE(as<std::size_t>{}, 1, 2, 5, 4096);
    struct lie {
        std::string promised, given;
        std::uint64_t size;
    };
    auto const c = GENERATE(values<lie>({{"hello", "hellO", 5},
                                         {"hello", "Hello", 5},
                                         {"hello", "hell", 5},
                                         {"hello", "hello!", 5},
                                         {"hello", "", 5},
                                         {"hello", "hello", 6},
                                         {"hello", "hello", 4},
                                         {"", "x", 0},
                                         {"", "", 1}}));
    verified_source source{span_source{c.given}, facts_of(c.promised).digest, c.size};
    std::string out;
    std::vector<std::byte> buffer(piece);
    auto const read_to_end = [&] {
        while (auto const n = source.read(buffer)) out += as_text(bytes_view{buffer}.first(n));
    };
    CHECK_THROWS_AS(read_to_end(), digest_mismatch);
    // Who counts bytes instead of reading to the end cannot be fooled, unless there is more than promised.
    if (!c.given.starts_with(c.promised)) CHECK(out.size() < std::max<std::size_t>(c.size, 1));
    source.rewind();
    CHECK_THROWS_AS(read_to_end(), digest_mismatch);
}

TEST_CASE("store_blob leaves nothing of a source that fails", "[store]") {
    memory_store store;
    auto const facts = facts_of("hello");
    verified_source wrong{span_source{std::string_view{"hellO"}}, facts.digest, facts.size};
    CHECK_THROWS_AS(store_blob(store, facts, wrong), digest_mismatch);
    CHECK(store.blobs().empty());

    verified_source right{span_source{std::string_view{"hello"}}, facts.digest, facts.size};
    store_blob(store, facts, right);
    CHECK(store.blobs().at(facts.digest) == "hello");
}
