#include <shiplap/sink/squashed_layer.hpp>

#include "support/catch.hpp"
#include "support/sample_image.hpp"
#include "support/trees.hpp"

#include <optional>

using namespace shiplap;

static_assert(layer_source<squashed_layer> && !stored_layer<squashed_layer>);

namespace {

/// A layer of these bytes; one that has facts is packed already.
struct bytes_layer {
    std::string tar;
    template <byte_sink Out>
    void write_tar(Out& out, layer_context const&) const {
        for (auto const c : tar) out.write(as_bytes({&c, 1})); // however it is cut
    }
    [[nodiscard]] std::string description() const { return "bytes"; }
};

tar_member at(std::int64_t seconds, tar_member member) {
    member.entry.mtime = {seconds, 0};
    return member;
}

squashed_layer squashed(std::vector<any_layer_source> const& layers, flattened into = flattened::changes) {
    auto surveyed = std::make_shared<layer_flattener>(into);
    for (auto i = layers.size(); i-- > 0;) {
        auto const learn = [&](tar_entry const& entry) {
            surveyed->survey(i, entry);
            return false;
        };
        detail::layer_entries entries{layers[i], learn, [](bytes_view) { FAIL("payload was not wanted"); }};
        layers[i].write_tar(entries, {});
        entries.finish();
    }
    return {layers, std::move(surveyed)};
}

} // namespace

TEST_CASE("a squashed layer has what is left, with its content", "[squashed_layer]") {
    auto const lower = make_tar(
        {at(10, tar_file("a", "old")), at(90, tar_file("b", "kept")), at(70, tar_file("c", "gone"))});
    auto const upper =
        make_tar({at(20, tar_file("a", "new")), at(80, tar_file(".wh.c", "")), at(30, tar_file("d", ""))});
    auto const layer = squashed({bytes_layer{lower}, bytes_layer{upper}});
    CHECK(layer.description() == "squash of 2 layers");
    auto const wanted = make_tar({at(90, tar_file("b", "kept")),
                                  at(20, tar_file("a", "new")),
                                  {whiteout_entry("c"), ""},
                                  at(30, tar_file("d", ""))});
    CHECK(trees::tar_of(layer) == wanted);
    CHECK(trees::tar_of(layer) == wanted); // as often as one likes

    clamp_timestamps const clamp{{50, 0}};
    auto const entries = trees::entries_of(layer, {.time = timestamps_ref{clamp}, .progress = {}});
    REQUIRE(entries.size() == 4);
    CHECK(entries[0].header.mtime == timestamp{50, 0});
    CHECK(entries[1].header.mtime == timestamp{20, 0});
    CHECK(entries[2].header.mtime == timestamp{}); // of the whiteout

    CHECK(trees::names_of(
              trees::entries_of(squashed({bytes_layer{lower}, bytes_layer{upper}}, flattened::tree))) ==
          std::vector<std::string>{"b", "a", "d"});
}

TEST_CASE("the time of a whiteout is nobody's", "[squashed_layer]") {
    auto const removal = make_tar({at(80, tar_file(".wh.c", ""))});
    std::vector<timestamp> asked;
    auto const policy = [&](timestamp time) {
        asked.push_back(time);
        return time;
    };
    trees::tar_of(squashed({bytes_layer{removal}, bytes_layer{removal}}),
                  {.time = timestamps_ref{policy}, .progress = {}});
    CHECK(asked.empty());
}

TEST_CASE("an error names the layer", "[squashed_layer]") {
    auto const whole = make_tar({tar_file("a", "1")});
    auto const layer =
        squashed({bytes_layer{whole}, bytes_layer{make_tar({tar_link("y", "x", entry_type::hard_link)})},
                  bytes_layer{make_tar({tar_file(".wh.x", "")})}});
    auto const problem = trees::error_of([&] { trees::tar_of(layer); });
    CHECK(problem.code() == error_code::unsupported);
    CHECK_THAT(problem.what(), contains("layer 1 (bytes)") && contains("'y'"));
    CHECK_THROWS_WITH(squashed({bytes_layer{whole.substr(0, 513)}, bytes_layer{whole}}),
                      contains("truncated"));
}
