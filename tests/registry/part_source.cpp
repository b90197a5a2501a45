#include <shiplap/bytes/concept.hpp>
#include <shiplap/registry/part_source.hpp>

#include "support/catch.hpp"

#include <string>
#include <vector>

using namespace shiplap;

namespace {

// Counts what it gives, and how often it starts anew.
struct noting_source {
    std::string text;
    std::size_t at = 0, given = 0, rewinds = 0;
    std::size_t read(bytes_span into) {
        auto const n =
            text.copy(reinterpret_cast<char*>(into.data()), std::min<std::size_t>(into.size(), 3), at);
        at += n;
        given += n;
        return n;
    }
    void rewind() {
        at = 0;
        ++rewinds;
    }
};

std::string all_of(detail::part_source& part) {
    string_sink out;
    transfer(part, out);
    return std::move(out.text);
}

} // namespace

TEST_CASE("parts follow each other without reading anything twice", "[registry]") {
    noting_source source{"0123456789"};
    detail::part_source part{source};
    struct row {
        std::uint64_t begin, size;
        std::string text;
        std::size_t given, rewinds; // so far
    };
    for (auto const& [begin, size, text, given, rewinds] : std::vector<row>{
             {0, 4, "0123", 4, 0},
             {4, 0, "", 4, 0},
             {4, 3, "456", 7, 0},
             {9, 1, "9", 10, 0},
             {3, 4, "3456", 17, 1}, // back: from the start on
             {0, 10, "0123456789", 27, 2},
             {8, 5, "89", 37, 3}, // no more is there
             {12, 5, "", 37, 3},
         }) {
        INFO(begin << ", " << size);
        part.select(begin, size);
        CHECK(all_of(part) == text);
        CHECK(source.given == given);
        CHECK(source.rewinds == rewinds);
    }
}

TEST_CASE("a part can be read again", "[registry]") {
    noting_source source{"0123456789"};
    detail::part_source part{source};
    part.select(2, 5);
    for (int i = 0; i < 3; ++i) {
        CHECK(all_of(part) == "23456");
        part.rewind();
    }
}
