#include <shiplap/sink/concept.hpp>

#include "store/samples.hpp"
#include "support/catch.hpp"

using namespace shiplap;

namespace {

// The exemplar of the header.
struct counting_sink {
    std::uint64_t bytes = 0;
    bool exists(descriptor const&) const { return false; }
    void put(descriptor const&, replayable_source_ref from) {
        null_sink drop;
        bytes += transfer(from, drop);
    }
    void tag(descriptor const&, image_name const&) {}
    void commit() {}
};

struct choosy_sink : counting_sink {
    std::vector<descriptor> arrange(image_graph const& graph) const { return {graph.root}; }
};
struct store_sink : counting_sink {
    memory_store blobs;
    memory_store& store() { return blobs; }
};
struct forgetful_sink : counting_sink {
    void commit() = delete;
};
struct nameless_sink : counting_sink {
    void tag(descriptor const&) {}
};
struct store_of_nothing : counting_sink {
    int store() const { return 0; }
};

static_assert(image_sink<counting_sink> && !arranging_sink<counting_sink> && !storing_sink<counting_sink>);
static_assert(arranging_sink<choosy_sink> && !storing_sink<choosy_sink>);
static_assert(storing_sink<store_sink> && !arranging_sink<store_sink>);
static_assert(!image_sink<forgetful_sink> && !image_sink<nameless_sink> && !image_sink<int>);
static_assert(image_sink<store_of_nothing> && !storing_sink<store_of_nothing>);

} // namespace

TEST_CASE("the exemplar of a sink counts", "[sink]") {
    counting_sink sink;
    auto const facts = samples::facts_of("hello");
    span_source source{std::string_view{"hello"}};
    sink.put({.media_type = "text/plain", .digest = facts.digest, .size = facts.size}, source);
    CHECK(sink.bytes == 5);
}
