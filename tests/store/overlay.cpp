#include <shiplap/store/memory.hpp>
#include <shiplap/store/overlay.hpp>
#include <shiplap/store/scratch.hpp>

#include "support/catch.hpp"
#include "support/sample_image.hpp"
#include "support/temp.hpp"

using namespace shiplap;

namespace {

std::string read_all(byte_source auto reader) {
    string_sink out;
    transfer(reader, out);
    return out.text;
}

digest named(std::string_view text) {
    return digest::of<sha256>(as_bytes(text));
}

} // namespace

static_assert(blob_reader_source<overlay_store<memory_store>>);

TEST_CASE("an overlay has what the store has and what lies elsewhere", "[store][overlay]") {
    memory_store store;
    put_text(store, "", "below");
    overlay_store all{store};
    int opened = 0;
    static std::string const text = "elsewhere";
    all.add(named(text), [&] {
        ++opened;
        return span_source{text};
    });

    CHECK(all.contains(named("below")));
    CHECK(all.contains(named("elsewhere")));
    CHECK_FALSE(all.contains(named("nowhere")));
    CHECK(opened == 0); // not before somebody reads
    CHECK(read_all(all.reader(named("below"))) == "below");
    CHECK(read_all(all.reader(named("elsewhere"))) == "elsewhere");
    CHECK(opened == 1);
    CHECK_THROWS_AS(all.reader(named("nowhere")), error);

    put_text(store, "", "elsewhere"); // what the store has got meanwhile is read from there
    CHECK(read_all(all.reader(named("elsewhere"))) == "elsewhere");
    CHECK(opened == 1);
}

TEST_CASE("an overlay owns what its store owns, and nothing from elsewhere", "[store][overlay]") {
    temp_dir folder;
    scratch_store store{folder.path().string()};
    static std::string const text = "elsewhere";
    content_facts const facts{named(text), text.size()};
    overlay_store all{store};
    all.add(facts.digest, [] { return span_source{text}; });
    CHECK_FALSE(all.owns(facts));
    auto writer = store.open();
    writer.write(as_bytes(text));
    writer.commit(facts);
    CHECK(all.owns(facts)); // it is read from there now

    memory_store other;
    put_text(other, "", text);
    CHECK_FALSE(overlay_store{other}.owns(facts)); // a store that does not say
}
