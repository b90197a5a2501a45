#include <shiplap/sink/shared_names.hpp>

#include "support/catch.hpp"

using namespace shiplap;
using detail::shared_names;

namespace {

auto const nothing_hidden = [](std::size_t, std::string const&) { return false; };

} // namespace

TEST_CASE("content keeps its name, or goes to one that links to it", "[shared_names]") {
    bool const stays = GENERATE(true, false);
    shared_names names;
    names.begin_layer(1);
    names.add_content("a");
    names.add_link("b", "a", true);
    names.add_link("c", "b", true);
    names.add_link("d", "a", false);
    names.settle(nothing_hidden);
    std::string const source = stays ? "a" : "b";
    CHECK(names.name_for_content(1, "a", stays) == source);
    CHECK(names.target_of("b", "a") == source);
    CHECK(names.target_of("c", "b") == source);
}

TEST_CASE("content that nobody links to", "[shared_names]") {
    shared_names names;
    names.begin_layer(1);
    names.add_content("a");
    names.add_link("b", "a", false);
    names.settle(nothing_hidden);
    CHECK(names.name_for_content(1, "a", true) == "a");
    CHECK(names.name_for_content(1, "a", false) == std::nullopt);
    CHECK(names.target_of("x", "y") == "y"); // never heard of
}

TEST_CASE("links lead through layers", "[shared_names]") {
    shared_names names;
    names.begin_layer(3); // "a" is another file now, "b" is gone
    names.add_content("a");
    names.add_link("c", "b", true);
    names.begin_layer(2);
    names.add_link("b", "a", false);
    names.begin_layer(1);
    names.add_content("a");
    names.settle(nothing_hidden);
    CHECK(names.name_for_content(1, "a", false) == "c");
    CHECK(names.target_of("c", "b") == "c");
    CHECK(names.name_for_content(3, "a", true) == "a");
}

TEST_CASE("a link to what its own layer then replaces means the lower one", "[shared_names]") {
    shared_names names;
    names.begin_layer(2);
    names.add_link("b", "a", true);
    names.add_content("a");
    names.add_link("c", "b", true);
    names.begin_layer(1);
    names.add_content("a");
    names.settle(nothing_hidden);
    CHECK(names.name_for_content(1, "a", false) == "b");
    CHECK(names.target_of("c", "b") == "b");
    CHECK(names.name_for_content(2, "a", true) == "a");
}

TEST_CASE("content below all layers has to stay", "[shared_names]") {
    bool const hidden = GENERATE(true, false);
    shared_names names;
    names.begin_layer(2);
    names.add_link("c", "b", true);
    names.begin_layer(1);
    names.add_link("b", "a", false);
    auto const is_hidden = [&](std::size_t above, std::string const& path) {
        CHECK((above == 0 && path == "a")); // the layer that links to it counts, too
        return hidden;
    };
    if (hidden) {
        CHECK_THROWS_WITH(names.settle(is_hidden), contains("'c'") && contains("hard link to 'a'"));
    } else {
        names.settle(is_hidden);
        CHECK(names.target_of("c", "b") == "a");
    }
}
