#include <shiplap/bytes/pipeline.hpp>
#include <shiplap/codec/estargz.hpp>
#include <shiplap/codec/gzip.hpp>
#include <shiplap/codec/uncompressed.hpp>
#include <shiplap/export/env.hpp>
#include <shiplap/layer/existing.hpp>
#include <shiplap/layer/pack.hpp>
#include <shiplap/store/memory.hpp>
#include <shiplap/tar/writer.hpp>

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

namespace {

struct fixed_tar {
    std::string bytes;
    void write_tar(byte_sink auto& out, layer_context const&) const { out.write(as_bytes(bytes)); }
    static std::string description() { return "fixed"; }
};

std::string some_tar(std::int64_t seconds) {
    string_sink out;
    tar_writer tar{out};
    tar_entry entry;
    entry.name = "f";
    entry.user_name = "somebody";
    entry.mtime.seconds = seconds;
    entry.size = 7;
    tar.entry(entry);
    tar.write(as_bytes("content"));
    tar.finish();
    return out.text;
}

template <codec C>
layer_blob packed_into(memory_store& store, C const& how, std::string const& tar) {
    default_env env;
    return pack<sha256>(fixed_tar{tar}, how, store, env);
}

/// For each codec.
template <class Action>
void for_each_codec(Action action) {
    action(uncompressed{});
    action(gzip{});
    action(estargz{});
    action(zstd{});
}

} // namespace

TEST_CASE("from any codec to any other and back: the same tar", "[layer][existing]") {
    auto const tar = some_tar(0) + std::string(512, '\0');
    for_each_codec([&](auto const& from) {
        for_each_codec([&](auto const& to) {
            INFO(from.name << " to " << to.name);
            memory_store store;
            default_env env;
            auto const start = packed_into(store, from, tar);
            auto const converted = pack<sha256>(blob_in_store(store, start), to, store, env);
            auto const direct = packed_into(store, to, tar);
            CHECK(converted.blob.digest == direct.blob.digest);
            CHECK(converted.diff_id == direct.diff_id);
            auto const back = pack<sha256>(blob_in_store(store, converted), from, store, env);
            CHECK(back.blob.digest == start.blob.digest);
            CHECK(back.diff_id == start.diff_id);
            auto unmarked = converted; // known by its bytes alone
            unmarked.annotations.clear();
            CHECK((trees::tar_of(blob_in_store(store, unmarked)) == tar));
        });
    });
}

TEST_CASE("what a layer unpacks to is what its diff_id promised, wherever it goes", "[layer][existing]") {
    memory_store store;
    clamp_timestamps const clamp{{0, 0}};
    for_each_codec([&](auto const& from) {
        auto const right = packed_into(store, from, some_tar(1));
        auto wrong = right;
        wrong.diff_id = digest::of<sha256>({});
        auto strong = right;
        string_sink plain;
        auto reader = blob_in_store(store, right).reader();
        auto decoded = decode_as(right.encoding, std::move(reader));
        transfer(decoded, plain);
        strong.diff_id = digest::of<sha512>(as_bytes(plain.text));
        for (auto const& context : {layer_context{}, layer_context{clamp, {}}}) {
            CHECK_NOTHROW(trees::tar_of(blob_in_store(store, strong), context));
            CHECK_NOTHROW(trees::tar_of(blob_in_store(store, right), context));
            auto const problem =
                trees::error_of([&] { trees::tar_of(blob_in_store(store, wrong), context); });
            CHECK(problem.code() == error_code::digest_mismatch);
            CHECK(problem.subject() == right.blob.digest.text());
            CHECK(problem.reason().find(wrong.diff_id.text()) != std::string::npos);
        }
    });
}

TEST_CASE("a stored layer can have other times, and keeps the rest", "[layer][existing]") {
    memory_store store;
    clamp_timestamps const clamp{{60, 0}};
    for_each_codec([&](auto const& from) {
        auto const layer =
            blob_in_store(store, packed_into(store, from, some_tar(61) + std::string(512, '\0')));
        CHECK((trees::tar_of(layer, {clamp, {}}) == some_tar(60)));
    });
}

TEST_CASE("a stored layer that is no archive cannot be packed anew", "[layer][existing]") {
    memory_store store;
    for (std::string const bytes : {"", "no tar", "\x1f\x8b\x08 twice packed"}) {
        auto const facts = packed_into(store, gzip{}, bytes);
        auto const problem = trees::error_of([&] { trees::tar_of(blob_in_store(store, facts)); });
        CHECK(problem.code() == error_code::format);
        CHECK(std::string{problem.what()}.find(facts.blob.digest.text()) != std::string::npos);
    }
    auto facts = packed_into(store, uncompressed{}, "packed in a way of its own");
    facts.encoding = "xz";
    CHECK(trees::error_of([&] { trees::tar_of(blob_in_store(store, facts)); }).code() ==
          error_code::unsupported);
}
