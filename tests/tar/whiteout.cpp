#include <shiplap/tar/whiteout.hpp>

#include "support/catch.hpp"

#include <ostream>

using namespace shiplap;

TEST_CASE("A whiteout stands beside what it removes") {
    CHECK(whiteout_name("a") == ".wh.a");
    CHECK(whiteout_name("a/b") == "a/.wh.b");
    CHECK(whiteout_name("./a") == "./.wh.a");
    CHECK(whiteout_name("a/b\n\xff") == "a/.wh.b\n\xff");

    tar_entry expected;
    expected.name = "a/.wh.b";
    CHECK(whiteout_entry("a/b") == expected); // all else is 0, the time too
    CHECK(expected.type == entry_type::regular);
}

TEST_CASE("Names that start with .wh. are reserved") {
    for (auto const* name : {".wh.", ".wh.a", ".wh..wh..opq", ".wh.."}) CHECK(is_reserved_name(name));
    for (auto const* name : {"", "a", ".wh", ".who", "wh.a", "a.wh.b", ".WH.a"})
        CHECK_FALSE(is_reserved_name(name));
}

TEST_CASE("Entries are classified by their names") {
    struct row {
        char const* entry;
        whiteout_kind kind;
        char const* path;
    };
    auto const [entry, kind, path] = GENERATE(values<row>({
        {"a", whiteout_kind::none, ""},
        {"a/b/", whiteout_kind::none, ""},
        {"", whiteout_kind::none, ""},
        {"./", whiteout_kind::none, ""},
        {"a/.wh", whiteout_kind::none, ""},
        {"a.wh.b", whiteout_kind::none, ""},
        {".wh.a", whiteout_kind::removal, "a"},
        {"./.wh.a", whiteout_kind::removal, "./a"},
        {"a/b/.wh.c", whiteout_kind::removal, "a/b/c"},
        {".wh..a", whiteout_kind::removal, ".a"},
        {".wh....", whiteout_kind::removal, "..."},
        {".wh..wh", whiteout_kind::removal, ".wh"},
        {".wh.wh.a", whiteout_kind::removal, "wh.a"},
        {".wh..wh..opq", whiteout_kind::opaque, ""},
        {"a/.wh..wh..opq", whiteout_kind::opaque, "a"},
        {"a/b/.wh..wh..opq", whiteout_kind::opaque, "a/b"},
        {".wh..wh.", whiteout_kind::ignored, ""},
        {".wh..wh.plnk/", whiteout_kind::ignored, ""},
        {".wh..wh.plnk/12.34", whiteout_kind::ignored, ""},
        {"a/.wh..wh.aufs", whiteout_kind::ignored, ""},
        {"a/.wh..wh..opqx", whiteout_kind::ignored, ""},
    }));
    CAPTURE(entry);
    CHECK(classify_whiteout(entry) == whiteout{kind, path});
}

TEST_CASE("Whiteouts that name nothing, or are directories, are refused with their path") {
    auto const* entry = GENERATE(".wh.", "etc/.wh.", "etc/.wh./", ".wh..", "a/.wh..", ".wh...", "a/.wh...",
                                 "a/.wh.b/", "a/.wh.b/c", "a/.wh..wh..opq/", "a/.wh..wh..opq/b");
    CAPTURE(entry);
    CHECK_THROWS_AS(classify_whiteout(entry), format_error);
    CHECK_THROWS_WITH(classify_whiteout(entry), contains(std::string{"'"} + entry + "'"));
}

TEST_CASE("Classifying the name of a whiteout gives back what it removes") {
    for (auto const* path : {"a", "a/b", "a/.b", "a/\n", "\xff/\xfe", "a/b c"})
        CHECK(classify_whiteout(whiteout_name(path)) == whiteout{whiteout_kind::removal, path});
}
