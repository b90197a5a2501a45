#include <shiplap/layer/existing.hpp>
#include <shiplap/store/memory.hpp>

#include "support/catch.hpp"
#include "support/trees.hpp"

using namespace shiplap;

namespace {

layer_blob facts_of(std::string_view bytes) {
    auto const name = digest::of<sha256>(as_bytes(bytes));
    return {{name, bytes.size()}, name, "gzip", {}, "by a test", {}};
}

std::string read_all(byte_source auto reader) {
    string_sink out;
    transfer(reader, out);
    return out.text;
}

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
    CHECK(layer.stored().encoding == "gzip");
    CHECK(layer.estimated_size() == 6);
    CHECK(layer.description() == "blob:" + facts.blob.digest.text());
    CHECK(read_all(layer.reader()) == "packed");
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
