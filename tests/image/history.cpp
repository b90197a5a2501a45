#include <shiplap/image/history.hpp>

#include "support/catch.hpp"

#include <string>
#include <vector>

using namespace shiplap;

namespace {

constexpr timestamp now{5000, 0};

layer_blob layer(std::optional<std::int64_t> created, std::string by = "") {
    auto const name = digest::of<sha256>(as_bytes("x"));
    layer_blob out{.blob = {name, 1}, .diff_id = name, .created_by = std::move(by)};
    if (created) out.created = timestamp{*created, 0};
    return out;
}

// A history in one line: "L10" is a step with a layer at 10 s, "E" one without a layer and without a time.
std::string shorthand(std::vector<history_entry> const& history) {
    std::string out;
    for (auto const& entry : history) {
        out += out.empty() ? "" : " ";
        out += entry.empty_layer ? "E" : "L";
        if (entry.created) out += std::to_string(entry.created->at.seconds);
    }
    return out;
}

std::vector<history_entry> from_shorthand(std::string const& text) {
    std::vector<history_entry> out;
    for (std::size_t at = 0; at < text.size();) {
        auto const end = std::min(text.find(' ', at), text.size());
        history_entry entry{.empty_layer = text[at] == 'E'};
        if (end - at > 1) entry.created = zoned_time{{std::stol(text.substr(at + 1, end - at - 1)), 0}, 0};
        out.push_back(entry);
        at = end + 1;
    }
    return out;
}

} // namespace

TEST_CASE("history: made to fit the layers, and every entry gets a time") {
    struct row {
        std::string before;
        std::vector<layer_blob> layers;
        std::string after;
        std::size_t warnings;
    };
    auto const rows = std::vector<row>{
        {"", {}, "", 0},
        {"", {layer(10), layer({})}, "L10 L5000", 0},
        {"L1 L2", {layer(10), layer(20)}, "L1 L2", 0},
        {"L L", {layer(10), layer(20)}, "L10 L20", 0},
        {"L1", {layer(10), layer(20), layer(30)}, "L1 L20 L30", 0}, // the last layers are new
        {"E1 L2 E3", {layer(10), layer(20)}, "E1 L2 E3 L20", 0},
        {"L1 L2 L3", {layer(10)}, "L1 E2 E3", 1},
        {"E1 L2 L3", {}, "E1 E2 E3", 1},
        {"L E L", {layer(10), layer(20)}, "L10 E20 L20", 0}, // the first time after the first gap
        {"L1 E E2", {layer(10)}, "L1 E2 E2", 0},
        {"E L E L E", {layer(10), layer(20)}, "E10 L10 E10 L20 E20", 0},
        {"L1 L2 E E E", {layer(10), layer(20)}, "L1 L2 E2 E2 E2", 0}, // none after it: the last there is
        {"E E", {}, "E E", 0},
        {"L1 E L2 E E7 E", {layer(10), layer(20)}, "L1 E2 L2 E2 E7 E7", 0},
        {"L1 L L", {layer(10)}, "L1 E1 E1", 1},
    };
    for (auto const& [before, layers, after, expected_warnings] : rows) {
        CAPTURE(before, layers.size());
        auto history = from_shorthand(before);
        std::vector<std::string> warnings;
        normalise_history(history, layers, now, warnings);
        CHECK(shorthand(history) == after);
        CHECK(warnings.size() == expected_warnings);
    }
}

TEST_CASE("history: entries for new layers say where they come from") {
    std::vector<history_entry> history;
    std::vector<std::string> warnings;
    auto const layers = std::vector<layer_blob>{layer(1, "dir:app"), layer(2)};
    normalise_history(history, layers, now, warnings);
    REQUIRE(history.size() == 2);
    CHECK(history[0].created_by == "dir:app");
    CHECK(history[1].created_by == "created by shiplap");
    CHECK(history[0].comment == "shiplap.exporter.image.v0");
}

TEST_CASE("history: the epoch is the latest time, and that of entries without one") {
    auto history = from_shorthand("L10 E L21 E20 L-5");
    clamp_history(history, 20);
    CHECK(shorthand(history) == "L10 E20 L20 E20 L-5");
    history[0].created = zoned_time{{20, 1}, 60};
    clamp_history(history, 20);
    CHECK(history[0].created == zoned_time{{20, 0}, 0});
}

TEST_CASE("history: the epoch changes nothing that comes from a base") {
    auto const base = from_shorthand("L10 E30 L40");
    auto history = from_shorthand("L10 E30 L40 L50 E5");
    clamp_history(history, 20, base);
    CHECK(shorthand(history) == "L10 E30 L40 L20 E5");

    history = from_shorthand("L10 E31 L40"); // one of them is another
    clamp_history(history, 20, base);
    CHECK(shorthand(history) == "L10 E20 L40");

    history = from_shorthand("L10 E");
    clamp_history(history, 20, history);
    CHECK(shorthand(history) == "L10 E20"); // every entry should have a time
}

TEST_CASE("history: JSON in Go's order, and back") {
    std::string const text =
        R"([{"created":"2019-01-01T00:00:00.5+02:00","created_by":"a \u0026 b","author":"c",)"
        R"("comment":"d","empty_layer":true},{}])";
    auto const document = parse_json(text, "h");
    auto const history = read_history(json_node{document, "h"});
    REQUIRE(history.size() == 2);
    CHECK(history[0] == history_entry{.created = zoned_time{{1546293600, 500'000'000}, 120},
                                      .created_by = "a & b",
                                      .author = "c",
                                      .comment = "d",
                                      .empty_layer = true});
    CHECK(history[1] == history_entry{});
    CHECK(compact(to_json(history)) == text);

    auto const lax = parse_json(R"([{"created":null,"comment":null,"empty_layer":false,"x":1}])", "h");
    CHECK(read_history(json_node{lax, "h"}) == std::vector<history_entry>{{}});

    auto const bad = GENERATE(values<std::string>({"{}", "[1]", "[null]", R"([{"created":1}])",
                                                   R"([{"created":""}])", R"([{"created":"yesterday"}])",
                                                   R"([{"comment":1}])", R"([{"empty_layer":"true"}])"}));
    CAPTURE(bad);
    auto const wrong = parse_json(bad, "h");
    CHECK_THROWS_AS(read_history(json_node{wrong, "h"}), format_error);
}
