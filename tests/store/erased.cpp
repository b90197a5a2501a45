#include <shiplap/store/erased.hpp>
#include <shiplap/store/memory.hpp>

#include "support/catch.hpp"

using namespace shiplap;

static_assert(blob_store<blob_store_ref>);

TEST_CASE("a blob_store_ref writes into and reads from what it refers to", "[store]") {
    memory_store store;
    blob_store_ref erased{store};
    auto const which = digest::of<sha256>(as_bytes("blob"));
    CHECK_FALSE(erased.contains(which));
    {
        auto abandoned = erased.open();
        abandoned.write(as_bytes("blob"));
    }
    CHECK_FALSE(erased.contains(which));
    auto writer = erased.open();
    writer.write(as_bytes("bl"));
    writer.write(as_bytes("ob"));
    writer.commit({which, 4});
    CHECK(store.blobs().at(which) == "blob");
    auto reader = erased.reader(which);
    for (int round = 0; round < 2; ++round) {
        string_sink out;
        transfer(reader, out);
        CHECK(out.text == "blob");
        reader.rewind();
    }
    CHECK_THROWS_AS(erased.reader(digest::of<sha256>({})), error);
}
