#include <shiplap/store/scratch.hpp>

#include "store/properties.hpp"
#include "support/catch.hpp"
#include "support/temp.hpp"

using namespace samples;

TEST_CASE("scratch_store is a blob store", "[store]") {
    temp_dir folder;
    check_store(scratch_store{folder.path().string()});
}

TEST_CASE("scratch_store leaves no files", "[store]") {
    temp_dir folder;
    std::optional<file_reader> reader;
    {
        scratch_store store{folder.path().string()};
        put(store, "hello");
        reader = store.reader(facts_of("hello").digest);
        auto unfinished = store.open();
        unfinished.write(as_bytes("x"));
        CHECK(std::filesystem::is_empty(folder.path())); // as long as the file system knows O_TMPFILE
    }
    CHECK(std::filesystem::is_empty(folder.path()));
    CHECK(read_all(std::move(*reader)) == "hello"); // readers may outlive the store
}

TEST_CASE("scratch_store hands its files over", "[store]") {
    temp_dir folder;
    scratch_store store{"/does/not/matter"};
    auto writer = store.open(folder.path().string());
    writer.write(as_bytes("hello"));
    writer.commit(facts_of("hello"));
    auto files = store.take();
    REQUIRE(files.size() == 1);
    CHECK_FALSE(store.contains(facts_of("hello").digest));
    files.begin()->second.publish(folder / "hello", 0640);
    CHECK(read_text(folder / "hello") == "hello");
    CHECK(mode_of(folder / "hello") == 0640);
}

TEST_CASE("scratch_store owns what it has, with the size that it has", "[store]") {
    STATIC_REQUIRE(owning_source<scratch_store>);
    temp_dir folder;
    scratch_store store{folder.path().string()};
    auto const facts = facts_of("hello");
    CHECK_FALSE(store.owns(facts));
    put(store, "hello");
    CHECK(store.owns(facts));
    CHECK_FALSE(store.owns({facts.digest, 6}));
    auto const files = store.take();
    CHECK_FALSE(store.owns(facts));
}

TEST_CASE("scratch_store tells which folder is wrong", "[store]") {
    scratch_store store{"/does/not/exist"};
    try {
        (void)store.open();
        FAIL("no error");
    } catch (system_error const& failure) {
        CHECK(failure.number() == ENOENT);
        CHECK(failure.subject() == "/does/not/exist");
    }
}
