#include <shiplap/sink/memory.hpp>

#include "store/samples.hpp"
#include "support/catch.hpp"

using namespace samples;

TEST_CASE("memory_sink is a sink and a store", "[sink]") {
    static_assert(storing_sink<memory_sink> && !arranging_sink<memory_sink>);
    memory_sink sink;
    auto const what = put(sink.store(), "hello");
    CHECK(sink.exists(what));
    auto lie = what;
    lie.size = 4;
    CHECK_FALSE(sink.exists(lie));

    auto const facts = facts_of("put");
    descriptor const other{.media_type = "text/plain", .digest = facts.digest, .size = facts.size};
    CHECK_FALSE(sink.exists(other));
    span_source source{std::string_view{"put"}};
    sink.put(other, source);
    CHECK(sink.exists(other));
    CHECK(read_all(sink.store().reader(other.digest)) == "put");
}

TEST_CASE("memory_sink knows images after commit", "[sink]") {
    memory_sink sink;
    auto const a = put_image(sink.store(), {"a"});
    auto const b = put_image(sink.store(), {"b"});
    sink.tag(a, name("1"));
    sink.tag(a, {});
    CHECK(sink.images().empty());
    sink.commit();
    CHECK(sink.images().size() == 2);

    sink.tag(b, name("1")); // the name moves on
    sink.tag(a, {});        // nameless, and there already
    sink.tag(b, {});
    sink.commit();
    REQUIRE(sink.images().size() == 3);
    CHECK(sink.images()[0].root == b);
    CHECK(sink.images()[0].name == name("1"));
    CHECK(sink.images()[1].root == a);
    CHECK(sink.images()[2].root == b);
    sink.commit();
    CHECK(sink.images().size() == 3);
}
