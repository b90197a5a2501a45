#include <shiplap/layer/existing.hpp>
#include <shiplap/store/memory.hpp>

#include "support/catch.hpp"
#include "support/trees.hpp"

using namespace shiplap;

namespace {

layer_blob facts_of(std::string_view bytes) {
    auto const name = digest::of<sha256>(as_bytes(bytes));
    return {{name, bytes.size()}, name, "", {}, "by a test", {}};
}

std::string read_all(byte_source auto reader) {
    string_sink out;
    transfer(reader, out);
    return out.text;
}

struct string_reader {
    std::string text;
    std::size_t next = 0;
    std::size_t read(bytes_span into) {
        auto const n = std::min(into.size(), text.size() - next);
        auto const piece = as_bytes(text).subspan(next, n);
        std::copy(piece.begin(), piece.end(), into.begin());
        next += n;
        return n;
    }
    void rewind() { next = 0; }
};

} // namespace

TEST_CASE("a layer in a store", "[layer][existing]") {
    memory_store store;
    auto const facts = facts_of("packed");
    auto writer = store.open();
    writer.write(as_bytes("packed"));
    writer.commit(facts.blob);

    auto const layer = blob_in_store(store, facts);
    static_assert(stored_layer<decltype(layer)> && sized_layer<decltype(layer)>);
    CHECK(layer.stored().blob.digest == facts.blob.digest);
    CHECK(layer.stored().created_by == "by a test");
    CHECK(layer.estimated_size() == 6);
    CHECK(layer.description() == "blob:" + facts.blob.digest.text());
    CHECK(read_all(layer.reader()) == "packed");
    static_assert(quick_layer<decltype(layer)>);
    CHECK(read_all(layer.unverified_reader()) == "packed");
    auto reader = layer.reader();
    CHECK(read_all(byte_source_ref{reader}) == "packed");
    reader.rewind();
    CHECK(read_all(byte_source_ref{reader}) == "packed");
}

TEST_CASE("a layer in a file, which may lie", "[layer][existing]") {
    temp_dir temp;
    auto const layer = blob_in_file(temp / "layer", facts_of("packed"));
    trees::write(temp / "layer", "packed");
    CHECK(read_all(layer.reader()) == "packed");

    auto const lie = GENERATE(as<std::string>{}, "", "pack", "pAcked", "packed and more");
    trees::write(temp / "layer", lie);
    CHECK(trees::error_of([&] { read_all(layer.reader()); }).code() == error_code::digest_mismatch);
    std::filesystem::remove(temp / "layer");
    CHECK(trees::error_of([&] { read_all(layer.reader()); }).subject() == temp / "layer");
}

TEST_CASE("a layer that shares its store keeps it", "[layer][existing]") {
    auto store = std::make_shared<memory_store>();
    auto const facts = facts_of("packed");
    auto writer = store->open();
    writer.write(as_bytes("packed"));
    writer.commit(facts.blob);
    std::weak_ptr<memory_store> const watched = store;
    {
        auto const layer = blob_in_store(std::shared_ptr<memory_store const>{std::move(store)}, facts);
        store.reset();
        CHECK_FALSE(watched.expired());
        CHECK(read_all(layer.reader()) == "packed");
    }
    CHECK(watched.expired());
}

TEST_CASE("a layer that is packed otherwise than its media type says is refused before its first byte",
          "[layer][existing]") {
    using namespace std::string_literals;
    struct row {
        std::string bytes, encoding, fault;
    };
    auto const [bytes, encoding, fault] = GENERATE(values<row>({
        {"\x1f\x8b\x08\x00...", "gzip", ""},
        {"\x28\xb5\x2f\xfd...", "zstd", ""},
        {"a tar", "", ""},
        {"", "", ""},
        {"anything", "xz", ""},
        {"a tar", "gzip", "should be packed with gzip by its media type, is a plain tar"},
        {"\x1f\x8b\x08\x00...", "", "should be a plain tar by its media type, is packed with gzip"},
        {"\x1f\x8b\x08\x00...", "zstd", "should be packed with zstd by its media type, is packed with gzip"},
        {"\x28\xb5\x2f\xfd...", "gzip", "should be packed with gzip by its media type, is packed with zstd"},
    }));
    CAPTURE(bytes, encoding);
    auto facts = facts_of(bytes);
    facts.encoding = encoding;
    existing_blob const layer{facts, [text = bytes] { return string_reader{text}; }};
    if (!fault.empty()) {
        auto reader = layer.reader();
        std::byte one{};
        CHECK_THROWS_WITH(reader.read({&one, 1}), contains(fault) && contains(facts.blob.digest.text()));
        return;
    }
    auto reader = layer.reader();
    for (int round = 0; round < 2; ++round) { // in pieces smaller than the head
        std::string got;
        std::byte piece[3];
        while (auto const n = reader.read(piece)) got += as_text(bytes_view{piece}.first(n));
        CHECK(got == bytes);
        reader.rewind();
    }
}
