#include <shiplap/sink/flatten.hpp>

#include "support/catch.hpp"

#include <vector>

using namespace shiplap;

namespace {

tar_entry file(std::string name, std::uint64_t size = 1) {
    return {.name = std::move(name), .mode = 0644, .size = size};
}
tar_entry folder(std::string name, std::uint32_t mode = 0755) {
    return {.name = std::move(name), .type = entry_type::directory, .mode = mode};
}
tar_entry hard(std::string name, std::string target) {
    return {
        .name = std::move(name), .type = entry_type::hard_link, .mode = 0644, .link_name = std::move(target)};
}

using layer = std::vector<tar_entry>;

// What is left of the layers, in order: "name", "name>target" for hard links, "name/mode" for directories.
std::string flattened(std::vector<layer> const& layers) {
    layer_flattener flattener;
    for (auto index = layers.size(); index-- > 0;)
        for (auto const& entry : layers[index]) flattener.survey(index, entry);
    std::string out;
    for (std::size_t index = 0; index < layers.size(); ++index)
        for (auto const& entry : layers[index])
            if (auto const kept = flattener.decide(index, entry)) {
                out += kept->name;
                if (kept->type == entry_type::hard_link) out += ">" + kept->link_name;
                if (kept->type == entry_type::directory) out += std::to_string(kept->mode);
                out += ' ';
            }
    return out;
}

std::string const d = std::to_string(0755);

} // namespace

TEST_CASE("what stacked layers leave", "[flatten]") {
    struct row {
        char const* what;
        std::vector<layer> layers;
        std::string left;
    };
    auto const& [what, layers, left] = GENERATE(values<row>({
        {"one layer stays as it is",
         {{folder("a/"), file("a/x"), hard("y", "a/x")}},
         "a/" + d + " a/x y>a/x "},
        {"the upper file counts", {{file("x", 1)}, {file("x", 2)}}, "x "},
        {"a whiteout removes, and is gone itself", {{file("x"), file("y")}, {file(".wh.x", 0)}}, "y "},
        {"a whiteout removes a tree", {{folder("a/"), file("a/x")}, {file(".wh.a", 0)}}, ""},
        {"a whiteout does not touch its own layer", {{file("x")}, {file(".wh.x", 0), file("x")}}, "x "},
        {"removed and made anew",
         {{folder("a/"), file("a/x")}, {file(".wh.a", 0)}, {folder("a/"), file("a/y")}},
         "a/" + d + " a/y "},
        {"opaque hides below, not itself",
         {{folder("a/"), file("a/x"), file("b")}, {folder("a/"), file("a/.wh..wh..opq", 0), file("a/y")}},
         "a/" + d + " b a/y "},
        {"opaque counts wherever it stands",
         {{file("a/x")}, {file("a/y"), file("a/.wh..wh..opq", 0)}},
         "a/y "},
        {"an opaque root", {{file("x")}, {file(".wh..wh..opq", 0), file("y")}}, "y "},
        {"a file in the place of a directory", {{folder("a/"), file("a/x")}, {file("a")}}, "a "},
        {"a directory in the place of a file",
         {{file("a")}, {folder("a/"), file("a/x")}},
         "a/" + d + " a/x "},
        {"a directory comes first, with its last facts",
         {{folder("a/", 0700), file("a/x")}, {folder("a/", 0711)}},
         "a/" + std::to_string(0711) + " a/x "},
        {"names are one whatever their style", {{file("./a/x")}, {file("a/.wh.x", 0)}}, ""},
        {"the root is not an entry", {{folder("./"), file("x")}}, "x "},
        {"other AUFS metadata is left out", {{file(".wh..wh.plnk", 0), file("x")}}, "x "},
        {"a link whose target is replaced inherits the content",
         {{file("x"), hard("y", "x"), hard("z", "x")}, {file("x")}},
         "y z>y x "},
        {"no heir if all links are gone", {{file("x"), hard("y", "x")}, {file("x"), file(".wh.y", 0)}}, "x "},
        {"a link to a lower layer that is still there", {{file("x")}, {hard("y", "x")}}, "x y>x "},
    }));
    CAPTURE(what);
    CHECK(flattened(layers) == left);
}

TEST_CASE("what cannot be expressed is an error", "[flatten]") {
    CHECK_THROWS_WITH(flattened({{file("x")}, {hard("y", "x")}, {file("x")}}),
                      contains("'y'") && contains("hard link"));
    CHECK_THROWS_WITH(flattened({{file("a/../../x")}}), contains("leaves the root"));
    CHECK_THROWS_AS(flattened({{file("a/.wh.", 0)}}), error);
}
